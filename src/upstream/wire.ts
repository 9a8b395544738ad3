import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';
import type { RawHeaders } from '../http/fields.js';

/** How the head of a request announces a body of no octets (RFC 9112 6). */
export type EmptyBody = 'length' | 'chunked' | 'nothing';

/** What a request, and its answer, need on their connection beyond what undici does. */
export interface OnTheWire {
  /** The request-target: `*` is nothing that undici would write. */
  readonly target: string;
  /** How an empty body is announced, where undici would have its own way; undefined: it may. */
  readonly emptyBody: EmptyBody | undefined;
  /** Sent behind a chunked body; asked for when the body has ended. Flat. */
  readonly trailers: (() => RawHeaders) | undefined;
  /** Called for each 1xx answer but 101. */
  readonly onInformational: OnInformational | undefined;
  /** Told once the final answer has begun: its reason phrase, one octet per character. */
  reason?: string;
}

/** Takes a 1xx answer: its status, its reason phrase and its fields, one octet per character. */
export type OnInformational = (status: number, statusText: string, rawHeaders: string[]) => void;

const endOfHead = '\r\n\r\n';
/** A head that announces no octets, as undici ends it, from the end of the field before. */
const noOctets = '\r\ncontent-length: 0\r\n\r\n';
const someOctets = /\r\ncontent-length: \d+\r\n\r\n$/;
/** The end of a chunked body without trailers, as undici writes it. */
const lastChunk = '\r\n0\r\n\r\n';

const statusLine = /^HTTP\/\d\.\d (\d{3})(?: ([\t\x20-\x7e\x80-\xff]*))?\r?\n$/;
/** What is read here is read strictly: two readings of where a head ends would be two answers. */
const strictHead = /^[^\r\n]*\r\n(?:[!#$%&'*+\-.^_`|~\w]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n$/;

/**
 * What HTTP/1.1 asks for and undici leaves out, done on the connections that it uses: request trailers, the target `*`, the
 * client's way to announce an empty body, reason phrases in any encoding, and 1xx answers, `100 (Continue)` that nobody
 * waits for among them: old servers send it before their answer to any request with a body, and undici breaks off there.
 *
 * undici says which connection a request goes out on in the very step in which it tells the request's handler that it
 * has one: `expect` is called in between.
 */
export class Wire {
  readonly #longestHead: number;
  readonly #connections = new WeakMap<Socket, Connection>();
  #expected: OnTheWire | undefined;

  /** @param longestHead of an answer, in bytes */
  constructor(longestHead: number) {
    this.#longestHead = longestHead;
    subscribe('undici:client:sendHeaders', this.#onSend);
  }

  /** The next request to be sent, now, is this one. */
  expect(request: OnTheWire): void {
    this.#expected = request;
  }

  close(): void {
    unsubscribe('undici:client:sendHeaders', this.#onSend);
  }

  readonly #onSend = (message: unknown): void => {
    const request = this.#expected;
    // Somebody else's, who uses undici too.
    if (request === undefined) return;
    this.#expected = undefined;
    const { socket } = message as { socket: Socket };
    let connection = this.#connections.get(socket);
    if (connection === undefined) {
      connection = new Connection(socket, this.#longestHead);
      this.#connections.set(socket, connection);
    }
    connection.begin(request);
  };
}

/** One connection: what goes out on it and what comes in are looked at where the request on it asks for that. */
class Connection {
  readonly #socket: Socket;
  readonly #longestHead: number;
  #request: OnTheWire | undefined;
  /** Whether undici writes the head of the request next. */
  #sendsHead = false;
  #rewrites = false;
  #isHooked = false;
  /** Whether what comes next is the beginning of an answer. */
  #awaitsHead = false;
  /** The beginning of what may have to be skipped. */
  #kept: Buffer | undefined;

  constructor(socket: Socket, longestHead: number) {
    this.#socket = socket;
    this.#longestHead = longestHead;
    const read = socket.read.bind(socket) as (size?: number) => Buffer | null;
    socket.read = (size?: number) => {
      const chunk = read(size);
      return this.#awaitsHead && chunk !== null ? this.#answerIn(chunk) : chunk;
    };
  }

  begin(request: OnTheWire): void {
    this.#request = request;
    this.#rewrites = request.target === '*' || request.emptyBody !== undefined || request.trailers !== undefined;
    this.#sendsHead = true;
    this.#awaitsHead = true;
    this.#kept = undefined;
    if (this.#rewrites && !this.#isHooked) this.#hookWrites();
  }

  /** Few connections ever need it. */
  #hookWrites(): void {
    this.#isHooked = true;
    const socket = this.#socket;
    const write = socket.write.bind(socket) as (data: unknown, ...more: unknown[]) => boolean;
    socket.write = (data: unknown, ...more: unknown[]) =>
      write(this.#rewrites && typeof data === 'string' ? this.#rewritten(data) : data, ...more);
  }

  #rewritten(text: string): string {
    const { target, emptyBody, trailers } = this.#request as OnTheWire;
    if (!this.#sendsHead) {
      if (text !== lastChunk) return text;
      this.#isWritten();
      return `\r\n0\r\n${linesOf(trailers)}\r\n`;
    }
    this.#sendsHead = false;
    const head = target === '*' ? text.replace(/^(\S+) \/ /, '$1 * ') : text;
    const isEmpty = head.endsWith(noOctets) || (head.endsWith(endOfHead) && !someOctets.test(head));
    if (emptyBody === undefined || !isEmpty) return head;
    this.#isWritten();
    const fields = head.slice(0, head.endsWith(noOctets) ? 2 - noOctets.length : -'\r\n'.length);
    if (emptyBody === 'nothing') return `${fields}\r\n`;
    return emptyBody === 'length'
      ? `${fields}content-length: 0\r\n\r\n`
      : `${fields}transfer-encoding: chunked\r\n\r\n0\r\n${linesOf(trailers)}\r\n`;
  }

  /** What a connection has no more use for must not be kept while it is idle. */
  #isWritten(): void {
    this.#rewrites = false;
    if (!this.#awaitsHead) this.#request = undefined;
  }

  /** @returns null where more has to come before it can be told what this is */
  #answerIn(chunk: Buffer): Buffer | null {
    const final = this.#kept === undefined ? reasonOfFinal(chunk) : undefined;
    if (final !== undefined) return this.#finalHead(chunk, 'final', final);
    let bytes = this.#kept === undefined ? chunk : Buffer.concat([this.#kept, chunk]);
    this.#kept = undefined;
    for (;;) {
      while (bytes[0] === 0x0d || bytes[0] === 0x0a) bytes = bytes.subarray(1);
      const end = bytes.indexOf('\n');
      if (end === -1) return beginsAnswer(bytes) ? this.#keep(bytes) : this.#finalHead(bytes, '', '');
      const [, status = '', reason = ''] = statusLine.exec(bytes.toString('latin1', 0, end + 1)) ?? [];
      if (!status.startsWith('1') || status === '101') return this.#finalHead(bytes, status, reason);
      const rest = bytes.indexOf(endOfHead);
      const head = bytes.toString('latin1', 0, rest === -1 ? bytes.length : rest + endOfHead.length);
      // What ends in a way of its own is undici's to refuse.
      if (/(?<!\r)\n|\r(?!\n|$)/.test(head)) return this.#finalHead(bytes, '', '');
      if (rest === -1) return this.#keep(bytes);
      if (head.length > this.#longestHead || !strictHead.test(head)) return this.#finalHead(bytes, '', '');
      this.#request?.onInformational?.(Number(status), reason, fieldsIn(head));
      bytes = bytes.subarray(rest + endOfHead.length);
    }
  }

  #finalHead(bytes: Buffer, status: string, reason: string): Buffer {
    this.#awaitsHead = false;
    if (this.#request !== undefined && status !== '') this.#request.reason = reason;
    if (!this.#rewrites) this.#request = undefined;
    return bytes;
  }

  /** What is too long to be waited for is undici's to refuse. */
  #keep(bytes: Buffer): Buffer | null {
    if (bytes.length > this.#longestHead) return this.#finalHead(bytes, '', '');
    if (bytes.length > 0) this.#kept = bytes;
    return null;
  }
}

/**
 * The reason phrase of a final answer, where octets begin with its whole status line: nearly always. Undefined for
 * anything else, which has to be looked at more closely.
 */
function reasonOfFinal(bytes: Buffer): string | undefined {
  // HTTP/1.1 200 OK
  const isStatusLine = bytes[0] === 0x48 && bytes[8] === 0x20 && bytes[12] === 0x20;
  if (!isStatusLine || !isDigit(bytes[9]) || bytes[9] === 0x31 || !isDigit(bytes[10]) || !isDigit(bytes[11]))
    return undefined;
  let end = 13;
  while (end < bytes.length && isText(bytes[end] as number)) end += 1;
  return bytes[end] === 0x0d && bytes[end + 1] === 0x0a ? bytes.toString('latin1', 13, end) : undefined;
}

function isDigit(octet: number | undefined): boolean {
  return octet !== undefined && octet >= 0x30 && octet <= 0x39;
}

/** RFC 9112 4: what a reason phrase consists of. */
function isText(octet: number): boolean {
  return octet === 0x09 || (octet >= 0x20 && octet !== 0x7f);
}

/** Whether octets could be the beginning of a status line: what cannot is not waited for. */
function beginsAnswer(bytes: Buffer): boolean {
  const start = 'HTTP/';
  return start.startsWith(bytes.toString('latin1', 0, start.length));
}

function linesOf(trailers: OnTheWire['trailers']): string {
  const raw = trailers?.() ?? [];
  let lines = '';
  for (let index = 0; index + 1 < raw.length; index += 2) lines += `${raw[index]}: ${raw[index + 1]}\r\n`;
  return lines;
}

/** The fields of a head that is read strictly. */
function fieldsIn(head: string): string[] {
  const lines = head.slice(0, -endOfHead.length).split('\r\n').slice(1);
  return lines.flatMap((line) => {
    const colon = line.indexOf(':');
    return [line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|(?<![ \t])[ \t]+$/g, '')];
  });
}

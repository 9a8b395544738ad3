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
  /** Called for a 100 that nobody waits for, with its fields. */
  readonly onContinue: ((rawHeaders: string[]) => void) | undefined;
  /** Told once the answer has begun: its reason phrase, one octet per character, where that is not ASCII. */
  reason?: string;
}

const endOfHead = '\r\n\r\n';
const noOctets = 'content-length: 0\r\n\r\n';
/** The end of a chunked body without trailers, as undici writes it. */
const lastChunk = '\r\n0\r\n\r\n';

/** How an answer begins that a client must be able to skip (RFC 9110 15.2.1), and undici takes for a broken one. */
const beginning = 'HTTP/1.1 100 ';
const unasked = /^HTTP\/1\.[01] 100[ \r]/;

/**
 * What HTTP/1.1 asks for and undici leaves out, done on the connections that it uses: request trailers, the target `*`, the
 * client's way to announce an empty body, reason phrases in any encoding, and `100 (Continue)` that nobody waits for, as
 * old servers send it before their answer to any request with a body.
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
  readonly #longestHead: number;
  #request: OnTheWire | undefined;
  /** Whether undici writes the head of the request next. */
  #sendsHead = false;
  #rewrites = false;
  /** Whether what comes next is the beginning of an answer. */
  #awaitsHead = false;
  /** The beginning of what may have to be skipped. */
  #kept: Buffer | undefined;

  constructor(socket: Socket, longestHead: number) {
    this.#longestHead = longestHead;
    const read = socket.read.bind(socket) as (size?: number) => Buffer | null;
    socket.read = (size?: number) => {
      const chunk = read(size);
      return this.#awaitsHead && chunk !== null ? this.#answerIn(chunk) : chunk;
    };
    const write = socket.write.bind(socket) as (data: unknown, ...more: unknown[]) => boolean;
    socket.write = (data: unknown, ...more: unknown[]) =>
      write(this.#rewrites && typeof data === 'string' ? this.#rewritten(data) : data, ...more);
  }

  begin(request: OnTheWire): void {
    this.#request = request;
    this.#rewrites = request.target === '*' || request.emptyBody !== undefined || request.trailers !== undefined;
    this.#sendsHead = true;
    this.#awaitsHead = true;
    this.#kept = undefined;
  }

  #rewritten(text: string): string {
    const { target, emptyBody, trailers } = this.#request as OnTheWire;
    if (!this.#sendsHead) return text === lastChunk ? `\r\n0\r\n${linesOf(trailers)}\r\n` : text;
    this.#sendsHead = false;
    const head = target === '*' ? text.replace(/^(\S+) \/ /, '$1 * ') : text;
    if (emptyBody === undefined || !head.endsWith(endOfHead)) return head;
    const fields = head.endsWith(noOctets) ? head.slice(0, -noOctets.length) : head.slice(0, -'\r\n'.length);
    if (emptyBody === 'nothing') return `${fields}\r\n`;
    return emptyBody === 'length'
      ? fields + noOctets
      : `${fields}transfer-encoding: chunked\r\n\r\n0\r\n${linesOf(trailers)}\r\n`;
  }

  /** @returns null where more has to come before it can be told what this is */
  #answerIn(chunk: Buffer): Buffer | null {
    let bytes = this.#kept === undefined ? chunk : Buffer.concat([this.#kept, chunk]);
    this.#kept = undefined;
    while (unasked.test(bytes.toString('latin1', 0, beginning.length))) {
      const end = bytes.indexOf(endOfHead);
      if (end === -1) return this.#keep(bytes);
      this.#request?.onContinue?.(fieldsIn(bytes.toString('latin1', 0, end)));
      bytes = bytes.subarray(end + endOfHead.length);
      if (bytes.length === 0) return null;
    }
    if (bytes.length < beginning.length && beginning.startsWith(bytes.toString('latin1'))) return this.#keep(bytes);
    this.#awaitsHead = false;
    this.#noteReason(bytes);
    return bytes;
  }

  /** What is too long to be waited for is undici's to refuse. */
  #keep(bytes: Buffer): Buffer | null {
    if (bytes.length > this.#longestHead) return bytes;
    this.#kept = bytes;
    return null;
  }

  /** undici reads a reason phrase as UTF-8, and what is none is lost. */
  #noteReason(bytes: Buffer): void {
    for (
      let index = beginning.length;
      index < bytes.length && bytes[index] !== 0x0d && bytes[index] !== 0x0a;
      index++
    ) {
      if ((bytes[index] ?? 0) <= 0x7f) continue;
      const [line = ''] = bytes.toString('latin1', beginning.length).split(/\r?\n/, 1);
      if (this.#request !== undefined) this.#request.reason = line;
      return;
    }
  }
}

function linesOf(trailers: OnTheWire['trailers']): string {
  const raw = trailers?.() ?? [];
  let lines = '';
  for (let index = 0; index + 1 < raw.length; index += 2) lines += `${raw[index]}: ${raw[index + 1]}\r\n`;
  return lines;
}

/** The fields of a head that is read as text. */
function fieldsIn(head: string): string[] {
  return head
    .split('\r\n')
    .slice(1)
    .flatMap((line) => {
      const colon = line.indexOf(':');
      return colon < 1 ? [] : [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
}

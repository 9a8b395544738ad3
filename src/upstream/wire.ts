import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Socket } from 'node:net';

/** What a request needs on its connection beyond what undici does with it. */
export interface OnTheWire {
  /** The request-target: `*` is nothing that undici would write. */
  readonly target: string;
  /** Sent behind a chunked body; asked for when the body has ended. Flat. */
  readonly trailers: (() => readonly string[]) | undefined;
}

/** The end of a chunked body without trailers, as undici writes it. */
const lastChunk = '\r\n0\r\n\r\n';

/** How an answer begins that a client must be able to skip (RFC 9110 15.2.1), and undici takes for a broken one. */
const unasked = /^HTTP\/1\.[01] 100[ \r]/;
const longestStart = 'HTTP/1.1 100 '.length;

/**
 * What HTTP/1.1 asks for and undici leaves out, done on the connections that it uses: request trailers, the target `*`,
 * and `100 (Continue)` that nobody waits for, as old servers send it before the answer to any request with a body.
 *
 * undici says which connection a request goes out on in the very step in which it tells the request's handler that it
 * has one: `expect` is called in between.
 */
export class Wire {
  readonly #longestHead: number;
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
    const { socket } = message as { socket: WiredSocket };
    socket[incoming] ??= new Incoming(socket, this.#longestHead);
    socket[incoming].begin();
    // What is left of a request before that ended without a last chunk.
    Reflect.deleteProperty(socket, 'write');
    if (request.target === '*') aboutTheServer(socket);
    if (request.trailers !== undefined) appendTrailers(socket, request.trailers);
  };
}

const incoming = Symbol('incoming');

type WiredSocket = Socket & { [incoming]?: Incoming };

/** Writes `*` in the place of the path `/` of the request that is being sent (RFC 9112 3.2.4). */
function aboutTheServer(socket: Socket): void {
  const write = socket.write.bind(socket) as (...given: unknown[]) => boolean;
  socket.write = (data: unknown, ...more: unknown[]) => {
    Reflect.deleteProperty(socket, 'write');
    return write(typeof data === 'string' ? data.replace(/^(\S+) \/ /, '$1 * ') : data, ...more);
  };
}

/** Writes trailers into the last chunk of the request that is being sent. */
function appendTrailers(socket: Socket, trailers: () => readonly string[]): void {
  const write = socket.write.bind(socket) as (...given: unknown[]) => boolean;
  socket.write = (data: unknown, ...more: unknown[]) => {
    if (data !== lastChunk) return write(data, ...more);
    Reflect.deleteProperty(socket, 'write');
    return write(`\r\n0\r\n${linesOf(trailers())}\r\n`, 'latin1');
  };
}

function linesOf(trailers: readonly string[]): string {
  let lines = '';
  for (let index = 0; index + 1 < trailers.length; index += 2)
    lines += `${trailers[index]}: ${trailers[index + 1]}\r\n`;
  return lines;
}

/** The bytes that come in on one connection, without what is skipped of them. */
class Incoming {
  readonly #longestHead: number;
  /** Whether what comes next is the beginning of an answer. */
  #isHead = false;
  /** The beginning of what may have to be skipped. */
  #kept: Buffer | undefined;

  constructor(socket: Socket, longestHead: number) {
    this.#longestHead = longestHead;
    const read = socket.read.bind(socket) as (size?: number) => Buffer | null;
    socket.read = (size?: number) => {
      const chunk = read(size);
      return this.#isHead && chunk !== null ? this.#withoutUnasked(chunk) : chunk;
    };
  }

  begin(): void {
    this.#isHead = true;
    this.#kept = undefined;
  }

  /** @returns null where more has to come before it can be told what this is */
  #withoutUnasked(chunk: Buffer): Buffer | null {
    let bytes = this.#kept === undefined ? chunk : Buffer.concat([this.#kept, chunk]);
    this.#kept = undefined;
    while (unasked.test(bytes.toString('latin1', 0, longestStart))) {
      const end = bytes.indexOf('\r\n\r\n');
      if (end === -1) return this.#keep(bytes);
      bytes = bytes.subarray(end + 4);
      if (bytes.length === 0) return null;
    }
    const mayBeUnasked = bytes.length < longestStart && 'HTTP/1.1 100 '.startsWith(bytes.toString('latin1'));
    if (mayBeUnasked) return this.#keep(bytes);
    this.#isHead = false;
    return bytes;
  }

  /** What is too long to be waited for is undici's to refuse. */
  #keep(bytes: Buffer): Buffer | null {
    if (bytes.length > this.#longestHead) return bytes;
    this.#kept = bytes;
    return null;
  }
}

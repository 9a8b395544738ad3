import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Answer } from '../gate/exchange.js';
import type { Clock } from '../http/clock.js';
import { FieldNames, hasField, withoutFields } from '../http/fields.js';
import type { BodyConsumer, ResponseBody } from '../upstream/call.js';
import { discard } from '../upstream/represent.js';
import { announcesBody } from './exchange.js';
import type { Turn } from './turns.js';

/** How long what a client still sends after its answer is read and thrown away, in milliseconds. */
const lingering = 30_000;

/** Trailers end a chunked body alone (RFC 9110 6.5.1): Node refuses to announce them where there is none. */
const ofChunkedBodies = new FieldNames(['trailer']);

const noOctets = Buffer.alloc(0);

/** RFC 9110 8.6: some clients would wait for so much of a body that a 204 never has. */
const neverOfNoContent = new FieldNames(['trailer', 'content-length']);

/** How the answer to a write runs out where its client is gone (W15): so long, in milliseconds, then it is given up. */
const runningOut = 10_000;

/** The longest body that is made a text to be written with its head, in bytes. */
const longestWithHead = 8192;

/** The slowest client that an answer in one piece waits for, in bytes a millisecond. */
const slowestReader = 16;

/** How to deliver. */
export interface Delivery {
  /** Tells when the response is over. */
  readonly turn: Pick<Turn, 'onClosed'>;
  /** Whether the connection must not be used again. */
  readonly closes: boolean;
  /** How long a client may take nothing of its answer, in milliseconds. */
  readonly stalledAfter: number;
  readonly clock: Clock;
  /** Called once, when the answer has been written or nobody is there to take it. */
  readonly done: () => void;
}

/**
 * Writes an answer to the client, as it is: names, order and duplicates of its fields stay, Node adds the framing. A
 * body that breaks off breaks the connection too, so that it never looks whole. A client that takes nothing is not waited
 * for: what it holds up (an upstream connection, the bytes of a held body) is others' too.
 */
export function deliver(answer: Answer, request: IncomingMessage, response: ServerResponse, delivery: Delivery): void {
  const { body } = answer;
  const { turn, closes, clock, done } = delivery;
  const over = (): void => {
    answer.release?.();
    done();
  };
  if (response.destroyed || response.closed) {
    if (isStream(body)) giveUp(body, answer, clock);
    over();
    return;
  }
  turn.onClosed(over);
  const rawHeaders = closes ? [...answer.rawHeaders, 'Connection', 'close'] : answer.rawHeaders;
  const hasNone = hasNoBody(request.method, answer.status);
  const isChunked = !hasNone && request.httpVersion !== '1.0' && !hasField(rawHeaders, 'content-length');
  const unfit = answer.status === 204 ? neverOfNoContent : ofChunkedBodies;
  const fits = isChunked || !unfit.anyIn(rawHeaders);
  try {
    writeHead(response, answer, fits ? rawHeaders : withoutFields(rawHeaders, unfit));
  } catch {
    // Node does not write what its own parser would not read; nobody must wait for it.
    if (isStream(body)) body.abort();
    response.destroy();
    return;
  }
  if (!request.complete && announcesBody(request)) response.once('finish', () => drain(request, clock));
  if (isStream(body)) {
    if (hasNone) {
      response.end();
      discard(body);
    } else {
      new Streaming(answer, body, response, delivery).begin();
    }
    return;
  }
  if (answer.trailers !== undefined && answer.trailers.length > 0) response.addTrailers(pairs(answer.trailers));
  if (hasNone || body === undefined) {
    response.end();
    return;
  }
  const length = writeWhole(response, body, isChunked);
  if (isTaken(response)) return;
  const stall = new Stall(response, delivery);
  stall.begin(length / slowestReader);
  turn.onClosed(() => stall.end());
}

/** Writes all of a body that is here, in one go with the head. @returns its length */
function writeWhole(response: ServerResponse, body: Buffer | readonly Buffer[], isChunked: boolean): number {
  if (Buffer.isBuffer(body)) {
    if (isChunked || body.length > longestWithHead) response.end(body);
    else endAsText(response, body);
    return body.length;
  }
  const chunks = body as readonly Buffer[];
  for (const chunk of chunks.slice(0, -1)) response.write(chunk);
  response.end(chunks.at(-1));
  return chunks.reduce((sum, chunk) => sum + chunk.length, 0);
}

/** Head and body as one text of the head's encoding, whose characters are octets: Node would write a list of pieces. */
function endAsText(response: ServerResponse, body: Buffer): void {
  response.cork();
  response.write(body.toString('latin1'), 'latin1');
  response.uncork();
  response.end();
}

function writeHead(response: ServerResponse, { status, statusText }: Answer, rawHeaders: string[]): void {
  if (statusText === undefined) response.writeHead(status, rawHeaders);
  else response.writeHead(status, statusText, rawHeaders);
}

function isStream(body: Answer['body']): body is ResponseBody {
  return typeof body === 'object' && 'consume' in body;
}

function hasNoBody(method: string | undefined, status: number): boolean {
  return method === 'HEAD' || status === 204 || status === 304;
}

/** A body on its way from the upstream to the client. */
class Streaming implements BodyConsumer {
  readonly #answer: Answer;
  readonly #body: ResponseBody;
  readonly #response: ServerResponse;
  readonly #delivery: Delivery;
  readonly #stall: Stall;
  #isOver = false;
  #listensForDrain = false;
  #stopRunningOut: (() => void) | undefined;

  constructor(answer: Answer, body: ResponseBody, response: ServerResponse, delivery: Delivery) {
    this.#answer = answer;
    this.#body = body;
    this.#response = response;
    this.#delivery = delivery;
    this.#stall = new Stall(response, delivery);
  }

  begin(): void {
    const response = this.#response;
    this.#delivery.turn.onClosed(() => this.#closed());
    this.#body.consume(this);
    // An event stream's head must not wait for its first event. Node would flush it as UTF-8, but writes it as it is
    // before octets.
    if (!response.writableEnded && !response.destroyed) response.write(noOctets);
  }

  data(chunk: Buffer): boolean {
    const flows = this.#response.destroyed || this.#response.write(chunk);
    if (!flows) this.#waitForDrain();
    return flows;
  }

  end(last: Buffer | undefined, trailers: readonly string[]): void {
    this.#over();
    if (trailers.length > 0) this.#response.addTrailers(pairs(trailers));
    this.#response.end(last);
    this.#stall.begin(0);
  }

  error(): void {
    this.#over();
    // A connection that is closed in order looks like the end of a body without a length (RFC 9112 6.3).
    if (this.#response.socket !== null) breakOff(this.#response.socket);
    this.#response.destroy();
  }

  #waitForDrain(): void {
    this.#stall.begin(0);
    if (this.#listensForDrain) return;
    this.#listensForDrain = true;
    this.#response.on('drain', () => {
      this.#stall.end();
      this.#body.resume();
    });
  }

  #over(): void {
    this.#isOver = true;
    this.#stopRunningOut?.();
  }

  #closed(): void {
    this.#stall.end();
    if (this.#response.writableFinished) return;
    if (this.#answer.runsOn !== true) this.#body.abort();
    else if (!this.#isOver) this.#stopRunningOut = runOut(this.#body, this.#delivery.clock);
  }
}

/** Breaks the connection off where its client takes nothing of what waits for it. */
class Stall {
  readonly #response: ServerResponse;
  readonly #delivery: Delivery;
  #cancel: (() => void) | undefined;

  constructor(response: ServerResponse, delivery: Delivery) {
    this.#response = response;
    this.#delivery = delivery;
  }

  /** @param allowance milliseconds that what waits may take beyond the limit */
  begin(allowance: number): void {
    const response = this.#response;
    if (this.#cancel !== undefined || response.destroyed || isTaken(response)) return;
    this.#cancel = this.#delivery.clock.after(this.#delivery.stalledAfter + allowance, () => {
      if (response.socket !== null) breakOff(response.socket);
      response.destroy();
    });
  }

  end(): void {
    this.#cancel?.();
    this.#cancel = undefined;
  }
}

/** Whether the system has all that was written: nearly always, and at once. */
function isTaken(response: ServerResponse): boolean {
  return response.writableFinished || (response.socket !== null && response.writableLength === 0);
}

/** What is left of an answer that nobody waits for. */
function giveUp(body: ResponseBody, { runsOn }: Answer, clock: Clock): void {
  if (runsOn !== true) {
    body.abort();
    return;
  }
  // Before what has come is taken in, because that may be all of it.
  const stop = runOut(body, clock);
  body.consume({ data: () => true, end: stop, error: stop });
}

/** W15: the upstream of a write may still be at it, but not for ever: its outcome is on record since its head came. */
function runOut(body: ResponseBody, clock: Clock): () => void {
  body.resume();
  return clock.after(runningOut, () => body.abort());
}

/** Resets a TCP connection, with nothing that looks like its regular end before. */
function breakOff(socket: Socket): void {
  try {
    socket.resetAndDestroy();
  } catch {
    // TLS has its own sign of a regular end, which is not sent then; a Unix socket knows no reset.
  }
  socket.destroy();
}

/** Reads what is left of a request that was answered early, so that the client sees its answer and can go on. */
function drain(request: IncomingMessage, clock: Clock): void {
  if (request.readableEnded || request.destroyed) return;
  const cancel = clock.after(lingering, () => request.socket.destroy());
  request.once('end', cancel).once('close', cancel);
  request.resume();
}

function pairs(rawHeaders: readonly string[]): [string, string][] {
  const list: [string, string][] = [];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    list.push([rawHeaders[index] ?? '', rawHeaders[index + 1] ?? '']);
  }
  return list;
}

import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Answer } from '../gate/exchange.js';
import type { Clock } from '../http/clock.js';
import { hasField, withoutFields } from '../http/fields.js';
import type { ResponseBody } from '../upstream/call.js';
import { discard } from '../upstream/represent.js';

/** How long what a client still sends after its answer is read and thrown away, in milliseconds. */
const lingering = 30_000;

/** Trailers end a chunked body alone (RFC 9110 6.5.1): Node refuses to announce them where there is none. */
const ofChunkedBodies = new Set(['trailer']);

/** RFC 9110 8.6: some clients would wait for so much of a body that a 204 never has. */
const neverOfNoContent = new Set([...ofChunkedBodies, 'content-length']);

const plain = /^[\t\x20-\x7e]*$/;

/** How the answer to a write runs out where its client is gone (W15): so long, in milliseconds, then it is given up. */
const runningOut = 10_000;

/** The slowest client that an answer in one piece waits for, in bytes a millisecond. */
const slowestReader = 16;

/** How to deliver. */
export interface Delivery {
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
  const { closes, clock, done } = delivery;
  const over = (): void => {
    answer.release?.();
    done();
  };
  if (response.destroyed || response.closed) {
    if (isStream(body)) giveUp(body, answer, clock);
    over();
    return;
  }
  response.once('close', over);
  const rawHeaders = closes ? [...answer.rawHeaders, 'Connection', 'close'] : answer.rawHeaders;
  const hasNone = hasNoBody(request.method, answer.status);
  const isChunked = !hasNone && request.httpVersion !== '1.0' && !hasField(rawHeaders, 'content-length');
  const unfit = answer.status === 204 ? neverOfNoContent : ofChunkedBodies;
  try {
    writeHead(response, answer, isChunked ? rawHeaders : withoutFields(rawHeaders, unfit));
  } catch {
    // Node does not write what its own parser would not read; nobody must wait for it.
    if (isStream(body)) body.abort();
    response.destroy();
    return;
  }
  response.once('finish', () => drain(request, clock));
  if (isStream(body)) {
    if (hasNone) {
      response.end();
      discard(body);
    } else {
      stream(body, answer, response, delivery);
    }
    return;
  }
  if (answer.trailers !== undefined && answer.trailers.length > 0) response.addTrailers(pairs(answer.trailers));
  if (hasNone || body === undefined) {
    response.end();
    return;
  }
  response.end(body);
  const stall = watchStall(response, delivery);
  response.once('close', stall.end);
  stall.begin(body.length / slowestReader);
}

function writeHead(response: ServerResponse, { status, statusText }: Answer, rawHeaders: string[]): void {
  if (statusText === undefined) response.writeHead(status, rawHeaders);
  else response.writeHead(status, plain.test(statusText) ? statusText : octetsOf(statusText), rawHeaders);
}

/** undici reads a reason phrase as UTF-8, Node writes one octet per character. */
function octetsOf(statusText: string): string {
  return Buffer.from(statusText).toString('latin1');
}

function isStream(body: Answer['body']): body is ResponseBody {
  return typeof body === 'object' && 'consume' in body;
}

function hasNoBody(method: string | undefined, status: number): boolean {
  return method === 'HEAD' || status === 204 || status === 304;
}

function stream(body: ResponseBody, answer: Answer, response: ServerResponse, delivery: Delivery): void {
  const stall = watchStall(response, delivery);
  let isOver = false;
  let stopRunningOut: (() => void) | undefined;
  const over = (): void => {
    isOver = true;
    stopRunningOut?.();
  };
  response.on('drain', () => {
    stall.end();
    body.resume();
  });
  response.once('close', () => {
    stall.end();
    if (response.writableFinished) return;
    if (answer.runsOn !== true) body.abort();
    else if (!isOver) stopRunningOut = runOut(body, delivery.clock);
  });
  body.consume({
    data(chunk) {
      const flows = response.destroyed || response.write(chunk);
      if (!flows) stall.begin(0);
      return flows;
    },
    end(last, trailers) {
      over();
      if (trailers.length > 0) response.addTrailers(pairs(trailers));
      response.end(last);
      stall.begin(0);
    },
    error() {
      over();
      // A connection that is closed in order looks like the end of a body without a length (RFC 9112 6.3).
      if (response.socket !== null) breakOff(response.socket);
      response.destroy();
    },
  });
  // An event stream's head must not wait for its first event.
  if (!response.writableEnded && !response.destroyed) response.flushHeaders();
}

/** Breaks the connection off where its client takes nothing of what waits for it. */
function watchStall(
  response: ServerResponse,
  { stalledAfter, clock }: Delivery,
): { begin(allowance: number): void; end(): void } {
  let cancel: (() => void) | undefined;
  return {
    /** `allowance`: milliseconds that what waits may take beyond the limit. */
    begin(allowance) {
      if (response.writableFinished || response.destroyed) return;
      cancel ??= clock.after(stalledAfter + allowance, () => {
        if (response.socket !== null) breakOff(response.socket);
        response.destroy();
      });
    },
    end() {
      cancel?.();
      cancel = undefined;
    },
  };
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

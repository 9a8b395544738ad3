import type { Dispatcher } from 'undici';
import type { Clock } from '../http/clock.js';
import { fieldLine, firstValue, passableTrailers } from '../http/fields.js';
import { Deferred } from './deferred.js';
import { RequestBodyError, UpstreamError, uncovered, upstreamError } from './errors.js';
import { latin1, latin1Texts } from './octets.js';

/** Status line and fields of an upstream's answer; field names, order and duplicates as they came. */
export interface ResponseHead {
  readonly status: number;
  /** One octet per character. */
  readonly statusText: string;
  readonly rawHeaders: readonly string[];
}

/** Receives a response body. `data` returns false to pause until `Call.resume`. */
export interface BodyConsumer {
  data(chunk: Buffer): boolean;
  /** The body is complete; `last` is its last chunk where that is known to be the last. */
  end(last: Buffer | undefined, trailers: readonly string[]): void;
  /** The body broke off: what has been received must never look whole. */
  error(error: Error): void;
}

/** A response body that flows into one consumer. */
export interface ResponseBody {
  consume(consumer: BodyConsumer): void;
  resume(): void;
  /** Gives the response up; the connection is closed unless it has come to its end. */
  abort(): void;
}

/** One request on its way to the upstream, and its response. */
export interface Call extends ResponseBody {
  /** Resolves with the final response head; rejects with `UpstreamError` or `RequestBodyError`. */
  readonly head: Promise<ResponseHead>;
  /** Resolves when the whole request has been written, or when nothing more of it will be. Never rejects. */
  readonly sent: Promise<void>;
  /** Whether `sent` resolved because the whole request was written. */
  readonly wholeRequestSent: boolean;
  /** Why the call broke off, where it did. */
  readonly failure: Error | undefined;
  /** Gives the request up where nothing of it has been sent: it still waits for a connection. */
  abortUnsent(): void;
  /** @param why the error that the call ends with, given whether any byte of it may have been sent */
  abort(why?: (sent: boolean) => UpstreamError): void;
}

export interface CallOptions {
  /** From the last request byte to the response head, in milliseconds; also bounds the wait for a connection. */
  readonly upstreamTimeout: number;
  /** Between two chunks of the response body, in milliseconds; not applied to event streams. */
  readonly idleTimeout: number;
  /** Whether the connection is being lost right now, which is no end of a body even where undici takes it for one. */
  readonly isBreaking: () => boolean;
  /** Whether it may be sent still, asked when it has its connection (S2). */
  readonly isCovered?: (() => boolean) | undefined;
  /** Whether any of its body has been handed on, where it streams: nothing at all is sent before. */
  readonly hasBegun?: (() => boolean) | undefined;
  /** Called when it is about to be sent, in the same step. */
  readonly onSending?: (() => void) | undefined;
  /** The reason phrase of the answer as it came; undici takes it for UTF-8, and for what of it came last. */
  readonly reason?: (() => string | undefined) | undefined;
}

/** What is kept of a body before somebody consumes it; then the upstream is paused. In bytes: two reads of a socket. */
const HIGH_WATER_MARK = 128 * 1024;

function givenUp(sent: boolean): UpstreamError {
  return new UpstreamError('connection_terminated', 'the gate gave the request up', sent);
}

/** What undici takes for the chunked coding, which it undoes: behind a tab it leaves the chunks in the body. */
const chunked = /^chunked *$/i;

type Phase = 'connecting' | 'sending' | 'waiting' | 'receiving' | 'paused' | 'ended';

/**
 * An undici dispatch handler (of the form that undici calls natively, with raw header arrays) that hands out the
 * response as a promise of its head and a body with back-pressure.
 *
 * One timer serves all deadlines: it is armed once for a phase and, when it fires, looks whether there was progress.
 */
export class UpstreamCall implements Call, Dispatcher.DispatchHandler {
  wholeRequestSent = false;

  readonly #clock: Clock;
  readonly #options: CallOptions;
  #phase: Phase = 'connecting';
  #progressAt: number;
  #cancelTimer: (() => void) | undefined;
  readonly #head = new Deferred<ResponseHead>();
  readonly #sent = new Deferred<void>();
  #abortDispatch: ((error: Error) => void) | undefined;
  #resumeDispatch: (() => void) | undefined;
  #connected = false;
  #endless = false;
  #failure: Error | undefined;
  #consumer: BodyConsumer | undefined;
  #chunks: Buffer[] = [];
  #buffered = 0;
  #trailers: readonly string[] | undefined;

  constructor(clock: Clock, options: CallOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#progressAt = clock.now();
    this.#arm(Math.min(options.upstreamTimeout, options.idleTimeout));
  }

  get head(): Promise<ResponseHead> {
    return this.#head.promise;
  }

  get sent(): Promise<void> {
    return this.#sent.promise;
  }

  get failure(): Error | undefined {
    return this.#failure;
  }

  consume(consumer: BodyConsumer): void {
    this.#consumer = consumer;
    if (this.#failure !== undefined) {
      consumer.error(this.#failure);
      return;
    }
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#buffered = 0;
    const complete = this.#trailers !== undefined;
    const last = complete ? chunks.pop() : undefined;
    let flowing = true;
    for (const chunk of chunks) flowing = consumer.data(chunk);
    if (complete) consumer.end(last, this.#trailers ?? []);
    else if (flowing) this.resume();
    else this.#setPhase('paused');
  }

  resume(): void {
    if (this.#phase !== 'paused') return;
    this.#setPhase('receiving');
    this.#resumeDispatch?.();
  }

  abort(why: (sent: boolean) => UpstreamError = givenUp): void {
    this.#fail(why(this.#connected && this.#options.hasBegun?.() !== false));
  }

  abortUnsent(): void {
    if (!this.#connected) this.abort();
  }

  /** Ends the call because the request body cannot be sent to its end. */
  failRequestBody(error: RequestBodyError | UpstreamError): void {
    const isGone = error instanceof RequestBodyError && error.reason === 'aborted';
    // W15: its client left before it had a connection.
    this.#fail(isGone && !this.#connected ? givenUp(false) : error);
  }

  onConnect(abort: (error?: Error) => void): void {
    this.#abortDispatch = abort;
    // Given up while it waited for a connection: thrown, this costs the request alone; `abort` would close a connection.
    if (this.#options.isCovered?.() === false) this.#fail(uncovered(false));
    if (this.#failure !== undefined) throw this.#failure;
    this.#connected = true;
    this.#phase = 'sending';
    this.#options.onSending?.();
  }

  onRequestSent(): void {
    this.wholeRequestSent = true;
    this.#sent.resolve();
    if (this.#phase === 'sending') this.#setPhase('waiting');
  }

  onHeaders(status: number, fields: Buffer[], resume: () => void): boolean {
    const rawHeaders = latin1Texts(fields);
    if (status < 100) {
      this.#fail(new UpstreamError('http_protocol_error', `the upstream answered with the status ${status}`, true));
      return false;
    }
    if (status < 200) {
      // 1xx answers are taken before undici sees them, but for 101, which nobody asked for, and for what is malformed.
      this.#fail(new UpstreamError('http_protocol_error', `the upstream answered with an unfit ${status}`, true));
      return false;
    }
    this.#resumeDispatch = resume;
    const coding = fieldLine(rawHeaders, 'transfer-encoding');
    if (coding !== undefined && !chunked.test(coding)) {
      // What else was done to the body would be lost with the field (RFC 9112 6.1).
      this.#fail(new UpstreamError('http_protocol_error', `the upstream sent Transfer-Encoding: ${coding}`, true));
      return false;
    }
    this.#endless = isEventStream(rawHeaders);
    this.#setPhase('receiving');
    this.#head.resolve({ status, statusText: this.#options.reason?.() ?? '', rawHeaders });
    return true;
  }

  onData(chunk: Buffer): boolean {
    this.#progressAt = this.#clock.now();
    let flowing: boolean;
    if (this.#consumer === undefined) {
      this.#chunks.push(chunk);
      this.#buffered += chunk.length;
      flowing = this.#buffered < HIGH_WATER_MARK;
    } else {
      flowing = this.#consumer.data(chunk);
    }
    if (!flowing) this.#setPhase('paused');
    return flowing;
  }

  onComplete(trailers: Buffer[] | string[] | null): void {
    if (this.#options.isBreaking()) {
      this.#fail(new UpstreamError('http_response_incomplete', 'the connection broke off within the body', true));
      return;
    }
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    this.#cancelTimer?.();
    this.#sent.resolve();
    this.#trailers = trailers === null || trailers.length === 0 ? noTrailers : passableTrailers(trailers.map(latin1));
    this.#consumer?.end(undefined, this.#trailers);
  }

  onError(error: Error): void {
    this.#fail(error instanceof RequestBodyError ? error : upstreamError(error, this.#connected, this.#head.isKnown));
  }

  #fail(error: Error): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    this.#cancelTimer?.();
    this.#failure = error;
    this.#chunks = [];
    this.#sent.resolve();
    this.#head.reject(error);
    this.#abortDispatch?.(error);
    this.#consumer?.error(error);
  }

  #setPhase(phase: Phase): void {
    if (this.#phase === 'ended') return;
    this.#phase = phase;
    this.#progressAt = this.#clock.now();
  }

  #limit(): number {
    if (this.#phase === 'receiving') return this.#endless ? Number.POSITIVE_INFINITY : this.#options.idleTimeout;
    // While the request is being sent its body watches its own progress; while paused the client sets the pace.
    if (this.#phase === 'sending' || this.#phase === 'paused') return Number.POSITIVE_INFINITY;
    return this.#options.upstreamTimeout;
  }

  #arm(delay: number): void {
    this.#cancelTimer = this.#clock.after(delay, () => {
      const left = this.#progressAt + this.#limit() - this.#clock.now();
      if (left <= 0) this.#fail(this.#timeoutError());
      else this.#arm(Math.min(left, this.#options.upstreamTimeout, this.#options.idleTimeout));
    });
  }

  #timeoutError(): UpstreamError {
    if (this.#phase === 'connecting') {
      const message = `no connection to the upstream became free within ${this.#options.upstreamTimeout} ms`;
      return new UpstreamError('connection_timeout', message, false);
    }
    if (this.#phase === 'receiving') {
      const message = `the upstream sent nothing for ${this.#options.idleTimeout} ms`;
      return new UpstreamError('connection_read_timeout', message, true);
    }
    const message = `the upstream did not answer within ${this.#options.upstreamTimeout} ms`;
    return new UpstreamError('http_response_timeout', message, true);
  }
}

const noTrailers: readonly string[] = [];

/** Whether an answer is a stream of events, which may be silent for as long as it likes. */
export function isEventStream(rawHeaders: readonly string[]): boolean {
  return (firstValue(rawHeaders, 'content-type') ?? '').toLowerCase().startsWith('text/event-stream');
}

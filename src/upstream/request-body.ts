import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import type { Clock } from '../http/clock.js';
import { firstValue, hasField, passableRequestTrailers, type RawHeaders } from '../http/fields.js';
import { RequestBodyError, UpstreamError, uncovered } from './errors.js';

/** How fast a request body must arrive (W3). Milliseconds and bytes per second. */
export interface BodyPace {
  /** Longest pause between two chunks. */
  readonly idleTimeout: number;
  /** Least rate, in bytes per second; 0: none. */
  readonly minRate: number;
  /** The stretch over which the rate is measured, again and again: milliseconds of waiting for the client. */
  readonly grace: number;
}

/** Looks are never closer than this, in milliseconds: the time that is left of a stretch stands still now and then. */
const shortestLook = 1000;

/**
 * A request body on its way from the client to the upstream, with back-pressure. It starts with what was already
 * received, watches that the client keeps its pace, and never destroys the client's connection: an answer can still be
 * sent when the upstream has given up.
 */
export class RequestStream extends Readable {
  /** Called once when the body cannot be sent to its end; set by whoever sends it. */
  onFailure: ((error: RequestBodyError | UpstreamError) => void) | undefined;
  /** Whether more may be sent (S2); set by whoever sends it. */
  isCovered: (() => boolean) | undefined;
  /** Whether any of it may have been sent; undici holds the request's head back until then. */
  hasBegun = false;
  /** Called with every chunk of the body, for hashing in passing (W10). */
  readonly #observe: ((chunk: Buffer) => void) | undefined;
  readonly #source: IncomingMessage;
  readonly #clock: Clock;
  readonly #pace: BodyPace;
  /** What came in the stretch that is being measured, and how long the client was waited for in it. */
  #received = 0;
  #waited = 0;
  /** Undefined while the upstream does not take more: the client is not to blame then. */
  #waitingSince: number | undefined;
  #progressAt: number;
  #hasEnded = false;
  #isSending = false;
  #cancelTimer: (() => void) | undefined;

  /**
   * @param source the client's request, not flowing
   * @param head chunks of the body that have been read from `source` already
   * @param pace how fast the rest must arrive
   * @param clock the source of time
   * @param observe sees every chunk once, in order
   */
  constructor(
    source: IncomingMessage,
    head: readonly Buffer[],
    pace: BodyPace,
    clock: Clock,
    observe?: (chunk: Buffer) => void,
  ) {
    super({ autoDestroy: true });
    this.#source = source;
    this.#clock = clock;
    this.#pace = pace;
    this.#observe = observe;
    this.#progressAt = clock.now();
    for (const chunk of head) this.#take(chunk);
    source.on('data', this.#onData);
    source.on('end', this.#onEnd);
    source.on('close', this.#onClose);
    source.pause();
    if (source.readableEnded) this.#onEnd();
    else this.#watch();
  }

  /** Whether it came without a length, and so may have trailers behind it. */
  get isChunked(): boolean {
    return !hasField(this.#source.rawHeaders ?? [], 'content-length');
  }

  /** What came behind it and may be passed on, once it has ended. Flat. */
  get trailers(): RawHeaders {
    return passableRequestTrailers(this.#source.rawTrailers ?? []);
  }

  override _read(): void {
    this.#progressAt = this.#clock.now();
    this.#waitingSince ??= this.#progressAt;
    this.#source.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#detach();
    callback(error);
  }

  #take(chunk: Buffer): boolean {
    // A process that was paused reads what has come meanwhile before its timers tell that it is too late.
    if (this.isCovered?.() === false) {
      this.#fail(uncovered(this.hasBegun));
      return false;
    }
    this.hasBegun = true;
    this.#received += chunk.length;
    this.#progressAt = this.#clock.now();
    this.#observe?.(chunk);
    return this.push(chunk);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (this.#take(chunk)) return;
    this.#waited = this.#waitedUntil(this.#progressAt);
    this.#waitingSince = undefined;
    this.#source.pause();
  };

  readonly #onEnd = (): void => {
    this.hasBegun = true;
    this.#hasEnded = true;
    this.#detach();
    if (this.#isSending) this.push(null);
  };

  /**
   * It is being sent. Before that it has no end: undici would give a stream that has ended a length, and what came without
   * one leaves without one.
   */
  beginSending(): void {
    if (this.#isSending) return;
    this.#isSending = true;
    this.#progressAt = this.#clock.now();
    if (this.#hasEnded) this.push(null);
  }

  readonly #onClose = (): void => {
    // What the client sent before it went away, but nobody has taken yet, is lost with its connection.
    this.#fail(new RequestBodyError('aborted', 'the client went away before its request body was complete'));
  };

  #fail(error: RequestBodyError | UpstreamError): void {
    this.#detach();
    this.onFailure?.(error);
    this.destroy();
  }

  #watch(): void {
    const { idleTimeout, minRate, grace } = this.#pace;
    const now = this.#clock.now();
    const idle = this.#progressAt + idleTimeout - now;
    const rest = minRate > 0 ? Math.max(shortestLook, grace - this.#waitedUntil(now)) : idle;
    this.#cancelTimer = this.#clock.after(Math.min(idle, rest), () => this.#look());
  }

  #look(): void {
    const { idleTimeout, minRate } = this.#pace;
    const now = this.#clock.now();
    const isIdle = now - this.#progressAt >= idleTimeout;
    if (isIdle && this.#waitingSince === undefined && !this.#isSending) {
      // It waits for a connection, which has a limit of its own.
      this.#progressAt = now;
      this.#watch();
    } else if (isIdle && this.#waitingSince === undefined) {
      const message = `the upstream took nothing of the request body for ${idleTimeout} ms`;
      this.#fail(new UpstreamError('connection_write_timeout', message, true));
    } else if (isIdle) {
      this.#fail(new RequestBodyError('too-slow', `the request body made no progress for ${idleTimeout} ms`));
    } else if (this.#isTooSlow(now)) {
      this.#fail(new RequestBodyError('too-slow', `the request body arrived at less than ${minRate} bytes a second`));
    } else {
      this.#watch();
    }
  }

  /** W3: each stretch counts for itself, or who was fast at first could hold the lease for as long as he was fast. */
  #isTooSlow(now: number): boolean {
    const { minRate, grace } = this.#pace;
    const waited = this.#waitedUntil(now);
    if (minRate === 0 || waited < grace) return false;
    if ((this.#received * 1000) / waited < minRate) return true;
    this.#received = 0;
    this.#waited = 0;
    if (this.#waitingSince !== undefined) this.#waitingSince = now;
    return false;
  }

  #waitedUntil(now: number): number {
    return this.#waitingSince === undefined ? this.#waited : this.#waited + now - this.#waitingSince;
  }

  #detach(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#source.off('data', this.#onData);
    this.#source.off('end', this.#onEnd);
    this.#source.off('close', this.#onClose);
  }
}

/**
 * The whole request body, where it came with its head, as a short one nearly always does: then it needs neither a stream
 * nor timers.
 *
 * @param source the client's request, not yet read; what came with its head has been parsed
 * @param limit bytes to take at most
 * @returns undefined where its length is not known, or more is to come: nothing has been read then
 */
export function arrivedWithHead(source: IncomingMessage, limit: number): Buffer | undefined {
  const length = Number(firstValue(source.rawHeaders ?? [], 'content-length') ?? 0);
  if (length === 0 || length > limit || source.readableLength !== length) return undefined;
  return (source.read() as Buffer | null) ?? undefined;
}

/** What receiving a body up to a limit gave. */
export type Received =
  | { readonly kind: 'whole'; readonly bytes: Buffer }
  | { readonly kind: 'longer'; readonly chunks: readonly Buffer[] }
  | { readonly kind: 'failed'; readonly error: RequestBodyError };

/**
 * Receives a request body up to a limit, so that no lease is held while a slow client sends (W3).
 *
 * @param source the client's request, not yet flowing
 * @param limit bytes to hold at most; what is longer is left streaming, paused
 * @param idleTimeout longest pause between two chunks, in milliseconds
 * @returns the whole body, or the chunks of one that is longer, or why it failed
 */
export function receiveBody(
  source: IncomingMessage,
  limit: number,
  idleTimeout: number,
  clock: Clock,
): Promise<Received> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    let length = 0;
    let progressAt = clock.now();
    let cancelTimer: () => void;
    const finish = (result: Received): void => {
      cancelTimer();
      source.off('data', onData).off('end', onEnd).off('close', onClose);
      source.pause();
      resolve(result);
    };
    const onData = (chunk: Buffer): void => {
      chunks.push(chunk);
      length += chunk.length;
      progressAt = clock.now();
      if (length > limit) finish({ kind: 'longer', chunks });
    };
    const onEnd = (): void =>
      finish({ kind: 'whole', bytes: chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks) });
    const onClose = (): void =>
      finish({
        kind: 'failed',
        error: new RequestBodyError('aborted', 'the client went away during its request body'),
      });
    const watch = (delay: number): void => {
      cancelTimer = clock.after(delay, () => {
        const left = progressAt + idleTimeout - clock.now();
        if (left > 0) return watch(left);
        const message = `the request body made no progress for ${idleTimeout} ms`;
        finish({ kind: 'failed', error: new RequestBodyError('too-slow', message) });
      });
    };
    watch(idleTimeout);
    source.on('data', onData).on('end', onEnd).on('close', onClose);
    source.resume();
  });
}

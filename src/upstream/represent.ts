import type { Clock } from '../http/clock.js';
import { fieldLine } from '../http/fields.js';
import type { BodyConsumer, ResponseBody, ResponseHead } from './call.js';

/** Bytes that may be held back at once in all responses together (`limits.holdTotal`, V4). */
export interface HoldBudget {
  /** Reserves bytes; false where they would exceed the limit. */
  take(bytes: number): boolean;
  give(bytes: number): void;
  readonly used: number;
}

/** @param limit bytes in all */
export function createHoldBudget(limit: number): HoldBudget {
  let used = 0;
  return {
    take(bytes) {
      if (used + bytes > limit) return false;
      used += bytes;
      return true;
    },
    give(bytes) {
      used -= bytes;
    },
    get used() {
      return used;
    },
  };
}

export interface HoldOptions {
  /** Longest body that is held, in bytes (`limits.hashBody`). */
  readonly limit: number;
  /** Longest time that it is held, in milliseconds (`limits.holdTime`). */
  readonly time: number;
  readonly budget: HoldBudget;
  readonly clock: Clock;
}

/** What became of a body that was held back. */
export type Held =
  /** All of it is here; `release` gives its bytes back to the budget once they have been sent. */
  | {
      readonly kind: 'whole';
      /** In one piece, or in long ones. */
      readonly chunks: readonly Buffer[];
      readonly trailers: readonly string[];
      readonly release: () => void;
    }
  /** Too long, too slow or too many: it streams on, what was held first. */
  | { readonly kind: 'streaming'; readonly body: ResponseBody }
  | { readonly kind: 'failed'; readonly error: Error };

const neverHeldTypes = ['text/event-stream', 'multipart/', 'application/x-ndjson'];

/**
 * Whether the body of a 200 answer to GET may be held back for its tag at all (V4).
 *
 * @param head the response head
 * @param limit longest body that is held, in bytes
 */
export function mayHold(head: ResponseHead, limit: number): boolean {
  if (head.status !== 200) return false;
  const length = fieldLine(head.rawHeaders, 'content-length');
  if (length !== undefined && Number(length) > limit) return false;
  if (fieldLine(head.rawHeaders, 'x-accel-buffering')?.trim().toLowerCase() === 'no') return false;
  return !isStreamType(head);
}

/** Whether the media type is one that has no end, or parts that are meant to arrive one by one (V4). */
export function isStreamType(head: ResponseHead): boolean {
  const type = (fieldLine(head.rawHeaders, 'content-type') ?? '').trim().toLowerCase();
  return neverHeldTypes.some((prefix) => type.startsWith(prefix));
}

/**
 * Holds a body back until it is complete, or until it is longer, slower or more than may be held (V4).
 *
 * @param body the body of a response whose head has arrived; nobody else consumes it
 */
export function holdBack(body: ResponseBody, options: HoldOptions): Promise<Held> {
  return new Promise((resolve) => {
    const holder = new Holder(body, options, resolve);
    body.consume(holder);
    holder.watch();
  });
}

/** Holds until told otherwise, then passes what it held and what follows to its own consumer. */
class Holder implements BodyConsumer, ResponseBody {
  readonly #body: ResponseBody;
  readonly #options: HoldOptions;
  readonly #resolve: (held: Held) => void;
  #cancelTimer: (() => void) | undefined;
  #holding = true;
  #chunks: Buffer[] = [];
  #length = 0;
  #consumer: BodyConsumer | undefined;
  #ended: { trailers: readonly string[] } | undefined;
  #failure: Error | undefined;

  constructor(body: ResponseBody, options: HoldOptions, resolve: (held: Held) => void) {
    this.#body = body;
    this.#options = options;
    this.#resolve = resolve;
  }

  /** Limits the time; what has come already needs no limit. */
  watch(): void {
    if (this.#holding) this.#cancelTimer = this.#options.clock.after(this.#options.time, () => this.#stream());
  }

  data(chunk: Buffer): boolean {
    if (this.#consumer !== undefined) return this.#consumer.data(chunk);
    this.#chunks.push(chunk);
    if (!this.#holding) return false;
    if (this.#length + chunk.length > this.#options.limit || !this.#options.budget.take(chunk.length)) {
      this.#stream();
      return false;
    }
    this.#length += chunk.length;
    return true;
  }

  end(last: Buffer | undefined, trailers: readonly string[]): void {
    if (this.#consumer !== undefined) {
      this.#consumer.end(last, trailers);
      return;
    }
    if (last !== undefined) this.data(last);
    this.#ended = { trailers };
    if (!this.#holding) return;
    this.#stopHolding();
    const reserved = this.#length;
    const release = (): void => this.#options.budget.give(reserved);
    this.#resolve({ kind: 'whole', chunks: inLongPieces(this.#chunks, reserved), trailers, release });
  }

  error(error: Error): void {
    if (this.#consumer !== undefined) {
      this.#consumer.error(error);
      return;
    }
    this.#failure = error;
    if (!this.#holding) return;
    this.#stopHolding();
    this.#options.budget.give(this.#length);
    this.#resolve({ kind: 'failed', error });
  }

  consume(consumer: BodyConsumer): void {
    this.#consumer = consumer;
    const chunks = this.#chunks;
    this.#chunks = [];
    this.#options.budget.give(this.#length);
    let flowing = true;
    for (const chunk of chunks) flowing = consumer.data(chunk);
    if (this.#failure !== undefined) consumer.error(this.#failure);
    else if (this.#ended !== undefined) consumer.end(undefined, this.#ended.trailers);
    else if (flowing) this.#body.resume();
  }

  resume(): void {
    this.#body.resume();
  }

  abort(): void {
    if (this.#consumer === undefined) this.#options.budget.give(this.#length);
    this.#length = 0;
    this.#body.abort();
  }

  #stream(): void {
    if (!this.#holding) return;
    this.#stopHolding();
    this.#resolve({ kind: 'streaming', body: this });
  }

  #stopHolding(): void {
    this.#holding = false;
    this.#cancelTimer?.();
  }
}

/** Shorter ones are cheaper to copy into one than to send one by one, in bytes. */
const longPiece = 16 * 1024;

function inLongPieces(chunks: readonly Buffer[], length: number): readonly Buffer[] {
  return chunks.length < 2 || length >= longPiece * chunks.length ? chunks : [Buffer.concat(chunks)];
}

/** What is read to its end to keep a connection, rather than closing it. */
const DRAIN_LIMIT = 64 * 1024;

/**
 * Reads a body that nobody wants to its end where that is near, so that the connection can be used again; otherwise
 * gives it up.
 */
export function discard(body: ResponseBody): void {
  let length = 0;
  body.consume({
    data(chunk) {
      length += chunk.length;
      if (length <= DRAIN_LIMIT) return true;
      body.abort();
      return false;
    },
    end() {},
    error() {},
  });
}

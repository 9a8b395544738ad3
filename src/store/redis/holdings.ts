import type { Clock } from '../../http/clock.js';
import type { Lease } from '../leases.js';
import type { Token } from '../store.js';
import type { Bucket } from './link.js';
import type { Resource } from './resources.js';

/** The resources of one bucket that are held together: one script's work. */
export interface Part {
  readonly bucket: Bucket;
  readonly resources: readonly Resource[];
}

/** What stands behind a token that is not settled: a lease, or a mark. */
export interface Held {
  readonly token: Token;
  /** The key that epoch, knowledge and observation belong to. */
  readonly first: string;
  readonly resource: Resource;
  /** All that is held; the resource is in one of them. */
  readonly parts: readonly Part[];
  /** What names it in the shared store: nobody else can settle it. */
  readonly owner: string;
  /** Its place in this process's own lines. */
  readonly lease: Lease | undefined;
  readonly since: number;
  /** False while the shared store does not know of it (S4). */
  isShared: boolean;
  /** `Clock.now()` until which it is sure to be held. */
  validUntil: number;
  /** Epochs of the first key, and when they were learned, latest last: what was read since one counts while it stands. */
  readonly epochs: { readonly epoch: number; readonly at: number }[];
}

/** How many times in its time to live a lease is renewed. */
const renewals = 6;

/** What this process holds; looked after while there is anything (S2). */
export class Holdings {
  readonly #clock: Clock;
  readonly #interval: number;
  readonly #renew: (held: Held) => void;
  readonly #held = new Map<Token, Held>();
  readonly #byFirst = new Map<string, Set<Held>>();
  #stop: (() => void) | undefined;

  /**
   * @param clock for the time between two renewals
   * @param leaseTime time to live of a lease, in milliseconds
   * @param renew prolongs one
   */
  constructor(clock: Clock, leaseTime: number, renew: (held: Held) => void) {
    this.#clock = clock;
    this.#interval = leaseTime / renewals;
    this.#renew = renew;
  }

  get size(): number {
    return this.#held.size;
  }

  get(token: Token): Held | undefined {
    return this.#held.get(token);
  }

  add(held: Held): void {
    this.#held.set(held.token, held);
    const others = this.#byFirst.get(held.first);
    if (others === undefined) this.#byFirst.set(held.first, new Set([held]));
    else others.add(held);
    this.#stop ??= this.#clock.after(this.#interval, () => this.#look());
  }

  /** @returns what was held under the token until now */
  take(token: Token): Held | undefined {
    const held = this.#held.get(token);
    if (held === undefined) return undefined;
    this.#held.delete(token);
    const others = this.#byFirst.get(held.first);
    others?.delete(held);
    if (others?.size === 0) this.#byFirst.delete(held.first);
    if (this.#held.size === 0) this.#rest();
    return held;
  }

  /** Whoever holds this key hears which epoch it has now. */
  learnEpoch(first: string, epoch: number, at: number): void {
    for (const { epochs } of this.#byFirst.get(first) ?? []) {
      epochs.push({ epoch, at });
      if (epochs.length > mostEpochs) epochs.splice(1, 1);
    }
  }

  clear(): void {
    this.#held.clear();
    this.#byFirst.clear();
    this.#rest();
  }

  #rest(): void {
    this.#stop?.();
    this.#stop = undefined;
  }

  #look(): void {
    this.#stop = this.#clock.after(this.#interval, () => this.#look());
    for (const held of this.#held.values()) if (held.isShared) this.#renew(held);
  }
}

/** Kept of one lease: unguarded writes come by rarely while it is held. */
const mostEpochs = 16;

/**
 * The epoch in which something was read: the last that was known before it was sent.
 *
 * @returns 0, which no epoch is, where it was sent before the lease was given
 */
export function epochOf({ epochs }: Held, sentAt: number): number {
  let known = 0;
  for (const { epoch, at } of epochs) if (at < sentAt) known = epoch;
  return known;
}

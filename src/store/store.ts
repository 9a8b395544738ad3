import type { Clock } from '../http/clock.js';
import type { Selecting } from '../http/selecting.js';
import type { SeenTag } from './seen-tags.js';

/**
 * What the gate learned of one view of a resource from the upstream's answer to a read (docs/rules.md, I2, V1-V7).
 * Immutable; compared field by field, never by reference.
 */
export interface Observation {
  /** Id of URL and identity (resource/identity.ts, `viewId`): knowledge never crosses either (I2, W4). */
  readonly view: string;
  /** The selecting header fields of the read, shared between observations with the same ones (W4). */
  readonly selecting: Selecting;
  /** False where the read said that there is no current representation: 404 or 410 (W5). */
  readonly exists: boolean;
  /** The upstream's own strong tag in wire form, only where it may be used to decide (V6, V7). */
  readonly native: string | undefined;
  /** The upstream's own tag as it was sent, weak or not to be trusted: good for the weak comparison alone (W6). */
  readonly upstreamTag: string | undefined;
  /** Hash that stands between `"im-` and the coding suffix of a synthetic tag (V2). */
  readonly hash: string | undefined;
  /** The entity-tag that readers of this representation were or would be given, in wire form. */
  readonly etag: string | undefined;
  /** Last-Modified as the upstream sent it, and as a time. */
  readonly lastModified: string | undefined;
  /** `Clock.now()` when the read was sent upstream; R3 and W4 compare it. */
  readonly sentAt: number;
  /** Whether the read asked caches on its way not to answer (V10): only then does it tell of the time it was sent. */
  readonly uncached: boolean;
  /** Fingerprint of what decides how tags are made (V2): another one is no knowledge. */
  readonly fingerprint: string;
}

/** Whether a lease excludes all others (a conditional write) or only exclusive ones (an unconditional write) (W3). */
export type LeaseKind = 'exclusive' | 'shared';

/** As much of an AbortSignal as is needed to wait for a lease: making one for each write costs more than the lease. */
export interface Cancellation {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void, options: { once: true }): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}

/** What hears of trouble with a store that is elsewhere (S4). */
export interface StoreEvents {
  /** A step, or a try to reach the store again, has failed. */
  failed(error: Error): void;
  /** The store is out of reach from now on. */
  down(error: Error): void;
  /** And back. */
  up(): void;
  /** It gives no leases for so many milliseconds, because it may have forgotten some (S2). */
  rests(ms: number): void;
}

/** A lease, or the mark of an unguarded write; opaque to the gate. */
export interface Token {
  readonly keys: readonly string[];
}

export interface AcquireRequest {
  /** Keys of the resources; all are leased or none, in one step, so that no two requests can deadlock (I7). */
  readonly keys: readonly string[];
  readonly kind: LeaseKind;
  /** Longest wait in milliseconds; 0: only if the lease is free now (W14). */
  readonly wait: number;
  /** Aborted when the client goes away: the request leaves the queue. */
  readonly signal: Cancellation | undefined;
}

export interface Acquired {
  readonly kind: 'acquired';
  readonly token: Token;
  /**
   * False where a shared store is out of reach and the lease keeps out only the writes of this process: nothing is known
   * then, and nothing is recorded (`store.down: forward`, S4).
   */
  readonly isShared: boolean;
  /** `Clock.now()` when the lease was given. */
  readonly since: number;
  /** Epoch and knowledge of the first key at the moment when the lease was given. */
  readonly epoch: number;
  readonly knowledge: readonly Observation[];
  /** Tags of the first key that may no longer stand for their content (V7). */
  readonly seenTags: readonly SeenTag[];
}

/**
 * Why no lease was given. `queue-full`, `timeout` and `unavailable` become 503 (W3, S4); `aborted`: the client is gone;
 * `busy`: wait was 0.
 */
export type NotAcquired =
  | { readonly kind: 'queue-full' | 'timeout' | 'aborted' | 'busy' }
  | {
      readonly kind: 'unavailable';
      /** Out of reach, or resting: new, restarted or failed over, and giving no lease while a forgotten one may be held (S2). */
      readonly reason: 'unreachable' | 'resting';
      /** Milliseconds after which it is worth another try. */
      readonly retryAfter: number;
    };

/** The mark of a write without a lease (W16). */
export interface Mark {
  readonly token: Token;
  /** Tags of the first key that may no longer stand for their content (V7). */
  readonly seenTags: readonly SeenTag[];
  /**
   * False where a shared store is out of reach: it learns afterwards that something was missed. A guarded write that
   * depends on the mark is refused, unless it may be forwarded all the same (`mayForward`; S4).
   */
  readonly isRecorded: boolean;
  readonly mayForward: boolean;
}

/**
 * How a write ended, as far as the store needs to know (W9). `observation` was read by the lease holder under its
 * lease, which exempts it from R3's first condition.
 *
 * - `notSent`: nothing of the write reached the upstream: epoch and knowledge stay.
 * - `asItWas`: the upstream refused it: epoch and knowledge stay.
 * - `doubt`: the upstream refused it and contradicts what is known: new epoch, all views dropped.
 * - `changed`: it took effect, or may have: as `doubt`, and the tags that were seen before are held to have been written
 *   over (V7); then `observation` is recorded if there is one. `doubts` are other resources that it may have changed.
 * - `unknown`: as `changed`, and the keys stay leased (or marked) for `rest` milliseconds more, then move again (W11). A
 *   shared lease rests as a shared one.
 *
 * `before` is what the holder read before it wrote, which nobody else may know. `given` is a tag of the upstream's own
 * in the answer to the write.
 *
 * Nothing is recorded of an observation that was sent before the lease was given or before the epoch moved last, nor of
 * one under a shared lease or beside a mark: others write at the same time. A mark moves the epoch whatever its outcome.
 */
export type Outcome =
  | { readonly kind: 'notSent'; readonly observation?: Observation | undefined }
  | { readonly kind: 'asItWas'; readonly observation?: Observation | undefined }
  | { readonly kind: 'doubt'; readonly observation?: undefined }
  | {
      readonly kind: 'changed';
      readonly observation?: Observation | undefined;
      readonly before?: Observation | undefined;
      readonly given?: GivenTag | undefined;
      readonly doubts?: readonly string[] | undefined;
    }
  | { readonly kind: 'unknown'; readonly rest: number; readonly before?: Observation | undefined };

/** A tag in the answer to a write (V7, W10). */
export type GivenTag = Omit<SeenTag, 'isWrittenOver'>;

/** What a read needs to carry: the epoch it began with, and whether what it learns may be recorded at all (R3). */
export interface ReadStart {
  readonly epoch: number;
  /** True while a lease or mark is held on the key: what is read now must not be recorded. */
  readonly doubtful: boolean;
  readonly knowledge: readonly Observation[];
  /** Tags that may no longer stand for their content (V7). */
  readonly seenTags: readonly SeenTag[];
}

/**
 * Versions, epochs and leases of resources (S1). Every step is one atomic operation (one round trip, where the store
 * is elsewhere), and every implementation passes test/store/contract.ts.
 *
 * Promises:
 * - At most one exclusive lease, or any number of shared ones, is held on a key at a time; both are given in the order
 *   in which they were asked for (W3).
 * - A lease or mark that ends without being settled leaves doubt: new epoch, no views.
 * - Epochs come from one counter that never goes back. A key that is not known has the highest epoch ever evicted, so
 *   that forgetting a version is always safe (S3).
 * - Leases, marks and rests are never evicted. What is held against tags (V7) is, after that of as many other resources
 *   as are kept: reads alone never push it out.
 */
export interface Store {
  /** The same steps where nobody has to be waited for; a store that is elsewhere has none. */
  readonly atOnce?: StepsAtOnce | undefined;
  /** Leases all keys, waiting in line up to `wait` milliseconds (W3). Never rejects for want of a lease. */
  acquire(request: AcquireRequest): Promise<Acquired | NotAcquired>;
  /**
   * Prolongs a lease that can expire, which the store does by itself while it is held. False: it is lost, and the outcome
   * of the write is unknown (S2).
   */
  renew(token: Token): Promise<boolean>;
  /**
   * How long a lease is sure to be held still, in milliseconds; 0 or less where it is not, Infinity where it cannot
   * expire. A write is sent only where enough is left to see its end (S2).
   */
  remaining(token: Token): number;
  /**
   * Ends a lease or a mark and records the outcome. A token that was settled before is ignored.
   *
   * @returns false where the lease was lost before: somebody else may have written meanwhile, and nothing is recorded (S2)
   */
  settle(token: Token, outcome: Outcome): Promise<boolean>;
  /**
   * Records what a read learned; false, and nothing recorded, where a lease or mark is held, the epoch has moved, or
   * something sent later is recorded for the same view and selection (R3), or the store is out of reach (S4).
   */
  observe(key: string, epoch: number, observation: Observation): Promise<boolean>;
  /** Epoch and knowledge of a key as a read begins; in doubt and nothing known where the store is out of reach (S4). */
  epoch(key: string): Promise<ReadStart>;
  /**
   * Marks keys as being written without a lease (W8's `invalidates`, W16): nothing waits for a mark, but the epoch
   * moves now and again when the mark is settled, and nothing that is read in between is recorded. Never rejects.
   */
  touch(keys: readonly string[]): Promise<Mark>;
  /**
   * Whether the epoch of one of a lease's keys has moved after `since` (`Clock.now()`; earlier than the lease means: since
   * it was given, with what was known then): an unguarded write began or ended. True for a lease that has ended;
   * undefined where only a round trip could tell (W8).
   */
  movedSince(token: Token, since: number): boolean | undefined;
  /** Counts for metrics: resources known, leases and marks held, writes in line. */
  stats(): StoreStats;
  /** Gives up all waiting requests (they get `aborted`) and all timers and connections. */
  close(): Promise<void>;
}

/** The steps of a guarded write in a store that is in this process: done when they return, without a promise for each. */
export interface StepsAtOnce {
  /** As `Store.acquire` where nobody is in the way. @returns undefined where somebody is */
  acquire(request: AcquireRequest): Acquired | undefined;
  /** As `Store.settle`. */
  settle(token: Token, outcome: Outcome): boolean;
  /** As `Store.epoch`. */
  epoch(key: string): ReadStart;
}

export interface StoreStats {
  readonly entries: number;
  readonly leases: number;
  readonly waiting: number;
}

export interface StoreOptions {
  /** Resources whose versions are kept (`limits.resources`). */
  readonly resources: number;
  /** Writes that may wait for one resource (`limits.leaseQueue`). */
  readonly queue: number;
  readonly clock: Clock;
}

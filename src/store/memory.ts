import { LRUCache } from 'lru-cache';
import type { Clock } from '../http/clock.js';
import { type Lease, LeaseQueue } from './leases.js';
import { afterAnswer, afterDoubt, afterRead, afterRest, afterWrite, nothingSeen, type SeenTag } from './seen-tags.js';
import type {
  Acquired,
  AcquireRequest,
  Mark,
  NotAcquired,
  Observation,
  Outcome,
  ReadStart,
  Store,
  StoreOptions,
  StoreStats,
  Token,
} from './store.js';
import { Versions } from './versions.js';

/** What stands behind a token that is not settled: a lease, or a mark where there is none. */
interface Held {
  readonly keys: readonly string[];
  /** The key that epoch, knowledge and observation belong to. */
  readonly first: string;
  /** What was known of each of the keys when the lease was given, or when their epochs moved for a mark. */
  readonly known: readonly (readonly Observation[])[];
  readonly lease: Lease | undefined;
  /** When the lease was given. */
  readonly since: number;
}

type Written = Extract<Outcome, { kind: 'changed' | 'unknown' }>;

class MemoryStore implements Store {
  readonly #clock: Clock;
  readonly #versions: Versions;
  /** By key; of resources that were written (V7). */
  readonly #seenTags: LRUCache<string, readonly SeenTag[]>;
  readonly #leases: LeaseQueue;
  /** How many marks are held on a key. */
  readonly #marks = new Map<string, number>();
  /** When the epoch of a leased key moved last. Not in `#versions`, which may forget the key meanwhile. */
  readonly #movedAt = new Map<string, number>();
  readonly #held = new Map<Token, Held>();
  /** What cancels the rests that are running (W11). */
  readonly #rests = new Set<() => void>();

  constructor(options: StoreOptions) {
    this.#clock = options.clock;
    this.#versions = new Versions(options.resources);
    // By size and not by `max`, for which room would be made at once: few resources are written.
    this.#seenTags = new LRUCache({ maxSize: options.resources, sizeCalculation: () => 1 });
    this.#leases = new LeaseQueue(options);
  }

  async acquire(request: AcquireRequest): Promise<Acquired | NotAcquired> {
    const [first] = request.keys;
    if (first === undefined) throw new RangeError('a lease needs a key');
    return new Promise((resolve) => {
      this.#leases.request(request, (result) => {
        resolve('keys' in result ? this.#acquired(result, first) : result);
      });
    });
  }

  async renew(token: Token): Promise<boolean> {
    return this.#held.has(token);
  }

  remaining(token: Token): number {
    return this.#held.has(token) ? Number.POSITIVE_INFINITY : 0;
  }

  async settle(token: Token, outcome: Outcome): Promise<boolean> {
    const held = this.#held.get(token);
    if (held === undefined) return false;
    this.#held.delete(token);
    const observation = this.#recordable(held, outcome);
    if (outcome.kind === 'changed') for (const key of outcome.doubts ?? []) this.#writeOver(key);
    const isAsBefore = outcome.kind === 'notSent' || outcome.kind === 'asItWas';
    // A mark that changed nothing moves the epoch all the same: what is lost is a probe, and nobody has to reason about
    // what was read while it was held.
    if (!isAsBefore || held.lease === undefined) this.#settleKeys(held, outcome, observation);
    else if (observation !== undefined) this.#record(held.first, observation);
    if (outcome.kind === 'unknown') this.#rest(held, outcome.rest);
    else this.#free(held);
    return true;
  }

  async observe(key: string, epoch: number, observation: Observation): Promise<boolean> {
    return !this.#isDoubtful(key) && this.#record(key, observation, epoch);
  }

  async epoch(key: string): Promise<ReadStart> {
    const { epoch, views } = this.#versions.known(key);
    return { epoch, doubtful: this.#isDoubtful(key), knowledge: views, seenTags: this.#seen(key) };
  }

  peek(key: string): readonly Observation[] | undefined {
    return this.#isDoubtful(key) ? undefined : this.#views(key);
  }

  async touch(keys: readonly string[]): Promise<Mark> {
    const [first] = keys;
    if (first === undefined) throw new RangeError('a mark needs a key');
    const token: Token = { keys: [...new Set(keys)] };
    for (const key of token.keys) this.#marks.set(key, (this.#marks.get(key) ?? 0) + 1);
    const known = token.keys.map((key) => this.#views(key));
    for (const key of token.keys) this.#move(key);
    this.#held.set(token, { keys: token.keys, first, known, lease: undefined, since: this.#clock.now() });
    return { token, seenTags: this.#seen(first), isRecorded: true, mayForward: true };
  }

  movedSince(token: Token, since: number): boolean {
    const held = this.#held.get(token);
    if (held === undefined) return true;
    return held.keys.some((key) => this.#lastMove(key) > Math.max(since, held.since));
  }

  stats(): StoreStats {
    return {
      entries: this.#versions.size,
      leases: this.#held.size + this.#rests.size,
      waiting: this.#leases.waiting,
    };
  }

  async close(): Promise<void> {
    this.#leases.close();
    for (const cancel of this.#rests) cancel();
    this.#rests.clear();
    this.#held.clear();
  }

  #acquired(lease: Lease, first: string): Acquired {
    const token: Token = { keys: lease.keys };
    const since = this.#clock.now();
    // While the write is on its way, reads of other resources may push them out.
    const { epoch, views } = this.#versions.known(first);
    const known = lease.keys.map((key) => (key === first ? views : this.#views(key)));
    this.#held.set(token, { keys: lease.keys, first, known, lease, since });
    return { kind: 'acquired', token, isShared: true, since, epoch, knowledge: views, seenTags: this.#seen(first) };
  }

  #isDoubtful(key: string): boolean {
    return this.#leases.isHeld(key) || this.#marks.has(key);
  }

  #seen(key: string): readonly SeenTag[] {
    return this.#seenTags.get(key) ?? nothingSeen;
  }

  /** What is known of the keys of a lease or mark is so no more; of a write's own resource it is the observation. */
  #settleKeys({ keys, first, known }: Held, outcome: Outcome, observation: Observation | undefined): void {
    const isWritten = outcome.kind === 'changed' || outcome.kind === 'unknown';
    for (const [index, key] of keys.entries()) {
      if (!isWritten) this.#move(key);
      else if (key === first) this.#writeOver(key, known[index], outcome, observation);
      else this.#writeOver(key, known[index]);
    }
  }

  /**
   * V7: whatever a write had before it has been written over, and so has all that it changed besides.
   *
   * @param known what was known when its lease was given
   * @param outcome of the write, where the key is its own
   * @param observation what the resource was found to be after it
   */
  #writeOver(key: string, known: readonly Observation[] = [], outcome?: Written, observation?: Observation): void {
    const views = this.#views(key);
    const before = [...known, ...views];
    if (outcome?.before !== undefined) before.push(outcome.before);
    let seen = afterWrite(this.#seen(key), before);
    if (outcome?.kind === 'changed' && outcome.given !== undefined) seen = afterAnswer(seen, outcome.given);
    seen = afterDoubt(seen, views);
    this.#remember(key, observation === undefined ? seen : afterRead(seen, observation));
    this.#moveEpoch(key, observation);
  }

  #views(key: string): readonly Observation[] {
    return this.#versions.known(key).views;
  }

  #remember(key: string, seen: readonly SeenTag[]): void {
    if (seen.length > 0) this.#seenTags.set(key, seen);
    else this.#seenTags.delete(key);
  }

  /** @param epoch that the key must still have, where that matters */
  #record(key: string, observation: Observation, epoch?: number): boolean {
    const isRecorded = this.#versions.record(key, observation, epoch);
    const seen = this.#seenTags.get(key);
    if (isRecorded && seen !== undefined) this.#remember(key, afterRead(seen, observation));
    return isRecorded;
  }

  #lastMove(key: string): number {
    return this.#movedAt.get(key) ?? Number.NEGATIVE_INFINITY;
  }

  #move(key: string): void {
    const views = this.#views(key);
    if (views.length > 0) this.#remember(key, afterDoubt(this.#seen(key), views));
    this.#moveEpoch(key);
  }

  #moveEpoch(key: string, observation?: Observation): void {
    this.#versions.move(key, observation);
    if (this.#leases.isHeld(key)) this.#movedAt.set(key, this.#clock.now());
  }

  /**
   * The holder's observation, where it still holds (R3): it was sent under this lease, and an exclusive one, because
   * beside a shared one others write; and no unguarded write's mark is held, or came and went since it was sent.
   */
  #recordable(held: Held, outcome: Outcome): Observation | undefined {
    if (outcome.kind === 'unknown' || outcome.observation === undefined) return undefined;
    if (held.lease?.kind !== 'exclusive' || this.#marks.has(held.first)) return undefined;
    const doubtfulUntil = Math.max(held.since, this.#lastMove(held.first));
    return outcome.observation.sentAt > doubtfulUntil ? outcome.observation : undefined;
  }

  /** The write may take effect until the rest is over (W11): the lease or mark is held so long, then left in doubt. */
  #rest(held: Held, ms: number): void {
    const cancel = this.#clock.after(ms, () => {
      this.#rests.delete(cancel);
      for (const key of held.keys) {
        this.#remember(key, afterRest(this.#seen(key)));
        this.#move(key);
      }
      this.#free(held);
    });
    this.#rests.add(cancel);
  }

  #free(held: Held): void {
    if (held.lease !== undefined) {
      this.#leases.release(held.lease);
      for (const key of held.keys) if (!this.#leases.isHeld(key)) this.#movedAt.delete(key);
      return;
    }
    for (const key of held.keys) {
      const others = (this.#marks.get(key) ?? 1) - 1;
      if (others === 0) this.#marks.delete(key);
      else this.#marks.set(key, others);
    }
  }
}

/**
 * The store of one process: versions in an LRU cache of `resources` entries, leases and marks in plain maps that forget
 * nothing. Leases do not expire here: a lease ends when it is settled or the process does, and then nothing is known.
 */
export function createMemoryStore(options: StoreOptions): Store {
  return new MemoryStore(options);
}

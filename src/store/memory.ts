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
  StepsAtOnce,
  Store,
  StoreOptions,
  StoreStats,
  Token,
} from './store.js';
import { type Known, Versions } from './versions.js';

/** What stands behind a token that is not settled: a lease, or a mark where there is none. */
interface Held {
  readonly keys: readonly string[];
  /** The key that epoch, knowledge and observation belong to. */
  readonly first: string;
  /** What was known of each of the keys when the lease was given, or when their epochs moved for a mark. */
  readonly known: readonly Known[];
  readonly lease: Lease | undefined;
  /** When the lease was given. */
  readonly since: number;
}

const nothingNew: readonly Observation[] = [];

type Written = Extract<Outcome, { kind: 'changed' | 'unknown' }>;

/** All that the store holds, and its steps. */
class Memory implements StepsAtOnce {
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

  acquire(request: AcquireRequest): Acquired | undefined {
    const lease = this.#leases.take(request);
    return lease && this.#acquired(lease);
  }

  /** Leases all keys when it is this request's turn, or says why not. */
  acquireInLine(request: AcquireRequest): Promise<Acquired | NotAcquired> {
    return new Promise((resolve) => {
      this.#leases.request(request, (result) => resolve('keys' in result ? this.#acquired(result) : result));
    });
  }

  holds(token: Token): boolean {
    return this.#held.has(token);
  }

  settle(token: Token, outcome: Outcome): boolean {
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

  observe(key: string, epoch: number, observation: Observation): boolean {
    return !this.#isDoubtful(key) && this.#record(key, observation, epoch);
  }

  epoch(key: string): ReadStart {
    const { epoch, views } = this.#versions.known(key);
    return { epoch, doubtful: this.#isDoubtful(key), knowledge: views, seenTags: this.#seen(key) };
  }

  touch(keys: readonly string[]): Mark {
    const first = firstOf(keys);
    const token: Token = { keys: [...new Set(keys)] };
    for (const key of token.keys) this.#marks.set(key, (this.#marks.get(key) ?? 0) + 1);
    const known = token.keys.map((key) => this.#versions.known(key));
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

  close(): void {
    this.#leases.close();
    for (const cancel of this.#rests) cancel();
    this.#rests.clear();
    this.#held.clear();
  }

  #acquired(lease: Lease): Acquired {
    const first = firstOf(lease.keys);
    const token: Token = { keys: lease.keys };
    const since = this.#clock.now();
    // While the write is on its way, reads of other resources may push them out.
    const own = this.#versions.known(first);
    const known = lease.keys.map((key) => (key === first ? own : this.#versions.known(key)));
    this.#held.set(token, { keys: lease.keys, first, known, lease, since });
    const { epoch, views: knowledge } = own;
    return { kind: 'acquired', token, isShared: true, since, epoch, knowledge, seenTags: this.#seen(first) };
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
   * @param known what was known when its lease was given, where it has one
   * @param outcome of the write, where the key is its own
   * @param observation what the resource was found to be after it
   */
  #writeOver(key: string, known?: Known, outcome?: Written, observation?: Observation): void {
    // In the same epoch nothing else can have come to be known.
    const views = known?.epoch === this.#versions.epoch(key) ? nothingNew : this.#views(key);
    const before = known === undefined ? [...views] : [...known.views, ...views];
    if (outcome?.before !== undefined) before.push(outcome.before);
    const seenBefore = this.#seen(key);
    let seen = afterWrite(seenBefore, before);
    if (outcome?.kind === 'changed' && outcome.given !== undefined) seen = afterAnswer(seen, outcome.given);
    seen = afterDoubt(seen, views);
    this.#remember(key, observation === undefined ? seen : afterRead(seen, observation), seenBefore);
    this.#moveEpoch(key, observation);
  }

  #views(key: string): readonly Observation[] {
    return this.#versions.known(key).views;
  }

  /** @param before what is remembered now */
  #remember(key: string, seen: readonly SeenTag[], before: readonly SeenTag[]): void {
    if (seen.length === before.length && seen.every((tag, index) => tag === before[index])) return;
    // A copy has no room for more.
    if (seen.length > 0) this.#seenTags.set(key, [...seen]);
    else this.#seenTags.delete(key);
  }

  /** @param epoch that the key must still have, where that matters */
  #record(key: string, observation: Observation, epoch?: number): boolean {
    const isRecorded = this.#versions.record(key, observation, epoch);
    const seen = this.#seenTags.get(key);
    if (isRecorded && seen !== undefined) this.#remember(key, afterRead(seen, observation), seen);
    return isRecorded;
  }

  #lastMove(key: string): number {
    return this.#movedAt.get(key) ?? Number.NEGATIVE_INFINITY;
  }

  #move(key: string): void {
    const views = this.#views(key);
    const seen = this.#seen(key);
    if (views.length > 0) this.#remember(key, afterDoubt(seen, views), seen);
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
        const seen = this.#seen(key);
        this.#remember(key, afterRest(seen), seen);
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

function firstOf(keys: readonly string[]): string {
  const [first] = keys;
  if (first === undefined) throw new RangeError('a lease or mark needs a key');
  return first;
}

/**
 * The store of one process: versions in an LRU cache of `resources` entries, leases and marks in plain maps that forget
 * nothing. Leases do not expire here: a lease ends when it is settled or the process does, and then nothing is known.
 */
export function createMemoryStore(options: StoreOptions): Store {
  const memory = new Memory(options);
  return {
    atOnce: memory,
    acquire: async (request) => memory.acquire(request) ?? memory.acquireInLine(request),
    renew: async (token) => memory.holds(token),
    remaining: (token) => (memory.holds(token) ? Number.POSITIVE_INFINITY : 0),
    settle: async (token, outcome) => memory.settle(token, outcome),
    observe: async (key, epoch, observation) => memory.observe(key, epoch, observation),
    epoch: async (key) => memory.epoch(key),
    touch: async (keys) => memory.touch(keys),
    movedSince: (token, since) => memory.movedSince(token, since),
    stats: () => memory.stats(),
    close: async () => memory.close(),
  };
}

import { LRUCache } from 'lru-cache';
import type { Clock } from '../http/clock.js';
import { type Lease, LeaseQueue } from './leases.js';
import type {
  Acquired,
  AcquireRequest,
  NotAcquired,
  Observation,
  Outcome,
  ReadStart,
  Store,
  StoreOptions,
  StoreStats,
  Token,
} from './store.js';

/** Observations kept of one resource: enough for its usual spellings, readers and codings. */
const viewsPerResource = 16;

const noViews: readonly Observation[] = [];

/** What is known of a resource. The array is never changed, only replaced: whoever was given it keeps what it was. */
interface Entry {
  epoch: number;
  views: readonly Observation[];
}

/**
 * Epochs and views of the resources that are known (S3). A key's epoch never goes back, and every `move` gives it one
 * that is higher than all it had before, in whatever order keys are evicted and come back: epochs come from one counter,
 * and whatever is forgotten leaves its epoch behind as the least that an unknown key has.
 */
class Versions {
  #counter = 0;
  #floor = 0;
  readonly #entries: LRUCache<string, Entry>;

  constructor(max: number) {
    this.#entries = new LRUCache({
      max,
      dispose: (entry, _key, reason) => {
        if (reason === 'evict') this.#floor = Math.max(this.#floor, entry.epoch);
      },
    });
  }

  get size(): number {
    return this.#entries.size;
  }

  read(key: string): Readonly<Entry> {
    return this.#entries.get(key) ?? { epoch: this.#floor, views: noViews };
  }

  /** New epoch, no views: what was known of the resource, and what is still being read, counts no more. */
  move(key: string): void {
    const entry = this.#entry(key);
    this.#counter += 1;
    entry.epoch = this.#counter;
    entry.views = noViews;
  }

  /** False, and nothing recorded, where something sent later is known, or as much as is kept and all of it later. */
  record(key: string, observation: Observation): boolean {
    const entry = this.#entry(key);
    const others = entry.views.filter((other) => !isSameView(other, observation) && !isRefuted(other, observation));
    const replaced = entry.views.find((other) => isSameView(other, observation));
    if (replaced !== undefined && replaced.sentAt > observation.sentAt) return false;
    if (others.length < viewsPerResource) {
      entry.views = [...others, observation];
      return true;
    }
    const oldest = others.reduce((a, b) => (b.sentAt < a.sentAt ? b : a));
    if (oldest.sentAt > observation.sentAt) return false;
    entry.views = [...others.filter((other) => other !== oldest), observation];
    return true;
  }

  /** A key that becomes known has the epoch that it had as an unknown one, even if adding it evicts a higher one. */
  #entry(key: string): Entry {
    const known = this.#entries.get(key);
    if (known !== undefined) return known;
    const entry: Entry = { epoch: this.#floor, views: noViews };
    this.#entries.set(key, entry);
    return entry;
  }
}

function isSameView(a: Observation, b: Observation): boolean {
  return a.view === b.view && a.selecting.digest === b.selecting.digest;
}

/** Whether a later read of the same view found a resource where there was none, or the other way round. */
function isRefuted(earlier: Observation, later: Observation): boolean {
  return earlier.view === later.view && earlier.exists !== later.exists && earlier.sentAt < later.sentAt;
}

/** What stands behind a token that is not settled: a lease, or a mark where there is none. */
interface Held {
  readonly keys: readonly string[];
  /** The key that epoch, knowledge and observation belong to. */
  readonly first: string;
  readonly lease: Lease | undefined;
  /** When the lease was given. */
  readonly since: number;
}

class MemoryStore implements Store {
  readonly #clock: Clock;
  readonly #versions: Versions;
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

  async settle(token: Token, outcome: Outcome): Promise<void> {
    const held = this.#held.get(token);
    if (held === undefined) return;
    this.#held.delete(token);
    const observation = this.#recordable(held, outcome);
    const isAsBefore = outcome.kind === 'notSent' || outcome.kind === 'asItWas';
    // A mark that changed nothing moves the epoch all the same: what is lost is a probe, and nobody has to reason about
    // what was read while it was held.
    if (!isAsBefore || held.lease === undefined) this.#move(held.keys);
    if (outcome.kind === 'changed') this.#move(outcome.doubts ?? []);
    if (observation !== undefined) this.#versions.record(held.first, observation);
    if (outcome.kind === 'unknown') this.#rest(held, outcome.rest);
    else this.#free(held);
  }

  async observe(key: string, epoch: number, observation: Observation): Promise<boolean> {
    if (this.#isDoubtful(key) || this.#versions.read(key).epoch !== epoch) return false;
    return this.#versions.record(key, observation);
  }

  async epoch(key: string): Promise<ReadStart> {
    const { epoch, views } = this.#versions.read(key);
    return { epoch, doubtful: this.#isDoubtful(key), knowledge: views };
  }

  async touch(keys: readonly string[]): Promise<Token> {
    const [first] = keys;
    if (first === undefined) throw new RangeError('a mark needs a key');
    const token: Token = { keys: [...new Set(keys)] };
    for (const key of token.keys) this.#marks.set(key, (this.#marks.get(key) ?? 0) + 1);
    this.#move(token.keys);
    this.#held.set(token, { keys: token.keys, first, lease: undefined, since: this.#clock.now() });
    return token;
  }

  movedSince(token: Token, since: number): boolean {
    const held = this.#held.get(token);
    return held === undefined || this.#lastMove(held.first) > Math.max(since, held.since);
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
    this.#held.set(token, { keys: lease.keys, first, lease, since });
    const { epoch, views } = this.#versions.read(first);
    return { kind: 'acquired', token, since, epoch, knowledge: views };
  }

  #isDoubtful(key: string): boolean {
    return this.#leases.isHeld(key) || this.#marks.has(key);
  }

  #lastMove(key: string): number {
    return this.#movedAt.get(key) ?? Number.NEGATIVE_INFINITY;
  }

  #move(keys: readonly string[]): void {
    for (const key of keys) {
      this.#versions.move(key);
      if (this.#leases.isHeld(key)) this.#movedAt.set(key, this.#clock.now());
    }
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
      this.#move(held.keys);
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

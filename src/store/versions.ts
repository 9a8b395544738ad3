import { LRUCache } from 'lru-cache';
import { Packed, Packer } from './packed.js';
import type { Observation } from './store.js';

/** Observations kept of one resource: enough for its usual spellings, readers and codings. */
const viewsPerResource = 16;

const noViews: readonly Observation[] = [];

/** What is known of a resource. */
export interface Known {
  readonly epoch: number;
  readonly views: readonly Observation[];
}

/** The same as it is kept: nearly always one view. Entries are never changed, only replaced. */
type Entry = Packed | Known;

/**
 * Epochs and views of the resources that are known (S3). A key's epoch never goes back, and every `move` gives it one
 * that is higher than all it had before, in whatever order keys are evicted and come back: epochs come from one counter,
 * and whatever is forgotten leaves its epoch behind as the least that an unknown key has.
 */
export class Versions {
  #counter = 0;
  #floor = 0;
  readonly #entries: LRUCache<string, Entry>;
  readonly #packer = new Packer();

  /** @param max how many resources are kept (`limits.resources`) */
  constructor(max: number) {
    this.#entries = new LRUCache({
      max,
      dispose: (entry, _key, reason) => {
        if (reason === 'evict') this.#floor = Math.max(this.#floor, entry.epoch);
      },
    });
  }

  /** How many resources are known. */
  get size(): number {
    return this.#entries.size;
  }

  /** Epoch of a key; reading makes it the most recently used. */
  epoch(key: string): number {
    return this.#entries.get(key)?.epoch ?? this.#floor;
  }

  /** What is known of a key; reading makes it the most recently used. */
  known(key: string): Known {
    const entry = this.#entries.get(key);
    if (entry === undefined) return { epoch: this.#floor, views: noViews };
    return entry instanceof Packed ? { epoch: entry.epoch, views: [entry.unpacked()] } : entry;
  }

  /**
   * New epoch: what was known of the resource, and what is still being read, counts no more.
   *
   * @param observation all that is known from now on
   */
  move(key: string, observation?: Observation): void {
    this.#counter += 1;
    const epoch = this.#counter;
    this.#entries.set(key, observation === undefined ? { epoch, views: noViews } : this.#entryOf(epoch, observation));
  }

  /**
   * False, and nothing recorded, where something sent later is known, or as much as is kept and all of it later.
   *
   * @param expected epoch that the key must still have, where that matters
   */
  record(key: string, observation: Observation, expected?: number): boolean {
    const entry = this.#entries.get(key);
    // A key that becomes known has the epoch that it had as an unknown one, even if adding it evicts a higher one.
    const epoch = entry?.epoch ?? this.#floor;
    if (expected !== undefined && expected !== epoch) return false;
    const packed = entry instanceof Packed ? entry : undefined;
    if (entry === undefined || (entry instanceof Packed ? entry.isSameView(observation) : entry.views.length === 0)) {
      if (packed !== undefined && packed.sentAt > observation.sentAt) return false;
      this.#entries.set(key, this.#entryOf(epoch, observation, packed));
      return true;
    }
    const views = viewsIn(entry);
    const others = views.filter((other) => !isSameView(other, observation) && !isRefuted(other, observation));
    const replaced = views.find((other) => isSameView(other, observation));
    if (replaced !== undefined && replaced.sentAt > observation.sentAt) return false;
    if (others.length < viewsPerResource) {
      this.#entries.set(key, { epoch, views: [...others, observation] });
      return true;
    }
    const oldest = others.reduce((a, b) => (b.sentAt < a.sentAt ? b : a));
    if (oldest.sentAt > observation.sentAt) return false;
    this.#entries.set(key, { epoch, views: [...others.filter((other) => other !== oldest), observation] });
    return true;
  }

  #entryOf(epoch: number, observation: Observation, before?: Packed): Entry {
    return this.#packer.pack(epoch, observation, before) ?? { epoch, views: [observation] };
  }
}

function viewsIn(entry: Entry): readonly Observation[] {
  return entry instanceof Packed ? [entry.unpacked()] : entry.views;
}

function isSameView(a: Observation, b: Observation): boolean {
  return a.view === b.view && a.selecting.digest === b.selecting.digest;
}

/** Whether a later read of the same view found a resource where there was none, or the other way round. */
function isRefuted(earlier: Observation, later: Observation): boolean {
  return earlier.view === later.view && earlier.exists !== later.exists && earlier.sentAt < later.sentAt;
}

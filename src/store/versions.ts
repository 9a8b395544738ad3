import { LRUCache } from 'lru-cache';
import type { Observation } from './store.js';

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
export class Versions {
  #counter = 0;
  #floor = 0;
  readonly #entries: LRUCache<string, Entry>;

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

  /** Epoch and views of a key; reading makes it the most recently used. */
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
    const [only] = entry.views;
    // Nearly always there is one view, and it is read again.
    if (only === undefined || (entry.views.length === 1 && isSameView(only, observation))) {
      if (only !== undefined && only.sentAt > observation.sentAt) return false;
      entry.views = [observation];
      return true;
    }
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

import { createHmac } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Topology } from './client.js';
import type { Bucket } from './link.js';
import { decodeSeenTags, type Known, type Records } from './records.js';
import type { ServerTime } from './server-time.js';

/** 22 characters of base64url are 132 bits. */
const idLength = 22;

/** A resource as this process knows it: where it is kept, and a copy of what was last read of it. */
export interface Resource {
  /** Name of its key in the shared store. */
  readonly name: string;
  readonly bucket: Bucket;
  copy: Known | undefined;
}

/** What a script told of a resource. */
export interface Told extends Known {
  readonly epoch: number;
  readonly isHeld: boolean;
}

/**
 * The resources that this process has met last, with copies of what is known of them. A copy answers nothing by itself:
 * every step asks the store, and where nothing has changed the store does not send it again.
 */
export class Resources {
  readonly #known: LRUCache<string, Resource>;
  readonly #secret: string;
  readonly #buckets: readonly Bucket[];
  readonly #records: Records;
  readonly #timeOf: (bucket: Bucket) => ServerTime;

  /** `max`: how many are kept (`limits.resources`); `secret` keys their names, in which no URL can be read. */
  constructor(
    max: number,
    secret: string,
    buckets: readonly Bucket[],
    records: Records,
    timeOf: (bucket: Bucket) => ServerTime,
  ) {
    this.#timeOf = timeOf;
    this.#known = new LRUCache({ max });
    this.#secret = secret;
    this.#buckets = buckets;
    this.#records = records;
  }

  /** How many are kept. */
  get size(): number {
    return this.#known.size;
  }

  of(key: string): Resource {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const digest = createHmac('sha256', this.#secret).update(key).digest();
    const bucket = this.#buckets[(digest[0] ?? 0) % this.#buckets.length] as Bucket;
    const name = `${bucket.prefix}r:${digest.toString('base64url').slice(0, idLength)}`;
    const resource: Resource = { name, bucket, copy: undefined };
    this.#known.set(key, resource);
    return resource;
  }

  /**
   * What a script told.
   *
   * @param asked the copy that it was told of: what has not changed since is not sent again
   * @param answer from the epoch on
   */
  told(resource: Resource, asked: Known | undefined, answer: readonly string[]): Told {
    const [epoch = '', isHeld, revision = '', ...rest] = answer;
    const known = asked?.revision === revision ? asked : this.#read(this.#timeOf(resource.bucket), revision, rest);
    // Answers overtake each other; revisions only grow.
    if (Number(revision) >= Number(resource.copy?.revision ?? 0)) resource.copy = known;
    const { views, seenTags } = known;
    return { revision, views, seenTags, epoch: Number(epoch), isHeld: isHeld === '1' };
  }

  #read(time: ServerTime, revision: string, [seen = '', ...views]: readonly string[]): Known {
    const observations = views.flatMap((value) => this.#records.decode(value, time) ?? []);
    return { revision, views: observations, seenTags: decodeSeenTags(seen) };
  }
}

/** Grows when what is kept is kept in another form: gates of two versions share nothing then. */
export const format = 1;

/** With a cluster: parts of the keys, spread over its masters. */
const clusterBuckets = 256;

/** The parts of the keys. All keys of one have the same hash tag, so that they lie in one slot of a cluster. */
export function bucketsOf(namespace: string, topology: Topology): Bucket[] {
  const count = topology === 'cluster' ? clusterBuckets : 1;
  return Array.from({ length: count }, (_, index) => {
    const prefix = `ifmatch:${format}:{${namespace}.${index.toString(16)}}:`;
    return { prefix, key: `${prefix}store` };
  });
}

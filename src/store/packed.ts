import type { Observation } from './store.js';

/** What an observation shares with many others: one object for all of them. */
interface Common extends Pick<Observation, 'view' | 'selecting' | 'fingerprint' | 'uncached' | 'exists'> {
  /** Whether the upstream's tag is one that may be used. */
  readonly isNative: boolean;
  /** What stands around the hash in the tag that readers are given; undefined where that is the native one, or none. */
  readonly around: { readonly before: string; readonly after: string } | undefined;
}

/** So many are shared; beyond it each observation has its own. */
const mostShared = 1000;

/**
 * One observation of a resource in as little memory as possible: a million of them are a third smaller this way than as
 * objects of their own, and nearly every resource has exactly one.
 */
export class Packed {
  /** Of the resource. */
  readonly epoch: number;
  readonly #common: Common;
  readonly #sentAt: number;
  readonly #hash: string | undefined;
  readonly #upstreamTag: string | undefined;
  readonly #lastModified: string | undefined;

  constructor(epoch: number, common: Common, { sentAt, hash, upstreamTag, lastModified }: Observation) {
    this.epoch = epoch;
    this.#common = common;
    this.#sentAt = sentAt;
    this.#hash = hash;
    this.#upstreamTag = upstreamTag;
    this.#lastModified = lastModified;
  }

  get sentAt(): number {
    return this.#sentAt;
  }

  isSameView({ view, selecting }: Observation): boolean {
    return this.#common.view === view && this.#common.selecting.digest === selecting.digest;
  }

  /** What it shares with others. */
  get common(): Common {
    return this.#common;
  }

  /** @returns it as it was */
  unpacked(): Observation {
    const { view, selecting, fingerprint, uncached, exists, isNative, around } = this.#common;
    const native = isNative ? this.#upstreamTag : undefined;
    return {
      view,
      selecting,
      exists,
      native,
      upstreamTag: this.#upstreamTag,
      hash: this.#hash,
      etag: around === undefined ? native : `${around.before}${this.#hash}${around.after}`,
      lastModified: this.#lastModified,
      sentAt: this.#sentAt,
      uncached,
      fingerprint,
    };
  }
}

/** Packs observations, and keeps what they share. */
export class Packer {
  readonly #shared = new Map<string, Common>();
  #latest: Common | undefined;

  /**
   * @param epoch of the resource
   * @param before what is kept of it: nearly always the same but for its time
   * @returns undefined for an observation whose tag is neither the native one nor made of the hash
   */
  pack(epoch: number, observation: Observation, before?: Packed): Packed | undefined {
    const { native, upstreamTag, hash, etag } = observation;
    const isNative = native !== undefined;
    if (isNative && native !== upstreamTag) return undefined;
    const around = etag === native ? undefined : aroundHash(etag, hash);
    if (etag !== native && around === undefined) return undefined;
    const { view, selecting, fingerprint, uncached, exists } = observation;
    const common: Common = { view, selecting, fingerprint, uncached, exists, isNative, around };
    return new Packed(epoch, this.#shareOf(common, before?.common), observation);
  }

  /** The one object for all that is the same. */
  #shareOf(common: Common, before: Common | undefined): Common {
    if (before !== undefined && isSame(before, common)) return before;
    if (this.#latest === undefined || !isSame(this.#latest, common)) this.#latest = this.#known(common);
    return this.#latest;
  }

  #known(common: Common): Common {
    const { view, selecting, fingerprint, uncached, exists, isNative, around } = common;
    const tag = around === undefined ? '' : `${around.before} ${around.after}`;
    const key = `${view} ${selecting.digest} ${fingerprint} ${uncached} ${exists} ${isNative} ${tag}`;
    const known = this.#shared.get(key);
    if (known !== undefined && known.selecting === selecting) return known;
    if (this.#shared.size >= mostShared) this.#shared.clear();
    this.#shared.set(key, common);
    return common;
  }
}

function isSame(one: Common, other: Common): boolean {
  return (
    one.view === other.view &&
    one.selecting === other.selecting &&
    one.fingerprint === other.fingerprint &&
    one.uncached === other.uncached &&
    one.exists === other.exists &&
    one.isNative === other.isNative &&
    one.around?.before === other.around?.before &&
    one.around?.after === other.around?.after
  );
}

/** What stands around the hash in a tag that is made of it, else undefined. */
function aroundHash(etag: string | undefined, hash: string | undefined): Common['around'] {
  const start = etag === undefined || hash === undefined ? -1 : etag.indexOf(hash);
  if (etag === undefined || hash === undefined || start === -1) return undefined;
  return { before: etag.slice(0, start), after: etag.slice(start + hash.length) };
}

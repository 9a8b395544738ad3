import type { SeenTag } from '../seen-tags.js';
import type { Observation } from '../store.js';
import type { ServerTime } from './server-time.js';

/** What is known of a resource, as the scripts tell it and as a copy of it is kept. */
export interface Known {
  /** Changes whenever the rest does; `0` where nothing is known. */
  readonly revision: string;
  readonly views: readonly Observation[];
  readonly seenTags: readonly SeenTag[];
}

/** Observations as the shared store keeps them: `SENT EXISTS JSON` under `VIEW DIGEST` (scripts/resource.lua). */
export class Records {
  readonly #process: string;

  /** `process`: what names this process; of its own observations it knows the exact time. */
  constructor(process: string) {
    this.#process = process;
  }

  /** The name under which an observation stands: there is one for each view and selection. */
  nameOf({ view, selecting }: Observation): string {
    return `${view} ${selecting.digest}`;
  }

  /** @param time of the server that keeps it */
  encode(observation: Observation, time: ServerTime): string {
    const { sentAt, exists } = observation;
    const json = JSON.stringify({ ...observation, sentAt: undefined, by: this.#process, at: sentAt });
    return `${time.earliest(sentAt)} ${exists ? 1 : 0} ${json}`;
  }

  /** What the scripts need of an observation for its tag alone (V7). */
  encodeTag({ view, selecting, upstreamTag, hash }: Observation): string {
    return JSON.stringify({ view, selecting: { digest: selecting.digest }, upstreamTag, hash });
  }

  /** @returns undefined where it cannot be read: that is no knowledge */
  decode(value: string, time: ServerTime): Observation | undefined {
    const [sent = '', exists = ''] = value.split(' ', 2);
    const stored = parse(value.slice(sent.length + exists.length + 2));
    if (stored === undefined) return undefined;
    return {
      view: stored.view,
      selecting: stored.selecting,
      exists: stored.exists,
      native: stored.native,
      upstreamTag: stored.upstreamTag,
      hash: stored.hash,
      etag: stored.etag,
      lastModified: stored.lastModified,
      sentAt: stored.by === this.#process ? stored.at : time.own(Number(sent)),
      uncached: stored.uncached,
      fingerprint: stored.fingerprint,
    };
  }
}

interface Stored extends Omit<Observation, 'sentAt'> {
  readonly by: string;
  readonly at: number;
}

function parse(json: string): Stored | undefined {
  try {
    return JSON.parse(json) as Stored;
  } catch {
    return undefined;
  }
}

/** What is held against tags, as the scripts keep it. */
export function decodeSeenTags(json: string): readonly SeenTag[] {
  if (json === '') return [];
  const tags = JSON.parse(json) as Partial<SeenTag>[];
  return tags.map(({ view = '', selection = '', tag = '', hash, isWrittenOver = true }) => {
    return { view, selection, tag, hash, isWrittenOver };
  });
}

import { copied } from '../http/copied.js';
import { parseEntityTag } from '../http/entity-tag.js';
import { fieldLine, fieldValues, hasField, type RawHeaders } from '../http/fields.js';
import type { Selecting } from '../http/selecting.js';
import { isBarred, type SeenTag } from '../store/seen-tags.js';
import type { GivenTag, Observation, Outcome } from '../store/store.js';
import type { ResponseHead } from '../upstream/call.js';
import { syntheticTag } from '../version/tag.js';
import { usableNative } from '../version/trust.js';
import type { Passage } from './passage.js';
import type { Validator } from './settings.js';

/** What is known about a read whose answer may become an observation. */
export interface Reading {
  readonly view: string;
  readonly selecting: Selecting;
  readonly fingerprint: string;
  /** Whether the read asked caches not to answer. */
  readonly uncached: boolean;
  readonly validator: Validator;
  readonly seenTags: readonly SeenTag[];
  readonly head: ResponseHead;
  /** Hash of the representation (V2), where it was computed. */
  readonly hash: string | undefined;
  /** The upstream's own tag, where it is known already that it may be used. */
  readonly native?: string | undefined;
  /** What was known before: nearly always the same, and then its texts serve again. */
  readonly before?: Observation | undefined;
  readonly sentAt: number;
  readonly receivedAt: number;
}

/** The upstream's own tag, where the head alone tells that it may be used to decide (V1, V6, V7). */
export function nativeTag({ parts, resource, seenTags }: Passage, head: ResponseHead): string | undefined {
  const { validator } = resource.policy;
  return nativeOf({ head, hash: undefined, validator, seenTags, receivedAt: parts.clock.now() });
}

/** The same with what the body tells: a tag that came over a write counts where the content is the same (V7). */
function nativeOf(
  reading: Pick<Reading, 'head' | 'hash' | 'validator' | 'seenTags' | 'receivedAt'>,
): string | undefined {
  const { head, hash, validator, seenTags, receivedAt } = reading;
  const tag = usableNative(
    {
      etag: fieldLine(head.rawHeaders, 'etag'),
      lastModified: fieldLine(head.rawHeaders, 'last-modified'),
      date: fieldLine(head.rawHeaders, 'date'),
    },
    validator.kind,
    receivedAt,
  );
  const barred = tag !== undefined && validator.kind === 'auto' && isBarred(seenTags, tag, hash);
  return barred ? undefined : tag;
}

/** The content codings of an answer, or undefined where there are none. */
export function contentCoding(head: ResponseHead): string | undefined {
  const coding = fieldLine(head.rawHeaders, 'content-encoding')?.trim().toLowerCase();
  return coding === undefined || coding === '' || coding === 'identity' ? undefined : coding;
}

/** The parameter of Cache-Status that says so. */
const hit = /;[ \t]*hit[ \t]*(?:[;,]|$)/;

/** Whether an answer came out of a cache and so says nothing about now (V10, RFC 9111 5.1, RFC 9211 2.1). */
export function isCached({ rawHeaders }: ResponseHead): boolean {
  if (
    hasField(rawHeaders, 'cache-status') &&
    fieldValues(rawHeaders, 'cache-status').some((value) => hit.test(value))
  ) {
    return true;
  }
  return hasField(rawHeaders, 'age') && fieldValues(rawHeaders, 'age').some((age) => Number(age) > 0);
}

/** Whether a request asks caches not to answer it (RFC 9111 5.2.1.4). */
export function asksPastCaches(fields: RawHeaders): boolean {
  return fieldValues(fields, 'cache-control').some((value) => /(?:^|[\s,])no-cache(?:$|[\s,])/i.test(value));
}

/**
 * Makes an observation of an answer to GET or HEAD whose status is 200, 404 or 410. Whether it may be recorded is the
 * caller's to say: one out of a cache may not (V10).
 */
export function observationOf(reading: Reading): Observation {
  const { head, hash, view, selecting, sentAt, uncached, fingerprint, before } = reading;
  const exists = head.status === 200;
  const native = exists ? kept(reading.native ?? nativeOf(reading), before?.native) : undefined;
  return {
    view,
    selecting,
    sentAt,
    uncached,
    fingerprint,
    exists,
    native,
    upstreamTag: exists
      ? (native ?? kept(parseEntityTag(fieldLine(head.rawHeaders, 'etag')), before?.upstreamTag))
      : undefined,
    hash: exists ? kept(hash, before?.hash) : undefined,
    etag: exists ? givenTag(reading, native) : undefined,
    lastModified: exists ? kept(fieldLine(head.rawHeaders, 'last-modified'), before?.lastModified) : undefined,
  };
}

/**
 * What came as a part of a head must not keep all of it in memory for as long as it is remembered.
 *
 * @param before what is remembered already
 */
function kept(text: string | undefined, before: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  return text === before ? before : copied(text);
}

/** The tag that a reader is given. */
function givenTag({ head, hash, validator, before }: Reading, native: string | undefined): string | undefined {
  if (native !== undefined) return native;
  if (hash !== undefined) return syntheticTag(hash, contentCoding(head));
  return validator.kind === 'upstream' ? kept(fieldLine(head.rawHeaders, 'etag'), before?.etag) : undefined;
}

/** How a forwarded write ended, by the upstream's status (W9's table). */
export type WriteResult = 'changed' | 'as-it-was' | 'doubt' | 'unknown';

/**
 * Methods that leave the content of what there is as it was: an unchanged tag says nothing against itself then (RFC 4918
 * 8.6). LOCK may make what was not there.
 */
const keepsContent: ReadonlySet<string> = new Set(['LOCK', 'PROPPATCH', 'UNLOCK']);

/** @param status of the upstream's final answer to a write */
export function resultOf(method: string, status: number): WriteResult {
  if (status === 202 || status === 408 || status === 502 || status === 504) return 'unknown';
  if (status >= 200 && status < 300) return keepsContent.has(method) ? 'doubt' : 'changed';
  if (status === 404 || status === 410 || status === 412) return 'doubt';
  return status >= 400 && status < 500 ? 'as-it-was' : 'doubt';
}

/** What is known about a write when its outcome is recorded. */
export interface WriteFacts {
  /** What was read before the write. */
  readonly before?: Observation | undefined;
  /** The same, where it may be recorded after a refusal. */
  readonly unchanged?: Observation | undefined;
  /** What the lease holder read after it. */
  readonly after?: Observation | undefined;
  /** The upstream's own tag in the answer, where the writer was given it (W10). */
  readonly given?: GivenTag | undefined;
  /** Milliseconds that the resource rests after an unknown outcome (W11). */
  readonly rest: number;
  /** Keys of other resources that the answer names (W10). */
  readonly doubts: readonly string[];
}

/**
 * The outcome to settle a lease or a mark with.
 *
 * @param status of the upstream's answer, which tells a refusal from what may have taken effect (V7)
 */
export function outcomeOf(result: WriteResult, status: number, facts: WriteFacts): Outcome {
  const { before, unchanged, after, given, rest, doubts } = facts;
  if (result === 'as-it-was') return { kind: 'asItWas', observation: unchanged };
  if (result === 'unknown') return { kind: 'unknown', rest, before };
  if (result === 'changed') return { kind: 'changed', observation: after, before, given, doubts };
  // A refusal, or a success that left the content as it was.
  const isKept = (status >= 400 && status < 500) || (status >= 200 && status < 300);
  return isKept ? { kind: 'doubt' } : { kind: 'changed', before, doubts };
}

/** How long a resource rests after a client aborted its own body, in milliseconds at most (W11). */
const restAfterAbort = 1000;

/**
 * How long a resource rests after an unknown outcome (W11), in milliseconds.
 *
 * @param aborted whether it is unknown because the client aborted its own body
 * @param quarantine longest rest, in milliseconds
 */
export function restAfter(aborted: boolean, quarantine: number): number {
  return aborted ? Math.min(restAfterAbort, quarantine) : quarantine;
}

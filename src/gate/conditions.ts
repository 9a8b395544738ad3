import { isWeak, scanEntityTags } from '../http/entity-tag.js';
import { FieldNames, fieldLine, type RawHeaders, withoutFields } from '../http/fields.js';
import type { Preconditions } from '../http/preconditions.js';
import { isSigned } from '../resource/credential.js';
import { isBarred, type SeenTag } from '../store/seen-tags.js';
import { isSynthetic } from '../version/tag.js';
import type { Verdict } from './decide.js';
import type { Passage } from './passage.js';
import type { Validator } from './settings.js';

/** The fields of a read as they go upstream, and the conditions that the gate has taken over (R1). */
export interface ReadPlan {
  readonly rawHeaders: RawHeaders;
  /** What the gate evaluates on the answer; undefined where the upstream evaluates all. */
  readonly taken: Preconditions | undefined;
}

const rangeNames = ['range', 'if-range'];
const matchNames = ['if-match', 'if-unmodified-since'];
const noneMatchNames = ['if-none-match', 'if-modified-since'];
const everyName = [...matchNames, ...noneMatchNames, ...rangeNames];
const ranges = new FieldNames(rangeNames);
const matchFields = new FieldNames(matchNames);
const noneMatchFields = new FieldNames(noneMatchNames);
const everyCondition = new FieldNames(everyName);
const revalidation = new FieldNames([...noneMatchNames, ...rangeNames]);

/** Whether the upstream's own strong tags may decide at all (V1). */
export function nativesAllowed(validator: Validator): boolean {
  return validator.kind === 'auto' || validator.kind === 'upstream';
}

/**
 * Divides the conditions of a read between the upstream and the gate (R1, R2): only tags that could satisfy an If-Match
 * travel. Where an If-Match does not, the gate takes all conditions over; where an If-None-Match does not, it takes that
 * one with the date that it overrides. Range goes with either, because a 206 could not be held against what was taken.
 * Under `upstream` weak tags travel: no better ones are given in their place.
 *
 * @param raw end-to-end fields of the request
 * @param conditions the same request's conditions; malformed ones are the upstream's to answer
 * @param seenTags what is held against tags: those that a write came over do not travel (V7)
 */
export function planRead(
  raw: RawHeaders,
  conditions: Preconditions,
  validator: Validator,
  seenTags: readonly SeenTag[],
): ReadPlan {
  const travels = (tag: string): boolean => tagTravels(tag, validator, seenTags);
  const { ifMatch, ifNoneMatch, malformed } = conditions;
  if (malformed === undefined && ifMatch.kind === 'tags' && !ifMatch.tags.every(travels)) {
    return {
      rawHeaders: withoutConditions(raw),
      taken: { ...conditions, ifNoneMatch: revalidated(conditions).ifNoneMatch },
    };
  }
  if (malformed === undefined && ifNoneMatch.kind === 'tags' && !ifNoneMatch.tags.every(travels)) {
    const rawHeaders = withoutFields(raw, revalidation);
    const remaining = ifNoneMatch.tags.filter(travels);
    if (remaining.length > 0) rawHeaders.push('If-None-Match', remaining.join(', '));
    return { rawHeaders, taken: revalidated(conditions) };
  }
  const rawHeaders = rangeTravels(raw, travels) ? raw : withoutFields(raw, ranges);
  return { rawHeaders, taken: undefined };
}

/**
 * The same read without what an answer that proves nothing was given for (V7): a 304 or 206 by a tag that may stand for
 * two contents. The date goes too: it is no better.
 */
export function planReadAgain(raw: RawHeaders, conditions: Preconditions): ReadPlan {
  return {
    rawHeaders: withoutFields(raw, revalidation),
    taken: { ...revalidated(conditions), ifModifiedSince: undefined },
  };
}

/**
 * If-None-Match and If-Modified-Since alone, as the gate evaluates them: a weak tag of the upstream's own matches
 * nothing, so that the client gets a 200 with a usable tag instead of a 304 that keeps a useless one alive (R1).
 */
function revalidated({ ifNoneMatch, ifModifiedSince }: Preconditions): Preconditions {
  const isUseful = (tag: string): boolean => !isWeak(tag) || isSynthetic(tag.slice(2));
  const tags = ifNoneMatch.kind === 'tags' ? { ...ifNoneMatch, tags: ifNoneMatch.tags.filter(isUseful) } : ifNoneMatch;
  return {
    ifMatch: { kind: 'absent' },
    ifNoneMatch: tags,
    ifModifiedSince,
    ifUnmodifiedSince: undefined,
    malformed: undefined,
  };
}

/** The fields of a read without any condition or range: what tells the current representation for certain. */
export function withoutConditions(raw: RawHeaders): string[] {
  return withoutFields(raw, everyCondition);
}

/**
 * Whether the upstream may be trusted with a comparison that involves this tag: it is one of its own, and nothing is
 * held against it.
 */
function tagTravels(tag: string, validator: Validator, seenTags: readonly SeenTag[]): boolean {
  if (!nativesAllowed(validator) || isOurs(tag)) return false;
  return validator.kind === 'upstream' || (!isWeak(tag) && !isBarred(seenTags, tag, undefined));
}

function rangeTravels(raw: RawHeaders, travels: (tag: string) => boolean): boolean {
  const ifRange = fieldLine(raw, 'if-range');
  if (ifRange === undefined) return true;
  const list = scanEntityTags(ifRange);
  return list.kind !== 'tags' || list.tags.every(travels);
}

/**
 * The fields of a write as they go upstream after its conditions were found true (W8). Where native tags alone decided,
 * all conditions travel on, so that a backend which checks them does so atomically. Where a synthetic one decided, its
 * field and the date that it overrides are dropped, and the usable native tag of the probe takes its place.
 *
 * @param raw end-to-end fields of the request
 * @returns the same list where nothing changes
 */
export function conditionsForWrite(
  raw: RawHeaders,
  conditions: Preconditions,
  verdict: Extract<Verdict, { kind: 'forward' }>,
  seenTags: readonly SeenTag[],
): RawHeaders {
  const { ifMatch, ifNoneMatch } = conditions;
  const { native, hash } = verdict.observation;
  let fields = raw;
  const stays = (tag: string): boolean => !isOurs(tag) && (tag === native || !isBarred(seenTags, tag, hash));
  if (ifMatch.kind === 'tags' && !ifMatch.tags.every(stays)) {
    const kept = withoutFields(fields, matchFields);
    const natives = verdict.bySynthetic ? [native] : ifMatch.tags.filter(stays);
    const value = natives.filter((tag) => tag !== undefined).join(', ');
    if (value !== '') kept.push('If-Match', value);
    fields = kept;
  }
  if (ifNoneMatch.kind === 'tags' && ifNoneMatch.tags.some(isOurs)) fields = withoutFields(fields, noneMatchFields);
  return fields;
}

/** Whether a request would go upstream without conditions, or with others, that its signature covers (W8). */
export function breaksSignature({ fields, target }: Passage, sent: RawHeaders): boolean {
  if (sent === fields) return false;
  return [...everyName, 'if'].some(
    (name) => fieldLine(fields, name) !== fieldLine(sent, name) && isSigned(fields, target.query, name),
  );
}

/**
 * The fields of a write that is forwarded although its conditions could not be found true (report mode, W14): tags
 * that the upstream has never seen are taken out, all else is as the client sent it.
 */
export function withoutSynthetic(raw: RawHeaders, conditions: Preconditions): string[] {
  const { ifMatch, ifNoneMatch } = conditions;
  let fields = [...raw];
  if (ifMatch.kind === 'tags' && ifMatch.tags.some(isOurs)) fields = withoutFields(fields, matchFields);
  if (ifNoneMatch.kind === 'tags' && ifNoneMatch.tags.some(isOurs)) fields = withoutFields(fields, noneMatchFields);
  return fields;
}

/** Whether the upstream has never seen a tag: a synthetic one, or one that somebody has weakened. */
function isOurs(tag: string): boolean {
  return isSynthetic(isWeak(tag) ? tag.slice(2) : tag);
}

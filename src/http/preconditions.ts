import type { EntityTag } from './entity-tag.js';
import { scanEntityTags } from './entity-tag.js';
import type { RawHeaders } from './fields.js';
import { fieldLine } from './fields.js';
import { parseHttpDate } from './http-date.js';

/** If-Match or If-None-Match as a value. */
export type TagCondition = { kind: 'absent' } | { kind: 'any' } | { kind: 'tags'; tags: readonly EntityTag[] };

/** The first field that cannot be read: where, and what would be right (W1). */
export type MalformedCondition = { field: 'If-Match' | 'If-None-Match' | 'If'; position: number; reason: string };

/** The conditions of a request. Dates are milliseconds since the epoch; undefined: absent or invalid. */
export interface Preconditions {
  ifMatch: TagCondition;
  ifNoneMatch: TagCondition;
  ifModifiedSince: number | undefined;
  ifUnmodifiedSince: number | undefined;
  malformed: MalformedCondition | undefined;
}

/** The selected representation as it is now, as RFC 9110 13 sees it. `lastModified` in milliseconds since the epoch. */
export interface Current {
  /** False: the resource has no current representation. */
  exists: boolean;
  strongMatch(tag: EntityTag): boolean;
  weakMatch(tag: EntityTag): boolean;
  lastModified: number | undefined;
}

/** What RFC 9110 13.2.2 comes to: carry the method out, answer 304, or answer 412 because of `field`. */
export type Evaluation =
  | { result: 'proceed' }
  | { result: 'not-modified'; field: 'If-None-Match' | 'If-Modified-Since' }
  | { result: 'failed'; field: 'If-Match' | 'If-None-Match' | 'If-Unmodified-Since' };

/** A condition that does not apply decides nothing, which is neither true nor false. */
type Condition = 'none' | 'true' | 'false';

/** Methods that neither select nor modify a representation ignore conditions (RFC 9110 13.2.1). */
const unconditional: ReadonlySet<string> = new Set(['CONNECT', 'OPTIONS', 'TRACE']);

/**
 * Reads the conditions of a request (W1). Lines of one field are joined first. A field that cannot be read is reported
 * in `malformed` and stands as a list without tags: If-Match then holds for nothing, so that a caller who forgets to
 * look lets no write through. Invalid dates are ignored (RFC 9110 13.1.3, 13.1.4).
 *
 * @param raw the request's fields, flat
 * @param now milliseconds since the epoch, for the century of dates with two-digit years
 */
export function parsePreconditions(raw: RawHeaders, now: number = Date.now()): Preconditions {
  const match = tagCondition(raw, 'If-Match');
  const noneMatch = tagCondition(raw, 'If-None-Match');
  return {
    ifMatch: match.condition,
    ifNoneMatch: noneMatch.condition,
    ifModifiedSince: parseHttpDate(fieldLine(raw, 'if-modified-since'), now),
    ifUnmodifiedSince: parseHttpDate(fieldLine(raw, 'if-unmodified-since'), now),
    malformed: match.malformed ?? noneMatch.malformed,
  };
}

/**
 * Evaluates conditions in the order of RFC 9110 13.2.2 (W6). If-Range is not among them: it never refuses.
 *
 * @param method in upper case, as it came
 * @param preconditions of the request; `malformed` is the caller's to answer first (W1)
 * @param current what the conditions are held against
 */
export function evaluate(method: string, preconditions: Preconditions, current: Current): Evaluation {
  if (unconditional.has(method)) return { result: 'proceed' };
  const reads = method === 'GET' || method === 'HEAD';

  // 1 and 2: If-Unmodified-Since counts only without If-Match.
  const ifMatch = checkIfMatch(preconditions, current);
  if (ifMatch === 'false') return { result: 'failed', field: 'If-Match' };
  if (ifMatch === 'none' && checkIfUnmodifiedSince(preconditions, current) === 'false') {
    return { result: 'failed', field: 'If-Unmodified-Since' };
  }

  // 3 and 4: If-Modified-Since counts only without If-None-Match, and only for GET and HEAD.
  const ifNoneMatch = checkIfNoneMatch(preconditions, current);
  if (ifNoneMatch === 'false') return { result: reads ? 'not-modified' : 'failed', field: 'If-None-Match' };
  if (ifNoneMatch === 'none' && reads && checkIfModifiedSince(preconditions, current) === 'false') {
    return { result: 'not-modified', field: 'If-Modified-Since' };
  }
  return { result: 'proceed' };
}

/** RFC 9110 13.1.1: `*` holds if there is a representation, a list if a member matches strongly. */
function checkIfMatch({ ifMatch }: Preconditions, current: Current): Condition {
  if (ifMatch.kind === 'absent') return 'none';
  if (ifMatch.kind === 'any') return condition(current.exists);
  return condition(current.exists && ifMatch.tags.some((tag) => current.strongMatch(tag)));
}

/** RFC 9110 13.1.2: `*` holds if there is no representation, a list if no member matches, even weakly. */
function checkIfNoneMatch({ ifNoneMatch }: Preconditions, current: Current): Condition {
  if (ifNoneMatch.kind === 'absent') return 'none';
  if (ifNoneMatch.kind === 'any') return condition(!current.exists);
  return condition(!current.exists || !ifNoneMatch.tags.some((tag) => current.weakMatch(tag)));
}

/** RFC 9110 13.1.3: ignored where the representation has no date. */
function checkIfModifiedSince({ ifModifiedSince }: Preconditions, { lastModified }: Current): Condition {
  if (ifModifiedSince === undefined || lastModified === undefined) return 'none';
  return condition(lastModified > ifModifiedSince);
}

/** RFC 9110 13.1.4: ignored where the representation has no date (V8). */
function checkIfUnmodifiedSince({ ifUnmodifiedSince }: Preconditions, { lastModified }: Current): Condition {
  if (ifUnmodifiedSince === undefined || lastModified === undefined) return 'none';
  return condition(lastModified <= ifUnmodifiedSince);
}

function condition(holds: boolean): Condition {
  return holds ? 'true' : 'false';
}

const absent = { condition: { kind: 'absent' }, malformed: undefined } as const;

function tagCondition(
  raw: RawHeaders,
  field: 'If-Match' | 'If-None-Match',
): { condition: TagCondition; malformed: MalformedCondition | undefined } {
  const line = fieldLine(raw, field === 'If-Match' ? 'if-match' : 'if-none-match');
  if (line === undefined) return absent;
  const list = scanEntityTags(line);
  if (list.kind !== 'malformed') return { condition: list, malformed: undefined };
  const { position, reason } = list;
  return { condition: { kind: 'tags', tags: [] }, malformed: { field, position, reason } };
}

import { isFalse, scanDavIf, type TagTerm, tellTerms } from '../headers/dav-if.js';
import { readingsOf } from '../headers/lenient.js';
import { methodOverride } from '../headers/override.js';
import { FieldNames, fieldLine, hasField, type RawHeaders, withoutFields } from '../http/fields.js';
import type { MalformedCondition } from '../http/preconditions.js';
import type { Target } from '../resource/target.js';
import { nothingSeen } from '../store/seen-tags.js';
import type { Observation } from '../store/store.js';
import { UpstreamError } from '../upstream/errors.js';
import { discard } from '../upstream/represent.js';
import { isSynthetic, syntheticHash, syntheticPrefix } from '../version/tag.js';
import { breaksSignature } from './conditions.js';
import { type Decision, decideConditions, type Forward, type Refusal } from './decision.js';
import { type GateParts, type Passage, type Resource, timeoutsOf } from './passage.js';
import { isBound } from './version.js';
import { wordsOnIf, wordsOnUnknown } from './wording.js';

/** A URL that an `If` field has synthetic tags for. */
interface Tagged {
  /** Undefined: the request's own. */
  readonly other: { readonly target: Target; readonly resource: Resource; readonly host: string } | undefined;
  readonly terms: readonly TagTerm[];
}

/** What an `If` field asks of the gate (R5): the terms with synthetic tags, by the URL that they are about. */
export interface TaggedConditions {
  readonly tagged: readonly Tagged[];
  /** Keys of those resources. */
  readonly keys: readonly string[];
  /** How many conditions each of the field's lists has. */
  readonly lists: readonly number[];
  readonly malformed: MalformedCondition | undefined;
}

const field = new FieldNames(['if']);

/** How a weak tag is spelt whose strong one would be synthetic. */
const weakened = `W/${syntheticPrefix}`;

/** One that lost its quotes is refused with the rest of its list, not taken for somebody else's (W1). */
const unquoted = /\[[ \t]*(?:W\/)?im-/;

/** Synthetic tags that one field may have: each may cost a read, under the leases of all. */
const mostTerms = 16;

/**
 * Reads the `If` field of a write, where it has tags that only the gate can judge (R5).
 *
 * @param raw end-to-end fields of the request
 * @param readTarget what the request itself is about, with `resource` and `host`
 * @returns undefined where it has none: then all of it is the upstream's to judge
 */
export function readDavIf(
  raw: RawHeaders,
  readTarget: Target,
  resource: Resource,
  host: string,
  parts: GateParts,
): TaggedConditions | undefined {
  const value = hasField(raw, 'if') ? fieldLine(raw, 'if') : undefined;
  if (value === undefined || !(value.includes(syntheticPrefix) || unquoted.test(value))) return undefined;
  const scanned = scanDavIf(value);
  if (scanned.kind === 'malformed') return unreadable(scanned);
  const terms = scanned.terms.filter(({ tag }) => isSynthetic(tag) || tag.startsWith(weakened));
  const [excess] = terms.slice(mostTerms);
  if (excess !== undefined) {
    return unreadable({
      position: excess.start,
      reason: `no more than ${mostTerms} entity-tags of the gate's may stand here`,
    });
  }
  const byUrl = new Map<string, { readonly other: Tagged['other']; readonly terms: TagTerm[] }>();
  for (const term of terms) {
    const other = term.resource === undefined ? undefined : otherThan(readTarget, term.resource, host, parts);
    if (typeof other === 'string') {
      const position = value.lastIndexOf(`<${term.resource}>`, term.start);
      return unreadable({
        position,
        reason: `this URL does not name one resource for certain. ${other.replace(/\.$/, '')}`,
      });
    }
    const url = other === undefined ? '' : `${other.host} ${other.target.raw}`;
    const tagged = byUrl.get(url) ?? { other, terms: [] };
    tagged.terms.push(term);
    byUrl.set(url, tagged);
  }
  if (byUrl.size === 0) return undefined;
  const tagged = [...byUrl.values()];
  const keys = tagged.map(({ other }) => (other?.resource ?? resource).key);
  return { tagged, keys, lists: scanned.lists, malformed: undefined };
}

/** What a tagged list is about; undefined: the request's own URL. A text says why that cannot be told. */
function otherThan(
  { raw }: Target,
  reference: string,
  host: string,
  { locateReference, locate }: GateParts,
): Tagged['other'] | string {
  const named = locateReference(reference, host);
  if (named.kind === 'refused') return named.reason;
  const { target, resource } = named;
  // I4: reading it could be writing it.
  if (methodOverride([], target.query).kind !== 'none') return 'Its query names a method';
  // What the client calls the host matters only where hosts tell resources apart (I5).
  const isHere = locate(target, host).key === resource.key;
  if (isHere && target.raw === raw) return undefined;
  return { target, resource, host: isHere ? host : (target.authority ?? host) };
}

function unreadable({ position, reason }: { position: number; reason: string }): TaggedConditions {
  return { tagged: [], keys: [], lists: [], malformed: { field: 'If', position, reason } };
}

/**
 * Tells the upstream of each synthetic tag in `If` whether it is current (R5): as an If-Match with that tag alone would
 * be decided, each about its own URL. What the whole field comes to is for the upstream to say, which knows the locks; but
 * what cannot hold whatever they are is refused here, because not every upstream looks at `If`.
 *
 * @param forward what the other conditions of the request came to
 * @param knowledge of the request's own resource
 */
export async function tellTags(
  passage: Passage,
  forward: Forward,
  knowledge: readonly Observation[],
  since: number | undefined,
): Promise<Decision> {
  const { record, parts } = passage;
  const trueTerms = new Set<TagTerm>();
  const untold = new Set<TagTerm>();
  let { observation } = forward;
  // All other resources together are not waited for longer than one: the leases of all are held meanwhile.
  const until = parts.clock.now() + timeoutsOf(passage).upstreamTimeout;
  for (const { other, terms } of passage.davIf?.tagged ?? []) {
    const { current, decidedBy } = record;
    const isLate = untold.size > 0 || parts.clock.now() > until;
    const told =
      other === undefined
        ? await tellOf(passage, terms, [...knowledge, ...(observation === undefined ? [] : [observation])], since)
        : await tellOfAnother({ ...passage, ...other, readTarget: other.target, ...ofAnother }, terms, since, isLate);
    if (told === undefined) for (const term of terms) untold.add(term);
    else if (told.kind === 'untold') return told.decision;
    else for (const term of told.trueTerms) trueTerms.add(term);
    // What is not the request's own is not what its record is about.
    if (other !== undefined) Object.assign(record, { current, decidedBy });
    else if (told?.kind === 'told') observation ??= told.observation;
  }
  const isTrue = (term: TagTerm): boolean => trueTerms.has(term);
  const refusal = refusalOf(passage, isTrue, (term) => untold.has(term), observation);
  if (refusal !== undefined) return refusal;
  const fields = withTold(passage, forward.fields, isTrue);
  if (!breaksSignature(passage, fields)) return { ...forward, observation, fields };
  const reason =
    'The signature covers If, which has tags that only the gate knows, and that the upstream must not get.';
  return { kind: 'refuse', name: 'version-unknown', details: wordsOnUnknown(passage, reason, true) };
}

/** What cannot hold whatever the locks are (412), or nobody can tell because of what could not be read (502, W5). */
function refusalOf(
  passage: Passage,
  isTrue: (term: TagTerm) => boolean,
  isUntold: (term: TagTerm) => boolean,
  observation: Observation | undefined,
): Refusal | undefined {
  const terms = termsOf(passage);
  const lists = passage.davIf?.lists ?? [];
  if (!bindsWritten(passage) || !isFalse(terms, lists, isTrue)) return undefined;
  if (!isFalse(terms, lists, (term) => isTrue(term) || isUntold(term))) {
    const reason = 'A resource that If has entity-tags for could not be read.';
    return { kind: 'refuse', name: 'version-unknown', details: wordsOnUnknown(passage, reason, isBound(passage)) };
  }
  const own = passage.davIf?.tagged.find(({ other }) => other === undefined)?.terms ?? [];
  // The version of its own resource does not help where that is as the client said.
  const current = own.some((term) => !isTrue(term)) ? observation : undefined;
  return { kind: 'refuse', name: 'precondition-failed', observation, details: wordsOnIf(passage, current) };
}

const ofAnother = { view: undefined, scope: undefined, seenTags: nothingSeen };

/** Which terms about one URL are true, their `Not` included; or the decision that has to stand where that cannot be told. */
type Told =
  | { readonly kind: 'told'; readonly trueTerms: readonly TagTerm[]; readonly observation: Observation | undefined }
  | { readonly kind: 'untold'; readonly decision: Decision };

/** @param asked the request, as if it were about the URL that the terms are about */
async function tellOf(
  asked: Passage,
  terms: readonly TagTerm[],
  knowledge: readonly Observation[],
  since: number | undefined,
): Promise<Told> {
  const { lenient } = asked.resource.policy;
  const trueTerms: TagTerm[] = [];
  let observation: Observation | undefined;
  for (const term of terms) {
    const tags = readingsOf(term.tag, lenient).filter((tag) => syntheticHash(tag) !== undefined);
    let holds = false;
    if (tags.length > 0) {
      // What has been read for one tag serves for the next.
      const known = observation === undefined ? knowledge : [...knowledge, observation];
      const decision = await decideConditions({ ...asked, conditions: matching(tags) }, known, since, undefined);
      holds = decision.kind === 'forward';
      const isStale = decision.kind === 'refuse' && decision.name === 'precondition-failed';
      if (!holds && !isStale) return { kind: 'untold', decision };
      if (decision.kind !== 'relay') observation = decision.observation ?? observation;
    }
    if (holds !== term.isNegated) trueTerms.push(term);
  }
  return { kind: 'told', trueTerms, observation };
}

/**
 * The same of a resource that is not the request's own: nothing of it is shown.
 *
 * @param isLate whether it is not asked any more
 * @returns undefined where it cannot be told
 */
async function tellOfAnother(
  asked: Passage,
  terms: readonly TagTerm[],
  since: number | undefined,
  isLate: boolean,
): Promise<Told | undefined> {
  if (isLate) return undefined;
  try {
    const told = await tellOf(asked, terms, [], since);
    if (told.kind === 'told') return told;
    if (told.decision.kind === 'relay') discard(told.decision.call);
    return undefined;
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    return undefined;
  }
}

/** The same question as an If-Match would ask. */
function matching(tags: readonly string[]): Passage['conditions'] {
  return {
    ifMatch: { kind: 'tags', tags },
    ifNoneMatch: { kind: 'absent' },
    ifModifiedSince: undefined,
    ifUnmodifiedSince: undefined,
    malformed: undefined,
  };
}

/** Whether a list is about what the request writes: lists about other resources alone are no condition to some upstreams. */
function bindsWritten({ davIf, resource, destination }: Passage): boolean {
  const written = [resource.key, destination?.key];
  return davIf?.tagged.some(({ other }) => other === undefined || written.includes(other.resource.key)) === true;
}

/** The fields with an `If` that refuses nothing because of a tag that the upstream has never seen (W14). */
export function withoutTaggedTerms(passage: Passage, fields: readonly string[]): readonly string[] {
  return withTold(passage, fields, () => true);
}

function withTold(passage: Passage, fields: readonly string[], isTrue: (term: TagTerm) => boolean): readonly string[] {
  const terms = termsOf(passage);
  if (terms.length === 0) return fields;
  const value = fieldLine(passage.fields, 'if') ?? '';
  return [...withoutFields(fields, field), 'If', tellTerms(value, terms, passage.davIf?.lists ?? [], isTrue)];
}

function termsOf({ davIf }: Passage): TagTerm[] {
  const terms = (davIf?.tagged ?? []).flatMap((tagged) => tagged.terms);
  return terms.sort((one, other) => one.start - other.start);
}

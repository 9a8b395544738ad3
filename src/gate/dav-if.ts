import { isFalse, scanDavIf, type TagTerm, tellTerms } from '../headers/dav-if.js';
import { FieldNames, fieldLine, hasField, type RawHeaders, withoutFields } from '../http/fields.js';
import type { MalformedCondition } from '../http/preconditions.js';
import type { Target } from '../resource/target.js';
import { nothingSeen } from '../store/seen-tags.js';
import type { Observation } from '../store/store.js';
import { isSynthetic, syntheticPrefix } from '../version/tag.js';
import { type Decision, decideConditions, type Forward, type Refusal } from './decision.js';
import type { GateParts, Passage, Resource } from './passage.js';
import { wordsOnIf } from './wording.js';

/** A resource that an `If` field has synthetic tags for. */
interface Tagged {
  /** Undefined: the request's own. */
  readonly other: { readonly target: Target; readonly resource: Resource } | undefined;
  readonly terms: readonly TagTerm[];
}

/** What an `If` field asks of the gate (R5): the terms with synthetic tags, by the resource that they are about. */
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

/**
 * Reads the `If` field of a write, where it has tags that only the gate can judge (R5).
 *
 * @param raw end-to-end fields of the request
 * @returns undefined where it has none: then all of it is the upstream's to judge
 */
export function readDavIf(
  raw: RawHeaders,
  resource: Resource,
  host: string,
  locateReference: GateParts['locateReference'],
): TaggedConditions | undefined {
  const value = hasField(raw, 'if') ? fieldLine(raw, 'if') : undefined;
  if (value === undefined || !value.includes(syntheticPrefix)) return undefined;
  const scanned = scanDavIf(value);
  if (scanned.kind === 'malformed') return unreadable(scanned);
  const byKey = new Map<string, { other: Tagged['other']; terms: TagTerm[] }>();
  for (const term of scanned.terms) {
    if (!isSynthetic(term.tag) && !term.tag.startsWith(weakened)) continue;
    const named = term.resource === undefined ? undefined : locateReference(term.resource, host);
    if (named?.kind === 'refused') {
      const position = value.lastIndexOf(`<${term.resource}>`, term.start);
      return unreadable({ position, reason: `this URL could be read in two ways. ${named.reason.slice(0, -1)}` });
    }
    const other = named === undefined || named.resource.key === resource.key ? undefined : named;
    const key = other?.resource.key ?? resource.key;
    const tagged = byKey.get(key) ?? { other, terms: [] };
    tagged.terms.push(term);
    byKey.set(key, tagged);
  }
  if (byKey.size === 0) return undefined;
  return { tagged: [...byKey.values()], keys: [...byKey.keys()], lists: scanned.lists, malformed: undefined };
}

function unreadable({ position, reason }: { position: number; reason: string }): TaggedConditions {
  return { tagged: [], keys: [], lists: [], malformed: { field: 'If', position, reason } };
}

/**
 * Tells the upstream of each synthetic tag in `If` whether it is current (R5): as an If-Match with that tag alone would
 * be decided, each about its own resource. What the whole field comes to is for the upstream to say, which knows the
 * locks; but what cannot hold whatever they are is refused here, because not every upstream looks at `If`.
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
  const current = new Set<TagTerm>();
  let { observation } = forward;
  for (const { other, terms } of passage.davIf?.tagged ?? []) {
    const asked = other === undefined ? passage : { ...passage, ...other, readTarget: other.target, ...ofAnother };
    let known = other === undefined ? knowledge : [];
    for (const term of terms) {
      const decision = await decideConditions(
        { ...asked, conditions: matchOf(passage, term) },
        known,
        since,
        undefined,
      );
      if (decision.kind !== 'forward' && !isStale(decision)) return decision;
      if (decision.kind === 'forward') current.add(term);
      if (decision.observation === undefined) continue;
      // What has been read for one tag serves for the next.
      known = [...known, decision.observation];
      if (other === undefined) observation ??= decision.observation;
    }
  }
  const isTrue = (term: TagTerm): boolean => current.has(term) !== term.isNegated;
  // Lists about other resources alone are no condition to some upstreams.
  const isOwn = passage.davIf?.tagged.some(({ other }) => other === undefined) === true;
  if (isOwn && isFalse(termsOf(passage), passage.davIf?.lists ?? [], isTrue)) {
    return { kind: 'refuse', name: 'precondition-failed', observation, details: wordsOnIf(passage, observation) };
  }
  return { ...forward, observation, fields: told(passage, forward.fields, isTrue) };
}

const ofAnother = { view: undefined, seenTags: nothingSeen };

function isStale(decision: Decision): decision is Refusal {
  return decision.kind === 'refuse' && decision.name === 'precondition-failed';
}

/** The same question as an If-Match would ask. Weak tags match nothing, unless that is forgiven. */
function matchOf({ resource }: Passage, { tag }: TagTerm): Passage['conditions'] {
  const isForgiven = resource.policy.lenient.includes('weakened') && tag.startsWith(weakened);
  return {
    ifMatch: { kind: 'tags', tags: [isForgiven ? tag.slice(2) : tag] },
    ifNoneMatch: { kind: 'absent' },
    ifModifiedSince: undefined,
    ifUnmodifiedSince: undefined,
    malformed: undefined,
  };
}

/** The fields with an `If` that refuses nothing because of a tag that the upstream has never seen (W14). */
export function withoutTaggedTerms(passage: Passage, fields: readonly string[]): readonly string[] {
  return passage.davIf === undefined ? fields : told(passage, fields, () => true);
}

function told(passage: Passage, fields: readonly string[], isTrue: (term: TagTerm) => boolean): readonly string[] {
  const terms = termsOf(passage);
  if (terms.length === 0) return fields;
  const value = fieldLine(passage.fields, 'if') ?? '';
  return [...withoutFields(fields, field), 'If', tellTerms(value, terms, passage.davIf?.lists ?? [], isTrue)];
}

function termsOf({ davIf }: Passage): TagTerm[] {
  const terms = (davIf?.tagged ?? []).flatMap((tagged) => tagged.terms);
  return terms.sort((one, other) => one.start - other.start);
}

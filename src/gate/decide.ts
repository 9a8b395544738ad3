import { isWeak, strongMatch, weakMatch } from '../http/entity-tag.js';
import { parseHttpDate } from '../http/http-date.js';
import { type Current, evaluate, type Preconditions } from '../http/preconditions.js';
import type { Observation } from '../store/store.js';
import { isSynthetic, syntheticHash } from '../version/tag.js';
import type { ConditionName } from './outcome.js';

/** What an observation says about the conditions of a write. */
export type Verdict =
  | {
      readonly kind: 'forward';
      readonly observation: Observation;
      /** Whether a tag that only the gate knows made If-Match true (W8). */
      readonly bySynthetic: boolean;
    }
  | { readonly kind: 'refuse'; readonly observation: Observation; readonly field: ConditionName };

/** Whether a request carries any condition that can hold a write back. */
export function isConditional(conditions: Preconditions): boolean {
  return (
    conditions.ifMatch.kind !== 'absent' ||
    conditions.ifNoneMatch.kind !== 'absent' ||
    conditions.ifUnmodifiedSince !== undefined
  );
}

/**
 * Whether a request carries what `guard: required` asks for: If-Match, `If-None-Match: *` or a valid
 * If-Unmodified-Since (W2). Whether that date is usable shows only at the version (V8): `dateCounts`.
 */
export function hasRequiredCondition(conditions: Preconditions): boolean {
  return (
    conditions.ifMatch.kind !== 'absent' ||
    conditions.ifNoneMatch.kind === 'any' ||
    conditions.ifUnmodifiedSince !== undefined
  );
}

/** Whether If-Unmodified-Since is all that makes a request fulfil `guard: required` (V8). */
export function restsOnDateAlone(conditions: Preconditions): boolean {
  return conditions.ifMatch.kind === 'absent' && conditions.ifNoneMatch.kind !== 'any';
}

/**
 * An observation as the thing that RFC 9110 13 compares with. A native tag matches only where it may be used (V6, V7), a
 * synthetic one by its hash alone, whatever content coding it was issued for (V2).
 */
class Compared implements Current {
  readonly exists: boolean;
  protected readonly observation: Observation;
  /** A tag of no other use, which If-None-Match is held against too. */
  readonly #besides: string | undefined;

  constructor(observation: Observation, besides: string | undefined) {
    this.exists = observation.exists;
    this.observation = observation;
    this.#besides = besides;
  }

  get lastModified(): number | undefined {
    return parseHttpDate(this.observation.lastModified);
  }

  strongMatch(tag: string): boolean {
    const { native } = this.observation;
    return isSynthetic(tag) ? this.isCurrent(tag) : native !== undefined && strongMatch(tag, native);
  }

  weakMatch(tag: string): boolean {
    const { native } = this.observation;
    if (this.#besides !== undefined && weakMatch(tag, this.#besides)) return true;
    const strong = withoutWeakness(tag);
    return isSynthetic(strong) ? this.isCurrent(strong) : native !== undefined && weakMatch(tag, native);
  }

  protected isCurrent(synthetic: string): boolean {
    const { hash } = this.observation;
    return hash !== undefined && syntheticHash(synthetic) === hash;
  }
}

/** The same where it is the representation itself that matters: those of other codings are others (RFC 9110 8.8.3.3). */
class Selected extends Compared {
  protected override isCurrent(synthetic: string): boolean {
    return synthetic === this.observation.etag;
  }
}

/** What the conditions of a read are held against. */
export function asSelected(observation: Observation): Current {
  return new Selected(observation, undefined);
}

/** What tells whether a tag was issued for the content that was observed. */
function asCurrent(observation: Observation): Current {
  return new Compared(observation, undefined);
}

/** What the conditions of a write are held against; its If-None-Match also against tags that are of no other use (W6). */
export function asCurrentForWrite(observation: Observation): Current {
  return new Compared(observation, observation.upstreamTag);
}

function withoutWeakness(tag: string): string {
  return isWeak(tag) ? tag.slice(2) : tag;
}

/**
 * Holds the conditions of a write against an observation (W6).
 *
 * @param method effective method of the write
 */
export function judge(method: string, conditions: Preconditions, observation: Observation): Verdict {
  const current = asCurrentForWrite(observation);
  const evaluation = evaluate(method, conditions, current);
  if (evaluation.result !== 'proceed') return { kind: 'refuse', observation, field: evaluation.field as ConditionName };
  const { ifMatch } = conditions;
  const bySynthetic =
    ifMatch.kind === 'tags' && !ifMatch.tags.some((tag) => !isSynthetic(tag) && current.strongMatch(tag));
  return { kind: 'forward', observation, bySynthetic };
}

/** What a request asks of knowledge before it may decide (W4). */
export interface KnowledgeNeeds {
  readonly view: string;
  readonly fingerprint: string;
  /** Whether this request would select the representation that an observation was read with. */
  readonly selectsSame: (known: Observation) => boolean;
  readonly arrivedAt: number;
  readonly now: number;
  /** Milliseconds; see `RoutePolicy.recheck`. */
  readonly recheck: number;
  readonly nativesAllowed: boolean;
}

/**
 * Decides from what the store knows, where that may decide (W4): learned at the same URL with the same identity, with
 * tags made in the same way, and either young enough or sent after this request arrived. A refusal, and anything that
 * rests on tags that must *not* match, needs the same selecting headers too.
 *
 * @returns a verdict, or undefined where only a probe can tell
 */
export function judgeByKnowledge(
  method: string,
  conditions: Preconditions,
  knowledge: readonly Observation[],
  needs: KnowledgeNeeds,
): Verdict | undefined {
  const fresh = knowledge.filter(
    (known) =>
      known.view === needs.view &&
      known.fingerprint === needs.fingerprint &&
      (isNews(known, needs) || needs.now - known.sentAt <= needs.recheck),
  );
  // Answers differ in what they name in Vary, so several may be for this request: the latest one counts.
  if (fresh.length > 1) fresh.sort((one, other) => other.sentAt - one.sentAt);
  const own = fresh.find(needs.selectsSame);
  // What was read for somebody else after this request arrived is as good as a probe of its own (W4).
  const nativesTold = !needs.nativesAllowed || own?.native !== undefined || (own !== undefined && isNews(own, needs));
  const verdict = own && tellsAll(conditions, own, nativesTold) ? judge(method, conditions, own) : undefined;
  if (verdict?.kind === 'forward') return verdict;
  if (verdict !== undefined && verdict.field !== 'If-Match') return verdict;
  if (conditions.ifMatch.kind === 'absent' || conditions.ifNoneMatch.kind !== 'absent') return verdict;
  // A tag that fails here may be that of another representation of the same URL.
  for (const known of fresh) {
    const elsewhere = known === own ? undefined : judge(method, conditions, known);
    if (elsewhere?.kind === 'forward') return elsewhere;
  }
  return issuedFor(conditions, knowledge, needs) === undefined ? verdict : undefined;
}

/** Whether it was read after the request arrived, past all caches: as good as a probe of its own (W4, V10). */
function isNews(known: Observation, { arrivedAt }: KnowledgeNeeds): boolean {
  return known.uncached && known.sentAt > arrivedAt;
}

/**
 * Whether an observation says of each tag that matters whether it is current. Where one of a list matches, the others
 * do not matter; weak ones never match in If-Match.
 *
 * @param nativesTold whether the lack of a usable native tag means that none can match
 */
export function tellsAll(conditions: Preconditions, known: Observation, nativesTold: boolean): boolean {
  if (!known.exists) return true;
  const { ifMatch, ifNoneMatch } = conditions;
  const current = asCurrentForWrite(known);
  const isTold = (tag: string): boolean => (isSynthetic(withoutWeakness(tag)) ? known.hash !== undefined : nativesTold);
  const matchTold =
    ifMatch.kind !== 'tags' ||
    ifMatch.tags.some((tag) => current.strongMatch(tag)) ||
    ifMatch.tags.every((tag) => isWeak(tag) || isTold(tag));
  const noneMatchTold =
    ifNoneMatch.kind !== 'tags' ||
    ifNoneMatch.tags.some((tag) => current.weakMatch(tag)) ||
    ifNoneMatch.tags.every(isTold);
  return matchTold && noneMatchTold;
}

/** All tags that a request names, weak ones without their prefix. */
export function namedTags({ ifMatch, ifNoneMatch }: Preconditions): string[] {
  const tags = [
    ...(ifMatch.kind === 'tags' ? ifMatch.tags : []),
    ...(ifNoneMatch.kind === 'tags' ? ifNoneMatch.tags : []),
  ];
  return tags.map(withoutWeakness);
}

/** Whether a request names a tag that only the gate can judge. */
export function namesSynthetic(conditions: Preconditions): boolean {
  return namedTags(conditions).some(isSynthetic);
}

/**
 * The observation under which one of a failing request's tags was issued, with other selecting headers than its own:
 * it deserves a second probe with those before it is refused (W4).
 */
export function issuedFor(
  conditions: Preconditions,
  knowledge: readonly Observation[],
  needs: KnowledgeNeeds,
): Observation | undefined {
  const { ifMatch } = conditions;
  if (ifMatch.kind !== 'tags') return undefined;
  return knowledge.find((known) => {
    if (known.view !== needs.view || known.selecting.isCut === true || needs.selectsSame(known)) return false;
    const current = asCurrent(known);
    return ifMatch.tags.some((tag) => current.strongMatch(tag));
  });
}

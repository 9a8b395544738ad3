import { scanEntityTags } from '../http/entity-tag.js';
import { fieldLine } from '../http/fields.js';
import type { Preconditions } from '../http/preconditions.js';
import type { Observation } from '../store/store.js';
import type { ProblemDetails } from './answers.js';
import type { Verdict } from './decide.js';
import type { ConditionName, DecidedBy } from './outcome.js';
import type { Passage } from './passage.js';

/**
 * What a 412 says about the condition that failed (A1): why, and what to do.
 *
 * @param current the version that it failed against, where this client may see it
 */
export function wordsOnFailure(
  passage: Passage,
  verdict: Extract<Verdict, { kind: 'refuse' }>,
  current: Observation | undefined,
  decidedBy: DecidedBy,
): ProblemDetails {
  return {
    detail: failureDetail(verdict, passage.conditions),
    next: nextStep(passage, verdict.observation),
    condition: verdict.field,
    received: receivedIn(passage, verdict.field),
    current,
    decidedBy,
  };
}

/** What a 412 says where WebDAV's `If` cannot hold (R5). */
export function wordsOnIf(passage: Passage, current: Observation | undefined): ProblemDetails {
  return {
    detail: 'No list in If can hold: each has an entity-tag that is not as it says, whatever the locks are.',
    next: 'Fetch what If names (or HEAD for its ETag), apply the change again, and retry with the new ETags.',
    condition: 'If',
    received: receivedIn(passage, 'If'),
    current,
    decidedBy: passage.record.decidedBy ?? 'probe',
  };
}

/** What a 502 `version-unknown` says (W4, W5). `bound`: the credentials are good for one request. */
export function wordsOnUnknown(passage: Passage, reason: string, bound: boolean): ProblemDetails {
  const name = leadingCondition(passage);
  const received = receivedIn(passage, name);
  const next = bound
    ? 'Ask the operator to set policy.probe.headers for this route, so that the version can be read, or policy.validator: upstream, if the upstream checks conditions itself.'
    : 'Ask the operator which version this resource has (policy.validator); repeating the request cannot help.';
  return { detail: reason, next, condition: name, received, decidedBy: 'probe', outcome: 'not-sent' };
}

/** The condition that a decision about this request would rest on. */
export function leadingCondition({ conditions, davIf }: Passage): ConditionName {
  const { ifMatch, ifNoneMatch, ifUnmodifiedSince } = conditions;
  if (ifMatch.kind === 'tags') return 'If-Match';
  if (ifMatch.kind === 'any') return 'If-Match: *';
  if (ifUnmodifiedSince !== undefined && ifNoneMatch.kind === 'absent') return 'If-Unmodified-Since';
  if (ifNoneMatch.kind !== 'absent') return 'If-None-Match';
  return davIf === undefined ? 'none' : 'If';
}

/** What the client itself sent in a condition: its tags, one by one, or the whole value. */
export function receivedIn({ conditions, exchange, resource }: Passage, name: ConditionName): readonly string[] {
  if (name === 'none') return [];
  if (name === 'If-Match: *') return ['*'];
  const condition = name === 'If-Match' ? conditions.ifMatch : conditions.ifNoneMatch;
  const isOfTags = name === 'If-Match' || name === 'If-None-Match';
  if (isOfTags && condition.kind === 'tags' && resource.policy.lenient.length === 0) return condition.tags;
  // What was forgiven is told as it came.
  const line = fieldLine(exchange.rawHeaders, name.toLowerCase()) ?? '';
  const list = isOfTags ? scanEntityTags(line) : undefined;
  return list?.kind === 'tags' ? list.tags : [line];
}

function failureDetail(
  { field, observation }: Extract<Verdict, { kind: 'refuse' }>,
  { ifMatch }: Preconditions,
): string {
  const { upstreamTag } = observation;
  if (field === 'If-None-Match') return 'The resource has a current representation that If-None-Match rules out.';
  if (!observation.exists) return `The resource has no current representation, so ${field} cannot hold.`;
  if (field === 'If-Unmodified-Since') {
    return 'The resource was modified after the date in If-Unmodified-Since: somebody else was faster.';
  }
  if (ifMatch.kind === 'tags' && upstreamTag !== undefined && ifMatch.tags.includes(upstreamTag)) {
    return 'The entity-tag in If-Match is one of the upstream that may stand for more than one content: it does not tell whether the resource was changed after you read it.';
  }
  return 'None of the entity-tags in If-Match is the current one: the resource was changed after you read it.';
}

function nextStep({ parts, resource }: Passage, { exists }: Observation): string {
  if (!exists) return 'Fetch the resource; to create it, send If-None-Match: * instead.';
  const step = 'Fetch the resource (or HEAD for its ETag), apply the change again, and retry with the new ETag.';
  if (!parts.observer.wasAdvised(resource.route, 'unstable-body')) return step;
  return `${step} The body of this resource changes without writes: its operator should name the members that do in policy.ignore.`;
}

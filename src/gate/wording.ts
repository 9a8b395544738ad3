import { fieldLine } from '../http/fields.js';
import type { Preconditions } from '../http/preconditions.js';
import type { Observation } from '../store/store.js';
import type { ProblemDetails } from './answers.js';
import { leadingCondition, type Verdict } from './decide.js';
import type { DecidedBy } from './outcome.js';
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

/** What a 502 `version-unknown` says (W4, W5). `bound`: the credentials are good for one request. */
export function wordsOnUnknown(passage: Passage, reason: string, bound: boolean): ProblemDetails {
  const { conditions, fields } = passage;
  const { name, received } = leadingCondition(conditions, (field) => fieldLine(fields, field));
  const next = bound
    ? 'Ask the operator to set policy.probe.headers for this route, so that the version can be read, or policy.validator: upstream, if the upstream checks conditions itself.'
    : 'Ask the operator which version this resource has (policy.validator); repeating the request cannot help.';
  return { detail: reason, next, condition: name, received, decidedBy: 'probe', outcome: 'not-sent' };
}

function receivedIn({ conditions, fields }: Passage, field: string): readonly string[] {
  const condition = field === 'If-Match' ? conditions.ifMatch : conditions.ifNoneMatch;
  if (field !== 'If-Unmodified-Since' && condition.kind === 'tags') return condition.tags;
  return [fieldLine(fields, field.toLowerCase()) ?? ''];
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

import type { Awaitable } from '../http/awaitable.js';
import { fieldLine } from '../http/fields.js';
import { parseHttpDate } from '../http/http-date.js';
import { signsRequest } from '../resource/credential.js';
import { withoutSignature } from '../resource/identity.js';
import { isNegotiated } from '../resource/selecting.js';
import { isBarred } from '../store/seen-tags.js';
import type { Observation } from '../store/store.js';
import type { Call, ResponseHead } from '../upstream/call.js';
import { discard } from '../upstream/represent.js';
import { isSynthetic } from '../version/tag.js';
import type { ProblemDetails, ProblemName } from './answers.js';
import { breaksSignature, conditionsForWrite, nativesAllowed } from './conditions.js';
import {
  hasRequiredCondition,
  isConditional,
  issuedFor,
  judge,
  judgeByKnowledge,
  type KnowledgeNeeds,
  namedTags,
  restsOnDateAlone,
  tellsAll,
  type Verdict,
} from './decide.js';
import type { DecidedBy } from './outcome.js';
import { isGuarded, type Passage } from './passage.js';
import { isMade, type Made } from './repeats.js';
import {
  adviseIfUnstable,
  isComparable,
  type ProbeResult,
  probe,
  probeOptions,
  selectsLike,
  viewOf,
} from './version.js';
import { wordsOnFailure, wordsOnUnknown } from './wording.js';

/** What is to become of a write. */
export type Decision =
  | Forward
  | Refusal
  /** It comes again, and what is there is what it made (W12). */
  | { readonly kind: 'applied'; readonly observation: Observation; readonly isStored: boolean }
  /** The upstream's refusal of the probe is the answer (W5). */
  | { readonly kind: 'relay'; readonly head: ResponseHead; readonly call: Call };

export interface Forward {
  readonly kind: 'forward';
  /** The fields that go upstream. */
  readonly fields: readonly string[];
  /** What this request's own probe read: as true after a refusal by the upstream as it was before. */
  readonly observation: Observation | undefined;
  /** What a probe with other credentials read: for nobody to see, but to compare tags with (V7). */
  readonly foreign?: Observation | undefined;
}

export interface Refusal {
  readonly kind: 'refuse';
  readonly name: ProblemName;
  readonly details: ProblemDetails;
  readonly observation?: Observation | undefined;
  /** The current representation, where the client asked for it and this request's probe read it (A2). */
  readonly representation?: { readonly head: ResponseHead; readonly bytes: Buffer } | undefined;
}

const correctForm = 'Correct the field and send the request again: repeating it as it is cannot succeed.';

/** W1 and W2: what can be said of a write before its version is known. Undefined: nothing against it. */
export function checkForm(passage: Passage): Refusal | undefined {
  const { conditions, resource, fields } = passage;
  const malformed = conditions.malformed ?? passage.davIf?.malformed;
  if (malformed !== undefined) {
    const { field, position, reason } = malformed;
    const value = fieldLine(fields, field.toLowerCase()) ?? '';
    const detail = `${field} cannot be read at position ${position}: ${reason}.`;
    const details: ProblemDetails = { detail, next: correctForm, condition: field, received: [value.slice(0, 1024)] };
    return { kind: 'refuse', name: 'malformed-precondition', details: { ...details, decidedBy: 'policy' } };
  }
  if (resource.policy.guard !== 'required' || hasRequiredCondition(conditions) || !isGuarded(passage)) return undefined;
  return preconditionRequired('This resource is only changed by requests that say which version they change.');
}

function preconditionRequired(detail: string): Refusal {
  const next = 'Fetch the resource, apply the change to what you read, and send it with its ETag in If-Match.';
  return { kind: 'refuse', name: 'precondition-required', details: { detail, next, decidedBy: 'policy' } };
}

/**
 * W4 to W8: decides the conditions of a write under its lease, from knowledge where that may decide, else by a probe.
 *
 * @param knowledge what the store knew when the lease was given
 * @param since only what was read after this `Clock.now()` counts, whatever `recheck` allows; undefined: the request's
 *   arrival, and `recheck`
 * @param made what this same write made when it came before; only a probe can tell whether it is still there (W12)
 * @throws {UpstreamError} where a probe got no answer
 */
export function decideConditions(
  passage: Passage,
  knowledge: readonly Observation[],
  since: number | undefined,
  made: Made | undefined,
): Awaitable<Decision> {
  const needs = needsOf(passage, since);
  const decision = made === undefined ? decideByKnowledge(passage, knowledge, needs) : undefined;
  if (decision !== undefined) return decision;
  const { view, bound } = viewOf(passage);
  if (bound) return decideBound(passage, view);
  return decideByProbe(passage, knowledge, needs, since === undefined, made);
}

/**
 * The same where nobody has to be asked.
 *
 * @param needs what the request asks of knowledge, where that is at hand
 * @returns undefined where only a probe can tell
 */
export function decideByKnowledge(
  passage: Passage,
  knowledge: readonly Observation[],
  needs?: KnowledgeNeeds,
): Forward | Refusal | undefined {
  const { conditions, fields, method } = passage;
  if (!isConditional(conditions)) return { kind: 'forward', fields, observation: undefined };
  const verdict = judgeByKnowledge(method, conditions, knowledge, needs ?? needsOf(passage, undefined));
  return verdict && conclude(passage, verdict, 'store', viewOf(passage).bound);
}

function needsOf(passage: Passage, since: number | undefined): KnowledgeNeeds {
  const { resource, parts, exchange } = passage;
  const { view, bound } = viewOf(passage);
  return {
    view,
    fingerprint: resource.fingerprint,
    selectsSame: selectsLike(passage),
    arrivedAt: since ?? exchange.arrivedAt,
    now: parts.clock.now(),
    // Credentials that are good for one request cannot probe: knowledge of any age decides (W4).
    recheck: since !== undefined ? 0 : bound ? Number.POSITIVE_INFINITY : resource.policy.recheck,
    nativesAllowed: nativesAllowed(resource.policy.validator),
  };
}

async function decideByProbe(
  passage: Passage,
  knowledge: readonly Observation[],
  needs: KnowledgeNeeds,
  isFirst: boolean,
  made: Made | undefined,
): Promise<Decision> {
  const { conditions } = passage;
  const usual = probeOptions(passage, knowledge, needs.view);
  const options = made === undefined ? usual : { ...usual, wantsHash: true, mayUseHead: false };
  const result = await probe(passage, options);
  // V9 speaks of one epoch: what was known before a repeated decision belongs to an earlier one.
  if (result.kind === 'observation' && isFirst) adviseIfUnstable(passage, knowledge, result.observation);
  const decision = fromProbe(passage, result, false);
  if (decision.kind !== 'refuse' || decision.name !== 'precondition-failed') return decision;
  if (made !== undefined && result.kind === 'observation') {
    const { observation, representation } = result;
    const isStored = made.content !== undefined && representation?.contentHash === made.content;
    if (isMade(made, observation, representation)) return { kind: 'applied', observation, isStored };
  }
  // The tag may be that of another representation of this URL: it is asked for once before it is refused (W4).
  const issued = issuedFor(conditions, knowledge, needs);
  if (issued === undefined) return decision;
  const replacement = { fields: issued.selecting.fields, replaces: isNegotiated };
  const again = await probe(passage, { ...options, replacement });
  if (again.kind === 'relay') {
    discard(again.call);
    return decision;
  }
  const second = fromProbe(passage, again, false);
  return second.kind === 'forward' ? second : decision;
}

/** W4: credentials that cannot be used twice, and a version that is not known. */
async function decideBound(passage: Passage, view: string): Promise<Decision> {
  const { policy } = passage.resource;
  const { headers } = policy.probe;
  const names = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  if (names.size > 0) {
    const replaces = (name: string): boolean => names.has(name) || signsRequest(name);
    const replacement = { fields: Object.entries(headers).flat(), replaces };
    const target = withoutSignature(passage.readTarget);
    const result = await probe(passage, { ...probeOptions(passage, [], view), replacement, target, wantsBytes: false });
    if (result.kind !== 'relay') return fromProbe(passage, result, true);
    // What the upstream tells somebody else is not for this client to see.
    discard(result.call);
    return untellable(passage, 'The version could not be read with the credentials of policy.probe.headers.');
  }
  return untellable(passage, 'The credentials of this request cannot be used a second time to read the version.');
}

/**
 * @param foreign whether the probe was made with other credentials than the client's: what it read is not the client's
 *   to see (A1), nor to remember
 */
function fromProbe(passage: Passage, result: ProbeResult, foreign: boolean): Decision {
  if (result.kind === 'relay') return result;
  if (result.kind === 'untellable') return untellable(passage, result.reason);
  const { observation, head, representation } = result;
  if (!tellsAll(passage.conditions, observation, isComparable(passage, observation))) {
    return untellable(passage, 'The resource has a representation that no version can be told of: too long, or coded.');
  }
  const verdict = judge(passage.method, passage.conditions, observation);
  const decision = conclude(passage, verdict, 'probe', foreign);
  if (foreign) return decision.kind === 'forward' ? { ...decision, foreign: observation } : decision;
  const bytes = representation?.bytes;
  if (decision.kind !== 'refuse') return { ...decision, observation };
  const shows = decision.name === 'precondition-failed' && bytes !== undefined;
  return { ...decision, observation, representation: shows ? { head, bytes } : undefined };
}

/** W5: forwarded where the upstream can judge all of it itself; else no 412, which the client could never win. */
function untellable(passage: Passage, reason: string): Decision {
  const { conditions, fields, resource } = passage;
  const { view, bound } = viewOf(passage);
  const { validator } = resource.policy;
  if (namesBarred(passage, view)) {
    const why = 'The entity-tag is one of the upstream that may stand for more than one content.';
    return { kind: 'refuse', name: 'version-unknown', details: wordsOnUnknown(passage, `${why} ${reason}`, bound) };
  }
  const native = nativesAllowed(validator) && !namedTags(conditions).some(isSynthetic);
  if (native && (!bound || validator.kind === 'upstream')) return { kind: 'forward', fields, observation: undefined };
  return { kind: 'refuse', name: 'version-unknown', details: wordsOnUnknown(passage, reason, bound) };
}

/**
 * Whether a condition rests on a tag that no upstream can be trusted with (V7). Only where this client has seen it: what
 * others have seen is not for it to find out.
 */
function namesBarred({ conditions, resource, seenTags }: Passage, view: string): boolean {
  if (resource.policy.validator.kind !== 'auto') return false;
  const own = seenTags.filter((seen) => seen.view === view);
  return own.length > 0 && namedTags(conditions).some((tag) => isBarred(own, tag, undefined));
}

/** Turns a verdict on the conditions into what happens to the write (W7, W8, V8). */
function conclude(passage: Passage, verdict: Verdict, decidedBy: DecidedBy, hidesCurrent: boolean): Forward | Refusal {
  const { conditions, resource, fields, record } = passage;
  const { observation } = verdict;
  record.decidedBy = decidedBy;
  record.current = observation.etag ?? observation.lastModified;
  const current = hidesCurrent ? undefined : observation;
  if (verdict.kind === 'refuse') {
    const details = wordsOnFailure(passage, verdict, current, decidedBy);
    return { kind: 'refuse', name: 'precondition-failed', details };
  }
  const usesDate = resource.policy.guard === 'required' && restsOnDateAlone(conditions);
  if (usesDate && parseHttpDate(observation.lastModified) === undefined) {
    return preconditionRequired('The resource has no Last-Modified, so If-Unmodified-Since says nothing about it.');
  }
  const sent = conditionsForWrite(fields, conditions, verdict, passage.seenTags);
  if (breaksSignature(passage, sent)) {
    const reason =
      'The signature covers a condition with a tag that only the gate knows, and that the upstream must not get.';
    return { kind: 'refuse', name: 'version-unknown', details: wordsOnUnknown(passage, reason, true) };
  }
  return { kind: 'forward', fields: sent, observation: undefined };
}

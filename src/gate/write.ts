import type { Acquired, Observation, Outcome, Token } from '../store/store.js';
import { RequestBodyError, UpstreamError } from '../upstream/errors.js';
import { receive, type WriteBody } from './body.js';
import { carryOut, type Done } from './carry-out.js';
import { withoutSynthetic } from './conditions.js';
import { tellTags, withoutTaggedTerms } from './dav-if.js';
import { isConditional } from './decide.js';
import { checkForm, type Decision, decideConditions, type Refusal, refusedByKnowledge } from './decision.js';
import type { Answer } from './exchange.js';
import { ClientGone, checkLease, leaseLost, noLease, outOfReach } from './lease.js';
import { carriesConditions, type Passage } from './passage.js';
import { alreadyApplied, refused, reported, reportOf } from './refusal.js';
import { failure, upstreamProblem } from './relay.js';
import { type Made, Repeat } from './repeats.js';
import { scopeOf } from './scope.js';
import { passUnguarded } from './unguarded.js';
import { leadingCondition, receivedIn } from './wording.js';

/** How often a decision is made again because somebody wrote without a lease meanwhile (W8). */
const decisionsAtMost = 3;

/**
 * A guarded write (W1 to W11): form, lease, version, decision, forwarding, outcome. The lease is settled before the
 * client sees the answer, whatever happens.
 *
 * @returns undefined where the client is gone and nothing was forwarded
 */
export async function write(passage: Passage): Promise<Answer | undefined> {
  const { parts, record, resource, exchange, readTarget } = passage;
  const name = leadingCondition(passage);
  record.kind = 'write';
  record.condition = name;
  record.received = receivedIn(passage, name);
  const reports = resource.policy.mode === 'report';

  const formal = checkForm(passage);
  if (formal !== undefined && !reports) return refused(passage, formal);
  const body = await receive(passage);
  if (body instanceof RequestBodyError) return failure(passage, body, 'not-sent');
  const atOnce = reports ? undefined : refusedAtOnce(passage, body);
  if (atOnce !== undefined) return refused(passage, atOnce);

  const queuedAt = parts.clock.now();
  const leaveLine = parts.crowds.join(resource.key, readTarget.raw, resource.route);
  const lease = await parts.store.acquire({
    keys: scopeOf(passage).leased,
    kind: carriesConditions(passage) ? 'exclusive' : 'shared',
    wait: reports ? 0 : parts.limits.leaseWait,
    signal: new ClientGone(exchange),
  });
  leaveLine();
  record.leaseWait = parts.clock.now() - queuedAt;
  if (lease.kind === 'acquired') return writeUnderLease(passage, lease, body, formal);
  if (lease.kind === 'aborted') return undefined;
  if (!reports) return noLease(passage, lease);
  // W14: report mode waits for nobody and takes no lease from those who need it.
  const answer = await passUnguarded(passage, neutral(passage), body.send());
  const text = lease.kind === 'unavailable' ? 'store-unavailable' : 'contended';
  return reported(passage, answer, { text, decision: `report:${text}` });
}

/**
 * W7: what is known refuses a write for whose resource nobody has a lease: as with a lease that is given and ended in one
 * step, without the step.
 */
function refusedAtOnce(passage: Passage, body: WriteBody): Refusal | undefined {
  const { parts, resource, conditions, record } = passage;
  if (resource.policy.recheck === 0 || !isConditional(conditions)) return undefined;
  const knowledge = parts.store.peek?.(resource.key);
  if (knowledge === undefined || new Repeat(passage, body).made !== undefined) return undefined;
  const refusal = refusedByKnowledge(passage, knowledge);
  if (refusal !== undefined) record.leaseWait = 0;
  return refusal;
}

/** What a lease is settled with, whatever happens: until the write is sent, nothing has. */
interface Ending {
  outcome: Outcome;
}

async function writeUnderLease(
  passage: Passage,
  lease: Acquired,
  body: WriteBody,
  formal: Refusal | undefined,
): Promise<Answer | undefined> {
  const ending: Ending = { outcome: { kind: 'notSent' } };
  const sideEffects = new SideEffects(passage);
  passage.seenTags = lease.seenTags;
  passage.record.withoutStore = !lease.isShared;
  let answer: Answer | undefined;
  let isCovered = true;
  try {
    answer = await decideAndSend(passage, lease, body, formal, sideEffects, ending);
  } finally {
    await sideEffects.settle(ending.outcome);
    isCovered = await passage.parts.store.settle(lease.token, ofTheLease(passage, ending.outcome));
  }
  const isTold = isCovered || ending.outcome.kind !== 'changed' || passage.resource.policy.mode === 'report';
  return isTold ? answer : leaseLost(passage, answer);
}

async function decideAndSend(
  passage: Passage,
  lease: Acquired,
  body: WriteBody,
  formal: Refusal | undefined,
  sideEffects: SideEffects,
  ending: Ending,
): Promise<Answer | undefined> {
  const { parts, exchange } = passage;
  try {
    const repeat = new Repeat(passage, body);
    const decision = formal ?? (await decideUnmoved(passage, lease, sideEffects, repeat.made));
    const isHeldBack = decision.kind === 'refuse' || decision.kind === 'relay';
    // What was read while somebody wrote without a lease was judged by tags of before (V7).
    const hasMoved = parts.store.movedSince(lease.token, lease.since) === true;
    if (decision.kind !== 'forward' && !hasMoved) {
      ending.outcome = { kind: 'notSent', observation: observed(decision) };
    }
    if (decision.kind === 'forward' || decision.kind === 'applied') repeat.forget();
    if (decision.kind === 'applied') {
      const { made } = repeat;
      const answer = alreadyApplied(passage, decision);
      repeat.answered(answer, made && (() => made));
      return answer;
    }
    if (isHeldBack && passage.resource.policy.mode !== 'report') return refused(passage, decision);
    if (decision.kind === 'relay') decision.call.abort();
    if (exchange.isGone) return undefined;
    if (isHeldBack) await sideEffects.mark();
    const { made, answer } = await sendOn(passage, lease, decision, body, ending);
    if (ending.outcome.kind === 'unknown' && made !== undefined) repeat.remember(made);
    if (isHeldBack) return reported(passage, answer, reportOf(decision));
    repeat.answered(answer, made);
    return answer;
  } catch (error) {
    // Only a probe throws here: what follows turns its own failures into answers.
    if (!(error instanceof UpstreamError)) throw error;
    return exchange.isGone ? undefined : upstreamProblem(passage, error, 'not-sent');
  }
}

/** Sends the write. From its first byte on its outcome is unknown until the upstream has said what became of it. */
async function sendOn(
  passage: Passage,
  { token, since, knowledge }: Acquired,
  decision: Exclude<Decision, { kind: 'applied' }>,
  body: WriteBody,
  ending: Ending,
): Promise<Done> {
  const before = observed(decision);
  const fields = decision.kind === 'forward' ? decision.fields : neutral(passage);
  const foreign = decision.kind === 'forward' ? decision.foreign : undefined;
  ending.outcome = { kind: 'unknown', rest: passage.parts.limits.quarantine, before: before ?? foreign };
  const done = await carryOut(passage, { fields, body, token, before, foreign, knowledge });
  ending.outcome = done.outcome;
  const { store, repeats } = passage.parts;
  if (mayHaveChanged(done.outcome)) repeats.overwritten(changedBy(passage, done.outcome));
  // What was read after it may be what somebody without a lease has made.
  const hasMoved = store.movedSince(token, since) === true;
  return hasMoved ? { ...done, made: undefined } : done;
}

function mayHaveChanged({ kind }: Outcome): boolean {
  return kind !== 'notSent' && kind !== 'asItWas';
}

function changedBy(passage: Passage, outcome: Outcome): string[] {
  const { written, besides } = scopeOf(passage);
  return [...written, ...besides, ...(outcome.kind === 'changed' ? (outcome.doubts ?? []) : [])];
}

/** Where not all that is leased is written, the marks tell what was changed. */
function ofTheLease(passage: Passage, outcome: Outcome): Outcome {
  const isMarked = outcome.kind === 'changed' || outcome.kind === 'doubt';
  return isMarked && !scopeOf(passage).isPlain ? { kind: 'asItWas' } : outcome;
}

/**
 * The resources that a write changes besides those that it has leased (W8), or of what it has leased those that it
 * changes: in doubt from before it is sent until its outcome.
 */
class SideEffects {
  readonly #passage: Passage;
  #token: Token | undefined;
  #mayForward = true;

  constructor(passage: Passage) {
    this.#passage = passage;
  }

  /** @returns false where the store is out of reach, and the write must not be sent (S4) */
  async mark(): Promise<boolean> {
    const { written, besides, isPlain } = scopeOf(this.#passage);
    const marked = isPlain ? besides : [...written, ...besides];
    if (marked.length === 0 || this.#token !== undefined) return this.#mayForward;
    const mark = await this.#passage.parts.store.touch(marked);
    this.#token = mark.token;
    this.#mayForward = mark.mayForward;
    return mark.mayForward;
  }

  /** A write that may still take effect may still have its side effects. */
  async settle(outcome: Outcome): Promise<void> {
    if (this.#token === undefined) return;
    const { parts, resource } = this.#passage;
    const { written, isPlain } = scopeOf(this.#passage);
    await parts.store.settle(this.#token, ofTheMarks(outcome, !isPlain && written[0] === resource.key));
  }
}

/** @param isOwn whether the write's own resource is the first that is marked: what is told of tags is about that (V7) */
function ofTheMarks(outcome: Outcome, isOwn: boolean): Outcome {
  if (outcome.kind === 'unknown') return { kind: 'unknown', rest: outcome.rest };
  if (outcome.kind !== 'changed') return { kind: outcome.kind };
  const tags = isOwn ? { before: outcome.before, given: outcome.given } : {};
  return { kind: 'changed', ...tags, doubts: outcome.doubts };
}

/**
 * W8: the version was read, but a write without a lease (POST, a side effect) may have begun or ended since. Then the
 * decision is made again on what is read afterwards.
 */
async function decideUnmoved(
  passage: Passage,
  lease: Acquired,
  sideEffects: SideEffects,
  made: Made | undefined,
): Promise<Decision> {
  const { parts } = passage;
  let since: number | undefined;
  // A mark on what is leased moves it once, and nobody else's move may be taken for that.
  const atMost = scopeOf(passage).isPlain ? decisionsAtMost : decisionsAtMost + 1;
  for (let attempt = 1; attempt <= atMost; attempt += 1) {
    const decision = await decide(passage, lease.knowledge, since, made);
    if (decision.kind !== 'forward') return decision;
    if (!(await sideEffects.mark())) return outOfReach;
    if (!(await checkLease(passage, lease.token))) return outOfReach;
    if (!carriesConditions(passage)) return decision;
    // From the store's answer to the first byte upstream nothing else runs in this process.
    if (parts.store.movedSince(lease.token, since ?? lease.since) !== true) return decision;
    since = parts.clock.now();
    passage.seenTags = (await parts.store.epoch(passage.resource.key)).seenTags;
  }
  const detail = 'Other requests changed the resource again and again while this one was being decided.';
  const details = { detail, next: 'Retry with backoff.', retryAfter: 1, outcome: 'not-sent' as const };
  return { kind: 'refuse', name: 'contention', details };
}

/** Decides all that a write carries: its conditions (W4 to W8), then WebDAV's `If` (R5). */
function decide(
  passage: Passage,
  knowledge: readonly Observation[],
  since: number | undefined,
  made: Made | undefined,
): Promise<Decision> {
  const onConditions = decideConditions(passage, knowledge, since, made);
  const onBoth = passage.davIf === undefined ? onConditions : decideDavIf(passage, onConditions, knowledge, since);
  return passage.resource.policy.mode === 'report' ? onBoth.catch(undecided) : onBoth;
}

async function decideDavIf(
  passage: Passage,
  onConditions: Promise<Decision>,
  knowledge: readonly Observation[],
  since: number | undefined,
): Promise<Decision> {
  const decision = await onConditions;
  if (decision.kind !== 'forward') return decision;
  const told = await tellTags(passage, decision, knowledge, since);
  // W14: what is not refused here must not be refused there for tags that it has never seen.
  const reports = passage.resource.policy.mode === 'report' && told.kind === 'forward';
  return reports ? { ...told, fields: withoutTaggedTerms(passage, decision.fields) } : told;
}

/** The fields of a write that is forwarded whatever its conditions come to (W14), without tags of the gate's own. */
function neutral(passage: Passage): readonly string[] {
  return withoutTaggedTerms(passage, withoutSynthetic(passage.fields, passage.conditions));
}

/** W14: where the mode only reports, a probe without an answer holds nothing up. */
function undecided(error: unknown): Decision {
  if (!(error instanceof UpstreamError)) throw error;
  return { kind: 'refuse', name: 'version-unknown', details: { detail: error.message, next: '' } };
}

function observed(decision: Decision): Observation | undefined {
  return decision.kind === 'relay' ? undefined : decision.observation;
}

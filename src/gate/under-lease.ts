import type { Acquired, Observation, Outcome } from '../store/store.js';
import { UpstreamError } from '../upstream/errors.js';
import type { WriteBody } from './body.js';
import { carryOut, type Done } from './carry-out.js';
import { withoutSynthetic } from './conditions.js';
import { withoutTaggedTerms } from './dav-if.js';
import type { Decision, Forward, Refusal } from './decision.js';
import type { Answer } from './exchange.js';
import { coversWrite, leaseLost } from './lease.js';
import type { Passage } from './passage.js';
import { alreadyApplied, refused, reported, reportOf } from './refusal.js';
import { upstreamProblem } from './relay.js';
import type { Repeat } from './repeats.js';
import { scopeOf } from './scope.js';
import { SideEffects } from './side-effects.js';
import { decideUnmoved } from './unmoved.js';

/** A write that has its body. */
export interface Received {
  readonly body: WriteBody;
  readonly repeat: Repeat;
  /**
   * What was decided of it before its lease: from knowledge, in the same step in which the lease was taken; or by its form,
   * where report mode sends it on all the same (W14).
   */
  readonly decided: Forward | Refusal | undefined;
}

/** What a lease is settled with, whatever happens: until the write is sent, nothing has. */
interface Ending {
  outcome: Outcome;
}

/**
 * What a write does while it has its lease (W4 to W11): decision, forwarding, outcome. The lease is settled before the
 * client sees the answer, whatever happens.
 *
 * @returns undefined where the client is gone and nothing was forwarded
 */
export async function writeUnderLease(
  passage: Passage,
  lease: Acquired,
  received: Received,
): Promise<Answer | undefined> {
  const ending: Ending = { outcome: { kind: 'notSent' } };
  const sideEffects = new SideEffects(passage);
  passage.seenTags = lease.seenTags;
  passage.record.withoutStore = !lease.isShared;
  let answer: Answer | undefined;
  let isCovered = true;
  try {
    answer = await decideAndSend(passage, lease, received, sideEffects, ending);
  } finally {
    if (!sideEffects.areNone) await sideEffects.settle(ending.outcome);
    const { store } = passage.parts;
    const told = ofTheLease(passage, ending.outcome);
    isCovered = store.atOnce?.settle(lease.token, told) ?? (await store.settle(lease.token, told));
  }
  const isTold = isCovered || ending.outcome.kind !== 'changed' || passage.resource.policy.mode === 'report';
  return isTold ? answer : leaseLost(passage, answer);
}

async function decideAndSend(
  passage: Passage,
  lease: Acquired,
  { body, repeat, decided }: Received,
  sideEffects: SideEffects,
  ending: Ending,
): Promise<Answer | undefined> {
  const { parts, exchange } = passage;
  try {
    const made = repeat.recall();
    const isSettled = decided !== undefined && staysTrue(passage, lease, decided, sideEffects);
    const decision = isSettled ? decided : await decideUnmoved(passage, lease, sideEffects, made);
    const isHeldBack = decision.kind === 'refuse' || decision.kind === 'relay';
    // What was read while somebody wrote without a lease was judged by tags of before (V7).
    if (decision.kind !== 'forward' && parts.store.movedSince(lease.token, lease.since) !== true) {
      ending.outcome = { kind: 'notSent', observation: observed(decision) };
    }
    if (decision.kind === 'forward' || decision.kind === 'applied') repeat.forget();
    if (decision.kind === 'applied') {
      const answer = alreadyApplied(passage, decision);
      repeat.answered(answer, made && (() => made));
      return answer;
    }
    if (isHeldBack && passage.resource.policy.mode !== 'report') return refused(passage, decision);
    if (decision.kind === 'relay') decision.call.abort();
    if (exchange.isGone) return undefined;
    if (isHeldBack) await sideEffects.mark();
    const done = await sendOn(passage, lease, decision, body, ending);
    const { answer } = done;
    if (ending.outcome.kind === 'unknown' && done.made !== undefined) repeat.remember(done.made);
    if (isHeldBack) return reported(passage, answer, reportOf(decision));
    repeat.answered(answer, done.made);
    return answer;
  } catch (error) {
    // Only a probe throws here: what follows turns its own failures into answers.
    if (!(error instanceof UpstreamError)) throw error;
    return exchange.isGone ? undefined : upstreamProblem(passage, error, 'not-sent');
  }
}

/**
 * Whether a decision from before the lease needs no other: by its form the write is refused whatever its version; and from
 * the step in which the lease was taken to the first byte upstream nothing else runs in this process.
 */
function staysTrue(
  passage: Passage,
  { token }: Acquired,
  decided: Forward | Refusal,
  sideEffects: SideEffects,
): boolean {
  return decided.kind === 'refuse' || (sideEffects.areNone && coversWrite(passage, token));
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

/** The fields of a write that is forwarded whatever its conditions come to (W14), without tags of the gate's own. */
export function neutral(passage: Passage): readonly string[] {
  return withoutTaggedTerms(passage, withoutSynthetic(passage.fields, passage.conditions));
}

function observed(decision: Decision): Observation | undefined {
  return decision.kind === 'relay' ? undefined : decision.observation;
}

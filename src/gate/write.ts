import { fieldLine } from '../http/fields.js';
import type { Acquired, NotAcquired, Observation, Outcome, Token } from '../store/store.js';
import { RequestBodyError, UpstreamError } from '../upstream/errors.js';
import { receive, type WriteBody } from './body.js';
import { carryOut } from './carry-out.js';
import { withoutSynthetic } from './conditions.js';
import { isConditional, leadingCondition } from './decide.js';
import { checkForm, type Decision, decide, type Refusal } from './decision.js';
import type { Answer } from './exchange.js';
import { type Passage, refuse } from './passage.js';
import { refused, reported, reportOf } from './refusal.js';
import { failure, upstreamProblem } from './relay.js';
import { passUnguarded } from './unguarded.js';

/** How often a decision is made again because somebody wrote without a lease meanwhile (W8). */
const decisionsAtMost = 3;

/**
 * A guarded write (W1 to W11): form, lease, version, decision, forwarding, outcome. The lease is settled before the
 * client sees the answer, whatever happens.
 *
 * @returns undefined where the client is gone and nothing was forwarded
 */
export async function write(passage: Passage): Promise<Answer | undefined> {
  const { parts, record, conditions, fields, resource, exchange, readTarget } = passage;
  const { name, received } = leadingCondition(conditions, (field) => fieldLine(fields, field));
  Object.assign(record, { kind: 'write', condition: name, received });
  const reports = resource.policy.mode === 'report';

  const formal = checkForm(passage);
  if (formal !== undefined && !reports) return refused(passage, formal);
  const body = await receive(passage);
  if (body instanceof RequestBodyError) return failure(passage, body, 'not-sent');

  const queuedAt = parts.clock.now();
  const leaveLine = parts.crowds.join(resource.key, readTarget.raw, resource.route);
  const lease = await parts.store.acquire({
    keys: [resource.key],
    kind: isConditional(conditions) ? 'exclusive' : 'shared',
    wait: reports ? 0 : parts.limits.leaseWait,
    signal: exchange.signal,
  });
  leaveLine();
  record.leaseWait = parts.clock.now() - queuedAt;
  if (lease.kind === 'acquired') return writeUnderLease(passage, lease, body, formal);
  if (lease.kind === 'aborted') return undefined;
  if (!reports) return noLease(passage, lease);
  // W14: report mode waits for nobody and takes no lease from those who need it.
  const answer = await passUnguarded(passage, withoutSynthetic(fields, conditions), body.send());
  return reported(passage, answer, { text: 'contended', decision: 'report:contended' });
}

async function writeUnderLease(
  passage: Passage,
  lease: Acquired,
  body: WriteBody,
  formal: Refusal | undefined,
): Promise<Answer | undefined> {
  const { parts, resource, exchange, fields, conditions } = passage;
  const reports = resource.policy.mode === 'report';
  const sideEffects = new SideEffects(passage);
  // What the lease is settled with if anything throws: until the write is sent, nothing has happened.
  let outcome: Outcome = { kind: 'notSent' };
  try {
    const decision = formal ?? (await decideUnmoved(passage, lease, sideEffects).catch(undecided(passage)));
    if (decision.kind !== 'forward') outcome = { kind: 'notSent', observation: observed(decision) };
    if (decision.kind !== 'forward' && !reports) return refused(passage, decision);
    if (decision.kind === 'relay') decision.call.abort();
    if (exchange.isGone) return undefined;
    if (decision.kind !== 'forward') await sideEffects.mark();
    const sent = decision.kind === 'forward' ? decision.fields : withoutSynthetic(fields, conditions);
    outcome = { kind: 'unknown', rest: parts.limits.quarantine };
    const done = await carryOut(passage, sent, body, observed(decision));
    outcome = done.outcome;
    return decision.kind === 'forward' ? done.answer : reported(passage, done.answer, reportOf(decision));
  } catch (error) {
    // Only a probe throws here: what follows turns its own failures into answers.
    if (!(error instanceof UpstreamError)) throw error;
    return exchange.isGone ? undefined : upstreamProblem(passage, error, 'not-sent');
  } finally {
    await sideEffects.settle(outcome);
    await parts.store.settle(lease.token, outcome);
  }
}

/** The resources that a write changes besides its own (W8): in doubt from before it is sent until its outcome. */
class SideEffects {
  readonly #passage: Passage;
  #token: Token | undefined;

  constructor(passage: Passage) {
    this.#passage = passage;
  }

  async mark(): Promise<void> {
    const { parts, resource } = this.#passage;
    const others = resource.invalidates.filter((key) => key !== resource.key);
    if (others.length > 0) this.#token ??= await parts.store.touch(others);
  }

  /** A write that may still take effect may still have its side effects. */
  async settle(outcome: Outcome): Promise<void> {
    if (this.#token === undefined) return;
    const { store } = this.#passage.parts;
    if (outcome.kind === 'unknown') await store.settle(this.#token, outcome);
    else await store.settle(this.#token, { kind: outcome.kind === 'notSent' ? 'notSent' : 'changed' });
  }
}

/**
 * W8: the version was read, but a write without a lease (POST, a side effect) may have begun or ended since. Then the
 * decision is made again on what is read afterwards.
 */
async function decideUnmoved(passage: Passage, lease: Acquired, sideEffects: SideEffects): Promise<Decision> {
  const { parts } = passage;
  let since: number | undefined;
  for (let attempt = 1; attempt <= decisionsAtMost; attempt += 1) {
    const decision = await decide(passage, lease.knowledge, since);
    if (decision.kind !== 'forward') return decision;
    await sideEffects.mark();
    if (!isConditional(passage.conditions)) return decision;
    // From the store's answer to the first byte upstream nothing else runs in this process.
    if (parts.store.movedSince(lease.token, since ?? lease.since) !== true) return decision;
    since = parts.clock.now();
  }
  const detail = 'Other requests changed the resource again and again while this one was being decided.';
  const details = { detail, next: 'Retry with backoff.', retryAfter: 1, outcome: 'not-sent' as const };
  return { kind: 'refuse', name: 'contention', details };
}

/** W14: where the mode only reports, a probe without an answer holds nothing up. */
function undecided({ resource }: Passage): (error: unknown) => Decision {
  return (error) => {
    if (resource.policy.mode !== 'report' || !(error instanceof UpstreamError)) throw error;
    return { kind: 'refuse', name: 'version-unknown', details: { detail: error.message, next: '' } };
  };
}

function observed(decision: Decision): Observation | undefined {
  return decision.kind === 'relay' ? undefined : decision.observation;
}

/** W3: the line for the resource is full, or the wait was too long. */
function noLease(passage: Passage, { kind }: NotAcquired): Answer {
  const detail =
    kind === 'queue-full'
      ? 'Too many writes wait for this resource.'
      : 'Other writes to this resource took longer than this one may wait.';
  const next = 'Retry with backoff; nothing was changed.';
  return refuse(passage, 'resource-busy', { detail, next, retryAfter: 1, outcome: 'not-sent', decidedBy: 'store' });
}

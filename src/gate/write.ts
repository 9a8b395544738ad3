import { fieldLine } from '../http/fields.js';
import type { Acquired, NotAcquired, Observation, Outcome } from '../store/store.js';
import type { ResponseHead } from '../upstream/call.js';
import { RequestBodyError, UpstreamError } from '../upstream/errors.js';
import type { SendableBody } from '../upstream/forward.js';
import { problemStatus } from './answers.js';
import { receive, type WriteBody } from './body.js';
import { withoutSynthetic } from './conditions.js';
import { isConditional, leadingCondition } from './decide.js';
import { checkForm, type Decision, decide, type Refusal } from './decision.js';
import type { Answer } from './exchange.js';
import { outcomeOf, restAfter, resultOf } from './learn.js';
import { type Passage, refuse, send } from './passage.js';
import { doubtedByAnswer, refreshAfter, type WriteReply } from './refresh.js';
import { relay, upstreamProblem } from './relay.js';
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
  const { parts, record, conditions, fields, resource, exchange } = passage;
  const { name, received } = leadingCondition(conditions, (field) => fieldLine(fields, field));
  Object.assign(record, { kind: 'write', condition: name, received });
  const reports = resource.policy.mode === 'report';

  const formal = checkForm(passage);
  if (formal !== undefined && !reports) return refused(passage, formal);
  const body = await receive(passage);
  if (body instanceof RequestBodyError) return bodyFailed(passage, body);

  const queuedAt = parts.clock.now();
  const lease = await parts.store.acquire({
    keys: [resource.key],
    kind: isConditional(conditions) ? 'exclusive' : 'shared',
    wait: reports ? 0 : parts.limits.leaseWait,
    signal: exchange.signal,
  });
  record.leaseWait = parts.clock.now() - queuedAt;
  if (lease.kind === 'acquired') return writeUnderLease(passage, lease, body, formal);
  if (lease.kind === 'aborted') return undefined;
  if (!reports) return noLease(passage, lease);
  // W14: report mode waits for nobody and takes no lease from those who need it.
  const answer = await passUnguarded(passage, withoutSynthetic(fields, conditions), body.send());
  return reported(passage, answer, 'contended');
}

async function writeUnderLease(
  passage: Passage,
  lease: Acquired,
  body: WriteBody,
  formal: Refusal | undefined,
): Promise<Answer | undefined> {
  const { parts, resource, exchange, fields, conditions } = passage;
  const reports = resource.policy.mode === 'report';
  // What the lease is settled with if anything throws: until the write is sent, nothing has happened.
  let outcome: Outcome = { kind: 'notSent' };
  try {
    const decision = formal ?? (await decideUnmoved(passage, lease).catch((error) => undecided(passage, error)));
    if (decision.kind !== 'forward') outcome = { kind: 'notSent', observation: observed(decision) };
    if (decision.kind !== 'forward' && !reports) return refused(passage, decision);
    if (exchange.isGone) return undefined;
    if (decision.kind === 'relay') decision.call.abort();
    const sent = decision.kind === 'forward' ? decision.fields : withoutSynthetic(fields, conditions);
    outcome = { kind: 'unknown', rest: parts.limits.quarantine };
    const done = await forward(passage, sent, body, observed(decision));
    outcome = done.outcome;
    return decision.kind === 'forward' ? done.answer : reported(passage, done.answer, reportOf(decision));
  } catch (error) {
    // Only a probe throws here: what follows turns its own failures into answers.
    if (!(error instanceof UpstreamError)) throw error;
    return upstreamProblem(passage, error, 'not-sent');
  } finally {
    await parts.store.settle(lease.token, outcome);
  }
}

/**
 * W8: the version was read, but a write without a lease (POST, a side effect) may have begun or ended since. Then the
 * decision is made again on what is read afterwards.
 */
async function decideUnmoved(passage: Passage, lease: Acquired): Promise<Decision> {
  const { parts } = passage;
  let since: number | undefined;
  for (let attempt = 1; attempt <= decisionsAtMost; attempt += 1) {
    const decision = await decide(passage, since === undefined ? lease.knowledge : [], since);
    // The store's answer and the first byte upstream are one step: nothing else runs between them in this process.
    if (decision.kind !== 'forward' || parts.store.movedSince(lease.token, since ?? lease.since) !== true)
      return decision;
    since = parts.clock.now();
  }
  const detail = 'Other requests changed the resource again and again while this one was being decided.';
  const details = { detail, next: 'Retry with backoff.', retryAfter: 1, outcome: 'not-sent' as const };
  return { kind: 'refuse', name: 'contention', details };
}

/** W14: where the mode only reports, a probe without an answer holds nothing up. */
function undecided({ resource }: Passage, error: unknown): Decision {
  if (resource.policy.mode !== 'report' || !(error instanceof UpstreamError)) throw error;
  return { kind: 'refuse', name: 'version-unknown', details: { detail: error.message, next: '' } };
}

function observed(decision: Decision): Observation | undefined {
  return decision.kind === 'relay' ? undefined : decision.observation;
}

/** Sends the write, once, and turns what comes back into an outcome and an answer (W9 to W11, W15). */
async function forward(
  passage: Passage,
  fields: readonly string[],
  body: WriteBody,
  before: Observation | undefined,
): Promise<{ outcome: Outcome; answer: Answer | undefined }> {
  const { parts, resource } = passage;
  const sideEffects = resource.invalidates.length > 0 ? await parts.store.touch(resource.invalidates) : undefined;
  const reply = await sendWrite(passage, fields, body.send());
  const finish = async (): Promise<{ outcome: Outcome; answer: Answer | undefined }> => {
    if (reply.kind === 'failed') return failedWrite(passage, reply.error);
    const result = reply.aborted ? 'unknown' : resultOf(reply.head.status);
    passage.record.outcome = result;
    const rest = restAfter(reply.aborted, parts.limits.quarantine);
    if (result !== 'changed') {
      return { outcome: outcomeOf(result, before, rest, []), answer: relay(passage, reply.head, reply.call) };
    }
    const { observation, answer } = await refreshAfter(passage, reply, body);
    return { outcome: outcomeOf(result, observation, rest, doubtedByAnswer(passage, reply.head)), answer };
  };
  // A write that may still take effect may still have its side effects.
  let sideOutcome: Outcome = { kind: 'unknown', rest: parts.limits.quarantine };
  try {
    const done = await finish();
    sideOutcome = done.outcome.kind === 'unknown' ? done.outcome : { kind: 'changed' };
    return done;
  } finally {
    if (sideEffects !== undefined) await parts.store.settle(sideEffects, sideOutcome);
  }
}

type Sent = ({ readonly kind: 'answered' } & WriteReply) | { readonly kind: 'failed'; readonly error: Error };

/** The outcome is known at the head or when the body has been sent, whichever is later; an early 4xx ends it (W9). */
async function sendWrite(passage: Passage, fields: readonly string[], body: SendableBody | undefined): Promise<Sent> {
  const { parts, record } = passage;
  const sentAt = parts.clock.now();
  const call = send(passage, fields, body);
  let head: ResponseHead;
  try {
    head = await call.head;
  } catch (error) {
    return { kind: 'failed', error: error as Error };
  }
  record.upstream = parts.clock.now() - sentAt;
  if (head.status < 400 || head.status >= 500) await call.sent;
  return { kind: 'answered', head, call, sentAt, aborted: call.failure instanceof RequestBodyError };
}

/** W9, W11: nothing was sent, or nobody can say what became of it. */
function failedWrite(passage: Passage, error: Error): { outcome: Outcome; answer: Answer | undefined } {
  const { parts, record } = passage;
  const { quarantine } = parts.limits;
  if (error instanceof RequestBodyError) {
    record.outcome = 'unknown';
    const outcome: Outcome = { kind: 'unknown', rest: restAfter(true, quarantine) };
    return { outcome, answer: bodyFailed(passage, error, 'unknown') };
  }
  if (!(error instanceof UpstreamError)) throw error;
  record.outcome = error.sent ? 'unknown' : 'not-sent';
  const outcome: Outcome = error.sent ? { kind: 'unknown', rest: quarantine } : { kind: 'notSent' };
  return { outcome, answer: upstreamProblem(passage, error, record.outcome) };
}

/** The client's body did not come: it is gone, or it was too slow (W3). */
function bodyFailed(
  passage: Passage,
  error: RequestBodyError,
  outcome: 'not-sent' | 'unknown' = 'not-sent',
): Answer | undefined {
  passage.record.error = error.message;
  if (error.reason === 'aborted') return undefined;
  const next = 'Send the whole body without long pauses.';
  return refuse(passage, 'slow-request', { detail: `${error.message}.`, next, outcome, close: true });
}

/** W3: the line for the resource is full, or the wait was too long. */
function noLease(passage: Passage, { kind }: NotAcquired): Answer {
  const { parts, resource } = passage;
  parts.observer.advise(resource.route, 'crowded-key');
  const detail =
    kind === 'queue-full'
      ? 'Too many writes wait for this resource.'
      : 'Other writes to this resource took longer than this one may wait.';
  const next = 'Retry with backoff; nothing was changed.';
  return refuse(passage, 'resource-busy', { detail, next, retryAfter: 1, outcome: 'not-sent', decidedBy: 'store' });
}

function refused(passage: Passage, decision: Exclude<Decision, { kind: 'forward' }>): Answer {
  const { exchange, record } = passage;
  // Who waits for 100 (Continue) and gets a refusal may send its body or not: nobody can tell what comes next (W13).
  const close = exchange.sendContinue !== undefined;
  if (decision.kind === 'relay') {
    record.decision = 'probe-relayed';
    record.decidedBy = 'probe';
    return { ...relay(passage, decision.head, decision.call), close };
  }
  const answer = refuse(passage, decision.name, decision.details);
  const { representation } = decision;
  if (representation === undefined) return { ...answer, close };
  return { ...withRepresentation(passage, answer, representation), close };
}

/** A2: `Prefer: return=representation` on a 412 (RFC 8144 3.2) gives what the client has to merge with. */
function withRepresentation(
  { target }: Passage,
  answer: Answer,
  { head, bytes }: { head: ResponseHead; bytes: Buffer },
): Answer {
  const described = new Set(['content-type', 'content-length']);
  const rawHeaders = answer.rawHeaders.filter((_, index) => !described.has(nameAt(answer.rawHeaders, index)));
  for (const name of ['Content-Type', 'Content-Encoding', 'Content-Language']) {
    const value = fieldLine(head.rawHeaders, name.toLowerCase());
    if (value !== undefined) rawHeaders.push(name, value);
  }
  rawHeaders.push('Content-Length', String(bytes.length), 'Content-Location', target.raw);
  rawHeaders.push('Preference-Applied', 'return=representation');
  return { ...answer, rawHeaders, body: bytes };
}

/** Name, in lower case, of the field that the element at `index` of a flat list belongs to. */
function nameAt(rawHeaders: readonly string[], index: number): string {
  return (rawHeaders[index - (index % 2)] ?? '').toLowerCase();
}

/** W14: what would have happened. */
function reportOf(decision: Exclude<Decision, { kind: 'forward' }>): string {
  if (decision.kind === 'relay') return `${decision.head.status}; probe`;
  const { condition } = decision.details;
  const status = problemStatus(decision.name);
  return condition === undefined || condition === 'none'
    ? `${status}; ${decision.name}`
    : `${status}; ${condition.toLowerCase()}`;
}

function reported(passage: Passage, answer: Answer | undefined, report: string): Answer | undefined {
  const { record } = passage;
  record.decision = `report:${report.split('; ').at(-1)}`;
  if (answer === undefined) return undefined;
  return { ...answer, rawHeaders: [...answer.rawHeaders, 'Ifmatch-Report', report] };
}

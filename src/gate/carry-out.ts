import { type Awaitable, goOn } from '../http/awaitable.js';
import { copied } from '../http/copied.js';
import { fieldLine } from '../http/fields.js';
import { afterWrite } from '../store/seen-tags.js';
import type { GivenTag, Observation, Outcome, Token } from '../store/store.js';
import type { Call, ResponseHead } from '../upstream/call.js';
import { RequestBodyError, UpstreamError } from '../upstream/errors.js';
import { contentHash, type WriteBody } from './body.js';
import type { Answer } from './exchange.js';
import { outcomeOf, restAfter, resultOf } from './learn.js';
import { coverOf, endWithLease } from './lease.js';
import { type Passage, send } from './passage.js';
import { type AfterWrite, doubtedByAnswer, refreshAfter, type WriteReply } from './refresh.js';
import { failure, relay, writersTag } from './relay.js';
import type { Made } from './repeats.js';
import { viewOf } from './version.js';

/** How a write that was sent ended: what the lease is settled with, and what the client is told. */
export interface Done {
  readonly outcome: Outcome;
  /** What the write made of the resource, or may have made (W12); undefined where it did not take effect. */
  readonly made: (() => Made) | undefined;
  /** Undefined where the client is gone. */
  readonly answer: Answer | undefined;
}

/** What a writer has in hand. */
export interface Write {
  /** The fields that go upstream. */
  readonly fields: readonly string[];
  readonly body: WriteBody;
  /** The lease that covers it. */
  readonly token: Token;
  /** What was read under the lease: still true where the upstream refuses the write. */
  readonly before: Observation | undefined;
  /** The same, but read with other credentials: good for its tag alone (V7). */
  readonly foreign: Observation | undefined;
  /** What the store knew when the lease was given. */
  readonly knowledge: readonly Observation[];
}

/** Sends a write, once, and turns what comes back into an outcome and an answer (W9 to W11, W15). */
export async function carryOut(passage: Passage, write: Write): Promise<Done> {
  const sent = await sendWrite(passage, write);
  return sent.kind === 'failed' ? failedWrite(passage, sent.error, write) : answeredWrite(passage, sent, write);
}

type Sent = ({ readonly kind: 'answered' } & WriteReply) | { readonly kind: 'failed'; readonly error: Error };

/** The outcome is known at the head or when the body has been sent, whichever is later; an early 4xx ends it (W9). */
async function sendWrite(passage: Passage, { fields, body, token }: Write): Promise<Sent> {
  const { parts, record } = passage;
  const sentAt = parts.clock.now();
  const isCovered = coverOf(passage, token);
  const call = send(passage, fields, body.send(), isCovered);
  const stopWatching = endWithLease(passage, token, call, isCovered);
  let head: ResponseHead;
  try {
    head = await call.head;
    record.upstream = parts.clock.now() - sentAt;
    if (!endsEarly(head) && !call.wholeRequestSent) await call.sent;
  } catch (error) {
    return { kind: 'failed', error: error as Error };
  } finally {
    stopWatching();
  }
  const aborted = call.failure instanceof RequestBodyError;
  return { kind: 'answered', head, call, sentAt, aborted, broken: brokeOff(head, call) };
}

function endsEarly({ status }: ResponseHead): boolean {
  return status >= 400 && status < 500;
}

/**
 * Whether an answer came too early to tell what became of a write: the connection ended before all of the request was
 * sent, be it that it broke, or that the answer was whole by then (W9, W11).
 *
 * @param call nothing more is sent of it
 */
export function brokeOff(head: ResponseHead, call: Call): boolean {
  return !endsEarly(head) && !call.wholeRequestSent;
}

/** W9, W10: the upstream has said what became of the write. */
function answeredWrite(passage: Passage, reply: WriteReply, write: Write): Awaitable<Done> {
  const { head, call, aborted, broken } = reply;
  const result = broken ? 'unknown' : resultOf(passage.method, head.status);
  passage.record.outcome = result;
  const rest = restAfter(aborted, passage.parts.limits.quarantine);
  const { body, knowledge } = write;
  const before = seenBefore(write);
  if (result !== 'changed') {
    const outcome = outcomeOf(result, head.status, { before, unchanged: write.before, rest, doubts: [] });
    const made = result === 'as-it-was' ? undefined : madeBy(passage, write, {});
    if (broken && head.status < 400) {
      call.abort();
      return { outcome, made, answer: failure(passage, call.failure ?? tooEarly, 'unknown') };
    }
    return { outcome, made, answer: relay(passage, head, call, writersTag(passage, head)) };
  }
  // V7: from here on the tags that were seen before are those of another content.
  passage.seenTags = afterWrite(passage.seenTags, before === undefined ? knowledge : [...knowledge, before]);
  const after = refreshAfter(passage, reply, body);
  return goOn(after, (known) => changed(passage, head, write, known, rest));
}

/** The end of a write that took effect, with what was learned of it. */
function changed(passage: Passage, head: ResponseHead, write: Write, known: AfterWrite, rest: number): Done {
  const { observation: after, given, answer } = known;
  const doubts = doubtedByAnswer(passage, head);
  const facts = { before: seenBefore(write), after, given: givenTag(passage, head, given), rest, doubts };
  const made = madeBy(passage, write, { hash: after?.hash, tag: given });
  return { outcome: outcomeOf('changed', head.status, facts), made, answer };
}

/** W12. Hashed where it comes to be needed: nearly always the client gets its answer. */
function madeBy(
  passage: Passage,
  { body }: Write,
  { hash, tag }: { readonly hash?: string | undefined; readonly tag?: string | undefined },
): (() => Made) | undefined {
  const { method, resource } = passage;
  const { bytes } = body;
  if (!resource.policy.alreadyApplied || bytes === undefined) return undefined;
  return () => {
    const content = method === 'PUT' ? contentHash(passage, bytes) : undefined;
    return { exists: method !== 'DELETE', hash, tag, content };
  };
}

/** What the write came over, whoever read it. */
function seenBefore({ before, foreign }: Write): Observation | undefined {
  return before ?? foreign;
}

function givenTag(passage: Passage, head: ResponseHead, tag: string | undefined): GivenTag | undefined {
  if (tag === undefined || passage.resource.policy.validator.kind !== 'auto') return undefined;
  const { digest } = passage.parts.select(passage.fields, fieldLine(head.rawHeaders, 'vary'));
  return { view: viewOf(passage).view, selection: digest, tag: copied(tag), hash: undefined };
}

const tooEarly = new UpstreamError('connection_terminated', 'the answer was whole before the request was', true);

/** W9, W11: nothing was sent, or nobody can say what became of it. */
function failedWrite(passage: Passage, error: Error, write: Write): Done {
  const { parts, record } = passage;
  const before = seenBefore(write);
  const isUnsent = error instanceof UpstreamError && !error.sent;
  record.outcome = isUnsent ? 'not-sent' : 'unknown';
  const aborted = error instanceof RequestBodyError && error.reason === 'aborted';
  const unknown: Outcome = { kind: 'unknown', rest: restAfter(aborted, parts.limits.quarantine), before };
  const answer = failure(passage, error, record.outcome);
  if (isUnsent) return { outcome: { kind: 'notSent' }, made: undefined, answer };
  return { outcome: unknown, made: madeBy(passage, write, {}), answer };
}

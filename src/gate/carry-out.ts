import type { Observation, Outcome } from '../store/store.js';
import type { Call, ResponseHead } from '../upstream/call.js';
import { RequestBodyError, UpstreamError } from '../upstream/errors.js';
import type { SendableBody } from '../upstream/forward.js';
import type { WriteBody } from './body.js';
import type { Answer } from './exchange.js';
import { outcomeOf, restAfter, resultOf } from './learn.js';
import { type Passage, send } from './passage.js';
import { doubtedByAnswer, refreshAfter, type WriteReply } from './refresh.js';
import { failure, relay, writersTag } from './relay.js';

/** How a write that was sent ended: what the lease is settled with, and what the client is told. */
export interface Done {
  readonly outcome: Outcome;
  /** Undefined where the client is gone. */
  readonly answer: Answer | undefined;
}

/**
 * Sends a write, once, and turns what comes back into an outcome and an answer (W9 to W11, W15).
 *
 * @param fields that go upstream
 * @param before what was read under the lease: still true where the upstream refuses the write
 */
export async function carryOut(
  passage: Passage,
  fields: readonly string[],
  body: WriteBody,
  before: Observation | undefined,
): Promise<Done> {
  const sent = await sendWrite(passage, fields, body.send());
  return sent.kind === 'failed' ? failedWrite(passage, sent.error) : answeredWrite(passage, sent, body, before);
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
  if (!endsEarly(head)) await call.sent;
  const aborted = call.failure instanceof RequestBodyError;
  return { kind: 'answered', head, call, sentAt, aborted, broken: brokeOff(head, call) };
}

function endsEarly({ status }: ResponseHead): boolean {
  return status >= 400 && status < 500;
}

/** Whether a write broke off after an answer that came too early to tell what became of it (W9, W11). */
export function brokeOff(head: ResponseHead, call: Call): boolean {
  return !endsEarly(head) && call.failure !== undefined && !call.wholeRequestSent;
}

/** W9, W10: the upstream has said what became of the write. */
async function answeredWrite(
  passage: Passage,
  reply: WriteReply,
  body: WriteBody,
  before: Observation | undefined,
): Promise<Done> {
  const { head, call, aborted, broken } = reply;
  const result = broken ? 'unknown' : resultOf(head.status);
  passage.record.outcome = result;
  const rest = restAfter(aborted, passage.parts.limits.quarantine);
  if (result !== 'changed') {
    return {
      outcome: outcomeOf(result, before, rest, []),
      answer: relay(passage, head, call, writersTag(passage, head)),
    };
  }
  const { observation, answer } = await refreshAfter(passage, reply, body);
  return { outcome: outcomeOf(result, observation, rest, doubtedByAnswer(passage, head)), answer };
}

/** W9, W11: nothing was sent, or nobody can say what became of it. */
function failedWrite(passage: Passage, error: Error): Done {
  const { parts, record } = passage;
  const isUnsent = error instanceof UpstreamError && !error.sent;
  record.outcome = isUnsent ? 'not-sent' : 'unknown';
  const aborted = error instanceof RequestBodyError && error.reason === 'aborted';
  const unknown: Outcome = { kind: 'unknown', rest: restAfter(aborted, parts.limits.quarantine) };
  const answer = failure(passage, error, record.outcome);
  return { outcome: isUnsent ? { kind: 'notSent' } : unknown, answer };
}

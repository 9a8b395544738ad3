import type { Outcome } from '../store/store.js';
import { RequestBodyError, UpstreamError } from '../upstream/errors.js';
import type { SendableBody } from '../upstream/forward.js';
import { brokeOff } from './carry-out.js';
import type { Answer } from './exchange.js';
import { outcomeOf, restAfter, resultOf } from './learn.js';
import { type Passage, send, stopWithClient } from './passage.js';
import { doubtedByAnswer } from './refresh.js';
import { failure, relay, writersTag } from './relay.js';
import { scopeOf } from './scope.js';

/**
 * A request that may write but takes no lease (W16, and W14's contended writes): it waits for nobody. While it is in
 * flight its target is in doubt, and at its outcome the epoch moves again; one whose outcome is unknown counts as being in
 * flight until the rest is over (W11).
 *
 * @returns undefined where the client went away in the middle of its body
 */
export async function passUnguarded(
  passage: Passage,
  fields: readonly string[],
  body: SendableBody | undefined,
): Promise<Answer | undefined> {
  const { parts, record } = passage;
  const { written, besides } = scopeOf(passage);
  const { quarantine } = parts.limits;
  // Where the store is out of reach (S4) it passes all the same: it is not guarded.
  const { token: mark, seenTags } = await parts.store.touch([...written, ...besides]);
  passage.seenTags = seenTags;
  parts.repeats.overwritten(mark.keys);
  const sentAt = parts.clock.now();
  const call = send(passage, fields, body);
  stopWithClient(passage, call, body);
  try {
    const head = await call.head;
    record.upstream = parts.clock.now() - sentAt;
    const result = resultOf(passage.method, head.status);
    record.outcome = result;
    const settled = call.sent.then(() => {
      const aborted = call.failure instanceof RequestBodyError;
      const isUnknown = aborted || result === 'unknown' || brokeOff(head, call);
      if (isUnknown) record.outcome = 'unknown';
      // It may have come over what a guarded write has made meanwhile (W12).
      if (isUnknown || result !== 'as-it-was') parts.repeats.overwritten(mark.keys);
      const facts = { rest: restAfter(aborted, quarantine), doubts: doubtedByAnswer(passage, head) };
      return parts.store.settle(mark, outcomeOf(isUnknown ? 'unknown' : result, head.status, facts));
    });
    // Both sides may be speaking at once: an answer that begins before the request has ended is not held up.
    if (call.wholeRequestSent) await settled;
    return relay(passage, head, call, writersTag(passage, head));
  } catch (error) {
    const isFailure = error instanceof UpstreamError;
    record.outcome = isFailure && !error.sent ? 'not-sent' : 'unknown';
    const unknown: Outcome = {
      kind: 'unknown',
      rest: restAfter(error instanceof RequestBodyError && error.reason === 'aborted', quarantine),
    };
    if (record.outcome === 'unknown') parts.repeats.overwritten(mark.keys);
    await parts.store.settle(mark, record.outcome === 'unknown' ? unknown : { kind: 'notSent' });
    return failure(passage, error, record.outcome);
  }
}

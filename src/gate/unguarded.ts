import type { Token } from '../store/store.js';
import { UpstreamError } from '../upstream/errors.js';
import type { SendableBody } from '../upstream/forward.js';
import type { Answer } from './exchange.js';
import { resultOf } from './learn.js';
import { type Passage, send } from './passage.js';
import { doubtedByAnswer } from './refresh.js';
import { relay, upstreamProblem } from './relay.js';

/**
 * A request that may write but takes no lease (W16, and W14's contended writes): it waits for nobody. While it is in
 * flight its target is in doubt, and at its outcome the epoch moves again.
 *
 * @returns undefined where the client went away in the middle of its body
 */
export async function passUnguarded(
  passage: Passage,
  fields: readonly string[],
  body: SendableBody | undefined,
): Promise<Answer | undefined> {
  const { parts, resource, record } = passage;
  const mark = await parts.store.touch([resource.key, ...resource.invalidates]);
  const sentAt = parts.clock.now();
  const call = send(passage, fields, body);
  try {
    const head = await call.head;
    record.upstream = parts.clock.now() - sentAt;
    record.outcome = resultOf(head.status);
    const settled = call.sent.then(() => settle(passage, mark, doubtedByAnswer(passage, head)));
    // Both sides may be speaking at once: an answer that begins before the request has ended is not held up.
    if (call.wholeRequestSent) await settled;
    return relay(passage, head, call);
  } catch (error) {
    await settle(passage, mark, []);
    record.outcome = 'unknown';
    if (!(error instanceof UpstreamError)) return undefined;
    record.outcome = error.sent ? 'unknown' : 'not-sent';
    return upstreamProblem(passage, error, record.outcome);
  }
}

function settle({ parts }: Passage, mark: Token, doubts: readonly string[]): Promise<void> {
  return parts.store.settle(mark, { kind: 'changed', doubts });
}

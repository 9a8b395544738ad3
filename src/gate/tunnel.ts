import { FieldNames, withoutFields } from '../http/fields.js';
import { UpstreamError } from '../upstream/errors.js';
import type { Answer } from './exchange.js';
import { type Passage, refuse } from './passage.js';
import { relay, upstreamProblem } from './relay.js';

/** A3, W14: what only the gate says. RFC 9110 8.6, RFC 9112 6.1: a 1xx has no framing. */
const notOf101 = new FieldNames(['x-request-id', 'ifmatch-report', 'content-length', 'transfer-encoding']);

/**
 * A GET that asks for another protocol (RFC 9110 7.8): if the upstream agrees, its answer comes with its connection,
 * and nothing that follows on it concerns the gate. Any other answer is relayed as one to a request without Upgrade.
 *
 * @param protocols value of Upgrade; none of them carries HTTP
 */
export async function tunnel(passage: Passage, protocols: string): Promise<Answer> {
  const { parts, exchange, record, target, host, fields, resource } = passage;
  const { policy } = resource;
  if (parts.tunnels === undefined) return refuseUpgrade(passage);
  const sentAt = parts.clock.now();
  try {
    const reply = await parts.tunnels.open({
      target: target.raw,
      rawHeaders: [...parts.outbound(fields, exchange, host), 'Connection', 'Upgrade', 'Upgrade', protocols],
      upstreamTimeout: policy.timeouts.upstreamTimeout,
      idleTimeout: policy.timeouts.idleTimeout,
      signal: exchange.signal,
    });
    record.upstream = parts.clock.now() - sentAt;
    const { head } = reply;
    // R1: which tags may be used is found out by reads alone.
    const tag = policy.guard === 'off' ? 'keep' : { etag: undefined };
    if (reply.kind === 'answered') return relay(passage, head, reply.body, tag);
    record.status = head.status;
    // All else of a 101 stays: what it says of the connection holds for both of them.
    const rawHeaders = withoutFields(head.rawHeaders, notOf101);
    return { status: head.status, statusText: head.statusText, rawHeaders, body: undefined, tunnel: reply.socket };
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    return upstreamProblem(passage, error, undefined);
  }
}

/** RFC 9110 15.5.22: the answer names what can be spoken instead. */
function refuseUpgrade(passage: Passage): Answer {
  const answer = refuse(passage, 'upgrade-refused', {
    detail: 'This address speaks HTTP/1.1 alone; requests to change the protocol are not passed on.',
    next: 'Send the request without Upgrade, or ask the operator to set websocket: true.',
    decidedBy: 'policy',
  });
  answer.rawHeaders.push('Upgrade', 'HTTP/1.1', 'Connection', 'Upgrade');
  return answer;
}

import { exposeEtag } from '../headers/cors.js';
import { FieldNames, fieldLine, withoutFields } from '../http/fields.js';
import type { ResponseHead } from '../upstream/call.js';
import { problemStatus } from './answers.js';
import type { Decision, Refusal } from './decision.js';
import type { Answer } from './exchange.js';
import { type Passage, refuse } from './passage.js';
import { relay } from './relay.js';

/** What holds a write back: a refusal of the gate's own, or the upstream's refusal of the probe. */
export type HeldBack = Refusal | Extract<Decision, { kind: 'relay' }>;

/** The answer to a write that is not forwarded (W5, W7). */
export function refused(passage: Passage, decision: HeldBack): Answer {
  const { exchange, record } = passage;
  // Who waits for 100 (Continue) and gets a refusal may send its body or not: nobody can tell what comes next (W13).
  const close = exchange.sendContinue !== undefined;
  if (decision.kind === 'relay') {
    record.decision = 'probe-relayed';
    record.decidedBy = 'probe';
    return { ...relay(passage, decision.head, decision.call), close };
  }
  const answer = refuse(passage, decision.name, decision.details, close);
  const { representation } = decision;
  return representation === undefined ? answer : withRepresentation(passage, answer, representation);
}

/**
 * The answer to a write that comes again and has taken effect before (W12). The ETag is there where RFC 9110 9.3.4
 * allows it: what is stored is byte for byte what was sent.
 */
export function alreadyApplied(
  { record, parts, exchange, resource, fields }: Passage,
  { observation, isStored }: Extract<Decision, { kind: 'applied' }>,
): Answer {
  record.decision = 'already-applied';
  record.decidedBy = 'probe';
  record.status = 204;
  const tag = isStored && observation.etag !== undefined ? ['ETag', observation.etag] : [];
  const rawHeaders = exposeEtag([...tag, ...parts.cors.replay(resource.route, fieldLine(fields, 'origin'))]);
  const close = exchange.sendContinue !== undefined;
  return { status: 204, statusText: undefined, rawHeaders: parts.inbound(rawHeaders), body: undefined, close };
}

/** What describes the problem itself, and how browsers are to treat its page. */
const ofTheProblem = new FieldNames([
  'content-type',
  'content-length',
  'x-content-type-options',
  'content-security-policy',
]);

/** A2: `Prefer: return=representation` on a 412 (RFC 8144 3.2) gives what the client has to merge with. */
function withRepresentation(
  { target }: Passage,
  answer: Answer,
  { head, bytes }: { head: ResponseHead; bytes: Buffer },
): Answer {
  const rawHeaders = withoutFields(answer.rawHeaders, ofTheProblem);
  for (const name of ['Content-Type', 'Content-Encoding', 'Content-Language']) {
    const value = fieldLine(head.rawHeaders, name.toLowerCase());
    if (value !== undefined) rawHeaders.push(name, value);
  }
  rawHeaders.push('Content-Length', String(bytes.length), 'Content-Location', target.raw);
  rawHeaders.push('Preference-Applied', 'return=representation');
  return { ...answer, rawHeaders, body: bytes };
}

/** What would have become of a write that report mode lets pass (W14): its status, and the condition or name. */
export interface Report {
  readonly text: string;
  /** For log and metrics. */
  readonly decision: string;
}

/** @param decision what the gate would have done */
export function reportOf(decision: HeldBack): Report {
  if (decision.kind === 'relay') return { text: `${decision.head.status}; probe`, decision: 'report:probe-relayed' };
  const { name, details } = decision;
  const [field = 'none'] = details.condition?.split(':') ?? [];
  const text = `${problemStatus(name)}; ${field === 'none' ? name : field.toLowerCase()}`;
  return { text, decision: `report:${name}` };
}

/** The answer to a write that was forwarded although the gate would have held it back (W14). */
export function reported(passage: Passage, answer: Answer | undefined, report: Report): Answer | undefined {
  passage.record.decision = report.decision;
  if (answer === undefined) return undefined;
  return { ...answer, rawHeaders: [...answer.rawHeaders, 'Ifmatch-Report', report.text] };
}

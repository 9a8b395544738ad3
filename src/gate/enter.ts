import { type LenientMode, strictConditions } from '../headers/lenient.js';
import { methodOverride, withoutMethodParameter } from '../headers/override.js';
import { endToEnd, FieldNames, fieldLine, fieldValues, firstValue, type RawHeaders } from '../http/fields.js';
import { parsePreconditions } from '../http/preconditions.js';
import { isSigned } from '../resource/credential.js';
import type { LocatedReference } from '../resource/locate.js';
import type { Target } from '../resource/target.js';
import { nothingSeen } from '../store/seen-tags.js';
import { type ProblemDetails, type ProblemName, problemAnswer, problemStatus } from './answers.js';
import { readDavIf } from './dav-if.js';
import type { Answer, Exchange } from './exchange.js';
import { malformation } from './malformation.js';
import type { DecisionRecord } from './outcome.js';
import type { GateParts, Passage } from './passage.js';
import { safeMethods } from './relay.js';
import type { RoutePolicy } from './settings.js';

/**
 * Everything about a request that the protocols need to know (I1 to I7).
 *
 * @param target of the request, which every parser reads the same way (I6)
 * @returns the passage; or the answer to a request that could be understood in more than one way
 */
export function enter(
  parts: GateParts,
  exchange: Exchange,
  record: DecisionRecord,
  target: Target,
): Passage | { readonly answer: Answer } {
  const fault = malformation(exchange);
  if (fault !== undefined) {
    const details = { detail: fault.detail, next: 'Correct the request and send it again.', close: true };
    return { answer: made(exchange, record, fault.name, details) };
  }
  const sent = endToEnd(exchange.rawHeaders, notForwarded);
  const override = methodOverride(sent, target.query);
  if (override.kind === 'conflict') return { answer: conflict(exchange, record, override.methods) };
  const host = target.authority ?? firstValue(sent, 'host') ?? '';
  const readTarget = override.kind === 'none' ? target : withoutOverride(target);
  const resource = parts.locate(readTarget, host);
  const { policy } = resource;
  const method = effectiveMethod(exchange.method, override, policy.methods);
  record.route = resource.route;
  record.method = method;
  const isNamed = writesDestination.has(method) || writesDestination.has(exchange.method);
  const named = isNamed ? destinationOf(sent, host, parts) : undefined;
  if (named?.kind === 'refused') return { answer: unclearDestination(exchange, record, named.reason) };
  const destination = named?.resource;
  const isTouched = policy.guard !== 'off';
  const fields = isTouched && policy.lenient.length > 0 ? forgiven(sent, target, policy.lenient) : sent;
  const isJudged = isTouched || (destination !== undefined && destination.policy.guard !== 'off');
  const davIf = isJudged && !safeMethods.has(method) ? readDavIf(sent, readTarget, resource, host, parts) : undefined;
  return {
    parts,
    exchange,
    record,
    target,
    readTarget,
    host,
    method,
    fields,
    conditions: conditionsOf(sent, policy, exchange.arrivedAt),
    resource,
    destination,
    davIf,
    seenTags: nothingSeen,
    view: undefined,
    scope: undefined,
  };
}

function conflict(exchange: Exchange, record: DecisionRecord, methods: readonly string[]): Answer {
  const detail = `The request names more than one method to be taken for: ${methods.join(', ')}.`;
  return made(exchange, record, 'conflicting-override', { detail, next: 'Send one method override at most.' });
}

function unclearDestination(exchange: Exchange, record: DecisionRecord, reason: string): Answer {
  const detail = `Destination does not name one resource for certain. ${reason}`;
  const next = 'Send one Destination, in one unambiguous form.';
  return made(exchange, record, 'ambiguous-target', { detail, next });
}

/** What the gate answers itself (W13) and does not pass on. */
const notForwarded = new FieldNames(['expect']);

/** Methods that write what Destination names, too (RFC 4918 9.8, 9.9; I7). */
const writesDestination: ReadonlySet<string> = new Set(['COPY', 'MOVE']);

/** I7: undefined where there is none, which is for the upstream to refuse. */
function destinationOf(
  raw: RawHeaders,
  host: string,
  { locateReference }: GateParts,
): LocatedReference<RoutePolicy> | undefined {
  const [destination, ...others] = fieldValues(raw, 'destination');
  if (destination === undefined) return undefined;
  if (others.length > 0) return { kind: 'refused', reason: 'There is more than one.' };
  return locateReference(destination, host);
}

/** The conditions that the gate holds against the version; what a route does not guard has none (`guard: off`). */
function conditionsOf(raw: RawHeaders, { lenient, guard }: RoutePolicy, now: number): Passage['conditions'] {
  if (guard === 'off') return parsePreconditions([], now);
  return parsePreconditions(lenient.length === 0 ? raw : strictConditions(raw, lenient), now);
}

/** Conditions go upstream as the upstream knows its tags, but for those that a signature covers. */
function forgiven(raw: RawHeaders, target: Target, lenient: readonly LenientMode[]): RawHeaders {
  const areSigned = ['if-match', 'if-none-match'].some((name) => isSigned(raw, target.query, name));
  return areSigned ? raw : strictConditions(raw, lenient);
}

/**
 * I4: an override only raises. A request that some backend may take for a guarded write is that write, and a read that
 * may be taken for a write is no read.
 */
function effectiveMethod(
  method: string,
  override: ReturnType<typeof methodOverride>,
  guarded: readonly string[],
): string {
  if (override.kind !== 'method') return method;
  const isGuarded = guarded.includes(override.method) || writesDestination.has(override.method);
  const raises = isGuarded || (safeMethods.has(method) && !safeMethods.has(override.method));
  return raises ? override.method : method;
}

function withoutOverride(target: Target): Target {
  const query = withoutMethodParameter(target.query);
  return { ...target, query, raw: query === undefined ? target.path : `${target.path}?${query}` };
}

/** A problem about a request for which no resource was found. */
export function made(exchange: Exchange, record: DecisionRecord, name: ProblemName, details: ProblemDetails): Answer {
  record.kind = 'made';
  record.decision = name;
  record.status = problemStatus(name);
  record.decidedBy = 'policy';
  return problemAnswer(
    name,
    { ...details, decidedBy: 'policy' },
    {
      requestId: exchange.requestId,
      path: record.path,
      accept: fieldLine(exchange.rawHeaders, 'accept'),
    },
  );
}

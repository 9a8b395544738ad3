import type { Client } from '../helpers/simulated-client.js';
import type { SentRequest } from '../helpers/simulated-upstream.js';
import type { Model } from './model.js';
import { bodyTime, isGuarded, isRead, type Operation } from './rules.js';
import { limits } from './setting.js';

/** What a problem of the gate's own says (A1). */
export interface Problem {
  readonly name: string;
  readonly outcome: 'not-sent' | 'unknown' | undefined;
  /** The tag that it calls current. */
  readonly current: string | undefined;
}

const prefix = 'urn:problem-type:ifmatch:';

/** @returns undefined where the answer is the backend's */
export function problemOf({ content }: Client): Problem | undefined {
  if (!content.startsWith('{')) return undefined;
  const { type, outcome, current } = JSON.parse(content) as {
    type: string;
    outcome?: Problem['outcome'];
    current?: { etag?: string };
  };
  return { name: type.slice(prefix.length), outcome, current: current?.etag };
}

/** Reasons for which the gate may answer so, by the problem's name. Refusals of conditions are judged elsewhere. */
const reasons: Readonly<Record<string, (model: Model, operation: Operation) => boolean>> = {
  'precondition-failed': () => true,
  'resource-busy': (model, operation) => waitedLong(operation) || hadFullLine(model, operation),
  contention: (model, operation) => movements(model, operation) >= 3,
  'upstream-failed': (model, operation) => requestsOf(model, operation).some(hasFailed),
  'upstream-timeout': (model, operation) => requestsOf(model, operation).some(({ end }) => end instanceof Error),
  'version-unknown': (model, operation) => requestsOf(model, operation).some(tellsNothing),
  'slow-request': (_, { client }) => client.request.slowBody === true,
};

/** Answers of the gate's own for which nothing that happened is a reason. */
export function unexplained(model: Model, operation: Operation, problem: Problem | undefined): string[] {
  if (problem === undefined) return [];
  const isReason = reasons[problem.name];
  const found = isReason?.(model, operation) ? [] : [`${operation.id} was answered with ${problem.name} for no reason`];
  if (problem.outcome !== 'unknown') return found;
  const isUnknown = model.holds(operation.path).some((hold) => hold.operation === operation && hold.changes);
  return isUnknown ? found : [...found, `${operation.id} was told that its outcome is unknown`];
}

function requestsOf({ requests }: Model, { id }: Operation): SentRequest[] {
  return requests.filter((request) => request.id === id);
}

function hasFailed(request: SentRequest): boolean {
  return request.end instanceof Error || (isRead(request) && request.deliveredAt === undefined);
}

function tellsNothing(request: SentRequest): boolean {
  const { end } = request;
  const isSlow = bodyTime(request) >= limits.upstreamTimeout;
  return typeof end === 'number' && end < 500 && (isSlow || (end !== 200 && end !== 404));
}

function waitedLong({ arrivedAt, doneAt = 0 }: Operation): boolean {
  return doneAt - arrivedAt >= limits.leaseWait - 1;
}

/** W3: whether as many waited for the resource as may when this one came. */
function hadFullLine({ operations }: Model, { path, arrivedAt, doneAt = 0 }: Operation): boolean {
  const waiting = operations.filter((other) => {
    const end = Math.min(other.doneAt ?? Number.POSITIVE_INFINITY, other.leftAt ?? Number.POSITIVE_INFINITY);
    return other.path === path && isGuarded(other) && other.arrivedAt < doneAt && end > arrivedAt;
  });
  // The one that is judged is among them.
  return waiting.length > limits.leaseQueue;
}

/** W8, W11: how often a write without a lease began, ended or ended its rest while this one was being decided. */
function movements(model: Model, { path, arrivedAt, doneAt = 0 }: Operation): number {
  const times = model
    .holds(path)
    .filter(({ request }) => !isGuarded(request))
    .flatMap(({ from, request, to }) => [from, request.answeredAt ?? to, to]);
  return times.filter((time) => time > arrivedAt && time < doneAt).length;
}

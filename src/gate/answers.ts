import { type Problem, proxyStatus, renderProblem } from '../http/problem.js';
import type { Observation } from '../store/store.js';
import type { Answer } from './exchange.js';
import type { ConditionName, DecidedBy } from './outcome.js';

/** Names of the problems that the gate answers with, as they stand in `type`, logs and metrics. */
export type ProblemName =
  | 'malformed-request'
  | 'request-head-too-large'
  | 'expectation-failed'
  | 'ambiguous-target'
  | 'conflicting-override'
  | 'malformed-precondition'
  | 'precondition-failed'
  | 'precondition-required'
  | 'version-unknown'
  | 'resource-busy'
  | 'store-unavailable'
  | 'contention'
  | 'slow-request'
  | 'upstream-failed'
  | 'upstream-timeout'
  | 'lease-lost'
  | 'upgrade-refused'
  | 'internal-error';

const kinds: Readonly<Record<ProblemName, { status: number; title: string; error: string }>> = {
  'malformed-request': { status: 400, title: 'Malformed request', error: 'http_request_error' },
  'request-head-too-large': { status: 431, title: 'Request head too large', error: 'http_request_error' },
  'expectation-failed': { status: 417, title: 'Expectation Failed', error: 'http_request_error' },
  'ambiguous-target': { status: 400, title: 'Ambiguous request target', error: 'http_request_error' },
  'conflicting-override': { status: 400, title: 'Conflicting method overrides', error: 'http_request_error' },
  'malformed-precondition': { status: 400, title: 'Malformed precondition', error: 'http_request_error' },
  'precondition-failed': { status: 412, title: 'Precondition Failed', error: 'http_request_denied' },
  'precondition-required': { status: 428, title: 'Precondition Required', error: 'http_request_denied' },
  'version-unknown': { status: 502, title: 'Version unknown', error: 'http_request_denied' },
  'resource-busy': { status: 503, title: 'Resource busy', error: 'http_request_denied' },
  'store-unavailable': { status: 503, title: 'Store unavailable', error: 'proxy_internal_error' },
  contention: { status: 503, title: 'Too much contention', error: 'http_request_denied' },
  'slow-request': { status: 408, title: 'Request Timeout', error: 'http_request_error' },
  'upstream-failed': { status: 502, title: 'Bad Gateway', error: 'destination_unavailable' },
  'upstream-timeout': { status: 504, title: 'Gateway Timeout', error: 'http_response_timeout' },
  'lease-lost': { status: 504, title: 'Gateway Timeout', error: 'proxy_internal_error' },
  'upgrade-refused': { status: 426, title: 'Upgrade Required', error: 'http_request_denied' },
  'internal-error': { status: 500, title: 'Internal error', error: 'proxy_internal_error' },
};

/** A page of the gate's own is what it says it is, loads nothing and runs nothing. */
const ofPages = [
  ...['X-Content-Type-Options', 'nosniff'],
  ...['Content-Security-Policy', "default-src 'none'; style-src 'unsafe-inline'"],
];

/** What a client sent comes back up to this length, in characters: clients and proxies do not read heads without end. */
const longestReflection = 1024;

/** What a problem says beyond its name. */
export interface ProblemDetails {
  readonly detail: string;
  readonly next: string;
  readonly condition?: ConditionName;
  readonly received?: readonly string[];
  /** Only what was read with this client's own credentials (A1). */
  readonly current?: Observation | undefined;
  readonly decidedBy?: DecidedBy;
  readonly outcome?: 'not-sent' | 'unknown';
  /** Seconds. */
  readonly retryAfter?: number;
  /** RFC 9209 error type, where it is more precise than the problem's own. */
  readonly error?: string;
  readonly close?: boolean;
}

/** What every problem says of its request. */
export interface ProblemContext {
  readonly requestId: string;
  readonly path: string;
  /** Value of the request's Accept. */
  readonly accept: string | undefined;
  /** Fields for browsers on other origins (R6). */
  readonly cors?: readonly string[];
  /** Whether the connection ends with the answer, whatever the problem says of it. */
  readonly close?: boolean | undefined;
}

/** Status of a problem, for records. */
export function problemStatus(name: ProblemName): number {
  return kinds[name].status;
}

/**
 * Makes an answer of the gate's own (A1, A2): a problem in JSON or HTML, never stored, and recognisable as the gate's
 * by Proxy-Status.
 */
export function problemAnswer(name: ProblemName, details: ProblemDetails, context: ProblemContext): Answer {
  const { status, title, error } = kinds[name];
  const { condition, received, current, retryAfter } = details;
  const detail = shortened(details.detail);
  const problem: Problem = {
    type: `urn:problem-type:ifmatch:${name}`,
    title,
    status,
    detail,
    // Cut off it would be the URL of something else.
    instance: context.path.length <= longestReflection ? context.path : undefined,
    precondition: condition === undefined || condition === 'none' ? undefined : fieldOf(condition),
    received: received === undefined || received.length === 0 ? undefined : received.slice(0, 16).map(shortened),
    current: currentMember(current),
    decidedBy: details.decidedBy,
    outcome: details.outcome,
    next: details.next,
    requestId: context.requestId,
  };
  const { contentType, body: text } = renderProblem(problem, context.accept);
  const body = Buffer.from(text);
  const rawHeaders = ['Content-Type', contentType, 'Content-Length', String(body.length)];
  rawHeaders.push('Cache-Control', 'no-store', 'Proxy-Status', proxyStatus(details.error ?? error, detail));
  if (contentType.startsWith('text/html')) rawHeaders.push(...ofPages);
  // A2: the current validators travel with a 412, so that a client can see them without reading the problem.
  if (status === 412 && current?.etag !== undefined) rawHeaders.push('ETag', current.etag);
  if (status === 412 && current?.lastModified !== undefined) rawHeaders.push('Last-Modified', current.lastModified);
  if (retryAfter !== undefined) rawHeaders.push('Retry-After', String(retryAfter));
  if (context.cors !== undefined) rawHeaders.push(...context.cors);
  return { status, statusText: undefined, rawHeaders, body, close: context.close ?? details.close ?? false };
}

/** The field of a condition: `If-Match: *` has its name of its own in the log alone. */
function fieldOf(condition: ConditionName): string {
  return condition === 'If-Match: *' ? 'If-Match' : condition;
}

function shortened(text: string): string {
  return text.length <= longestReflection ? text : `${text.slice(0, longestReflection)}…`;
}

function currentMember(current: Observation | undefined): Problem['current'] {
  if (current?.etag === undefined && current?.lastModified === undefined) return undefined;
  return { etag: current.etag, lastModified: current.lastModified };
}

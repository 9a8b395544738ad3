import type { CorsMemory } from '../headers/cors.js';
import type { Clock } from '../http/clock.js';
import { fieldLine, type RawHeaders } from '../http/fields.js';
import type { Preconditions } from '../http/preconditions.js';
import type { Selecting } from '../http/selecting.js';
import type { Identity } from '../resource/identity.js';
import type { LocatedReference } from '../resource/locate.js';
import type { Target } from '../resource/target.js';
import type { SeenTag } from '../store/seen-tags.js';
import type { Store } from '../store/store.js';
import type { Call } from '../upstream/call.js';
import type { SendableBody, Upstream, UpstreamRequest } from '../upstream/forward.js';
import type { Hashing } from '../upstream/probe.js';
import type { HoldBudget } from '../upstream/represent.js';
import type { Tunnels } from '../upstream/tunnel.js';
import { type ProblemDetails, type ProblemName, problemAnswer, problemStatus } from './answers.js';
import type { Crowds } from './crowds.js';
import type { TaggedConditions } from './dav-if.js';
import { isConditional } from './decide.js';
import type { Answer, Exchange } from './exchange.js';
import type { DecisionRecord, Observer } from './outcome.js';
import type { Repeats } from './repeats.js';
import type { Scope } from './scope.js';
import type { GateLimits, RoutePolicy } from './settings.js';

/** The rules for one request-target, and the keys of other resources that its path names. */
export interface Resource {
  /** Pattern of the route that matched, `*` where none did. */
  readonly route: string;
  readonly policy: RoutePolicy;
  /** Fingerprint of what decides how the route's tags are made (V2). */
  readonly fingerprint: string;
  /** Key of the resource (I1). */
  readonly key: string;
  /** Keys of the resources that a write to this one changes too (W8). */
  readonly invalidates: readonly string[];
}

/** What the gate is made of; all of it is injected. */
export interface GateParts {
  readonly store: Store;
  readonly upstream: Upstream;
  /** The way for upgrades; undefined where they are refused. */
  readonly tunnels?: Tunnels | undefined;
  readonly clock: Clock;
  readonly limits: GateLimits;
  readonly budget: HoldBudget;
  readonly crowds: Crowds;
  readonly repeats: Repeats;
  readonly observer: Observer;
  readonly cors: CorsMemory;
  /** The resource and the rules for a target (I1, I5). */
  readonly locate: (target: Target, host: string) => Resource;
  /** The key of a resource that an answer names, where it is one of this upstream's (W10). */
  readonly keyOf: (reference: string, target: Target, host: string) => string | undefined;
  /** The resource that a request names besides its own (I7, R5). */
  readonly locateReference: (reference: string, host: string) => LocatedReference<RoutePolicy>;
  /** Who asks (I2). */
  readonly identify: (
    raw: RawHeaders,
    host: string,
    credentials: 'auto' | readonly string[],
    query?: string,
  ) => Identity;
  /** The selecting fields of a request, given the answer's Vary (I2). */
  readonly select: (raw: RawHeaders, vary: string | undefined) => Selecting;
  /** The fields of a request as they go upstream: Host, X-Forwarded-*, X-Request-Id, Via. */
  readonly outbound: (raw: RawHeaders, exchange: Exchange, host: string) => string[];
  /** The fields of an upstream's answer as they go to the client: Via. */
  readonly inbound: (raw: string[]) => string[];
}

/** One request on its way through the gate. */
export interface Passage {
  readonly parts: GateParts;
  readonly exchange: Exchange;
  readonly record: DecisionRecord;
  readonly target: Target;
  /** The same without a `_method` parameter: what is read, keyed and compared (I4). */
  readonly readTarget: Target;
  /** Host that the client named. */
  readonly host: string;
  /** The method that the upstream will take the request for (I4). */
  readonly method: string;
  /** End-to-end fields of the request. */
  readonly fields: readonly string[];
  readonly conditions: Preconditions;
  readonly resource: Resource;
  /** What MOVE and COPY write besides (I7). */
  readonly destination: Resource | undefined;
  /** WebDAV's `If`, where it has tags that only the gate can judge (R5). */
  readonly davIf: TaggedConditions | undefined;
  /** What is held against the upstream's own tags here (V7), as the store or a write of this request last told. */
  seenTags: readonly SeenTag[];
  /** The view that the request reads and writes (I2), once somebody has asked for it. */
  view?: View | undefined;
  /** The resources that a write concerns, once somebody has asked for them. */
  scope?: Scope | undefined;
}

/** What a request sees of a resource, and whether its credentials are good for it alone (I2, W4). */
export interface View {
  readonly view: string;
  readonly bound: boolean;
}

/** Whether a write is one that can be held back (W), by its method or by what it carries. */
export function isGuarded(passage: Passage): boolean {
  return passage.resource.policy.methods.includes(passage.method) || carriesConditions(passage);
}

/** Whether a request carries anything that only an exclusive lease lets decide (W3). */
export function carriesConditions({ conditions, davIf }: Passage): boolean {
  return isConditional(conditions) || davIf !== undefined;
}

/** The route's timeouts, in milliseconds: its own, or the limits. */
export function timeoutsOf({ parts, resource }: Passage): { upstreamTimeout: number; idleTimeout: number } {
  const { upstreamTimeout = parts.limits.upstreamTimeout, idleTimeout = parts.limits.idleTimeout } =
    resource.policy.timeouts;
  return { upstreamTimeout, idleTimeout };
}

/** Sends the request itself upstream. `isCovered`: whether its lease still allows it (S2). */
export function send(passage: Passage, fields: RawHeaders, body?: SendableBody, isCovered?: () => boolean): Call {
  const { exchange, target } = passage;
  const onInformational = exchange.sendInformational;
  return call(passage, exchange.method, target, fields, { body, onInformational, isCovered });
}

/**
 * W15: a write that waits for a connection is not sent any more when its client leaves. A streaming body tells that by
 * itself; one that is held is whole, and does not.
 */
export function stopWithClient({ exchange }: Passage, call: Call, body: SendableBody | undefined): void {
  if (body !== undefined && 'kind' in body) exchange.onGone(() => call.abortUnsent());
}

/** Sends a read of the gate's own for the same resource; `target`: its URL, where the client's own will not do. */
export function sendRead(
  passage: Passage,
  method: 'GET' | 'HEAD',
  fields: RawHeaders,
  target: Target = passage.readTarget,
): Call {
  return call(passage, method, target, fields, { body: undefined });
}

function call(
  passage: Passage,
  method: string,
  target: Target,
  fields: RawHeaders,
  { body, onInformational, isCovered }: Pick<UpstreamRequest, 'body' | 'onInformational' | 'isCovered'>,
): Call {
  const { parts, exchange, host } = passage;
  const { upstreamTimeout, idleTimeout } = timeoutsOf(passage);
  return parts.upstream.call({
    method,
    target: target.raw,
    rawHeaders: parts.outbound(fields, exchange, host),
    upstreamTimeout,
    idleTimeout,
    body,
    onInformational,
    isCovered,
  });
}

/** How this request's representations are hashed. `limit`: decoded bytes; `keep`: bytes held where all are needed. */
export function hashingFor({ resource, parts }: Passage, limit: number): Hashing {
  const { validator, ignore } = resource.policy;
  const pointer = validator.kind === 'json' ? validator.pointer : undefined;
  // What is parsed before it is hashed is held in memory whole.
  const { hashBody } = parts.limits;
  const parsed = pointer !== undefined || ignore.length > 0;
  return { ignore, pointer, limit: parsed ? Math.min(limit, hashBody) : limit, keep: hashBody };
}

/**
 * Answers with a problem of the gate's own, and puts it on record.
 *
 * @param close whether the connection ends with the answer, where that is not the problem's to say
 */
export function refuse(passage: Passage, name: ProblemName, details: ProblemDetails, close?: boolean): Answer {
  const { exchange, record, parts, resource, fields, target } = passage;
  record.decision = name;
  record.status = problemStatus(name);
  record.decidedBy ??= details.decidedBy;
  const cors = parts.cors.replay(resource.route, fieldLine(fields, 'origin'));
  const { requestId } = exchange;
  return problemAnswer(name, details, {
    requestId,
    path: target.path,
    accept: fieldLine(fields, 'accept'),
    cors,
    close,
  });
}

import type { Clock } from '../../src/http/clock.js';
import { fieldLine } from '../../src/http/fields.js';
import type { ResponseHead } from '../../src/upstream/call.js';
import type { Upstream, UpstreamRequest } from '../../src/upstream/forward.js';
import { hashContent, syntheticTag } from '../../src/version/tag.js';
import { type Fault, SimulatedCall } from './simulated-call.js';

export type { Fault } from './simulated-call.js';

/**
 * What the backend knows of versions: nothing, weak tags, strong ones on reads, or strong ones on reads and in the
 * answers to writes.
 *
 * `dated` makes strong tags of second and size, beside Last-Modified and Date; `dated-upstream` repeats them in the
 * answers to writes, without dates. `constant` has the same strong tag for every content.
 */
export type BackendKind = 'none' | 'weak' | 'native' | 'upstream' | 'dated' | 'dated-upstream' | 'constant';

/** A document at some time. Times of the simulation's clock. */
export interface Version {
  readonly content: string;
  readonly modifiedAt: number;
  /** The backend's own tag in wire form, as readers are given it. */
  readonly etag: string | undefined;
}

/** A request that the gate sent; `id` is that of the client's request. Times of the simulation's clock. */
export interface SentRequest {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly sentAt: number;
  /** When the head came, or the failure. */
  answeredAt: number | undefined;
  /** Status of the head, or why there is none. */
  end: number | Error | undefined;
  /** When the whole body of the answer had gone out. */
  deliveredAt: number | undefined;
  /** What it found and left when it was carried out. */
  carriedOut:
    | { readonly at: number; readonly found: Version | undefined; readonly left: Version | undefined }
    | undefined;
}

/** A write that took effect; those that did not come through the gate have no id. Undefined: no representation. */
export interface AppliedWrite {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
  readonly at: number;
}

export interface SimulatedUpstream extends Upstream {
  readonly documents: ReadonlyMap<string, string>;
  readonly requests: readonly SentRequest[];
  readonly applied: readonly AppliedWrite[];
  /** Most requests that waited for their heads at one time. */
  readonly mostInFlight: number;
  /** The tag in wire form that a reader of this content gets through the gate; not for tags with a date. */
  tagOf(content: string): string;
  /** Changes a document behind the gate's back; undefined: removes it. */
  change(path: string, content: string | undefined): void;
}

/** Who says what happens next: fast-check's scheduler, or another one. */
export interface Steps {
  schedule<T>(task: Promise<T>, label?: string, request?: SentRequest): Promise<T>;
  /** How many tasks wait for their turn. */
  count(): number;
  /** Lets this many have theirs. */
  waitNext(count: number): Promise<unknown>;
}

export interface SimulatedUpstreamOptions {
  readonly kind: BackendKind;
  readonly documents: Readonly<Record<string, string>>;
  readonly scheduler: Steps;
  readonly clock: Clock;
  /** Whether the backend evaluates If-Match and If-None-Match itself, in the step in which it carries a request out. */
  readonly checks?: boolean | undefined;
  /** Whether calls give up after the route's `upstreamTimeout`. */
  readonly timesOut?: boolean | undefined;
  /** What goes wrong with a request; asked when it is sent. */
  readonly fault?: ((request: SentRequest) => Fault | undefined) | undefined;
  /** Runs in the step in which a request is carried out; `write` changes another document as a side effect. */
  readonly onApply?: ((request: SentRequest, write: (path: string, content: string) => void) => void) | undefined;
}

/** The documents' age at the start, in milliseconds: V7 trusts their dates. */
const age = 10_000;

/**
 * A backend in memory behind an `Upstream`. Every request goes through the steps connect, apply, answer and body, each
 * of which happens when the scheduler says so.
 */
export function createSimulatedUpstream(options: SimulatedUpstreamOptions): SimulatedUpstream {
  const { kind, scheduler, clock } = options;
  const documents = new Map(Object.entries(options.documents));
  const start = clock.now() - age;
  const modified = new Map<string, number>();
  const requests: SentRequest[] = [];
  const applied: AppliedWrite[] = [];
  let mostInFlight = 0;

  function versionAt(path: string): Version | undefined {
    const content = documents.get(path);
    const modifiedAt = modified.get(path) ?? start;
    return content === undefined ? undefined : { content, modifiedAt, etag: nativeTag(kind, content, modifiedAt) };
  }

  function write(id: string, method: string, path: string, after: string | undefined): void {
    const at = clock.now();
    applied.push({ id, method, path, before: documents.get(path), after, at });
    modified.set(path, at);
    if (after === undefined) documents.delete(path);
    else documents.set(path, after);
  }

  /** Carries a request out. @returns its right answer */
  function apply(request: SentRequest, body: string, fields: readonly string[]): { head: ResponseHead; body: string } {
    const { id, method, path } = request;
    const found = versionAt(path);
    const refusal = options.checks ? refusalOf(method, fields, found?.etag, found !== undefined) : undefined;
    const isRead = method === 'GET' || method === 'HEAD';
    const isMissing = found === undefined && method !== 'PUT';
    const isWritten = !isRead && !isMissing && refusal === undefined;
    if (isWritten) write(id, method, path, contentAfter(method, found?.content, body));
    options.onApply?.(request, (other, content) => write(id, method, other, content));
    const left = versionAt(path);
    request.carriedOut = { at: clock.now(), found, left };
    const version = isRead ? found : left;
    const success = isRead ? 200 : found === undefined ? 201 : 204;
    const status = isMissing ? 404 : (refusal ?? success);
    const rawHeaders = isRead || isWritten ? fieldsOf(kind, isRead, version, clock.now()) : [];
    return { head: { status, statusText: '', rawHeaders }, body: method === 'GET' ? (version?.content ?? '') : '' };
  }

  return {
    authority: 'upstream.test',
    documents,
    requests,
    applied,
    get mostInFlight() {
      return mostInFlight;
    },
    tagOf: (content) =>
      kind === 'native' || kind === 'upstream'
        ? `"v-${content}"`
        : syntheticTag(hashContent(Buffer.from(content)), undefined),
    change: (path, content) => write('', 'out of band', path, content),
    call(sent: UpstreamRequest) {
      const request = requestOf(sent, clock);
      requests.push(request);
      mostInFlight = Math.max(mostInFlight, requests.filter(({ answeredAt }) => answeredAt === undefined).length);
      const label = `${request.id} ${request.method} ${request.path}`;
      const call = new SimulatedCall({
        fault: options.fault?.(request),
        step: (name) => scheduler.schedule(Promise.resolve(), `${label}: ${name}`, request),
        apply: (body) => apply(request, body, sent.rawHeaders),
        onEnd(end) {
          request.answeredAt ??= clock.now();
          request.end ??= end;
        },
        onDelivered() {
          request.deliveredAt = clock.now();
        },
        patience: options.timesOut ? { clock, ms: sent.upstreamTimeout ?? 0 } : undefined,
      });
      void call.run(sent.body);
      return call;
    },
    close: async () => {},
  };
}

function requestOf({ rawHeaders, method, target }: UpstreamRequest, clock: Clock): SentRequest {
  const id = fieldLine(rawHeaders, 'x-request-id') ?? '';
  const yet = { answeredAt: undefined, end: undefined, deliveredAt: undefined, carriedOut: undefined };
  return { id, method, path: target, sentAt: clock.now(), ...yet };
}

function contentAfter(method: string, found: string | undefined, body: string): string | undefined {
  if (method === 'DELETE') return undefined;
  return method === 'PUT' ? body : `${found}+${body}`;
}

function nativeTag(kind: BackendKind, content: string, modifiedAt: number): string | undefined {
  if (kind === 'none') return undefined;
  if (kind === 'constant') return '"constant"';
  if (kind === 'dated' || kind === 'dated-upstream') return `"${Math.floor(modifiedAt / 1000)}-${content.length}"`;
  return `${kind === 'weak' ? 'W/' : ''}"v-${content}"`;
}

/** The fields by which an answer tells the version that it is about. */
function fieldsOf(kind: BackendKind, isRead: boolean, version: Version | undefined, now: number): string[] {
  if (version?.etag === undefined) return [];
  const tag = ['ETag', version.etag];
  if (!isRead) return kind === 'upstream' || kind === 'dated-upstream' ? tag : [];
  if (kind !== 'dated' && kind !== 'dated-upstream') return tag;
  return [...tag, 'Last-Modified', new Date(version.modifiedAt).toUTCString(), 'Date', new Date(now).toUTCString()];
}

/** @returns the status with which the backend itself refuses a request, where its conditions do not hold */
function refusalOf(
  method: string,
  fields: readonly string[],
  etag: string | undefined,
  exists: boolean,
): number | undefined {
  const names = (field: string): boolean | undefined => {
    const tags = fieldLine(fields, field)?.split(/, */);
    return tags && exists && (tags.includes('*') || (etag !== undefined && tags.includes(etag)));
  };
  if (names('if-match') === false) return 412;
  if (names('if-none-match') !== true) return undefined;
  return method === 'GET' || method === 'HEAD' ? 304 : 412;
}

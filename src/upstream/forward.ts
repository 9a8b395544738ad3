import { isIP } from 'node:net';
import { buildConnector, Pool } from 'undici';
import type { Clock } from '../http/clock.js';
import { hasField } from '../http/fields.js';
import { type Call, UpstreamCall } from './call.js';
import { UpstreamError } from './errors.js';
import { RequestStream } from './request-body.js';
import { type OnInformational, type OnTheWire, Wire } from './wire.js';

/** A request body that is sent upstream: held whole, or streaming from the client. */
export type SendableBody =
  | {
      readonly kind: 'held';
      readonly bytes: Buffer;
      readonly chunked: boolean;
      /** Flat list of trailers that came behind it. */
      readonly trailers?: readonly string[] | undefined;
    }
  | RequestStream;

export interface UpstreamRequest {
  readonly method: string;
  /** Origin-form request-target exactly as the client wrote it (I3); the base path is put before it. Or `*`. */
  readonly target: string;
  /** End-to-end fields, flat; framing is made from the body. */
  readonly rawHeaders: readonly string[];
  readonly body: SendableBody | undefined;
  /** Overrides of the limits for this route, in milliseconds. */
  readonly upstreamTimeout?: number | undefined;
  readonly idleTimeout?: number | undefined;
  /** Whether it, and more of its body, may be sent still (S2). */
  readonly isCovered?: (() => boolean) | undefined;
  readonly onInformational?: OnInformational | undefined;
}

/** The way to the upstream. */
export interface Upstream {
  /** Host and port for a Host field that names the upstream. */
  readonly authority: string;
  /** Sends a request, once: nothing is ever retried. Errors arrive through the call. */
  call(request: UpstreamRequest): Call;
  close(): Promise<void>;
}

export interface UpstreamOptions {
  /** http(s) URL; a path in it is put before every request-target. */
  readonly url: string;
  readonly connectTimeout: number;
  readonly upstreamTimeout: number;
  readonly idleTimeout: number;
  /** Idle time after which a connection is closed; 0: every request has its own. */
  readonly keepAlive: number;
  readonly connections: number;
  readonly maxHeaderSize: number;
  readonly tls: {
    readonly ca?: string | undefined;
    readonly cert?: string | undefined;
    readonly key?: string | undefined;
    readonly serverName?: string | undefined;
    readonly insecure: boolean;
  };
  readonly clock: Clock;
}

/**
 * Opens the way to the upstream: a pool of HTTP/1.1 connections with TLS verified, driven through undici's `dispatch`
 * with raw header arrays, so that names, order and duplicates of fields stay as they came.
 *
 * @returns the way; `close` ends its connections
 */
export function createUpstream(options: UpstreamOptions): Upstream {
  const url = new URL(options.url);
  const basePath = url.pathname.replace(/\/$/, '');
  const serverName = serverNameOf(options);
  let isBreaking = false;
  const onBreak = (): void => {
    isBreaking = true;
    queueMicrotask(() => {
      isBreaking = false;
    });
  };
  const pool = new Pool(url.origin, {
    connections: options.connections,
    pipelining: options.keepAlive === 0 ? 0 : 1,
    ...(options.keepAlive > 0 && { keepAliveTimeout: options.keepAlive, keepAliveMaxTimeout: options.keepAlive }),
    maxHeaderSize: options.maxHeaderSize,
    // UpstreamCall keeps the deadlines: undici's own do not know event streams, and round to seconds.
    headersTimeout: 0,
    bodyTimeout: 0,
    connect: connector(options, serverName, onBreak),
  });

  const wire = new Wire(options.maxHeaderSize);
  let closing: Promise<void> | undefined;

  return {
    authority: url.host,
    call(request) {
      const sent = onTheWire(request);
      const call = new UpstreamCall(options.clock, {
        upstreamTimeout: request.upstreamTimeout ?? options.upstreamTimeout,
        idleTimeout: request.idleTimeout ?? options.idleTimeout,
        onSending: () => {
          wire.expect(sent);
          if (request.body instanceof RequestStream) request.body.beginSending();
        },
        reason: () => sent.reason,
        isBreaking: () => isBreaking,
        isCovered: request.isCovered,
        hasBegun: request.body instanceof RequestStream ? hasBegun(request.body) : undefined,
      });
      const { body } = request;
      if (body instanceof RequestStream) {
        body.onFailure = (error) => call.failRequestBody(error);
        body.isCovered = request.isCovered;
      }
      try {
        const dispatchOptions = {
          method: request.method as 'GET',
          // What undici does not take is written when the request is sent.
          path: request.target === '*' ? '/' : basePath + request.target,
          headers: request.rawHeaders as string[],
          // The types leave out iterables, which undici takes.
          body: dispatchBody(body) as Buffer | null,
          // A constant name: undici would take it from Host, which is the client's, and reconnect when it changes.
          servername: serverName || 'upstream',
          // Without this undici gives up the connection after each HEAD too.
          reset: options.keepAlive === 0 || mayStayUnread(request),
        };
        pool.dispatch(dispatchOptions, call);
      } catch (error) {
        // undici refuses what it cannot write (an invalid field, say) before it touches a connection.
        call.onError(new UpstreamError('http_protocol_error', (error as Error).message, false, error));
      }
      return call;
    },
    close() {
      closing ??= pool.destroy().finally(() => wire.close());
      return closing;
    },
  };
}

/**
 * The upstream's name for SNI and the certificate check; empty where it is known by an address alone.
 *
 * @param options of the way to it
 */
export function serverNameOf({ url, tls }: UpstreamOptions): string {
  const { hostname } = new URL(url);
  return tls.serverName ?? (isIP(hostname.replace(/[[\]]/g, '')) === 0 ? hostname : '');
}

function hasBegun(body: RequestStream): () => boolean {
  return () => body.hasBegun;
}

/** Methods whose bodies every server reads. */
const comesWithBody: ReadonlySet<string> = new Set([
  ...['POST', 'PUT', 'PATCH', 'PROPFIND', 'PROPPATCH', 'REPORT', 'SEARCH', 'QUERY', 'LOCK', 'MKCOL'],
]);

/** Whether an upstream might take the body for the next request on the connection (RFC 9110 9.3.1, 9.3.5). */
function mayStayUnread({ method, body }: UpstreamRequest): boolean {
  return body !== undefined && !comesWithBody.has(method);
}

function onTheWire({ target, method, rawHeaders, body, onInformational }: UpstreamRequest): OnTheWire {
  return {
    target,
    emptyBody: emptyBodyOf(method, rawHeaders, body),
    trailers: trailersOf(body),
    onInformational,
  };
}

/** As the client announced it; undefined where there is nothing to be announced, or the body is not empty. */
function emptyBodyOf(
  method: string,
  rawHeaders: readonly string[],
  body: SendableBody | undefined,
): OnTheWire['emptyBody'] {
  if (body instanceof RequestStream) return body.isChunked ? 'chunked' : undefined;
  if (body !== undefined) return body.chunked && body.bytes.length === 0 ? 'chunked' : undefined;
  if (hasField(rawHeaders, 'content-length')) return 'length';
  return method === 'GET' || method === 'HEAD' ? undefined : 'nothing';
}

/** What follows a body that leaves without a length. */
function trailersOf(body: SendableBody | undefined): OnTheWire['trailers'] {
  if (body === undefined) return undefined;
  if (body instanceof RequestStream) return body.isChunked ? () => body.trailers : undefined;
  return body.chunked && body.trailers !== undefined && body.trailers.length > 0 ? always(body.trailers) : undefined;
}

/** Apart from the body, which would be kept with it. */
function always<T>(value: T): () => T {
  return () => value;
}

function dispatchBody(body: SendableBody | undefined): Buffer | Iterable<Buffer> | RequestStream | null {
  if (body === undefined) return null;
  if (body instanceof RequestStream) return body;
  // An iterable is written chunked: what came without a length leaves without one.
  return body.chunked ? [body.bytes] : body.bytes;
}

/** @param onBreak called when a connection is lost, before undici hears of it */
function connector(
  options: UpstreamOptions,
  serverName: string,
  onBreak: () => void,
): ReturnType<typeof buildConnector> {
  const { tls } = options;
  const connect = buildConnector({
    timeout: options.connectTimeout,
    rejectUnauthorized: !tls.insecure,
    ...(tls.ca !== undefined && { ca: tls.ca }),
    ...(tls.cert !== undefined && { cert: tls.cert }),
    ...(tls.key !== undefined && { key: tls.key }),
  });
  // SNI and the certificate check use the upstream's own name, whatever Host the client sent.
  return (connectOptions, callback) =>
    connect({ ...connectOptions, servername: serverName }, (...result) => {
      result[1]?.prependListener('error', onBreak);
      callback(...result);
    });
}

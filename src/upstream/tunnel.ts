import { type IncomingMessage, request as sendRequest } from 'node:http';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { passableTrailers } from '../http/fields.js';
import { isEventStream, type ResponseBody, type ResponseHead } from './call.js';
import { UpstreamError, upstreamError } from './errors.js';
import { serverNameOf, type UpstreamOptions } from './forward.js';

/** After this time without traffic the system asks whether a peer is still there, in milliseconds. */
export const keepAliveDelay = 60_000;

/** A GET that asks the upstream to speak another protocol (RFC 9110 7.8). */
export interface UpgradeRequest {
  /** Origin-form request-target exactly as the client wrote it (I3); the base path is put before it. */
  readonly target: string;
  /** All fields as they go on the wire, Connection and Upgrade included. */
  readonly rawHeaders: readonly string[];
  /** Overrides of the limits for this route, in milliseconds. */
  readonly upstreamTimeout?: number | undefined;
  readonly idleTimeout?: number | undefined;
  /** Aborted where nobody waits for the reply any more. */
  readonly signal: AbortSignal;
}

/** What the upstream said to it. */
export type UpgradeReply =
  /** 101: from here on the connection speaks the other protocol. Nothing of that has been read from it. */
  | { readonly kind: 'switched'; readonly head: ResponseHead; readonly socket: Socket }
  | { readonly kind: 'answered'; readonly head: ResponseHead; readonly body: ResponseBody };

/** The way to the upstream for requests that may turn their connection into a tunnel. */
export interface Tunnels {
  /** Sends an upgrade request, once, on a connection of its own. Rejects with `UpstreamError`. */
  open(request: UpgradeRequest): Promise<UpgradeReply>;
}

/**
 * Makes the way to the upstream for upgrades: each has its own connection, because one that has switched protocols
 * never comes back. After a 101 there is no deadline.
 *
 * @param options as for other requests; `connections` and `keepAlive` do not apply
 */
export function createTunnels(options: UpstreamOptions): Tunnels {
  const basePath = new URL(options.url).pathname.replace(/\/$/, '');
  return { open: (request) => open(options, basePath, request) };
}

function open(options: UpstreamOptions, basePath: string, request: UpgradeRequest): Promise<UpgradeReply> {
  const { upstreamTimeout = options.upstreamTimeout, idleTimeout = options.idleTimeout } = request;
  return new Promise((resolve, reject) => {
    const socket = connect(options);
    // What breaks is told by the request, and once it has switched by the socket's `close`.
    socket.on('error', () => {});
    const giveUpAfter = (ms: number, error: UpstreamError) => options.clock.after(ms, () => socket.destroy(error));
    let sent = false;
    let cancel = giveUpAfter(options.connectTimeout, connectTimeoutError(options.connectTimeout));
    socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => {
      sent = true;
      cancel();
      cancel = giveUpAfter(upstreamTimeout, responseTimeoutError(upstreamTimeout));
    });
    const outgoing = sendRequest({
      createConnection: () => socket,
      method: 'GET',
      path: basePath + request.target,
      headers: request.rawHeaders,
      maxHeaderSize: options.maxHeaderSize,
      signal: request.signal,
    });
    let answer: IncomingMessage | undefined;
    outgoing.on('error', (error) => {
      cancel();
      socket.destroy();
      // Without this a body that ends with its connection would look whole after a reset.
      answer?.destroy(error);
      reject(upstreamError(error, sent, answer !== undefined));
    });
    outgoing.once('upgrade', (incoming, _, first) => {
      cancel();
      if (first.length > 0) socket.unshift(first);
      resolve({ kind: 'switched', head: headOf(incoming), socket });
    });
    outgoing.once('response', (incoming) => {
      const { statusCode = 0 } = incoming;
      if (statusCode === 101) return outgoing.destroy(nameless101());
      if (statusCode < 100) return outgoing.destroy(noStatus(statusCode));
      cancel();
      answer = incoming;
      const head = headOf(incoming);
      const idle = isEventStream(head.rawHeaders) ? Number.POSITIVE_INFINITY : idleTimeout;
      resolve({ kind: 'answered', head, body: bodyOf(incoming, socket, () => giveUpAfter(idle, idleError(idle))) });
    });
    outgoing.end();
  });
}

/** Half-closed is a state like any other for a tunnel: one side may have said all and still listen. */
function connect(options: UpstreamOptions): Socket {
  const url = new URL(options.url);
  const host = url.hostname.replace(/^\[|\]$/g, '');
  const keepAlive = { keepAlive: true, keepAliveInitialDelay: keepAliveDelay };
  if (url.protocol === 'http:') {
    return connectTcp({ host, port: Number(url.port || 80), allowHalfOpen: true, noDelay: true, ...keepAlive });
  }
  const { insecure, ca, cert, key } = options.tls;
  const settings = {
    host,
    port: Number(url.port || 443),
    servername: serverNameOf(options),
    ALPNProtocols: ['http/1.1'],
    rejectUnauthorized: !insecure,
    // Node takes it; its types leave it out.
    allowHalfOpen: true,
    ...(ca !== undefined && { ca }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
  };
  return connectTls(settings).setNoDelay(true).setKeepAlive(true, keepAliveDelay);
}

function headOf({ statusCode = 0, statusMessage = '', rawHeaders }: IncomingMessage): ResponseHead {
  return { status: statusCode, statusText: statusMessage, rawHeaders };
}

/** @param watch starts the time in which something must come; what it returns stops it */
function bodyOf(incoming: IncomingMessage, socket: Socket, watch: () => () => void): ResponseBody {
  let failure: Error | undefined;
  let stopWatching = (): void => {};
  const rewatch = (): void => {
    stopWatching();
    stopWatching = watch();
  };
  incoming.once('error', (error) => {
    failure = error;
  });
  // The connection was asked to become something else: no other request may follow on it.
  incoming.once('close', () => {
    stopWatching();
    socket.destroy();
  });
  return {
    consume(consumer) {
      if (failure !== undefined) return consumer.error(failure);
      rewatch();
      incoming.once('error', (error) => consumer.error(error));
      incoming.once('end', () => consumer.end(undefined, passableTrailers(incoming.rawTrailers)));
      incoming.on('data', (chunk: Buffer) => {
        if (consumer.data(chunk)) return rewatch();
        // While it is paused the client sets the pace.
        stopWatching();
        incoming.pause();
      });
    },
    resume() {
      if (!incoming.isPaused()) return;
      rewatch();
      incoming.resume();
    },
    abort: () => socket.destroy(),
  };
}

function connectTimeoutError(ms: number): UpstreamError {
  return new UpstreamError('connection_timeout', `no connection to the upstream within ${ms} ms`, false);
}

function responseTimeoutError(ms: number): UpstreamError {
  return new UpstreamError('http_response_timeout', `the upstream did not answer within ${ms} ms`, true);
}

function idleError(ms: number): UpstreamError {
  return new UpstreamError('connection_read_timeout', `the upstream sent nothing for ${ms} ms`, true);
}

function nameless101(): UpstreamError {
  return new UpstreamError('http_protocol_error', 'the upstream switched to a protocol that it did not name', true);
}

function noStatus(status: number): UpstreamError {
  return new UpstreamError('http_protocol_error', `the upstream answered with the status ${status}`, true);
}

import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import httpProxy from '@fastify/http-proxy';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { problemAnswer } from '../gate/answers.js';
import type { Gate } from '../gate/gate.js';
import type { Clock } from '../http/clock.js';
import { deliver } from './deliver.js';
import { requestIdOf, ServerExchange } from './exchange.js';

/** Where to listen. */
export type ListenAddress =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

export interface ListenerOptions {
  readonly gate: Gate;
  readonly clock: Clock;
  /** The upstream, for http-proxy's own checks; requests go through the gate alone. */
  readonly upstream: string;
  readonly maxHeaderSize: number;
  /** How long an idle client connection is kept, in milliseconds. */
  readonly keepAlive: number;
  readonly trustProxy: boolean | readonly string[];
  /** PEM texts. */
  readonly tls: { readonly cert: string; readonly key: string } | undefined;
  /** Whether the process is about to stop: answers then close their connections. */
  readonly isDraining: () => boolean;
}

/** The address that clients use. */
export interface Listener {
  /** @returns the address in the form that it was configured in, with the port that was found */
  listen(address: ListenAddress): Promise<string>;
  readonly server: http.Server;
  /** Stops taking connections; resolves when the last request is answered. */
  close(): Promise<void>;
}

/** Methods that never have a body for Fastify's parsers; the gate takes any body from the raw request. */
const bodyless = new Set(['GET', 'HEAD', 'TRACE']);

/**
 * The web server: Fastify with @fastify/http-proxy mounted at the root, and the gate as its handler. Routing sees `/`
 * for every request: the request-target is the gate's to read (I3, I6), byte for byte.
 */
export async function createListener(options: ListenerOptions): Promise<Listener> {
  const app = createApp(options);
  const methods = http.METHODS.filter((method) => method !== 'CONNECT');
  for (const method of methods) {
    if (!app.supportedMethods.includes(method)) app.addHttpMethod(method, { hasBody: !bodyless.has(method) });
  }
  const waiting = new WeakSet<IncomingMessage>();
  const { gate, clock } = options;

  async function handle(request: FastifyRequest, reply: FastifyReply): Promise<void> {
    const { raw } = request;
    reply.hijack();
    const facts = {
      requestTarget: (raw as IncomingMessage & { originalUrl?: string }).originalUrl ?? '',
      remoteAddress: request.ip,
      expectsContinue: waiting.has(raw),
    };
    const { answer, done } = await gate.handle(new ServerExchange(raw, reply.raw, facts, clock));
    if (answer !== undefined) return deliver(answer, raw, reply.raw, options.isDraining(), clock, done);
    raw.socket.destroy();
    done();
  }

  await app.register(httpProxy, {
    upstream: options.upstream,
    routes: ['/'],
    httpMethods: methods,
    websocket: false,
    handler: handle as never,
  });
  await app.ready();
  // W13: the decision comes before `100 (Continue)`.
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    waiting.add(request);
    app.routing(request, response);
  });
  // Node cuts a longer list off without a word; what is cut off could be a condition.
  app.server.maxHeadersCount = 0;
  return {
    server: app.server,
    async listen(address) {
      await app.listen(address.kind === 'unix' ? { path: address.path } : { host: address.host, port: address.port });
      return addressText(app.server.address(), address);
    },
    close: () => app.close(),
  };
}

function createApp(options: ListenerOptions): FastifyInstance {
  const settings = {
    logger: false as const,
    rewriteUrl: () => '/',
    exposeHeadRoutes: false,
    return503OnClosing: false,
    keepAliveTimeout: options.keepAlive,
    // A long upload is no attack; how fast a body must come is the gate's to say (W3).
    requestTimeout: 0,
    bodyLimit: Number.MAX_SAFE_INTEGER,
    trustProxy: Array.isArray(options.trustProxy) ? [...options.trustProxy] : options.trustProxy === true,
    clientErrorHandler,
  };
  const serverOptions = { maxHeaderSize: options.maxHeaderSize };
  if (options.tls === undefined) return fastify({ ...settings, http: serverOptions });
  return fastify({ ...settings, https: { ...serverOptions, ...options.tls } }) as unknown as FastifyInstance;
}

const refusedByParser: Readonly<Record<string, keyof typeof parserDetails>> = {
  HPE_HEADER_OVERFLOW: 'request-head-too-large',
  ERR_HTTP_REQUEST_TIMEOUT: 'slow-request',
};

const parserDetails = {
  'malformed-request': 'The request cannot be read as HTTP/1.1.',
  'request-head-too-large': 'The request head is longer than limits.header allows.',
  'slow-request': 'The request head did not arrive in time.',
} as const;

/** What Node's parser refuses gets an answer that says so, with an id like any other (A3). */
function clientErrorHandler(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable || socket.bytesWritten > 0) {
    socket.destroy();
    return;
  }
  const name = refusedByParser[error.code ?? ''] ?? 'malformed-request';
  const requestId = requestIdOf([]);
  const { status, rawHeaders, body } = problemAnswer(
    name,
    { detail: parserDetails[name], next: 'Correct the request and send it again.', decidedBy: 'policy' },
    { requestId, path: '', accept: undefined },
  );
  const lines = [`HTTP/1.1 ${status} ${http.STATUS_CODES[status]}`];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    lines.push(`${rawHeaders[index]}: ${rawHeaders[index + 1]}`);
  }
  socket.end(`${[...lines, `X-Request-Id: ${requestId}`, 'Connection: close'].join('\r\n')}\r\n\r\n${String(body)}`);
}

function addressText(bound: AddressInfo | string | null, configured: ListenAddress): string {
  if (configured.kind === 'unix') return `unix:${configured.path}`;
  const port = typeof bound === 'object' && bound !== null ? bound.port : configured.port;
  return `${configured.host.includes(':') ? `[${configured.host}]` : configured.host}:${port}`;
}

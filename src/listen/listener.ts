import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import httpProxy from '@fastify/http-proxy';
import fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import type { Gate } from '../gate/gate.js';
import type { DecisionRecord } from '../gate/outcome.js';
import { addressText, type ListenAddress, listenOptions } from '../http/address.js';
import type { Clock } from '../http/clock.js';
import { Cohort } from '../http/cohort.js';
import { fieldLine, listMembers } from '../http/fields.js';
import { withoutSchemas } from '../http/schemas.js';
import { createUnreadable, type Unreadable } from './client-error.js';
import { deliver } from './deliver.js';
import { ServerExchange } from './exchange.js';
import { createTurns, type Turn } from './turns.js';
import { createUpgrades, UpgradableRequest } from './upgrade.js';

export interface ListenerOptions {
  readonly gate: Gate;
  readonly clock: Clock;
  /** Hears of answers to what never reached the gate. */
  readonly decided: (record: DecisionRecord) => void;
  /** The upstream, for http-proxy's own checks; requests go through the gate alone. */
  readonly upstream: string;
  readonly maxHeaderSize: number;
  /** How long an idle client connection is kept, in milliseconds. */
  readonly keepAlive: number;
  /** How long a client may take nothing of its answer, in milliseconds. */
  readonly idleTimeout: number;
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
  /** Breaks all connections, tunnels too. */
  closeAllConnections(): void;
  /** Stops taking connections; resolves when the last request is answered and the last tunnel has ended. */
  close(): Promise<void>;
}

/**
 * The web server: Fastify with @fastify/http-proxy mounted at the root, and the gate before its handler. Routing sees `/`
 * for every request: the request-target is the gate's to read (I3, I6), byte for byte.
 */
export async function createListener(options: ListenerOptions): Promise<Listener> {
  const turns = createTurns();
  /** In which requests go to the gate, when what came with their heads has been parsed too. */
  const arrivals = new Cohort();
  const unreadable = createUnreadable({ clock: options.clock, turns, arrivals, decided: options.decided });
  const app = createApp(options, unreadable);
  const methods = http.METHODS.filter((method) => method !== 'CONNECT');
  // Bodies are the gate's, from the raw request: where Fastify expects one it asks for a Content-Type that it can read.
  for (const method of methods) app.addHttpMethod(method, { hasBody: false, overrideExisting: true });
  const waiting = new WeakSet<IncomingMessage>();
  const { gate, clock } = options;
  const upgrades = createUpgrades((request, response) => app.routing(request, response), clock, arrivals);

  /** The first hook before http-proxy's handler, which never hands on: from here on the answer is the gate's. */
  function onRequest(request: FastifyRequest, reply: FastifyReply, _next: () => void): void {
    reply.hijack();
    const { raw } = request;
    if (!upgrades.admits(raw)) return;
    const turn = turns.enter(raw, reply.raw);
    // Nothing is known to throw here; what does must not end the process.
    arrivals.add(() => void handle(request, reply, turn).catch(() => raw.socket.destroy()));
  }

  async function handle(request: FastifyRequest, reply: FastifyReply, turn: Turn): Promise<void> {
    const { raw } = request;
    if (turn.comes !== undefined) await turn.comes;
    if (turns.isOver(raw.socket)) return;
    const facts = {
      requestTarget: (raw as IncomingMessage & { originalUrl?: string }).originalUrl ?? '',
      remoteAddress: raw.socket.remoteAddress ?? '',
      clientAddress: request.ip,
      upgrade: upgrades.protocolsOf(raw),
      expectsContinue: waiting.has(raw),
      turn,
    };
    const { answer, done } = await gate.handle(new ServerExchange(raw, reply.raw, facts, clock));
    if (answer?.tunnel !== undefined) {
      upgrades.join(answer, reply.raw, answer.tunnel);
      return done();
    }
    const closes = options.isDraining() || upgrades.isLast(raw) || answer?.close === true;
    if (closes) turns.end(raw.socket);
    const stalledAfter = options.idleTimeout;
    if (answer !== undefined) return deliver(answer, raw, reply.raw, { turn, closes, clock, stalledAfter, done });
    raw.socket.destroy();
    done();
  }

  app.addHook('onRequest', onRequest);
  await app.register(httpProxy, {
    upstream: options.upstream,
    routes: ['/'],
    httpMethods: methods,
    websocket: false,
  });
  await app.ready();
  // W13: the decision comes before `100 (Continue)`.
  app.server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
    // Node looks for this word anywhere in the field.
    if (!expectsContinueAlone(request.rawHeaders)) return unreadable.refuseExpectation(request, response);
    waiting.add(request);
    app.routing(request, response);
  });
  app.server.on('checkExpectation', unreadable.refuseExpectation);
  app.server.on('upgrade', upgrades.accept);
  // Node would cut a long list off without a word, and what is cut off could be a condition; the gate has its own limit.
  app.server.maxHeadersCount = 0;
  return {
    server: app.server,
    async listen(address) {
      await app.listen(listenOptions(address));
      return addressText(app.server.address(), address);
    },
    closeAllConnections() {
      app.server.closeAllConnections();
      upgrades.destroyAll();
    },
    close: () => app.close(),
  };
}

/** RFC 9110 10.1.1: a list, of which nothing else is known. */
function expectsContinueAlone(rawHeaders: readonly string[]): boolean {
  const members = listMembers(fieldLine(rawHeaders, 'expect') ?? '');
  return members.every((member) => member.toLowerCase() === '100-continue');
}

function createApp(options: ListenerOptions, unreadable: Unreadable): FastifyInstance {
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
    clientErrorHandler: unreadable.refuse,
    schemaController: withoutSchemas,
  };
  // A missing Host is the gate's to refuse: Node would do it without a word of why.
  const serverOptions = {
    maxHeaderSize: options.maxHeaderSize,
    requireHostHeader: false,
    IncomingMessage: UpgradableRequest,
  };
  if (options.tls === undefined) return fastify({ ...settings, http: serverOptions });
  return fastify({ ...settings, https: { ...serverOptions, ...options.tls } }) as unknown as FastifyInstance;
}

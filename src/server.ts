import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createAdmin } from './admin/admin.js';
import type { Address, Config } from './config/schema.js';
import { createGate } from './gate/gate.js';
import type { RoutePolicy } from './gate/settings.js';
import { createCorsMemory } from './headers/cors.js';
import { requestFields, responseVia } from './headers/forwarded.js';
import { type Clock, systemClock } from './http/clock.js';
import { createListener } from './listen/listener.js';
import type { Logger } from './observe/logger.js';
import { createMetrics } from './observe/metrics.js';
import { createObserver } from './observe/observer.js';
import { createIdentifier } from './resource/identity.js';
import { createLocator } from './resource/locate.js';
import { createSelector } from './resource/selecting.js';
import { createMemoryStore } from './store/memory.js';
import { createUpstream, type Upstream } from './upstream/forward.js';
import { createHoldBudget } from './upstream/represent.js';
import { fingerprint } from './version/tag.js';

/** Pairs of route and origin, and combinations of selecting fields, that are remembered. */
const remembered = 1000;

/** How far the memory store's guarantee reaches, in words for the log and the metrics. */
const scope = 'this process only';

export interface ServerOptions {
  readonly config: Config;
  readonly logger: Logger;
  /** Version of this program. */
  readonly version: string;
  readonly clock?: Clock;
}

/** A gate with its addresses. */
export interface Server {
  /** Opens both addresses and says so in the log. @returns them, with the ports that were found */
  start(): Promise<{ listen: string; admin: string }>;
  /** Drains and closes everything (O5). */
  stop(): Promise<void>;
}

/** Joins store, upstream, gate, listener and admin address, in the order in which a request meets them. */
export async function createServer({ config, logger, version, clock = systemClock }: ServerOptions): Promise<Server> {
  const { limits } = config;
  const store = createMemoryStore({ resources: limits.resources, queue: limits.leaseQueue, clock });
  const metrics = createMetrics({ version, store: { kind: 'memory', scope }, storeStats: () => store.stats() });
  const observer = createObserver(logger, metrics, config.log.access);
  const upstream = openUpstream(config, clock);
  const upstreamUrl = new URL(config.upstream);
  const locator = createLocator<RoutePolicy>({
    routes: config.routes,
    policy: config.policy,
    identity: config.identity,
    fingerprint: ({ validator, ignore }) => fingerprint(JSON.stringify(validator), ignore),
    upstream: { authority: upstream.authority, basePath: upstreamUrl.pathname.replace(/\/$/, '') },
  });
  const forwarded = { ...config, pathHeaders: config.identity.pathHeaders };
  const gate = createGate({
    store,
    upstream,
    clock,
    limits,
    observer,
    budget: createHoldBudget(limits.holdTotal),
    cors: createCorsMemory(remembered),
    locate: locator.locate,
    keyOf: locator.keyOf,
    identify: createIdentifier(randomBytes(32)),
    select: createSelector(remembered),
    outbound: (raw, exchange, clientHost) =>
      requestFields(raw, { ...exchangeFacts(exchange), clientHost, upstreamHost: upstream.authority }, forwarded),
    inbound: (raw, httpVersion) => responseVia(raw, httpVersion, forwarded),
  });

  let state: 'starting' | 'serving' | 'draining' = 'starting';
  const listener = await createListener({
    gate,
    clock,
    upstream: config.upstream,
    maxHeaderSize: limits.header,
    keepAlive: limits.clientKeepAlive,
    trustProxy: config.trustProxy,
    tls: readTls(config),
    isDraining: () => state === 'draining',
  });
  const admin = createAdmin({
    metrics,
    isReady: () => state === 'serving',
    upstream: endpointOf(upstreamUrl),
    connectTimeout: limits.connectTimeout,
    clock,
  });

  return {
    async start() {
      const listen = await listener.listen(config.listen);
      const adminAddress = config.admin === 'off' ? 'off' : await listenAdmin(config.admin);
      state = 'serving';
      logger.info({ listen, admin: adminAddress, upstream: config.upstream, version }, `listening on ${listen}`);
      logger.info(
        { policy: config.policy, routes: config.routes.length, store: 'memory', scope },
        `guarding: ${scope}`,
      );
      for (const { path, by } of locator.unreachable) logger.warn({ path, by }, 'this route can never be reached');
      return { listen, admin: adminAddress };
    },
    async stop() {
      state = 'draining';
      logger.info({ drainDelay: limits.drainDelay, drain: limits.drain }, 'draining');
      await elapsed(limits.drainDelay);
      const cancel = clock.after(limits.drain, () => listener.server.closeAllConnections());
      await listener.close();
      cancel();
      await Promise.all([admin.close(), store.close(), upstream.close()]);
      logger.info('stopped');
    },
  };

  async function listenAdmin(address: Address): Promise<string> {
    if (address.kind === 'unix') {
      await admin.listen({ path: address.path });
      return `unix:${address.path}`;
    }
    const port = await admin.listen({ host: address.host, port: address.port });
    return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${port}`;
  }

  function elapsed(ms: number): Promise<void> {
    return new Promise((resolve) => {
      if (ms === 0) resolve();
      else clock.after(ms, resolve);
    });
  }
}

function exchangeFacts(exchange: {
  readonly remoteAddress: string;
  readonly protocol: 'http' | 'https';
  readonly requestId: string;
  readonly httpVersion: string;
}) {
  const { remoteAddress, protocol, requestId, httpVersion } = exchange;
  return { remoteAddress, protocol, requestId, httpVersion };
}

function openUpstream(config: Config, clock: Clock): Upstream {
  const { limits, upstreamTls } = config;
  const pem = (path: string | undefined): string | undefined => path && readFileSync(path, 'utf8');
  return createUpstream({
    url: config.upstream,
    connectTimeout: limits.connectTimeout,
    upstreamTimeout: limits.upstreamTimeout,
    idleTimeout: limits.idleTimeout,
    keepAlive: limits.upstreamKeepAlive,
    connections: limits.upstreamConnections,
    maxHeaderSize: limits.header,
    tls: {
      ca: pem(upstreamTls.ca),
      cert: pem(upstreamTls.cert),
      key: pem(upstreamTls.key),
      serverName: upstreamTls.serverName,
      insecure: upstreamTls.insecure,
    },
    clock,
  });
}

function readTls({ tls }: Config): { cert: string; key: string } | undefined {
  if (tls.cert === undefined || tls.key === undefined) return undefined;
  return { cert: readFileSync(tls.cert, 'utf8'), key: readFileSync(tls.key, 'utf8') };
}

function endpointOf(url: URL): { host: string; port: number } {
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port };
}

import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createAdmin } from './admin/admin.js';
import type { Config } from './config/schema.js';
import { createCrowds } from './gate/crowds.js';
import { createGate, type Gate } from './gate/gate.js';
import type { GateParts } from './gate/passage.js';
import { createRepeats } from './gate/repeats.js';
import type { RoutePolicy } from './gate/settings.js';
import { createCorsMemory } from './headers/cors.js';
import { requestFields, responseVia } from './headers/forwarded.js';
import { type Clock, systemClock } from './http/clock.js';
import { createListener } from './listen/listener.js';
import type { Logger } from './observe/logger.js';
import { createMetrics } from './observe/metrics.js';
import { createObserver } from './observe/observer.js';
import { createStoreObserver } from './observe/store-observer.js';
import { createIdentifier } from './resource/identity.js';
import { createLocator, type Locator } from './resource/locate.js';
import { createSelector } from './resource/selecting.js';
import { openStore, type Reach, reachOf } from './shared-store.js';
import { createUpstream, type UpstreamOptions } from './upstream/forward.js';
import { createHoldBudget } from './upstream/represent.js';
import { createTunnels } from './upstream/tunnel.js';
import { fingerprint } from './version/tag.js';

/** Pairs of route and origin, and combinations of selecting fields, that are remembered. */
const remembered = 1000;

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
  const reach = reachOf(config);
  const metrics = createMetrics({ version, store: reach });
  const store = await openStore(config, clock, createStoreObserver(logger, metrics));
  metrics.watch(() => store.stats());
  const observer = createObserver(logger, metrics, config.log.access);
  const wayUpstream = upstreamOptions(config, clock);
  const upstream = createUpstream(wayUpstream);
  const tunnels = config.websocket ? createTunnels(wayUpstream) : undefined;
  const gate = joinGate(config, { store, upstream, tunnels, clock, observer });
  let state: State = 'starting';
  const listener = await createListener({
    gate,
    clock,
    decided: observer.decided,
    upstream: config.upstream,
    maxHeaderSize: limits.header,
    keepAlive: limits.clientKeepAlive,
    idleTimeout: limits.idleTimeout,
    trustProxy: config.trustProxy,
    tls: readTls(config),
    isDraining: () => state === 'draining',
  });
  const admin = createAdmin({
    metrics,
    isReady: () => state === 'serving',
    upstream: endpointOf(new URL(config.upstream)),
    connectTimeout: limits.connectTimeout,
    clock,
  });

  return {
    async start() {
      try {
        const listen = await listener.listen(config.listen);
        const adminAddress = config.admin === 'off' ? 'off' : await admin.listen(config.admin);
        state = 'serving';
        announce(config, logger, { listen, admin: adminAddress, version }, reach);
        return { listen, admin: adminAddress };
      } catch (error) {
        await close();
        throw error;
      }
    },
    async stop() {
      state = 'draining';
      logger.info({ drainDelay: limits.drainDelay, drain: limits.drain }, 'draining');
      await elapsed(clock, limits.drainDelay);
      const cancel = clock.after(limits.drain, () => {
        listener.closeAllConnections();
        // What is still on its way breaks off now, and goes on record as that.
        void upstream.close();
      });
      await listener.close();
      await Promise.race([gate.idle(), elapsed(clock, limits.drain + lastWords)]);
      cancel();
      await close();
      logger.info('stopped');
    },
  };

  async function close(): Promise<void> {
    await listener.close();
    await Promise.all([admin.close(), store.close(), upstream.close()]);
  }
}

/** How long after `limits.drain` the process waits for the records of what was broken off, in milliseconds. */
const lastWords = 1000;

type State = 'starting' | 'serving' | 'draining';

/** The gate with everything it is told by the configuration. */
function joinGate(
  config: Config,
  parts: Pick<GateParts, 'store' | 'upstream' | 'tunnels' | 'clock' | 'observer'>,
): Gate {
  const { locate, keyOf, locateReference } = locatorOf(config);
  const forwarded = { ...config, pathHeaders: config.identity.pathHeaders };
  const { authority } = parts.upstream;
  return createGate({
    ...parts,
    locate,
    keyOf,
    locateReference,
    limits: config.limits,
    budget: createHoldBudget(config.limits.holdTotal),
    crowds: createCrowds(parts.observer),
    repeats: createRepeats(remembered),
    cors: createCorsMemory(remembered),
    // The same in all gates that share a store: what one has learned for a user counts in the others.
    identify: createIdentifier(config.store.url.kind === 'memory' ? randomBytes(32) : Buffer.from(config.store.secret)),
    select: createSelector(remembered),
    outbound: (raw, { remoteAddress, protocol, requestId, httpVersion }, clientHost) => {
      const facts = { remoteAddress, protocol, requestId, httpVersion, clientHost, upstreamHost: authority };
      return requestFields(raw, facts, forwarded);
    },
    // The upstream is spoken to in HTTP/1.1 alone.
    inbound: (raw) => responseVia(raw, '1.1', forwarded),
  });
}

function locatorOf(config: Config): Locator<RoutePolicy> {
  const { host, pathname } = new URL(config.upstream);
  return createLocator<RoutePolicy>({
    routes: config.routes,
    policy: config.policy,
    identity: config.identity,
    fingerprint: ({ validator, ignore }) => fingerprint(JSON.stringify(validator), ignore),
    upstream: { authority: host, basePath: pathname.replace(/\/$/, '') },
  });
}

/** Routes that an earlier one hides, in words. */
export function unreachableRoutes(config: Config): string[] {
  return locatorOf(config).unreachable.map(({ path, by }) => `the route ${path} is never reached: ${by} comes first`);
}

/** The two lines at start: where it listens, and what it guards how far. */
function announce(
  config: Config,
  logger: Logger,
  where: { listen: string; admin: string; version: string },
  { kind, scope }: Reach,
): void {
  logger.info({ ...where, upstream: config.upstream }, `listening on ${where.listen}`);
  const policy = policySummary(config.policy);
  const routes = config.routes.map((route) => ({ path: route.path, ...policySummary(route.policy) }));
  logger.info({ policy, routes, store: kind, scope }, `guarding, within ${scope}`);
  for (const warning of unreachableRoutes(config)) logger.warn(warning);
}

/** What an operator needs to see of a policy; nothing that could be a secret. */
function policySummary({ guard, mode, methods, recheck, validator }: RoutePolicy): Record<string, unknown> {
  const always = recheck === 0 ? 'always' : `${recheck}ms`;
  return { guard, mode, methods, recheck: recheck === Number.POSITIVE_INFINITY ? 'never' : always, validator };
}

function elapsed(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    if (ms === 0) resolve();
    else clock.after(ms, resolve);
  });
}

function upstreamOptions(config: Config, clock: Clock): UpstreamOptions {
  const { limits, upstreamTls } = config;
  const pem = (path: string | undefined): string | undefined => path && readFileSync(path, 'utf8');
  return {
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
  };
}

function readTls({ tls }: Config): { cert: string; key: string } | undefined {
  if (tls.cert === undefined || tls.key === undefined) return undefined;
  return { cert: readFileSync(tls.cert, 'utf8'), key: readFileSync(tls.key, 'utf8') };
}

function endpointOf(url: URL): { host: string; port: number } {
  const port = url.port === '' ? (url.protocol === 'https:' ? 443 : 80) : Number(url.port);
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port };
}

import type { Config } from './config/schema.js';
import type { Clock } from './http/clock.js';
import { createMemoryStore } from './store/memory.js';
import type { Store, StoreEvents } from './store/store.js';

/** Which store it is, and how far the guarantee reaches, in words for the log and the metrics. */
export interface Reach {
  readonly kind: 'memory' | 'redis';
  readonly scope: string;
}

/** A lease lives so many times as long as the longest write that it may have to cover, to be renewed in time (S2). */
const leaseMargin = 1.25;

export function reachOf({ store }: Config): Reach {
  const { url, namespace } = store;
  if (url.kind === 'memory') return { kind: 'memory', scope: 'this process only' };
  const hosts = url.hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`);
  return { kind: 'redis', scope: `all gates on ${hosts.join(',')} with the namespace ${namespace}` };
}

/**
 * Opens the store that the configuration names; what only the shared one needs is loaded with it.
 *
 * @throws {Error} where the shared store must not be used: it evicts
 */
export async function openStore(config: Config, clock: Clock, events: StoreEvents): Promise<Store> {
  const { store, limits } = config;
  const options = { resources: limits.resources, queue: limits.leaseQueue, clock };
  const { url, topology, namespace, secret, ttl, down } = store;
  if (url.kind === 'memory') return createMemoryStore(options);
  const { createRedisStore } = await import('./store/redis/store.js');
  return createRedisStore({
    ...options,
    address: url,
    topology,
    namespace,
    secret,
    leaseTime: leaseTimeOf(config),
    keptFor: ttl,
    down,
    events,
  });
}

/**
 * S2: a lease outlives every write that is sent under it, also where it cannot be renewed: until the upstream has answered,
 * or what it was given up for can no longer take effect. In milliseconds.
 */
function leaseTimeOf({ limits, policy, routes }: Config): number {
  const timeouts = [policy, ...routes.map((route) => route.policy)].map((one) => one.timeouts.upstreamTimeout ?? 0);
  const longest = Math.max(limits.upstreamTimeout, ...timeouts);
  return (longest + limits.connectTimeout + limits.quarantine) * leaseMargin;
}

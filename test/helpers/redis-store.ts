import { systemClock } from '../../src/http/clock.js';
import type { Topology } from '../../src/store/redis/client.js';
import type { RedisStoreOptions } from '../../src/store/redis/options.js';
import { createRedisStore } from '../../src/store/redis/store.js';
import type { Store, StoreOptions } from '../../src/store/store.js';
import type { Redis } from './redis.js';

const secret = 'a secret of tests';

/** Longer than any test: a lease ends when the clock of the test says so. */
export const leaseTime = 70_000;

let namespaces = 0;

/** A store with keys of its own. */
export interface OwnStore {
  readonly store: Store;
  readonly namespace: string;
}

/**
 * Opens a store on running servers, one that trusts them at once: as if they had been there for long.
 *
 * @param more `namespace`: that of another store, to share its keys
 */
export async function openRedisStore(
  servers: readonly Redis[],
  options: StoreOptions,
  more: Partial<RedisStoreOptions> = {},
): Promise<OwnStore> {
  namespaces += 1;
  const namespace = more.namespace ?? `test-${namespaces}`;
  const topology: Topology = servers.length > 1 ? 'cluster' : 'single';
  const hosts = servers.map(({ port }) => ({ host: '127.0.0.1', port }));
  const store = await createRedisStore({
    ...options,
    address: { tls: false, hosts, database: 0, master: '' },
    topology,
    secret,
    leaseTime,
    keptFor: 3_600_000,
    down: 'refuse',
    events: { failed: () => undefined, down: () => undefined, up: () => undefined, rests: () => undefined },
    upkeep: systemClock,
    serverClock: () => options.clock.now(),
    ...more,
    namespace,
  });
  if (more.namespace === undefined) await trust(servers, namespace);
  return { store, namespace };
}

/** Ends the time in which servers that know nothing give no leases. */
export async function trust(servers: readonly Redis[], namespace: string): Promise<void> {
  await inAll(servers, namespace, ':store', "redis.call('HSET', key, 'rest', 0)");
}

/** Has the servers forget all versions of a namespace, as they do when their time is over. */
export async function forget(servers: readonly Redis[], namespace: string): Promise<void> {
  await inAll(servers, namespace, ':r:*', "redis.call('DEL', key)");
  await inAll(servers, namespace, ':store', "redis.call('HSET', key, 'floor', redis.call('HGET', key, 'counter'))");
}

async function inAll(servers: readonly Redis[], namespace: string, which: string, action: string): Promise<void> {
  for (const server of servers) {
    for (const key of (await server.command('KEYS', `ifmatch:1:{${namespace}.*}${which}`)) as string[]) {
      await server.command('EVAL', `local key = KEYS[1] ${action}`, 1, key);
    }
  }
}

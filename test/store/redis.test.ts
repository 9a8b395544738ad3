import t from 'tap';
import type { Store } from '../../src/store/store.js';
import { hasRedis, type Redis, startRedis, startRedisCluster } from '../helpers/redis.js';
import { forget, openRedisStore } from '../helpers/redis-store.js';
import { storeContract } from './contract.js';

/** Keys that lie on all masters: what was sent before has been answered when the answers about them are there. */
const probes = Array.from({ length: 20 }, (_, index) => `probe ${index}`);

/** The longest chain of steps: a lease over three masters that is given back, and taken by the next in line. */
const stepsInTurn = 5;

/** The contract, on servers that all its cases share: each case has a namespace of its own. */
function contractOn(name: string, servers: readonly Redis[], runs: number): void {
  const namespaces = new WeakMap<Store, string>();
  storeContract(
    name,
    async (options) => {
      const { store, namespace } = await openRedisStore(servers, options);
      namespaces.set(store, namespace);
      return store;
    },
    {
      forget: (store) => forget(servers, namespaces.get(store) ?? ''),
      forgetsByNumber: false,
      async turn(store) {
        const [rounds, keys] = servers.length > 1 ? [stepsInTurn, probes] : [3, probes.slice(0, 1)];
        for (let round = 0; round < rounds; round += 1) await Promise.all(keys.map((key) => store.epoch(key)));
      },
      runs,
    },
  );
}

if (hasRedis(t)) {
  contractOn('Redis', [await startRedis(t)], 60);
  contractOn('a cluster of Redis', await startRedisCluster(t), 10);
}

import t, { type Test } from 'tap';
import type { Store } from '../../src/store/store.js';
import { createVirtualClock } from '../helpers/clock.js';
import { hasRedis, type Redis, startRedisCluster } from '../helpers/redis.js';
import { openRedisStore } from '../helpers/redis-store.js';

/** A write that goes on while a part of the cluster is out of reach holds nobody up for longer than it takes (S4). */

/** They lie in all parts of the cluster. */
const keys = Array.from({ length: 20 }, (_, index) => `key-${index}`);

interface Scene {
  readonly store: Store;
  readonly other: Store;
  /** Has a part of the cluster hang, and come back. */
  readonly stop: () => Promise<void>;
  readonly resume: () => Promise<void>;
}

async function open(t: Test, nodes: readonly Redis[]): Promise<Scene> {
  const options = { resources: 100, queue: 100, clock: createVirtualClock() };
  const more = { down: 'forward', timeout: 500 } as const;
  const { store, namespace } = await openRedisStore(nodes, options, more);
  const { store: other } = await openRedisStore(nodes, options, { ...more, namespace });
  const [node] = nodes;
  const resume = async () => node?.kill('SIGCONT');
  t.teardown(async () => {
    await resume();
    await Promise.all([store.close(), other.close()]);
  });
  return { store, other, stop: async () => node?.kill('SIGSTOP'), resume };
}

/** What another gate finds in doubt: of those that it can ask for, and all that it cannot. */
async function look({ other }: Scene): Promise<{ doubtful: string[]; unreachable: string[] }> {
  const starts = await Promise.all(keys.map((key) => other.epoch(key)));
  const unreachable = keys.filter((_, index) => Number(starts[index]?.epoch) < 0);
  const doubtful = keys.filter((key, index) => starts[index]?.doubtful === true && !unreachable.includes(key));
  return { doubtful, unreachable };
}

/** Looks until it is so: each look is a round trip. */
async function until(scene: Scene, holds: (found: Awaited<ReturnType<typeof look>>) => boolean): Promise<void> {
  for (let looks = 0; looks < 5000; looks += 1) if (holds(await look(scene))) return;
  throw new Error(`never: ${JSON.stringify(await look(scene))}`);
}

const writes: Readonly<Record<string, (store: Store) => ReturnType<Store['touch']> | ReturnType<Store['acquire']>>> = {
  'an unguarded write': (store) => store.touch(keys),
  'a guarded write': (store) => store.acquire({ keys, kind: 'exclusive', wait: 1000, signal: undefined }),
};

if (hasRedis(t)) {
  const nodes = await startRedisCluster(t);
  // Else the others stop, too, as soon as they notice.
  for (const node of nodes) await node.command('CONFIG', 'SET', 'cluster-require-full-coverage', 'no');

  for (const [name, begin] of Object.entries(writes)) {
    t.test(`${name} of many resources that a part of the cluster has not heard of ends where it has`, async (t) => {
      const scene = await open(t, nodes);
      await scene.stop();
      const begun = await begin(scene.store);
      if (!('token' in begun)) throw new Error(`no lease: ${begun.kind}`);
      await until(scene, ({ doubtful, unreachable }) => doubtful.length + unreachable.length === keys.length);
      const { doubtful, unreachable } = await look(scene);
      t.ok(unreachable.length > 0 && doubtful.length > 0, 'a part of them can be told of');
      await scene.store.settle(begun.token, { kind: 'changed' });
      await until(scene, (found) => found.doubtful.length === 0);
      t.strictSame((await look(scene)).unreachable, unreachable, 'while the others are still out of reach');
      await scene.resume();
      await until(scene, (found) => found.doubtful.length + found.unreachable.length === 0);
    });
  }
}

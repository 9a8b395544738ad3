import t, { type Test } from 'tap';
import { systemClock } from '../../src/http/clock.js';
import { ServerTime } from '../../src/store/redis/server-time.js';
import type { Outcome, Store } from '../../src/store/store.js';
import { createVirtualClock, type VirtualClock } from '../helpers/clock.js';
import { hasRedis, type Redis, startRedis } from '../helpers/redis.js';
import { leaseTime, openRedisStore } from '../helpers/redis-store.js';
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.js';
import { observation } from './contract.js';

/** What a gate does while it cannot reach the store is told to the others as soon as it can (S4). */

interface Scene {
  readonly clock: VirtualClock;
  readonly redis: Redis;
  readonly namespace: string;
  /** Always there. */
  readonly other: Store;
  /** Reaches the store over the link. */
  readonly store: Store;
  readonly link: TcpProxy;
}

const servers: Redis[] = [];

async function open(t: Test, down: 'refuse' | 'forward' = 'refuse'): Promise<Scene> {
  const redis = servers[0] as Redis;
  const clock = createVirtualClock();
  const options = { resources: 100, queue: 100, clock };
  const { store: other, namespace } = await openRedisStore([redis], options);
  const link = await startTcpProxy(t, redis.port);
  const { store } = await openRedisStore([link as unknown as Redis], options, { namespace, down, timeout: 500 });
  t.teardown(() => Promise.all([other.close(), store.close()]));
  return { clock, redis, namespace, other, store, link };
}

async function observe({ other, clock }: Scene, hash: string): Promise<boolean> {
  const { epoch, doubtful } = await other.epoch('a');
  return !doubtful && other.observe('a', epoch, observation(clock, hash));
}

async function known({ other }: Scene): Promise<(string | undefined)[]> {
  return (await other.epoch('a')).knowledge.map(({ hash }) => hash);
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setImmediate(resolve));
}

async function lease(store: Store, key: string) {
  const result = await store.acquire({ keys: [key], kind: 'exclusive', wait: 1000, signal: undefined });
  if (result.kind !== 'acquired') throw new Error(`no lease: ${result.kind}`);
  return result;
}

/** Begins a write that the store hears nothing of. @returns what ends it */
const unheard: Readonly<Record<string, (scene: Scene) => Promise<(outcome: Outcome) => Promise<unknown>>>> = {
  async 'an unguarded write'({ store }) {
    const { token, isRecorded } = await store.touch(['a']);
    if (isRecorded) throw new Error('it was heard of');
    return (outcome) => store.settle(token, outcome);
  },
  async 'a guarded write that is forwarded all the same'({ store }) {
    const { token, isShared } = await lease(store, 'a');
    if (isShared) throw new Error('it was heard of');
    return (outcome) => store.settle(token, outcome);
  },
};

if (hasRedis(t)) {
  servers.push(await startRedis(t));

  for (const [name, begin] of Object.entries(unheard)) {
    t.test(`${name}, begun in an outage that is over, is seen by the others until it ends`, async (t) => {
      const scene = await open(t, 'forward');
      await observe(scene, 'before');
      await scene.link.cut();
      const end = await begin(scene);
      t.strictSame(await known(scene), ['before'], 'nobody knows');
      await scene.link.resume();
      await until(async () => (await scene.other.epoch('a')).doubtful);
      t.strictSame(await known(scene), [], 'what was known does not count');
      await end({ kind: 'unknown', rest: 1000 });
      t.notOk(await observe(scene, 'old'), 'it may take effect yet');
      scene.clock.advance(1000);
      await until(async () => !(await scene.other.epoch('a')).doubtful);
      t.ok(await observe(scene, 'new'));
      t.strictSame(await known(scene), ['new']);
    });

    t.test(
      `${name} that ends before the store has answered that it knows of it is over for the others too`,
      async (t) => {
        const scene = await open(t, 'forward');
        await scene.link.cut();
        const end = await begin(scene);
        scene.link.delay = 100;
        await scene.link.resume();
        await until(async () => (await scene.other.epoch('a')).doubtful);
        await end({ kind: 'changed' });
        await until(async () => !(await scene.other.epoch('a')).doubtful);
        t.strictSame(await known(scene), []);
      },
    );

    t.test(`${name}, begun and ended in an outage, voids what was known before its end`, async (t) => {
      const scene = await open(t, 'forward');
      await scene.link.cut();
      const end = await begin(scene);
      await observe(scene, 'old');
      await end({ kind: 'changed' });
      await scene.link.resume();
      await until(async () => (await known(scene)).length === 0);
      t.notOk((await scene.other.epoch('a')).doubtful);
    });
  }

  t.test('an outage that a gate has met voids what was known before it, for all', async (t) => {
    const scene = await open(t);
    await observe(scene, 'before');
    await scene.link.cut();
    t.equal((await scene.store.epoch('a')).doubtful, true);
    t.strictSame(await known(scene), ['before'], 'until the gate is back');
    await scene.link.resume();
    await until(async () => (await known(scene)).length === 0);
    t.ok(await observe(scene, 'after'));
  });

  t.test('a write without a mark is seen within its own gate, as with a store of its own (W8)', async (t) => {
    const scene = await open(t, 'forward');
    await scene.link.cut();
    const { token } = await scene.store.touch(['a']);
    const held = await lease(scene.store, 'a');
    t.not(scene.store.movedSince(held.token, 0), true);
    await scene.store.settle(token, { kind: 'changed' });
    t.equal(scene.store.movedSince(held.token, 0), true);
    t.equal(scene.store.remaining(held.token), Number.POSITIVE_INFINITY, 'who goes on without the store goes on');
  });

  t.test('a lease that the store has given up is lost, whatever the clock of its gate says (S2)', async (t) => {
    const scene = await open(t);
    const { token } = await lease(scene.store, 'a');
    for (const key of (await scene.redis.command('KEYS', `ifmatch:*{${scene.namespace}.*}*:l`)) as string[]) {
      await scene.redis.command('DEL', key);
    }
    t.equal(await scene.store.renew(token), false);
    t.ok(scene.store.remaining(token) <= 0);
    t.equal(await scene.store.settle(token, { kind: 'changed' }), false);
    const again = await lease(scene.store, 'a');
    t.equal(await scene.store.settle(again.token, { kind: 'asItWas' }), true);
  });

  t.test('what cannot be read is no knowledge, and holds nobody up', async (t) => {
    const scene = await open(t);
    await observe(scene, '1');
    for (const key of (await scene.redis.command('KEYS', `ifmatch:*{${scene.namespace}.*}:r:*`)) as string[]) {
      await scene.redis.command('HSET', key, 'v v plain', '1 1 not JSON', 'revision', 'another');
    }
    const { token, knowledge } = await lease(scene.store, 'a');
    t.strictSame(knowledge, []);
    t.equal(await scene.store.settle(token, { kind: 'notSent' }), true);
  });

  t.test('after a loss the store rests as long as the longest lease that it hears of (S2)', async (t) => {
    const scene = await open(t);
    await scene.redis.command('DEL', `ifmatch:1:{${scene.namespace}.0}:store`);
    const { namespace, clock, other, redis } = scene;
    const ask = () => other.acquire({ keys: ['a'], kind: 'exclusive', wait: 0, signal: undefined });
    t.match(await ask(), { kind: 'unavailable', reason: 'resting' });
    const options = { resources: 10, queue: 10, clock };
    const { store: patient } = await openRedisStore([redis], options, { namespace, leaseTime: 2 * leaseTime });
    t.teardown(() => patient.close());
    clock.advance(leaseTime + 1);
    t.match(await ask(), { kind: 'unavailable', reason: 'resting' }, 'a longer one may be in use');
    clock.advance(leaseTime);
    t.match(await ask(), { kind: 'acquired' });
  });

  t.test('a server whose clock is set is out of use for a moment at most', async (t) => {
    const redis = servers[0] as Redis;
    let step = 0;
    const serverClock = () => systemClock.now() + step;
    const options = { resources: 10, queue: 10, clock: systemClock };
    const { store } = await openRedisStore([redis], options, { serverClock });
    t.teardown(() => store.close());
    await store.epoch('a');
    step = 5000;
    await until(async () => (await store.epoch('a')).epoch > 0);
    t.pass('it is back');
  });

  t.test('hundreds of unguarded writes of one resource are all on record (W16)', async (t) => {
    const { other } = await open(t);
    const marks = await Promise.all(Array.from({ length: 500 }, () => other.touch(['a'])));
    t.equal(marks.filter(({ isRecorded }) => !isRecorded).length, 0);
    t.ok((await other.epoch('a')).doubtful);
    await Promise.all(marks.map(({ token }) => other.settle(token, { kind: 'asItWas' })));
    t.notOk((await other.epoch('a')).doubtful);
  });
}

t.test('how the clock of a server stands', async (t) => {
  const time = new ServerTime();
  time.learn(10_050, 1000, 1100);
  t.ok(time.earliest(1050) <= 10_050 && time.latest(1050) >= 10_050, 'between what it can have been');
  time.learn(10_205, 1200, 1210);
  t.ok(time.latest(1300) - time.earliest(1300) < 11, 'the reading that tells most counts');
  t.ok(time.latest(20_000) - time.earliest(20_000) > 30, 'and less with its age: clocks drift');
  t.ok(time.own(time.earliest(1300)) <= 1300, 'there and back it is not younger');
  time.learn(50_000, 1400, 1500);
  t.ok(time.earliest(1500) > 49_000, 'a clock that was set, or another server');
});

import t, { type Test } from 'tap';
import { type Clock, systemClock } from '../../src/http/clock.js';
import type { RedisStoreOptions } from '../../src/store/redis/options.js';
import type { Acquired, LeaseKind, Store } from '../../src/store/store.js';
import { createVirtualClock, type VirtualClock } from '../helpers/clock.js';
import { hasRedis, type Redis, startRedis } from '../helpers/redis.js';
import { leaseTime, openRedisStore } from '../helpers/redis-store.js';
import { observation } from './contract.js';

/** Several gates on one Redis (S2, S4): each case has a namespace and a time of its own. */

interface Gates {
  readonly clock: VirtualClock;
  readonly redis: Redis;
  readonly namespace: string;
  readonly gates: readonly [Store, Store];
  open(more?: Partial<RedisStoreOptions>): Promise<Store>;
}

const servers: Redis[] = [];

async function share(t: Test, more: Partial<RedisStoreOptions> = {}, redis = servers[0]): Promise<Gates> {
  if (redis === undefined) throw new Error('no Redis');
  const clock = createVirtualClock();
  const options = { resources: 100, queue: 100, clock };
  const first = await openRedisStore([redis], options, more);
  const { namespace } = first;
  const open = async (other: Partial<RedisStoreOptions> = {}): Promise<Store> => {
    const { store } = await openRedisStore([redis], options, { ...more, ...other, namespace });
    t.teardown(() => store.close());
    return store;
  };
  t.teardown(() => first.store.close());
  return { clock, redis, namespace, gates: [first.store, await open()], open };
}

async function acquired(store: Store, key: string, kind: LeaseKind = 'exclusive', wait = 5000): Promise<Acquired> {
  const result = await store.acquire({ keys: [key], kind, wait, signal: undefined });
  if (result.kind !== 'acquired') throw new Error(`no lease: ${result.kind}`);
  return result;
}

async function isBusy(store: Store, key: string, kind: LeaseKind = 'exclusive'): Promise<boolean> {
  const result = await store.acquire({ keys: [key], kind, wait: 0, signal: undefined });
  if (result.kind === 'acquired') await store.settle(result.token, { kind: 'notSent' });
  return result.kind === 'busy';
}

async function observe(store: Store, clock: VirtualClock, key: string, hash: string): Promise<boolean> {
  const { epoch } = await store.epoch(key);
  return store.observe(key, epoch, observation(clock, hash));
}

async function known(store: Store, key: string): Promise<(string | undefined)[]> {
  return (await store.epoch(key)).knowledge.map(({ hash }) => hash);
}

const cases: Readonly<Record<string, (t: Test) => Promise<void>>> = {
  'leases exclude each other between gates as within one (S1)': async (t) => {
    const { gates } = await share(t);
    const [one, other] = gates;
    const rows: [LeaseKind, LeaseKind, boolean][] = [
      ['exclusive', 'exclusive', true],
      ['exclusive', 'shared', true],
      ['shared', 'exclusive', true],
      ['shared', 'shared', false],
    ];
    for (const [held, asked, expected] of rows) {
      const { token } = await acquired(one, 'a', held);
      t.equal(await isBusy(other, 'a', asked), expected, `${held}, then ${asked}`);
      await one.settle(token, { kind: 'asItWas' });
    }
    t.notOk(await isBusy(other, 'a'));
  },

  'who waits for another gate is told, and comes in order (W3)': async (t) => {
    // Nobody asks by itself: the clock for that stands still.
    const { gates, open } = await share(t, { upkeep: createVirtualClock() });
    const [one, other] = gates;
    const third = await open();
    // The first wait opens the connection that listens; how long that takes nobody says.
    const order: string[] = [];
    for (const round of ['warm up', 'measured']) {
      const holder = await acquired(one, 'a');
      const waiters: Promise<void>[] = [];
      for (const [name, store] of [['other', other] as const, ['third', third] as const]) {
        waiters.push(
          acquired(store, 'a').then(async ({ token }) => {
            order.push(name);
            await store.settle(token, { kind: 'asItWas' });
          }),
        );
        await hasPlace(store);
      }
      if (round === 'warm up') await listening(servers[0], 2);
      await one.settle(holder.token, { kind: 'asItWas' });
      await Promise.all(waiters);
    }
    t.strictSame(order, ['other', 'third', 'other', 'third']);
  },

  'what one gate learns the other knows, and its copy never says anything else': async (t) => {
    const { gates, clock } = await share(t);
    const [one, other] = gates;
    await observe(one, clock, 'a', '1');
    t.strictSame(await known(other, 'a'), ['1']);
    t.strictSame(await known(other, 'a'), ['1'], 'from its copy');
    const { token } = await acquired(one, 'a');
    t.equal((await other.epoch('a')).doubtful, true);
    await one.settle(token, { kind: 'changed', observation: observation(clock, '2') });
    t.strictSame(await known(other, 'a'), ['2']);
    const mark = await other.touch(['a']);
    t.strictSame(await known(one, 'a'), []);
    await other.settle(mark.token, { kind: 'notSent' });
    await observe(other, clock, 'a', '3');
    t.strictSame(await known(one, 'a'), ['3']);
  },

  'a lease that ends without being settled is doubt (S2)': async (t) => {
    const { gates, clock } = await share(t);
    const [one, other] = gates;
    await observe(one, clock, 'a', '1');
    const lost = await acquired(one, 'a');
    clock.advance(leaseTime - 1);
    t.ok(await isBusy(other, 'a'), 'it is held to its end');
    clock.advance(2);
    const next = await acquired(other, 'a');
    t.strictSame(next.knowledge, []);
    t.ok(next.epoch > lost.epoch);
    t.ok(one.remaining(lost.token) <= 0, 'whoever had it knows');
    t.equal(await one.renew(lost.token), false);
    t.equal(await one.settle(lost.token, { kind: 'changed', observation: observation(clock, 'late') }), false);
    t.strictSame(await known(other, 'a'), [], 'what it says records nothing');
    t.ok(await isBusy(one, 'a'), 'and frees nobody else');
    await other.settle(next.token, { kind: 'asItWas' });
  },

  'expiry is noticed by readers too, and a late settle leaves doubt (S2)': async (t) => {
    const { gates, clock } = await share(t);
    const [one, other] = gates;
    await observe(one, clock, 'a', '1');
    const lost = await acquired(one, 'a');
    clock.advance(leaseTime + 1);
    t.strictSame(await known(other, 'a'), []);
    await observe(other, clock, 'a', '2');
    t.strictSame(await known(other, 'a'), ['2']);
    t.equal(await one.settle(lost.token, { kind: 'changed' }), false);
    t.strictSame(await known(other, 'a'), [], 'it may have been read before the late write took effect');
  },

  'a mark ends with its time too, in doubt (W16)': async (t) => {
    const { gates, clock } = await share(t);
    const [one, other] = gates;
    const mark = await one.touch(['a']);
    const { epoch, doubtful } = await other.epoch('a');
    t.ok(doubtful);
    clock.advance(leaseTime + 1);
    const after = await other.epoch('a');
    t.ok(after.epoch > epoch);
    t.notOk(after.doubtful);
    await one.settle(mark.token, { kind: 'asItWas' });
  },

  'leases are renewed while they are held, and only then (S2)': async (t) => {
    const upkeep = createVirtualClock();
    const { gates, clock } = await share(t, { upkeep });
    const [one, other] = gates;
    const { token } = await acquired(one, 'a');
    for (let tick = 0; tick < 12; tick += 1) {
      clock.advance(leaseTime / 6);
      upkeep.advance(leaseTime / 6);
      await one.epoch('a');
    }
    t.ok(one.remaining(token) > leaseTime / 2, 'after twice its time');
    t.ok(await isBusy(other, 'a'));
    await one.settle(token, { kind: 'asItWas' });
    t.equal(upkeep.pending(), 0, 'nothing is held, nothing is looked after');
    t.notOk(await isBusy(other, 'a'));
  },

  'a rest ends by itself where its gate is gone, in doubt (W11)': async (t) => {
    const { gates, clock, open } = await share(t);
    const [one] = gates;
    const dying = await open();
    await observe(one, clock, 'a', '1');
    const { token } = await acquired(dying, 'a');
    await dying.settle(token, { kind: 'unknown', rest: 5000 });
    await dying.close();
    clock.advance(5000);
    t.ok(await isBusy(one, 'a'), 'a little longer than the rest itself');
    clock.advance(1001);
    t.notOk(await isBusy(one, 'a'));
    t.strictSame(await known(one, 'a'), []);
  },

  'clocks that differ do not make news younger than they are (W4)': async (t) => {
    const [redis] = servers;
    if (redis === undefined) return;
    const hours = [0, 5, -5].map((hour) => hour * 3_600_000);
    const clocks = hours.map((ms): Clock => ({ ...systemClock, now: () => systemClock.now() + ms }));
    const stores: Store[] = [];
    let namespace: string | undefined;
    for (const clock of clocks) {
      // The server's own time.
      const more = { serverClock: undefined, ...(namespace !== undefined && { namespace }) };
      const own = await openRedisStore([redis], { resources: 10, queue: 10, clock }, more);
      t.teardown(() => own.store.close());
      namespace = own.namespace;
      stores.push(own.store);
    }
    for (const [writer, store] of stores.entries()) {
      const key = `of ${writer}`;
      const sentAt = clocks[writer]?.now() ?? 0;
      t.ok(
        await store.observe(key, (await store.epoch(key)).epoch, { ...observation(createVirtualClock(), '1'), sentAt }),
      );
      const sent = systemClock.now();
      for (const [reader, other] of stores.entries()) {
        const told = (await other.epoch(key)).knowledge[0]?.sentAt ?? 0;
        const own = told - (hours[reader] ?? 0);
        t.ok(own <= sent && own > sent - 5000, `${writer} to ${reader}: not younger, nor much older`);
        if (reader === writer) t.equal(told, sentAt, 'who read it knows exactly');
      }
    }
  },
};

/** Until a store has asked for a lease that another one has. */
async function hasPlace(store: Store): Promise<void> {
  for (let round = 0; round < 3; round += 1) await store.epoch('another');
}

/** Until so many connections listen. */
async function listening(redis: Redis | undefined, count: number): Promise<void> {
  for (;;) {
    const info = String(await redis?.command('CLIENT', 'LIST', 'TYPE', 'pubsub'));
    if (info.split('\n').filter((line) => line.includes('sub=1')).length >= count) return;
  }
}

if (hasRedis(t)) {
  servers.push(await startRedis(t));
  for (const [title, check] of Object.entries(cases)) t.test(title, check);

  t.test(
    'a server that is new gives no lease for a while, and none of what it knew before counts (S2, S4)',
    async (t) => {
      const redis = await startRedis(t, { config: ['appendonly yes', 'appendfsync always'] });
      const rests: number[] = [];
      const events = {
        failed: () => undefined,
        down: () => undefined,
        up: () => undefined,
        rests: rests.push.bind(rests),
      };
      const { gates, clock, namespace } = await share(t, { events: events as never }, redis);
      const [one, other] = gates;
      await observe(one, clock, 'a', '1');
      const before = await other.epoch('a');
      t.strictSame(rests.length, 1, 'said once');
      const { token } = await acquired(one, 'b');
      await redis.restart();
      for (const store of gates) await back(store);
      const asked = await other.acquire({ keys: ['c'], kind: 'exclusive', wait: 1000, signal: undefined });
      t.match(asked, { kind: 'unavailable', reason: 'resting' });
      t.match(await other.epoch('a'), { doubtful: true, knowledge: [] }, 'though it is still there');
      t.equal(await other.observe('a', before.epoch, observation(clock, '1')), false, 'nor what was read before');
      const during = await other.epoch('a');
      t.equal(await other.observe('a', during.epoch, observation(clock, '1')), false, 'nor meanwhile');
      t.ok(one.remaining(token) > 0, 'who had a lease has it');
      clock.advance(leaseTime + 1);
      t.notOk(await isBusy(other, 'c'));
      t.ok(await observe(other, clock, 'a', '2'));
      t.ok(namespace);
    },
  );
}

/** Until a store can be reached again. */
async function back(store: Store): Promise<void> {
  while ((await store.epoch('back')).epoch < 0) await new Promise((resolve) => setImmediate(resolve));
}

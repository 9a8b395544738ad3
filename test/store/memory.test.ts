import t from 'tap';
import { systemClock } from '../../src/http/clock.js';
import { createMemoryStore } from '../../src/store/memory.js';
import type { LeaseKind } from '../../src/store/store.js';
import { createVirtualClock } from '../helpers/clock.js';
import { observation, observeNow, storeContract } from './contract.js';

storeContract('memory', async (options) => createMemoryStore(options), {
  async forget(store, { seen }) {
    for (const key of ['other', 'another', 'third']) await observeNow(store, key, seen('x'));
  },
  forgetsByNumber: true,
  turn: async () => undefined,
  runs: 500,
});

t.test('a lease or a mark of nothing is a mistake of the caller', async (t) => {
  const store = createMemoryStore({ resources: 1, queue: 1, clock: createVirtualClock() });
  await t.rejects(store.acquire({ keys: [], kind: 'shared', wait: 0, signal: undefined }), RangeError);
  await t.rejects(store.touch([]), RangeError);
});

t.test('what is known is told at once, and whether anybody writes (W7)', async (t) => {
  const clock = createVirtualClock();
  const store = createMemoryStore({ resources: 100, queue: 10, clock });
  t.teardown(() => store.close());
  const lease = async (kind: LeaseKind, wait = 0) => {
    const result = await store.acquire({ keys: ['a', 'b'], kind, wait, signal: undefined });
    if (result.kind !== 'acquired') throw new Error(result.kind);
    return result.token;
  };
  const isDoubtful = () => store.atOnce?.epoch('b').doubtful;
  const knowledge = () => store.atOnce?.epoch('b').knowledge;
  t.strictSame(store.atOnce?.epoch('b'), await store.epoch('b'), 'nothing is known');
  await observeNow(store, 'b', observation(clock, 'x'));
  const known = (await store.epoch('b')).knowledge;
  t.equal(known.length, 1);
  t.strictSame(store.atOnce?.epoch('b'), await store.epoch('b'));
  for (const kind of ['shared', 'exclusive'] as const) {
    const token = await lease(kind);
    t.equal(isDoubtful(), true, `a ${kind} lease`);
    const next = lease('exclusive', 1000);
    await store.settle(token, { kind: 'asItWas' });
    t.equal(isDoubtful(), true, 'the next in line has it');
    await store.settle(await next, { kind: 'notSent' });
    t.equal(isDoubtful(), false, 'nobody has it');
    t.strictSame(knowledge(), known);
  }
  await store.settle(await lease('exclusive'), { kind: 'unknown', rest: 1000 });
  t.equal(isDoubtful(), true, 'a lease that rests (W11)');
  clock.advance(1000);
  t.equal(isDoubtful(), false);
  t.strictSame(knowledge(), []);
  const { token: mark } = await store.touch(['b']);
  t.equal(isDoubtful(), true, 'a mark (W16)');
  await store.settle(mark, { kind: 'notSent' });
  t.equal(isDoubtful(), false);
});

t.test('a lease is given at once where nobody is in the way, and settled at once (W3)', async (t) => {
  const clock = createVirtualClock();
  const store = createMemoryStore({ resources: 100, queue: 10, clock });
  t.teardown(() => store.close());
  const wish = (kind: LeaseKind, keys: string[], signal = new AbortController().signal) => {
    return { keys, kind, wait: 1000, signal };
  };
  await observeNow(store, 'a', observation(clock, 'x'));
  const lease = store.atOnce?.acquire(wish('exclusive', ['a', 'b', 'a']));
  if (lease === undefined) throw new Error('it is free');
  t.strictSame(lease.token.keys, ['a', 'b'], 'each key once');
  t.strictSame(lease.knowledge, (await store.epoch('a')).knowledge);
  t.equal(store.remaining(lease.token), Number.POSITIVE_INFINITY);
  t.equal(store.atOnce?.acquire(wish('shared', ['b'])), undefined, 'somebody is in the way');
  t.equal(store.stats().waiting, 0, 'and nobody waits');
  const next = store.acquire(wish('shared', ['b']));
  t.equal(store.atOnce?.acquire(wish('shared', ['c', 'b'])), undefined);
  t.equal(store.atOnce?.settle(lease.token, { kind: 'changed', observation: observation(clock, 'y') }), true);
  t.strictSame(
    (await store.epoch('a')).knowledge.map(({ hash }) => hash),
    ['y'],
    'what is recorded',
  );
  t.equal(store.atOnce?.settle(lease.token, { kind: 'notSent' }), false, 'once');
  const shared = await next;
  t.equal(shared.kind, 'acquired', 'the next in line has it');
  t.ok(store.atOnce?.acquire(wish('shared', ['b'])), 'shared with another');
  t.equal(store.atOnce?.acquire(wish('shared', ['d'], AbortSignal.abort())), undefined, 'nobody asks any more');
  await store.close();
  t.equal(store.atOnce?.acquire(wish('shared', ['d'])), undefined, 'closed');
});

t.test('the virtual clock', async (t) => {
  const clock = createVirtualClock(1000);
  const fired: string[] = [];
  clock.after(20, () => fired.push(`b ${Math.floor(clock.now())}`));
  clock.after(10, () => {
    fired.push(`a ${Math.floor(clock.now())}`);
    clock.after(5, () => fired.push(`c ${Math.floor(clock.now())}`));
  });
  clock.after(20, () => fired.push(`d ${Math.floor(clock.now())}`));
  const cancel = clock.after(1, () => fired.push('never'));
  cancel();
  clock.advance(9);
  t.strictSame(fired, []);
  clock.advance(50);
  t.strictSame(fired, ['a 1010', 'c 1015', 'b 1020', 'd 1020']);
  t.equal(clock.pending(), 0);
  const readings = Array.from({ length: 100 }, () => clock.now());
  t.ok(readings.every((reading, index) => index === 0 || reading > (readings[index - 1] ?? Number.NaN)));
});

t.test('the clock of the process', async (t) => {
  const readings = Array.from({ length: 10_000 }, () => systemClock.now());
  t.ok(readings.every((reading, index) => index === 0 || reading > (readings[index - 1] ?? Number.NaN)));
  t.ok(Math.abs(systemClock.now() - Date.now()) < 60_000, 'it tells the time');
  const cancelled: string[] = [];
  const cancel = systemClock.after(0, () => cancelled.push('fired'));
  systemClock.after(2 ** 40, () => cancelled.push('fired at once'))();
  cancel();
  await new Promise<void>((resolve) => {
    const keepAlive = setTimeout(() => t.fail('never fired'), 10_000);
    systemClock.after(1, () => {
      clearTimeout(keepAlive);
      resolve();
    });
  });
  t.strictSame(cancelled, []);
});

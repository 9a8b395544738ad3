import { getEventListeners } from 'node:events';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import type {
  Acquired,
  AcquireRequest,
  LeaseKind,
  NotAcquired,
  Observation,
  Outcome,
  Store,
  StoreOptions,
  Token,
} from '../../src/store/store.js';
import { createVirtualClock, type VirtualClock } from '../helpers/clock.js';
import { tagCases } from './tag-cases.js';

/** Makes a store that knows nothing yet and shares nothing with the others that were made. */
export type MakeStore = (options: StoreOptions) => Promise<Store>;

/** In what stores may differ. */
export interface Traits {
  /** Has the store, which has room for two resources, forget the versions that it knows. */
  readonly forget: (store: Store, world: World) => Promise<void>;
  /** Whether what is beyond its room is forgotten, and what it knows is counted; else time alone makes it forget. */
  readonly forgetsByNumber: boolean;
  /** Resolves when all that was asked of the store before has reached it, and its answers have come. */
  readonly turn: (store: Store) => Promise<void>;
  /** How often the long properties run. */
  readonly runs: number;
}

/** What a case gets: a store with room for 100 resources and for 200 in line, and a clock that stands still. */
export interface World {
  readonly t: Test;
  readonly clock: VirtualClock;
  readonly store: Store;
  readonly traits: Traits;
  /** Another store, closed at the end of the case. */
  open(options: Partial<StoreOptions>): Promise<Store>;
  /** What a read sees that is sent now. */
  seen(hash: string, more?: Partial<Observation>): Observation;
}

/** Every promise of `Store`: each implementation has to keep all of them (S1). */
export function storeContract(name: string, makeOne: MakeStore, traits: Traits): void {
  const make: MakeStore = async (options) => {
    const store = await makeOne(options);
    turns.set(store, traits.turn);
    return store;
  };
  for (const [title, check] of Object.entries({ ...leaseCases, ...outcomeCases, ...versionCases, ...tagCases })) {
    t.test(`${name}: ${title}`, async (t) => {
      const clock = createVirtualClock();
      const open = async (options: Partial<StoreOptions>) => {
        const store = await make({ resources: 100, queue: 200, clock, ...options });
        t.teardown(() => store.close());
        return store;
      };
      const seen: World['seen'] = (hash, more) => observation(clock, hash, more);
      await check({ t, clock, traits, open, store: await open({}), seen });
    });
  }
  t.test(`${name}: any order of requests, ends and cancellations (W3, I7)`, (t) =>
    t.resolves(checkLeaseOrder(make, traits)),
  );
  t.test(`${name}: any order of reads, writes and evictions (R3, S3)`, (t) =>
    t.resolves(checkReadSafety(make, traits)),
  );
}

export type Cases = Readonly<Record<string, (world: World) => Promise<void>>>;

const leaseCases: Cases = {
  'an exclusive lease excludes all others, a shared one only exclusive ones (W3)': async ({ t, store }) => {
    const rows: [held: LeaseKind, asked: LeaseKind, result: string][] = [
      ['exclusive', 'exclusive', 'busy'],
      ['exclusive', 'shared', 'busy'],
      ['shared', 'exclusive', 'busy'],
      ['shared', 'shared', 'acquired'],
    ];
    for (const [held, asked, expected] of rows) {
      const key = `${held}-${asked}`;
      const { token } = await acquired(store, [key], { kind: held });
      t.equal((await acquire(store, ['other', key], { kind: asked, wait: 0 })).kind, expected, key);
      await store.settle(token, { kind: 'notSent' });
    }
    t.equal((await acquire(store, ['exclusive-exclusive'], { wait: 0 })).kind, 'acquired', 'free after settle');
  },

  'a lease comes with epoch and knowledge of the first key as it was named': async ({ t, store, clock, seen }) => {
    await observeNow(store, 'z', seen('1'));
    const { epoch } = await store.epoch('z');
    const asked = clock.now();
    const { token, since, ...given } = await acquired(store, ['z', 'a', 'z']);
    t.ok(asked < since && since < clock.now(), 'and with the time when it was given');
    const { knowledge, seenTags } = await store.epoch('z');
    t.strictSame(given, { kind: 'acquired', isShared: true, epoch, knowledge, seenTags });
    t.equal(given.knowledge[0]?.hash, '1');
    t.strictSame([...token.keys].sort(), ['a', 'z'], 'a key that is named twice is leased once');
    await store.settle(token, { kind: 'notSent' });
    t.equal((await acquire(store, ['a', 'z'], { wait: 0 })).kind, 'acquired', 'and is free after one settle');
  },

  'one who waits sees what the one before recorded': async ({ t, store, seen }) => {
    const first = await acquired(store, ['a']);
    const second = acquire(store, ['a']);
    const third = acquire(store, ['a']);
    await store.settle(first.token, { kind: 'changed', observation: seen('2') });
    const { token, epoch, knowledge } = await granted(second);
    t.strictSame(hashes(knowledge), ['2']);
    t.ok(epoch > first.epoch);
    await store.settle(token, { kind: 'asItWas' });
    t.strictSame((await granted(third)).epoch, epoch);
  },

  'a herd of exclusive writers goes one by one, first come first served (W3)': async ({ t, store, clock }) => {
    const order: number[] = [];
    const first = await acquired(store, ['a']);
    const herd = Array.from({ length: 100 }, async (_, number) => {
      const { token } = await acquired(store, ['a']);
      order.push(number);
      await turn(store);
      t.equal(order.length, number + 1, 'nobody else while it is held');
      await store.settle(token, { kind: 'asItWas' });
    });
    await turn(store);
    t.equal(store.stats().waiting, 100);
    await store.settle(first.token, { kind: 'asItWas' });
    await Promise.all(herd);
    t.strictSame(order, [...order.keys()]);
    t.equal(clock.pending(), 0, 'no timer is left');
  },

  'a hundred shared ones run side by side, but none passes a waiting exclusive one (W3)': async ({ t, store }) => {
    const early = await Promise.all(Array.from({ length: 100 }, () => acquired(store, ['a'], { kind: 'shared' })));
    const exclusive = acquire(store, ['a']);
    const late = Array.from({ length: 100 }, () => acquire(store, ['a'], { kind: 'shared' }));
    t.equal((await acquire(store, ['a'], { kind: 'shared', wait: 0 })).kind, 'busy');
    const [last, ...others] = early;
    for (const { token } of others) await store.settle(token, { kind: 'asItWas' });
    t.ok(await isWaiting(store, exclusive), 'while one shared one is held');
    if (last !== undefined) await store.settle(last.token, { kind: 'asItWas' });
    const { token } = await granted(exclusive);
    for (const one of late) t.ok(await isWaiting(store, one));
    await store.settle(token, { kind: 'asItWas' });
    const together = await Promise.all(late.map(granted));
    t.equal(store.stats().leases, 100, 'then all that waited behind it, together');
    for (const one of together) await store.settle(one.token, { kind: 'asItWas' });
    t.same(store.stats(), { ...store.stats(), leases: 0, waiting: 0 });
  },

  'the line of one key is bounded, those of others are not concerned (W3)': async ({ t, open }) => {
    const store = await open({ queue: 2 });
    const { token } = await acquired(store, ['a']);
    const line = [acquire(store, ['a']), acquire(store, ['b', 'a'])];
    await turn(store);
    t.equal((await acquire(store, ['a'])).kind, 'queue-full');
    t.equal((await acquire(store, ['c', 'a'])).kind, 'queue-full', 'all or none');
    t.equal((await acquire(store, ['a'], { wait: 0 })).kind, 'busy', 'who does not wait needs no room');
    t.equal((await acquire(store, ['c'], { wait: 0 })).kind, 'acquired');
    await store.settle(token, { kind: 'notSent' });
    await granted(line[0]);
    t.ok(await isWaiting(store, acquire(store, ['a'])), 'there is room again');
  },

  'a wait ends after its time, and those behind go on': async ({ t, store, clock }) => {
    const holder = await acquired(store, ['a'], { kind: 'shared' });
    const short = acquire(store, ['a'], { wait: 1000 });
    const behind = acquire(store, ['a'], { kind: 'shared', wait: 5000 });
    await turn(store);
    clock.advance(999);
    t.ok(await isWaiting(store, short));
    t.ok(await isWaiting(store, behind));
    clock.advance(1);
    t.strictSame(await short, { kind: 'timeout' });
    const { token } = await granted(behind);
    t.equal(store.stats().waiting, 0);
    clock.advance(10_000);
    t.equal(await store.renew(token), true, 'a lease that was given in time is not concerned');
    await store.settle(holder.token, { kind: 'notSent' });
    await store.settle(token, { kind: 'notSent' });
    t.equal(clock.pending(), 0);
  },

  'one who goes away leaves the line, and those behind go on': async ({ t, store, clock }) => {
    const client = new AbortController();
    const { signal } = client;
    const holder = await acquired(store, ['a'], { kind: 'shared', signal });
    t.equal(getEventListeners(signal, 'abort').length, 0, 'nothing to listen to once it is given');
    const line = [
      acquire(store, ['a'], { kind: 'shared' }),
      acquire(store, ['a'], { signal }),
      acquire(store, ['a'], { kind: 'shared' }),
      acquire(store, ['a']),
      acquire(store, ['b', 'a'], { kind: 'shared' }),
    ];
    await granted(line[0]);
    t.ok(await isWaiting(store, line[2]));
    client.abort();
    t.strictSame(await line[1], { kind: 'aborted' });
    await granted(line[2]);
    t.ok(await isWaiting(store, line[3]));
    t.ok(await isWaiting(store, line[4]));
    t.equal(getEventListeners(signal, 'abort').length, 0, 'no listener is left');
    t.equal(clock.pending(), 2, 'and a timer only for each that waits');
    t.strictSame(await acquire(store, ['free'], { signal }), { kind: 'aborted' }, 'one who has gone gets nothing');
    t.equal(await store.renew(holder.token), true, 'a lease that is held stays');
  },

  'listeners and timers end with the wait, however it ends': async ({ t, open, clock }) => {
    const store = await open({ queue: 1 });
    const ends: [string, (holder: Token) => Promise<unknown>][] = [
      ['acquired', (holder) => store.settle(holder, { kind: 'asItWas' })],
      ['timeout', async () => clock.advance(10_000)],
      ['aborted', () => store.close()],
    ];
    for (const [kind, end] of ends) {
      const { signal } = new AbortController();
      const holder = await acquired(store, [kind]);
      const waiter = acquire(store, [kind], { signal });
      await turn(store);
      t.equal(getEventListeners(signal, 'abort').length, 1);
      t.equal((await acquire(store, [kind], { signal })).kind, 'queue-full');
      t.equal((await acquire(store, [kind], { signal, wait: 0 })).kind, 'busy');
      await end(holder.token);
      t.equal((await waiter).kind, kind);
      t.equal(getEventListeners(signal, 'abort').length, 0, kind);
      t.equal(clock.pending(), 0, kind);
    }
  },

  'several keys are taken in one step, and held by nobody who waits (I7)': async ({ t, store }) => {
    const b = await acquired(store, ['b']);
    const both = acquire(store, ['a', 'b']);
    await turn(store);
    t.equal((await store.epoch('a')).doubtful, false, 'a is not held while b is waited for');
    t.equal((await acquire(store, ['a'], { wait: 0 })).kind, 'busy', 'but nobody overtakes');
    const behind = acquire(store, ['a']);
    const reversed = acquire(store, ['b', 'a'], { kind: 'shared' });
    await store.settle(b.token, { kind: 'notSent' });
    const { token } = await granted(both);
    t.ok(await isWaiting(store, behind));
    await store.settle(token, { kind: 'notSent' });
    await store.settle((await granted(behind)).token, { kind: 'notSent' });
    await granted(reversed);
  },

  'close ends all waiting and all timers, and what is settled later is ignored': async ({ t, open, clock, seen }) => {
    const store = await open({});
    const { token } = await acquired(store, ['a']);
    const { token: mark } = await store.touch(['m']);
    const resting = await acquired(store, ['r']);
    await store.settle(resting.token, { kind: 'unknown', rest: 1000 });
    const line = [acquire(store, ['a']), acquire(store, ['r', 'a'], { kind: 'shared' })];
    await turn(store);
    await store.close();
    t.strictSame(await Promise.all(line), [{ kind: 'aborted' }, { kind: 'aborted' }]);
    t.strictSame(await acquire(store, ['new']), { kind: 'aborted' });
    t.equal(clock.pending(), 0);
    t.equal(store.stats().waiting, 0);
    await store.settle(token, { kind: 'changed', observation: seen('2') });
    await store.settle(mark, { kind: 'unknown', rest: 1000 });
    await store.close();
    t.equal(clock.pending(), 0);
  },

  'stats counts resources, leases and marks, and writes in line': async ({ t, store, seen, clock, traits }) => {
    const counts = (entries: number, leases: number, waiting: number) => {
      t.match(store.stats(), { ...(traits.forgetsByNumber && { entries }), leases, waiting });
    };
    counts(0, 0, 0);
    await store.epoch('unknown');
    await observeNow(store, 'a', seen('1'));
    const lease = await acquired(store, ['a', 'b']);
    const { token: mark } = await store.touch(['c']);
    const waiter = acquire(store, ['b', 'a']);
    await turn(store);
    counts(2, 2, 1);
    await store.settle(mark, { kind: 'asItWas' });
    await store.settle(lease.token, { kind: 'unknown', rest: 100 });
    t.equal(store.stats().leases, 1, 'a rest is a lease that is held');
    clock.advance(100);
    await store.settle((await granted(waiter)).token, { kind: 'asItWas' });
    counts(3, 0, 0);
  },

  'renew tells whether the lease is still held': async ({ t, store }) => {
    const { token } = await acquired(store, ['a']);
    t.equal(await store.renew(token), true);
    await store.settle(token, { kind: 'unknown', rest: 100 });
    t.equal(await store.renew(token), false);
    t.equal(await store.renew({ keys: ['a'] }), false, 'a token of nobody');
  },
};

const unchanged = [{ kind: 'notSent' }, { kind: 'asItWas' }] as const;
const moving = [{ kind: 'changed' }, { kind: 'unknown', rest: 0 }] as const;

const outcomeCases: Cases = {
  'notSent and asItWas keep epoch and knowledge, and record what the holder saw (W9)': async ({ t, store, seen }) => {
    for (const outcome of unchanged) {
      const key = outcome.kind;
      await observeNow(store, key, seen('old'));
      const before = await store.epoch(key);
      for (const kind of ['exclusive', 'shared'] as const) {
        const { token } = await acquired(store, [key], { kind });
        await store.settle(token, outcome);
        t.strictSame(await store.epoch(key), before, `${key}, ${kind}`);
      }
      const { token } = await acquired(store, [key]);
      await store.settle(token, { ...outcome, observation: seen('new') });
      t.match(await store.epoch(key), { epoch: before.epoch, doubtful: false });
      t.strictSame(hashes((await store.epoch(key)).knowledge), ['new']);
    }
  },

  'changed drops all views of all keys and of doubts, then records what the holder saw': async ({ t, store, seen }) => {
    const keys = ['a', 'b', 'doubted'];
    for (const key of keys) await observeNow(store, key, seen('old'));
    const before = await Promise.all(keys.map((key) => store.epoch(key)));
    const { token } = await acquired(store, ['a', 'b']);
    await store.settle(token, { kind: 'changed', observation: seen('new'), doubts: ['doubted', 'a', 'unknown'] });
    const after = await Promise.all(keys.map((key) => store.epoch(key)));
    t.ok(after.every(({ epoch }, index) => epoch > (before[index]?.epoch ?? Number.NaN)));
    t.strictSame(
      after.map(({ knowledge }) => hashes(knowledge)),
      [['new'], [], []],
    );
    t.ok((await store.epoch('unknown')).epoch > 0);
  },

  'what a shared holder saw is never recorded, and each one moves the epoch (W3)': async ({ t, store, seen }) => {
    for (const kind of ['changed', 'asItWas', 'notSent'] as const) {
      const holders = [
        await acquired(store, [kind], { kind: 'shared' }),
        await acquired(store, [kind], { kind: 'shared' }),
      ];
      for (const { token } of holders) {
        const { epoch } = await store.epoch(kind);
        await store.settle(token, { kind, observation: seen('mine') });
        t.strictSame((await store.epoch(kind)).knowledge, []);
        t.equal((await store.epoch(kind)).epoch > epoch, kind === 'changed');
      }
    }
  },

  'unknown: in doubt at once, leased for the rest, then in doubt again (W11)': async ({ t, store, clock, seen }) => {
    await observeNow(store, 'a', seen('old'));
    const { token, epoch } = await acquired(store, ['a', 'b']);
    await store.settle(token, { kind: 'unknown', rest: 5000 });
    const resting = await store.epoch('a');
    t.ok(resting.epoch > epoch);
    t.strictSame([resting.doubtful, resting.knowledge], [true, []]);
    t.equal((await acquire(store, ['b'], { kind: 'shared', wait: 0 })).kind, 'busy');
    t.equal(await store.observe('a', resting.epoch, seen('during')), false);
    const waiter = acquire(store, ['a'], { wait: 6000 });
    const impatient = acquire(store, ['a'], { wait: 4000 });
    await turn(store);
    clock.advance(4999);
    t.ok(await isWaiting(store, waiter));
    t.equal((await impatient).kind, 'timeout');
    clock.advance(1);
    const next = await granted(waiter);
    t.ok(next.epoch > resting.epoch, 'what was read during the rest counts no more');
    t.strictSame(next.knowledge, []);
    t.equal((await acquire(store, ['b'], { wait: 0 })).kind, 'acquired');
    t.equal(await store.observe('a', resting.epoch, seen('during')), false);
    await store.settle(next.token, { kind: 'notSent' });
    t.equal(clock.pending(), 0);
  },

  'a shared lease of unknown outcome keeps exclusive ones out for the rest (W11)': async ({ t, store, clock }) => {
    const [lost, other] = [
      await acquired(store, ['a'], { kind: 'shared' }),
      await acquired(store, ['a'], { kind: 'shared' }),
    ];
    await store.settle(lost.token, { kind: 'unknown', rest: 1000 });
    t.equal((await acquire(store, ['a'], { kind: 'shared', wait: 0 })).kind, 'acquired', 'shared as it was');
    const exclusive = acquire(store, ['a']);
    await store.settle(other.token, { kind: 'asItWas' });
    await turn(store);
    clock.advance(1000);
    t.ok(await isWaiting(store, exclusive), 'and the one that came meanwhile is held');
    const { epoch } = await store.epoch('a');

    const last = await acquired(store, ['b'], { kind: 'shared' });
    await store.settle(last.token, { kind: 'unknown', rest: 1000 });
    const waiter = acquire(store, ['b']);
    await turn(store);
    clock.advance(999);
    t.ok(await isWaiting(store, waiter));
    clock.advance(1);
    t.ok((await granted(waiter)).epoch > epoch);
  },

  'a token is settled once': async ({ t, store, seen }) => {
    const { token } = await acquired(store, ['a']);
    await store.settle(token, { kind: 'asItWas' });
    const next = await acquired(store, ['a']);
    for (const outcome of [...moving, ...unchanged]) await store.settle(token, outcome);
    await store.settle({ keys: ['a'] }, { kind: 'changed', observation: seen('2') });
    t.match(await store.epoch('a'), { epoch: next.epoch, doubtful: true, knowledge: [] });
    t.equal((await acquire(store, ['a'], { wait: 0 })).kind, 'busy', 'the lease of the next one is held');
  },

  'what the holder saw before its lease, or before the epoch moved, is not recorded (R3)': async ({
    t,
    store,
    seen,
  }) => {
    const early = seen('early');
    const first = await acquired(store, ['a']);
    await store.settle(first.token, { kind: 'asItWas', observation: early });
    t.strictSame((await store.epoch('a')).knowledge, [], 'before the lease');

    const rows: [name: string, pass: (during: () => void) => Promise<unknown>][] = [
      ['an unguarded write came and went', (during) => passBy(store, 'a', during)],
      ['an unguarded write came', (during) => store.touch(['a']).finally(during)],
    ];
    for (const [name, pass] of rows) {
      for (const kind of ['asItWas', 'changed'] as const) {
        const { token } = await acquired(store, ['a']);
        let saw = seen('before');
        await pass(() => {
          saw = seen('during');
        });
        await store.settle(token, { kind, observation: saw });
        t.strictSame((await store.epoch('a')).knowledge, [], `${name}, ${kind}`);
      }
    }
    const { token } = await acquired(store, ['b']);
    await passBy(store, 'b', () => undefined);
    await store.settle(token, { kind: 'asItWas', observation: seen('after') });
    t.strictSame(hashes((await store.epoch('b')).knowledge), ['after'], 'but what was read after all that is');
  },

  'a mark moves the epoch when it is made and when it ends, however it ends (W16)': async ({
    t,
    store,
    seen,
    clock,
  }) => {
    for (const outcome of [...unchanged, ...moving]) {
      const key = outcome.kind;
      await observeNow(store, key, seen('old'));
      const before = await store.epoch(key);
      const { token: mark } = await store.touch([key, key, 'b']);
      const marked = await store.epoch(key);
      t.ok(marked.epoch > before.epoch, key);
      t.strictSame([marked.doubtful, marked.knowledge], [true, []]);
      t.equal(await store.observe(key, marked.epoch, seen('during')), false);
      const { token } = await acquired(store, [key], { wait: 0 });
      await store.settle(token, { kind: 'notSent' });
      await store.settle(mark, outcome);
      clock.advance(0);
      await turn(store);
      const after = await store.epoch(key);
      t.ok(after.epoch > marked.epoch);
      t.equal(after.doubtful, false);
      t.equal(await store.observe(key, marked.epoch, seen('during')), false, 'read while it was held');
      t.equal(await store.observe(key, after.epoch, seen('after')), true);
    }
  },

  'marks are counted, rest, and doubt others': async ({ t, store, clock, seen }) => {
    await observeNow(store, 'created', seen('old'));
    const marks = [(await store.touch(['a'])).token, (await store.touch(['a'])).token];
    const observation = seen('of a mark');
    for (const mark of marks) {
      t.equal((await store.epoch('a')).doubtful, true);
      await store.settle(mark, { kind: 'changed', observation, doubts: ['created'] });
      t.strictSame((await store.epoch('created')).knowledge, []);
    }
    t.match(await store.epoch('a'), { doubtful: false, knowledge: [] });
    const { token: lost } = await store.touch(['a']);
    await store.settle(lost, { kind: 'unknown', rest: 1000 });
    const resting = await store.epoch('a');
    t.equal(resting.doubtful, true);
    t.equal((await acquire(store, ['a'], { wait: 0 })).kind, 'acquired', 'nobody waits for a mark that rests');
    clock.advance(1000);
    t.ok((await store.epoch('a')).epoch > resting.epoch);
  },

  'movedSince tells whether the epoch has moved since a moment of the lease (W8)': async ({ t, open, clock }) => {
    const store = await open({ resources: 2 });
    const others: [name: string, act: () => Promise<unknown>][] = [
      ['an unguarded write begins', () => store.touch(['a'])],
      ['an unguarded write comes and goes', () => passBy(store, 'a', () => undefined)],
      ['another write doubts it', () => settleOf(store, 'b', { kind: 'changed', doubts: ['a'] })],
      ['an unguarded write of another of its keys begins', () => store.touch(['z'])],
    ];
    for (const [name, act] of others) {
      const { token } = await acquired(store, ['a', 'z']);
      const given = clock.now();
      t.not(store.movedSince(token, given), true, `not before: ${name}`);
      t.not(store.movedSince(token, 0), true, 'what moved before the lease was given is known to its holder');
      await act();
      t.not(store.movedSince(token, 0), false, name);
      t.not(store.movedSince(token, given), false, name);
      t.not(store.movedSince(token, clock.now()), true, `not after: ${name}`);
      await store.settle(token, { kind: 'asItWas' });
    }
    const holder = await acquired(store, ['h']);
    const next = acquire(store, ['h']);
    await turn(store);
    await store.settle(holder.token, { kind: 'changed' });
    t.not(store.movedSince((await granted(next)).token, 0), true, 'nor is what the holder before changed');

    const [lost, other] = [
      await acquired(store, ['a'], { kind: 'shared' }),
      await acquired(store, ['a'], { kind: 'shared' }),
    ];
    const given = clock.now();
    await store.settle(lost.token, { kind: 'unknown', rest: 10 });
    t.not(store.movedSince(other.token, given), false, 'another shared one has ended');
    await store.settle(other.token, { kind: 'changed' });
    clock.advance(10);

    const { token } = await acquired(store, ['a']);
    const since = clock.now();
    for (const key of ['c', 'd', 'e', 'f']) await settleOf(store, key, { kind: 'changed' });
    t.not(store.movedSince(token, since), true, 'that the version was forgotten is no move');
    await store.settle(token, { kind: 'notSent' });
    t.not(store.movedSince(token, since), false, 'a lease that has ended covers nothing');
  },
};

const versionCases: Cases = {
  'observations are kept by view and selection, the one that was sent last (R3)': async ({ t, store, seen }) => {
    const [early, late] = [seen('early'), seen('late')];
    t.equal(await observeNow(store, 'a', late), true);
    t.equal(await observeNow(store, 'a', early), false, 'late news');
    t.equal(await observeNow(store, 'a', seen('other', { view: 'w' })), true);
    t.equal(await observeNow(store, 'a', seen('gzip', { selecting: { fields: [], digest: 'gzip' } })), true);
    t.strictSame(hashes((await store.epoch('a')).knowledge).sort(), ['gzip', 'late', 'other']);
    t.equal(await observeNow(store, 'a', seen('latest')), true);
    const { knowledge } = await store.epoch('a');
    t.strictSame(hashes(knowledge).sort(), ['gzip', 'latest', 'other']);
    t.equal(await observeNow(store, 'b', early), true, 'keys have nothing to do with each other');
    t.strictSame(knowledge, (await store.epoch('a')).knowledge, 'fields are kept as they were given');
  },

  'of many views the 16 that were read last are kept': async ({ t, store, seen }) => {
    const stale = seen('stale', { view: 'stale' });
    const order = [8, 3, 0, 15, 11, 1, 2, 4, 5, 6, 7, 9, 10, 12, 13, 14];
    const reads = order.map(() => seen('')).map((read, index) => ({ ...read, view: `${index}`, hash: `${index}` }));
    for (const index of order) await observeNow(store, 'a', reads[index] ?? stale);
    t.equal((await store.epoch('a')).knowledge.length, 16);
    t.equal(await observeNow(store, 'a', stale), false, 'one that is older than all');
    t.equal(await observeNow(store, 'a', seen('16', { view: '16' })), true);
    t.equal(await observeNow(store, 'a', seen('16b', { view: '16' })), true);
    const kept = hashes((await store.epoch('a')).knowledge);
    t.strictSame(kept.sort(), [...reads.slice(1).map(({ hash }) => hash), '16b'].sort(), 'the oldest has gone');
  },

  'nothing is recorded while a lease is held or after the epoch moved (R3)': async ({ t, store, seen }) => {
    const { epoch } = await store.epoch('a');
    const read = seen('old');
    const { token } = await acquired(store, ['a'], { kind: 'shared' });
    t.equal((await store.epoch('a')).doubtful, true);
    t.equal(await store.observe('a', epoch, read), false, 'while it is held');
    await store.settle(token, { kind: 'asItWas' });
    t.equal(await store.observe('a', epoch, read), true, 'nothing has happened');
    await settleOf(store, 'a', { kind: 'changed' });
    t.equal(await store.observe('a', epoch, { ...read, sentAt: seen('').sentAt }), false, 'the epoch has moved');
    t.equal(await store.observe('a', epoch + 1000, read), false, 'an epoch that never was');
    t.strictSame((await store.epoch('a')).knowledge, []);
  },

  'a read that began before a write is dropped, though the key was forgotten since (S3)': async (world) => {
    const { t, open, seen, traits } = world;
    const store = await open({ resources: 2 });
    const beganUnknown = await store.epoch('a');
    await settleOf(store, 'a', { kind: 'changed' });
    const beganKnown = await store.epoch('a');
    await settleOf(store, 'a', { kind: 'changed' });
    const written = await store.epoch('a');
    await traits.forget(store, world);
    const forgotten = await store.epoch('a');
    t.strictSame(forgotten.knowledge, []);
    t.ok(forgotten.epoch >= written.epoch);
    t.equal(await store.observe('a', beganUnknown.epoch, seen('old')), false);
    t.equal(await store.observe('a', beganKnown.epoch, seen('old')), false);
    t.equal(await store.observe('a', forgotten.epoch, seen('new')), true);
    t.equal(
      await store.observe('a', beganUnknown.epoch, seen('old', { view: 'w' })),
      false,
      'nor once it is known again',
    );
    if (!traits.forgetsByNumber) return;
    t.ok((await store.epoch('never seen')).epoch >= written.epoch, 'unknown keys have the highest epoch evicted');
  },

  'what is used stays, and leases and marks are never evicted (S3)': async ({ t, open, seen }) => {
    const store = await open({ resources: 2 });
    const lease = await acquired(store, ['leased']);
    const { token: mark } = await store.touch(['marked']);
    await observeNow(store, 'used', seen('x'));
    for (const key of ['b', 'c', 'd', 'e']) {
      await observeNow(store, key, seen('x'));
      t.strictSame(hashes((await store.epoch('used')).knowledge), ['x'], `used, after ${key}`);
    }
    t.ok(store.stats().entries <= 2);
    t.equal((await store.epoch('leased')).doubtful, true);
    t.equal((await store.epoch('marked')).doubtful, true);
    t.equal((await acquire(store, ['leased'], { wait: 0 })).kind, 'busy');
    await store.settle(lease.token, { kind: 'changed', observation: seen('mine') });
    await store.settle(mark, { kind: 'changed' });
    t.match(await store.epoch('leased'), { doubtful: false, knowledge: [{ hash: 'mine' }] });
  },
};

/** What a read sees that is sent now. */
export function observation(clock: VirtualClock, hash: string, more: Partial<Observation> = {}): Observation {
  return {
    view: 'v',
    selecting: { fields: ['Accept', 'a/b'], digest: 'plain' },
    exists: true,
    native: undefined,
    upstreamTag: undefined,
    hash,
    etag: `"im-${hash}"`,
    lastModified: undefined,
    sentAt: clock.now(),
    uncached: true,
    fingerprint: 'f',
    ...more,
  };
}

function hashes(knowledge: readonly Observation[]): (string | undefined)[] {
  return knowledge.map(({ hash }) => hash);
}

function acquire(store: Store, keys: string[], more: Partial<AcquireRequest> = {}): Promise<Acquired | NotAcquired> {
  return store.acquire({ keys, kind: 'exclusive', wait: 10_000, signal: undefined, ...more });
}

async function acquired(store: Store, keys: string[], more: Partial<AcquireRequest> = {}): Promise<Acquired> {
  return granted(acquire(store, keys, more));
}

async function granted(request: Promise<Acquired | NotAcquired> | undefined): Promise<Acquired> {
  const result = await request;
  if (result?.kind !== 'acquired') throw new Error(`no lease: ${result?.kind}`);
  return result;
}

/** How each store that was made tells when it has done all that was asked of it. */
const turns = new WeakMap<Store, Traits['turn']>();

async function turn(store: Store): Promise<void> {
  await turns.get(store)?.(store);
  await new Promise((resolve) => setImmediate(resolve));
}

async function isWaiting(store: Store, request: Promise<Acquired | NotAcquired> | undefined): Promise<boolean> {
  await turn(store);
  return (await Promise.race([request, Promise.resolve('waiting')])) === 'waiting';
}

export async function observeNow(store: Store, key: string, read: Observation): Promise<boolean> {
  return store.observe(key, (await store.epoch(key)).epoch, read);
}

async function settleOf(store: Store, key: string, outcome: Outcome): Promise<void> {
  await store.settle((await acquired(store, [key])).token, outcome);
}

/** An unguarded write of the key, from begin to end. */
async function passBy(store: Store, key: string, during: () => void): Promise<void> {
  const { token: mark } = await store.touch([key]);
  during();
  await store.settle(mark, { kind: 'asItWas' });
}

const someKeys = fc.uniqueArray(fc.constantFrom('a', 'b', 'c', 'd'), { minLength: 1, maxLength: 3 });

/** A request as the reference knows it: in order of arrival. */
interface Writer {
  readonly keys: readonly string[];
  readonly kind: LeaseKind;
  readonly client: AbortController;
  /** What the reference says. */
  state: 'waiting' | 'held' | 'over';
  /** What the store gave. */
  lease: Acquired | undefined;
}

/** W3 as it is written: everybody in line who is barred by nobody who holds a lease or came before gets one. */
function grantByTheBook(writers: readonly Writer[]): void {
  writers.forEach((writer, place) => {
    if (writer.state !== 'waiting') return;
    const bars = (other: Writer, otherPlace: number) =>
      (other.state === 'held' || (other.state === 'waiting' && otherPlace < place)) &&
      (other.kind === 'exclusive' || writer.kind === 'exclusive') &&
      other.keys.some((key) => writer.keys.includes(key));
    if (!writers.some(bars)) writer.state = 'held';
  });
}

type LeaseStep =
  | { readonly step: 'ask'; readonly keys: string[]; readonly kind: LeaseKind }
  | { readonly step: 'settle' | 'abort'; readonly which: number };

/** After every step those hold leases who should, and when all have ended nobody is left in line. */
async function checkLeaseOrder(make: MakeStore, { runs }: Traits): Promise<void> {
  const step: fc.Arbitrary<LeaseStep> = fc.oneof(
    { weight: 3, arbitrary: fc.record({ step: fc.constant('ask' as const), keys: someKeys, kind: leaseKind }) },
    { weight: 3, arbitrary: fc.record({ step: fc.constantFrom('settle', 'abort'), which: fc.nat({ max: 20 }) }) },
  );
  const property = fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
    const clock = createVirtualClock();
    const store = await make({ resources: 10, queue: 100, clock });
    const writers: Writer[] = [];
    for (const one of steps) await takeStep(store, writers, one);
    for (let held = holder(writers, 0); held !== undefined; held = holder(writers, 0)) {
      await endWriter(store, writers, held);
    }
    const { leases, waiting } = store.stats();
    await store.close();
    return leases === 0 && waiting === 0 && clock.pending() === 0 && writers.every(({ state }) => state === 'over');
  });
  await fc.assert(property, { numRuns: Math.min(runs, 100) });
}

const leaseKind = fc.constantFrom<LeaseKind>('exclusive', 'shared');

async function takeStep(store: Store, writers: Writer[], step: LeaseStep): Promise<void> {
  if (step.step === 'ask') {
    const client = new AbortController();
    const writer: Writer = { keys: step.keys, kind: step.kind, client, state: 'waiting', lease: undefined };
    writers.push(writer);
    void acquire(store, step.keys, { kind: step.kind, signal: client.signal }).then((result) => {
      if (result.kind === 'acquired') writer.lease = result;
    });
    await compare(store, writers);
    return;
  }
  const chosen = step.step === 'settle' ? holder(writers, step.which) : waiterAt(writers, step.which);
  if (chosen !== undefined) await endWriter(store, writers, chosen);
}

async function endWriter(store: Store, writers: readonly Writer[], writer: Writer): Promise<void> {
  if (writer.lease === undefined) writer.client.abort();
  else await store.settle(writer.lease.token, { kind: 'asItWas' });
  writer.state = 'over';
  await compare(store, writers);
}

async function compare(store: Store, writers: readonly Writer[]): Promise<void> {
  grantByTheBook(writers);
  await turn(store);
  for (const { state, lease, keys, kind } of writers) {
    if (state !== 'over' && (lease !== undefined) !== (state === 'held')) {
      throw new Error(`${kind} ${keys.join()} should be ${state}`);
    }
  }
}

function holder(writers: readonly Writer[], which: number): Writer | undefined {
  const held = writers.filter(({ state }) => state === 'held');
  return held[which % held.length];
}

function waiterAt(writers: readonly Writer[], which: number): Writer | undefined {
  const waiting = writers.filter(({ state }) => state === 'waiting');
  return waiting[which % waiting.length];
}

/** A write that may take effect at any moment until it is over: until it is settled, or its rest is. */
interface Write {
  readonly token: Token;
  readonly keys: readonly string[];
  readonly isMark: boolean;
  readonly isExclusive: boolean;
  hasTakenEffect: boolean;
  isResting: boolean;
  seen: Observation | undefined;
}

interface Read {
  readonly key: string;
  readonly epoch: number;
  readonly doubtful: boolean;
  readonly observation: Observation;
}

const readSteps = [
  'read',
  'see',
  'learn',
  'lease',
  'share',
  'mark',
  'effect',
  'probe',
  'settle',
  'lose',
  'rest',
] as const;

type ReadStep = { readonly step: (typeof readSteps)[number]; readonly keys: string[]; readonly which: number };

/**
 * The reference is the upstream itself: a number per resource that grows at every effect of a write. Reads may see it
 * at any time between their begin and end. Whatever the store knows of a resource that is not in doubt must be that
 * number, with so few places that keys are evicted all the time.
 */
async function checkReadSafety(make: MakeStore, { runs }: Traits): Promise<void> {
  const step: fc.Arbitrary<ReadStep> = fc.record({
    step: fc.constantFrom(...readSteps),
    keys: someKeys,
    which: fc.nat({ max: 5 }),
  });
  const steps = fc.array(step, { maxLength: 80, size: 'max' });
  const property = fc.asyncProperty(fc.integer({ min: 1, max: 4 }), steps, async (resources, taken) => {
    const upstream = new Upstream(await make({ resources, queue: 10, clock: upstreamClock }), upstreamClock);
    for (const one of taken) await upstream.take(one);
    await upstream.store.close();
  });
  const upstreamClock = createVirtualClock();
  await fc.assert(property, { numRuns: runs });
}

class Upstream {
  readonly store: Store;
  readonly #clock: VirtualClock;
  readonly #content = new Map<string, number>();
  #reads: Read[] = [];
  #writes: Write[] = [];

  constructor(store: Store, clock: VirtualClock) {
    this.store = store;
    this.#clock = clock;
  }

  async take({ step, keys, which }: ReadStep): Promise<void> {
    const [key = ''] = keys;
    const read = this.#reads[which % this.#reads.length];
    const open = this.#writes.filter(({ isResting }) => !isResting);
    const write = open[which % open.length];
    if (step === 'read') await this.#begin(key, `v${which % 2}`);
    else if (step === 'see') this.#reads = this.#reads.map((one) => (one === read ? this.#look(one) : one));
    else if (step === 'learn' && read !== undefined) await this.#learn(read);
    else if (step === 'lease' || step === 'share') await this.#lease(keys, step === 'lease');
    else if (step === 'mark') this.#open((await this.store.touch(keys)).token, keys, 'mark');
    else if (step === 'effect') this.#effect(which);
    else if (step === 'probe' && write !== undefined) write.seen = this.#see(write.keys[0] ?? '');
    else if (step === 'settle' && write !== undefined) await this.#settle(write);
    else if (step === 'lose' && write !== undefined) await this.#lose(write);
    else if (step === 'rest') this.#rest();
    await this.#check();
  }

  #see(key: string, more: Partial<Observation> = {}): Observation {
    return observation(this.#clock, String(this.#content.get(key) ?? 0), more);
  }

  async #begin(key: string, view: string): Promise<void> {
    const { epoch, doubtful } = await this.store.epoch(key);
    this.#reads.push({ key, epoch, doubtful, observation: this.#see(key, { view }) });
  }

  /** The upstream answers a read that was sent before with what it has now. */
  #look(read: Read): Read {
    const { view, sentAt } = read.observation;
    return { ...read, observation: this.#see(read.key, { view, sentAt }) };
  }

  async #learn(read: Read): Promise<void> {
    this.#reads = this.#reads.filter((one) => one !== read);
    if (!read.doubtful) await this.store.observe(read.key, read.epoch, read.observation);
  }

  async #lease(keys: readonly string[], isExclusive: boolean): Promise<void> {
    const kind = isExclusive ? 'exclusive' : 'shared';
    const result = await this.store.acquire({ keys, kind, wait: 0, signal: undefined });
    if (result.kind === 'acquired') this.#open(result.token, keys, kind);
  }

  #open(token: Token, keys: readonly string[], kind: LeaseKind | 'mark'): void {
    const state = { hasTakenEffect: false, isResting: false, seen: undefined };
    this.#writes.push({ token, keys, isMark: kind === 'mark', isExclusive: kind === 'exclusive', ...state });
  }

  #effect(which: number): void {
    const write = this.#writes[which % this.#writes.length];
    if (write === undefined || write.hasTakenEffect) return;
    write.hasTakenEffect = true;
    for (const key of write.keys) this.#content.set(key, (this.#content.get(key) ?? 0) + 1);
    // The gate reports what it read after its write, not before.
    write.seen = undefined;
  }

  async #settle(write: Write): Promise<void> {
    this.#writes = this.#writes.filter((one) => one !== write);
    const kind = write.hasTakenEffect ? 'changed' : 'asItWas';
    await this.store.settle(write.token, { kind, observation: write.seen });
  }

  async #lose(write: Write): Promise<void> {
    write.isResting = true;
    await this.store.settle(write.token, { kind: 'unknown', rest: 100 });
  }

  #rest(): void {
    this.#clock.advance(100);
    this.#writes = this.#writes.filter(({ isResting }) => !isResting);
  }

  async #check(): Promise<void> {
    for (const key of ['a', 'b', 'c', 'd']) {
      const { doubtful, knowledge } = await this.store.epoch(key);
      if (doubtful !== this.#writes.some(({ keys }) => keys.includes(key)))
        throw new Error(`${key}: doubtful ${doubtful}`);
      const wrong = knowledge.find(({ hash }) => hash !== String(this.#content.get(key) ?? 0));
      if (!doubtful && wrong !== undefined) throw new Error(`${key}: ${wrong.hash} is known, but it has changed`);
    }
  }
}

import t, { type Test } from 'tap';
import { systemClock } from '../../src/http/clock.js';
import type { RedisStoreOptions } from '../../src/store/redis/options.js';
import type { Acquired, AcquireRequest, LeaseKind, NotAcquired, Observation, Store } from '../../src/store/store.js';
import { turn } from '../helpers/eventually.js';
import { hasRedis, type Redis, startRedis } from '../helpers/redis.js';
import { leaseTime, openRedisStore } from '../helpers/redis-store.js';
import { startTcpProxy } from '../helpers/tcp-proxy.js';

/** What the shared store leaves in a Redis and asks of it, and who gets what when many want the same. */

/** Longest time until something that nobody tells of has to have happened, in milliseconds. */
const patience = 5000;

interface Opened {
  readonly store: Store;
  readonly namespace: string;
}

/** The time of leases is the server's own. */
async function openStore(t: Test, redis: Redis, more: Partial<RedisStoreOptions> = {}): Promise<Opened> {
  const options = { resources: 100, queue: 100, clock: systemClock };
  const opened = await openRedisStore([redis], options, { serverClock: undefined, ...more });
  t.teardown(() => opened.store.close());
  return opened;
}

/** The first store has keys of its own, and the others the same ones. */
async function openStores(t: Test, redis: Redis, count: number): Promise<{ stores: Store[]; namespace: string }> {
  const { store, namespace } = await openStore(t, redis);
  const stores = [store];
  while (stores.length < count) stores.push((await openStore(t, redis, { namespace })).store);
  return { stores, namespace };
}

function ask(
  store: Store,
  keys: readonly string[],
  more: Partial<AcquireRequest> = {},
): Promise<Acquired | NotAcquired> {
  return store.acquire({ keys, kind: 'exclusive', wait: 0, signal: undefined, ...more });
}

async function acquired(store: Store, keys: readonly string[], wait = 0, kind?: LeaseKind): Promise<Acquired> {
  const result = await ask(store, keys, { wait, ...(kind !== undefined && { kind }) });
  if (result.kind !== 'acquired') throw new Error(`no lease: ${result.kind}`);
  return result;
}

function seen(hash: string): Observation {
  return {
    view: 'v',
    selecting: { fields: [], digest: 'd' },
    exists: true,
    native: undefined,
    upstreamTag: '"t"',
    hash,
    etag: `"im-${hash}"`,
    lastModified: undefined,
    sentAt: systemClock.now(),
    uncached: true,
    fingerprint: 'f',
  };
}

async function observe(store: Store, key: string, hash: string): Promise<boolean> {
  const { epoch } = await store.epoch(key);
  return store.observe(key, epoch, seen(hash));
}

async function knownHashes(store: Store, key: string): Promise<(string | undefined)[]> {
  return (await store.epoch(key)).knowledge.map(({ hash }) => hash);
}

/** Names of the resources of a namespace. */
async function resourcesOf(redis: Redis, namespace: string): Promise<string[]> {
  return (await redis.command('KEYS', `ifmatch:*{${namespace}.*}:r:*`)) as string[];
}

/** What is known of a resource stands in a hash; who holds it, in sorted sets beside that. */
function isHash(name: string): boolean {
  return !/:[lm]$/.test(name);
}

/** The times to live of what is known of the only resource of a namespace, and of who holds it, in milliseconds. */
async function timesLeft(redis: Redis, namespace: string): Promise<{ known: number; held: number }> {
  const names = await resourcesOf(redis, namespace);
  const left = async (name = '') => Number(await redis.command('PTTL', name));
  return { known: await left(names.find(isHash)), held: await left(names.find((name) => !isHash(name))) };
}

/** How many wait for resources of a namespace, as Redis knows it. */
async function placesIn(redis: Redis, namespace: string): Promise<number> {
  const names = await resourcesOf(redis, namespace);
  const fields = await Promise.all(names.filter(isHash).map((name) => redis.command('HKEYS', name)));
  return fields.flat().filter((field) => String(field).startsWith('w ')).length;
}

/** @returns after how many milliseconds it held; undefined where it never did */
async function until(holds: () => Promise<boolean>): Promise<number | undefined> {
  const start = systemClock.now();
  while (!(await holds())) {
    if (systemClock.now() - start > patience) return undefined;
    // What fails at once, because the store is down, would leave no time to anything else.
    await turn();
  }
  return systemClock.now() - start;
}

/** How many scripts the server has been asked for since `CONFIG RESETSTAT`. */
async function scriptCalls(redis: Redis): Promise<number> {
  const stats = String(await redis.command('INFO', 'commandstats'));
  const calls = [...stats.matchAll(/^cmdstat_eval\w*:calls=(\d+)/gm)].map(([, count]) => Number(count));
  return calls.reduce((sum, count) => sum + count, 0);
}

async function costOf(redis: Redis, action: () => Promise<unknown>): Promise<number> {
  await redis.command('CONFIG', 'RESETSTAT');
  await action();
  return scriptCalls(redis);
}

/** All that a Redis has, names and contents. */
async function everythingIn(redis: Redis): Promise<string[]> {
  const names = (await redis.command('KEYS', '*')) as string[];
  const read = (name: string) =>
    isHash(name) ? redis.command('HGETALL', name) : redis.command('ZRANGE', name, 0, -1, 'WITHSCORES');
  const contents = await Promise.all(names.map(read));
  const channels = (await redis.command('PUBSUB', 'CHANNELS')) as string[];
  return [...names, ...(contents.flat() as string[]), ...channels];
}

const cases: Readonly<Record<string, (t: Test, redis: Redis) => Promise<void>>> = {
  'nothing in the store shows which resources it is about (S2)': async (t, redis) => {
    const key = '/docs/secret-4711?token=abc';
    const other = '/docs/secret-4712?token=def';
    const { stores } = await openStores(t, redis, 2);
    const [one, two] = stores as [Store, Store];
    await observe(one, key, '1');
    const first = await acquired(one, [key, other]);
    await one.settle(first.token, { kind: 'changed', before: seen('1'), observation: seen('2'), doubts: [`${key}#`] });
    const mark = await one.touch([other]);
    const holder = await acquired(one, [key]);
    const waiting = acquired(two, [key], patience);
    t.not(
      await until(async () => String(await redis.command('PUBSUB', 'CHANNELS')).includes('turns')),
      undefined,
      'it listens',
    );
    const all = await everythingIn(redis);
    t.ok(all.length > 20);
    for (const said of ['secret', 'token=', '/docs', encodeURIComponent('/docs'), Buffer.from(key).toString('hex')]) {
      t.strictSame(
        all.filter((text) => text.includes(said)),
        [],
        said,
      );
    }
    await one.settle(holder.token, { kind: 'notSent' });
    await one.settle(mark.token, { kind: 'notSent' });
    await two.settle((await waiting).token, { kind: 'notSent' });
  },

  'two APIs, and gates with different secrets, share nothing (S2)': async (t, redis) => {
    const { store: one, namespace } = await openStore(t, redis);
    const rows: [what: string, other: Opened][] = [
      ['another namespace', await openStore(t, redis)],
      ['another secret', await openStore(t, redis, { namespace, secret: 'another secret of tests' })],
    ];
    t.ok(await observe(one, '/a', '1'));
    const { token } = await acquired(one, ['/b']);
    for (const [what, { store }] of rows) {
      t.strictSame(await knownHashes(store, '/a'), [], `${what}: versions`);
      const own = await acquired(store, ['/b']);
      await store.settle(own.token, { kind: 'changed' });
    }
    t.strictSame(await knownHashes(one, '/a'), ['1']);
    t.equal((await one.epoch('/b')).doubtful, true, 'still held');
    t.equal(await one.settle(token, { kind: 'changed' }), true);
  },

  'what is known is kept for its time, and what is held at least as long as it is held (S3)': async (t, redis) => {
    const keptFor = 60_000;
    const { store, namespace } = await openStore(t, redis, { keptFor });
    const check = async (what: string, isHeld: boolean) => {
      const { known, held } = await timesLeft(redis, namespace);
      t.ok(known > keptFor - patience && known <= keptFor, `${what}: known for ${known} ms`);
      if (isHeld) t.ok(held >= leaseTime - patience, `${what}: held for ${held} ms`);
      else t.equal(held, -2, `${what}: not held`);
    };
    await observe(store, '/a', '1');
    await check('a version', false);
    const lease = await acquired(store, ['/a']);
    await check('a lease', true);
    await store.settle(lease.token, { kind: 'changed', observation: seen('2') });
    await check('after a write', false);
    const mark = await store.touch(['/a']);
    await check('a mark', true);
    await store.settle(mark.token, { kind: 'notSent' });
    await check('after a mark', false);
    const { token } = await acquired(store, ['/a']);
    await store.settle(token, { kind: 'unknown', rest: leaseTime });
    await check('a rest', true);
    const buckets = (await redis.command('KEYS', `ifmatch:*{${namespace}.*}:store`)) as string[];
    t.equal(buckets.length, 1);
    t.equal(await redis.command('PTTL', buckets[0] ?? ''), -1, 'epochs are never forgotten');
  },

  'a lease that changed nothing leaves nothing (S3)': async (t, redis) => {
    const { store, namespace } = await openStore(t, redis);
    for (const outcome of ['notSent', 'asItWas'] as const) {
      for (const kind of ['exclusive', 'shared'] as const) {
        const { token } = await acquired(store, ['/a', '/b'], 0, kind);
        t.equal((await resourcesOf(redis, namespace)).length, 2, 'there is one for each');
        await store.settle(token, { kind: outcome });
        t.strictSame(await resourcesOf(redis, namespace), [], `${kind}, ${outcome}`);
      }
    }
    await store.epoch('/c');
    t.strictSame(await resourcesOf(redis, namespace), [], 'nor does a read that recorded nothing');
  },

  'every step is one round trip (S1)': async (t, redis) => {
    const { store } = await openStore(t, redis);
    const write = async (keys: readonly string[], doubts?: readonly string[]) => {
      const { token } = await acquired(store, keys, patience);
      await store.settle(token, { kind: 'changed', before: seen('1'), observation: seen('2'), doubts });
    };
    const touch = async (keys: readonly string[]) => {
      const { token } = await store.touch(keys);
      await store.settle(token, { kind: 'changed' });
    };
    const rows: [what: string, action: () => Promise<unknown>][] = [
      ['a write', () => write(['/a'])],
      ['a write of two', () => write(['/a', '/b'])],
      ['a write that changes more', () => write(['/a', '/b'], ['/b', '/c', '/d'])],
      ['a read', () => observe(store, '/a', '1')],
      ['an unguarded write', () => touch(['/a'])],
      ['an unguarded write of two', () => touch(['/a', '/b'])],
    ];
    // A script that the server does not have yet is sent a second time, in full.
    for (const [, action] of rows) await action();
    for (const [what, action] of rows) t.equal(await costOf(redis, action), 2, what);
  },

  'nobody who has left the line holds it up (W3)': async (t, redis) => {
    const rows: [why: string, wait: number, leave: (leaving: AbortController) => void][] = [
      ['aborted', patience, (leaving) => leaving.abort()],
      ['timeout', 300, () => undefined],
    ];
    for (const [why, wait, leave] of rows) {
      const { stores, namespace } = await openStores(t, redis, 3);
      const [one, two, three] = stores as [Store, Store, Store];
      const holder = await acquired(one, ['/a']);
      const leaving = new AbortController();
      const left = ask(two, ['/a'], { wait, signal: leaving.signal });
      t.not(await until(async () => (await placesIn(redis, namespace)) === 1), undefined, `${why}: in line`);
      const next = acquired(three, ['/a'], 2 * patience);
      t.not(await until(async () => (await placesIn(redis, namespace)) === 2), undefined, `${why}: both`);
      leave(leaving);
      t.equal((await left).kind, why);
      const gone = await until(async () => (await placesIn(redis, namespace)) === 1);
      t.ok(gone !== undefined && gone < 1000, `${why}: its place is gone after ${gone} ms`);
      await one.settle(holder.token, { kind: 'notSent' });
      const freed = systemClock.now();
      const { token, since } = await next;
      t.ok(since - freed < 1000, `${why}: the next one had it after ${since - freed} ms`);
      await three.settle(token, { kind: 'notSent' });
      t.strictSame(await resourcesOf(redis, namespace), [], `${why}: nothing is left`);
    }
  },

  'nobody waits long for a gate that has died in line (W3)': async (t, redis) => {
    const { stores, namespace } = await openStores(t, redis, 3);
    const [one, two, three] = stores as [Store, Store, Store];
    const holder = await acquired(one, ['/a']);
    const left = ask(two, ['/a'], { wait: patience });
    t.not(await until(async () => (await placesIn(redis, namespace)) === 1), undefined, 'in line');
    const next = acquired(three, ['/a'], patience);
    t.not(await until(async () => (await placesIn(redis, namespace)) === 2), undefined, 'both');
    await two.close();
    await one.settle(holder.token, { kind: 'notSent' });
    const freed = systemClock.now();
    const { token, since } = await next;
    t.ok(since - freed < 1500, `a place ends a second after it was last asked for: ${since - freed} ms`);
    t.equal((await left).kind, 'aborted');
    await three.settle(token, { kind: 'notSent' });
  },
};

const policies = ['allkeys-lru', 'volatile-ttl'];

async function refuses(t: Test): Promise<void> {
  const redis = await startRedis(t, { config: ['maxmemory 100mb'] });
  for (const policy of policies) {
    await redis.command('CONFIG', 'SET', 'maxmemory-policy', policy);
    await t.rejects(
      openStore(t, redis),
      { code: 'store-policy', message: new RegExp(`${policy}.*noeviction`) },
      policy,
    );
    const hasClients = async () => / name=ifmatch /.test(String(await redis.command('CLIENT', 'LIST')));
    t.not(await until(async () => !(await hasClients())), undefined, `${policy}: no connection stays open`);
  }
  await redis.command('CONFIG', 'SET', 'maxmemory-policy', 'noeviction');
  const { store } = await openStore(t, redis);
  t.match(await store.epoch('/a'), { knowledge: [] });
}

/** How long a step may take where the store hangs, in milliseconds. */
const timeout = 200;

/** A request for a lease that hangs on its way to Redis, and whose store has told that nothing came of it. */
async function heldUp(t: Test, redis: Redis) {
  const { store, namespace } = await openStore(t, redis);
  const proxy = await startTcpProxy(t, redis.port);
  const address = { tls: false, hosts: [{ host: '127.0.0.1', port: proxy.port }], database: 0, master: '' };
  const { store: far } = await openStore(t, redis, { address, namespace, timeout });
  // From here on it knows the server's time, and the server its scripts.
  await far.settle((await acquired(far, ['/a'])).token, { kind: 'notSent' });
  proxy.hang();
  const sent = systemClock.now();
  t.match(await ask(far, ['/a'], { wait: patience }), { kind: 'unavailable', reason: 'unreachable' });
  // What comes just in time is carried out still.
  while (systemClock.now() < sent + timeout + 20) await store.epoch('/b');
  return { store, far, namespace, proxy };
}

const late: Readonly<Record<string, (t: Test, redis: Redis) => Promise<void>>> = {
  'a lease that comes too late is not given (S4)': async (t, redis) => {
    const { far, namespace, proxy } = await heldUp(t, redis);
    // It will not clean up.
    await far.close();
    await redis.command('CONFIG', 'RESETSTAT');
    await proxy.resume();
    t.not(await until(async () => (await scriptCalls(redis)) > 0 && proxy.connections === 0), undefined, 'it came');
    t.strictSame(await resourcesOf(redis, namespace), []);
  },

  'nor does it bar anybody when its gate is back (S4)': async (t, redis) => {
    const { store, far, proxy } = await heldUp(t, redis);
    await proxy.resume();
    const resumed = systemClock.now();
    const { token, since } = await acquired(store, ['/a'], patience);
    t.ok(since - resumed < 1000, `taken after ${since - resumed} ms`);
    await store.settle(token, { kind: 'notSent' });
    t.not(await until(async () => (await far.epoch('/a')).epoch >= 0), undefined, 'it comes back');
  },
};

const writersPerStore = 16;
const rounds = 5;

/** What a crowd of writers saw. */
interface Crowd {
  /** Which store each lease was given by, in order. */
  readonly grants: number[];
  /** How long each was waited for, in milliseconds. */
  readonly waits: number[];
  /** Most that were held at once. */
  most: number;
}

/** Many writers of several gates want the same resource at the same time, again and again. */
async function crowd(stores: readonly Store[]): Promise<Crowd> {
  const result: Crowd = { grants: [], waits: [], most: 0 };
  let held = 0;
  const write = async (store: Store, index: number): Promise<void> => {
    for (let round = 0; round < rounds; round += 1) {
      const asked = systemClock.now();
      const { token } = await acquired(store, ['/a'], 60_000);
      result.waits.push(systemClock.now() - asked);
      result.grants.push(index);
      held += 1;
      result.most = Math.max(result.most, held);
      await turn();
      await store.epoch('/b');
      held -= 1;
      await store.settle(token, { kind: 'changed' });
    }
  };
  const writers = stores.flatMap((store, index) => Array.from({ length: writersPerStore }, () => write(store, index)));
  await Promise.all(writers);
  return result;
}

function percentile(sorted: readonly number[], part: number): string {
  return (sorted[Math.round((sorted.length - 1) * part)] ?? Number.NaN).toFixed(1);
}

async function isFair(t: Test, redis: Redis): Promise<void> {
  const { stores } = await openStores(t, redis, 4);
  const start = systemClock.now();
  const { grants, waits, most } = await crowd(stores);
  const sorted = waits.sort((one, other) => one - other);
  const [min, median, p90, p99, max] = [0, 0.5, 0.9, 0.99, 1].map((part) => percentile(sorted, part));
  t.comment(`${grants.length} leases in ${(systemClock.now() - start).toFixed(0)} ms`);
  t.comment(`waits in ms: min ${min}, median ${median}, p90 ${p90}, p99 ${p99}, max ${max}`);
  t.equal(grants.length, stores.length * writersPerStore * rounds, 'everybody had it every time');
  t.equal(most, 1, 'and nobody at the same time');
  const quarter = grants.length / 4;
  for (let from = 0; from < grants.length; from += quarter) {
    const given = grants.slice(from, from + quarter);
    const counts = stores.map((_, index) => given.filter((store) => store === index).length);
    t.comment(`leases ${from} to ${from + quarter - 1}, by store: ${counts.join(', ')}`);
    t.ok(Math.min(...counts) >= quarter / stores.length / 2, 'every gate has at least half of its share');
  }
}

if (hasRedis(t)) {
  const redis = await startRedis(t);
  for (const [title, check] of Object.entries({ ...cases, ...late })) t.test(title, (t) => check(t, redis));
  t.test('a server that may evict leases is refused (S2)', refuses);
  t.test('every gate gets its share of a resource that all want (W3)', (t) => isFair(t, redis));
}

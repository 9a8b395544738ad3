import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import type { Store } from '../../src/store/store.js';
import type { Client } from '../helpers/simulated-client.js';
import { passingOn } from '../helpers/simulated-history.js';
import type { BackendKind } from '../helpers/simulated-upstream.js';
import { type Simulation, simulate } from '../helpers/simulation.js';

// Hundreds of runs take their time on a busy machine.
t.setTimeout(180_000);

const path = '/docs/1';
const documents = { [path]: 'original' };
const kinds = fc.constantFrom<BackendKind[]>('none', 'weak', 'native', 'upstream');
const rechecks = fc.constantFrom(0, Number.POSITIVE_INFINITY);
const writeMethods = fc.constantFrom('PUT', 'PATCH', 'DELETE');

type Wrap = (store: Store) => Store;

function statuses(clients: readonly Client[]): (number | undefined)[] {
  return clients.map(({ status }) => status);
}

/** Writers that have read the same content: one of them wins. */
function oneTag(wrap?: Wrap) {
  const methods = fc.array(writeMethods, { minLength: 2, maxLength: 4 });
  return fc.asyncProperty(
    fc.scheduler(),
    kinds,
    rechecks,
    methods,
    fc.nat({ max: 2 }),
    async (scheduler, kind, recheck, methods, readers) => {
      const simulation = simulate(scheduler, { kind, documents, policy: { recheck }, wrap });
      const writers = methods.map((method, index) =>
        simulation.arrive({ id: `w${index}`, method, path, base: 'original' }),
      );
      for (let index = 0; index < readers; index += 1) simulation.arrive({ id: `r${index}`, method: 'GET', path });
      await simulation.finish();
      assert.deepEqual(simulation.problems(), []);
      const [winner, ...others] = writers.filter(({ status }) => status === 204);
      assert.deepEqual(others.length, 0, 'second winners');
      assert.deepEqual(writers.filter(({ status }) => status === 412).length, writers.length - 1, 'refused');
      const { id, method } = winner?.request ?? { id: 'nobody', method: '' };
      const written = method === 'PUT' ? id : method === 'PATCH' ? `original+${id}` : undefined;
      assert.deepEqual(simulation.upstream.documents.get(path), written, 'final content');
    },
  );
}

/**
 * Reads that overlap with writes, and what is known afterwards: nobody has read the resource again when a writer with an
 * older version and one with the current version come, and knowledge of any age decides.
 */
function overlappingReads(wrap?: Wrap) {
  return fc.asyncProperty(
    fc.scheduler(),
    kinds,
    fc.constantFrom('auto' as const, 'never' as const),
    fc.record({ method: writeMethods, unconditional: fc.boolean(), freshFirst: fc.boolean() }),
    async (scheduler, kind, refresh, { method, unconditional, freshFirst }) => {
      const policy = { recheck: Number.POSITIVE_INFINITY, refresh };
      const simulation = simulate(scheduler, { kind, documents, policy, wrap });
      for (const id of ['r1', 'r2', 'r3']) simulation.arrive({ id, method: 'GET', path });
      simulation.arrive({ id: 'w1', method, path, base: 'original' });
      if (unconditional) simulation.arrive({ id: 'u1', method: 'PUT', path });
      await simulation.finish();

      const current = simulation.upstream.documents.get(path) ?? null;
      const fresh = { id: 'fresh', method: 'PUT', path, base: current };
      if (freshFirst) assert.deepEqual((await simulation.ask(fresh)).status, current === null ? 201 : 204, 'fresh');
      assert.deepEqual(
        (await simulation.ask({ id: 'stale', method: 'PUT', path, base: 'original' })).status,
        412,
        'stale',
      );
      if (!freshFirst) assert.deepEqual((await simulation.ask(fresh)).status, current === null ? 201 : 204, 'fresh');
      assert.deepEqual(simulation.problems(), []);
    },
  );
}

t.test('of writers with one tag exactly one succeeds (W3, W6)', async () => {
  await fc.assert(oneTag(), { numRuns: 250 });
});

t.test('of those who create a resource exactly one succeeds (If-None-Match: *)', async () => {
  const property = fc.asyncProperty(fc.scheduler(), kinds, rechecks, async (scheduler, kind, recheck) => {
    const simulation = simulate(scheduler, { kind, documents: {}, policy: { recheck } });
    const writers = ['w1', 'w2', 'w3'].map((id) => simulation.arrive({ id, method: 'PUT', path, base: null }));
    await simulation.finish();
    assert.deepEqual(simulation.problems(), []);
    assert.deepEqual(statuses(writers).sort(), [201, 412, 412], 'statuses');
    const winner = writers.find(({ status }) => status === 201);
    assert.deepEqual(simulation.upstream.documents.get(path), winner?.request.id, 'final content');
  });
  await fc.assert(property, { numRuns: 150 });
});

t.test('a read that overlaps with a write never restores the old version (R3)', async () => {
  await fc.assert(overlappingReads(), { numRuns: 250 });
});

t.test('no increment of a counter is lost', async () => {
  const property = fc.asyncProperty(fc.scheduler(), kinds, rechecks, async (scheduler, kind, recheck) => {
    const simulation = simulate(scheduler, { kind, documents: { [path]: '0' }, policy: { recheck } });
    await Promise.all([...['a', 'b', 'c'].map((name) => increment(simulation, name)), simulation.finish()]);
    assert.deepEqual(simulation.problems(), []);
    assert.deepEqual(simulation.upstream.documents.get(path), '3', 'count');
  });
  await fc.assert(property, { numRuns: 150 });
});

/** Reads, adds one, writes, and begins anew where somebody else was faster. */
async function increment(simulation: Simulation, name: string): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    const read = simulation.arrive({ id: `${name}-read-${attempt}`, method: 'GET', path });
    await read.done;
    const body = String(Number(read.content) + 1);
    const write = simulation.arrive({ id: `${name}-${attempt}`, method: 'PUT', path, base: read.content, body });
    await write.done;
    if (write.status !== 412) return;
  }
}

t.test('a write without a condition never slips in between a check and its write (W3)', async () => {
  const writer = fc.record({ method: writeMethods, conditional: fc.boolean() });
  const property = fc.asyncProperty(
    fc.scheduler(),
    kinds,
    rechecks,
    fc.array(writer, { minLength: 3, maxLength: 6 }),
    async (scheduler, kind, recheck, writers) => {
      const simulation = simulate(scheduler, { kind, documents, policy: { recheck } });
      for (const [index, { method, conditional }] of writers.entries()) {
        simulation.arrive({ id: `w${index}`, method, path, base: conditional ? 'original' : undefined });
      }
      await simulation.finish();
      assert.deepEqual(simulation.problems(), []);
    },
  );
  await fc.assert(property, { numRuns: 250 });
});

t.test('a hundred writes without conditions are on their way side by side (W3)', async () => {
  const property = fc.asyncProperty(fc.scheduler(), kinds, async (scheduler, kind) => {
    const simulation = simulate(scheduler, { kind, documents });
    const writers = herd(simulation, 0, 100, undefined);
    await turn();
    assert.deepEqual(simulation.upstream.mostInFlight, 100, 'in flight');
    await simulation.finish();
    assert.deepEqual(new Set(statuses(writers)).size, 1, 'kinds of answers');
    assert.deepEqual(simulation.upstream.requests.length, 100, 'requests');
    assert.deepEqual(simulation.problems(), []);
  });
  await fc.assert(property, { numRuns: 10 });
});

function herd(simulation: Simulation, from: number, to: number, base: string | undefined): Client[] {
  const writers: Client[] = [];
  for (let index = from; index < to; index += 1) {
    writers.push(simulation.send({ id: `w${index}`, method: 'PUT', path, base }));
  }
  return writers;
}

/** `early` writers come, then, while the first one's probe is on its way, all the others. */
async function runHerd(scheduler: fc.Scheduler, kind: BackendKind, base: string, early: number, all: number) {
  const simulation = simulate(scheduler, { kind, documents });
  const writers = herd(simulation, 0, early, base);
  await turn();
  writers.push(...herd(simulation, early, all, base));
  await simulation.finish();
  assert.deepEqual(simulation.problems(), []);
  return { statuses: statuses(writers).sort(), requests: simulation.upstream.requests.length };
}

t.test('a herd costs the upstream hardly more than one writer (W4)', async () => {
  const property = fc.asyncProperty(
    fc.scheduler(),
    fc.scheduler(),
    kinds,
    fc.constantFrom('original', 'stale'),
    fc.integer({ min: 1, max: 100 }),
    async (scheduler, another, kind, base, early) => {
      const one = await runHerd(another, kind, base, 1, 1);
      const many = await runHerd(scheduler, kind, base, early, 100);
      const losers = Array.from({ length: 99 }, () => 412);
      assert.deepEqual(many.statuses, [...one.statuses, ...losers], 'statuses');
      if (many.requests > one.requests + 3) throw new Error(`${many.requests} requests instead of ${one.requests}`);
    },
  );
  await fc.assert(property, { numRuns: 30 });
});

t.test('what is known refuses a stale write without a lease, unless somebody writes (W7)', async () => {
  const property = fc.asyncProperty(fc.scheduler(), kinds, fc.boolean(), async (scheduler, kind, isBusy) => {
    const policy = { recheck: Number.POSITIVE_INFINITY };
    const simulation = simulate(scheduler, { kind, documents, policy });
    await simulation.ask({ id: 'first', method: 'PUT', path, base: 'original' });
    await simulation.ask({ id: 'read', method: 'GET', path });
    const leased = simulation.journal.leases.length;
    if (isBusy) simulation.send({ id: 'fresh', method: 'PUT', path, base: 'first' });
    const before = simulation.upstream.requests.length;
    const stale = simulation.send({ id: 'stale', method: 'PUT', path, base: 'original' });
    await simulation.finish();
    assert.deepEqual(simulation.problems(), []);
    assert.deepEqual(stale.status, 412);
    assert.deepEqual(simulation.journal.leases.length - leased, isBusy ? 2 : 0, 'leases');
    if (!isBusy) assert.deepEqual(simulation.upstream.requests.length, before, 'upstream requests');
  });
  await fc.assert(property, { numRuns: 100 });
});

t.test('the check notices a store without exclusive leases', async (t) => {
  const wrap: Wrap = (store) => ({
    ...passingOn(store),
    acquire: (request) => store.acquire({ ...request, kind: 'shared' }),
  });
  const { failed, errorInstance } = await fc.check(oneTag(wrap), { numRuns: 250 });
  t.ok(failed);
  t.match(String(errorInstance), /had read original, but replaced/);
});

t.test('the check notices a store whose observations ignore the epoch', async (t) => {
  const wrap: Wrap = (store) => ({
    ...passingOn(store),
    epoch: async (key) => ({ ...(await store.epoch(key)), doubtful: false }),
    observe: async (key, _epoch, observation) => store.observe(key, (await store.epoch(key)).epoch, observation),
  });
  const { failed, errorInstance } = await fc.check(overlappingReads(wrap), { numRuns: 250 });
  t.ok(failed);
  // What a read restores may be told to readers, or a write may be decided by it.
  t.match(String(errorInstance), /stale|fresh|had read original, but replaced/);
});

import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import type { Store } from '../../src/store/store.js';
import { passingOn } from '../helpers/simulated-history.js';
import type { BackendKind, Fault, SentRequest } from '../helpers/simulated-upstream.js';
import { simulate } from '../helpers/simulation.js';

// Hundreds of runs take their time on a busy machine.
t.setTimeout(180_000);

const path = '/docs/1';
const documents = { [path]: 'original' };
const kinds = fc.constantFrom<BackendKind[]>('none', 'weak', 'native', 'upstream');
const rechecks = fc.constantFrom(0, Number.POSITIVE_INFINITY);

/** The gate gives the request up; it takes effect all the same, before or after that. */
const timedOut: Fault = { kind: 'broken', error: 'http_response_timeout', applies: true };

type Wrap = (store: Store) => Store;

/** POSTs, which wait for nobody, among conditional writers and a reader whose observation may decide. */
function besidePosts(wrap?: Wrap) {
  return fc.asyncProperty(
    fc.scheduler(),
    kinds,
    rechecks,
    fc.record({
      posts: fc.integer({ min: 1, max: 3 }),
      writers: fc.integer({ min: 1, max: 3 }),
      known: fc.boolean(),
      lost: fc.boolean(),
    }),
    async (scheduler, kind, recheck, { posts, writers, known, lost }) => {
      const fault = ({ method }: SentRequest) => (lost && method === 'POST' ? timedOut : undefined);
      const simulation = simulate(scheduler, { kind, documents, policy: { recheck }, wrap, fault });
      if (known) await simulation.ask({ id: 'r1', method: 'GET', path });
      for (let index = 0; index < posts; index += 1) simulation.arrive({ id: `p${index}`, method: 'POST', path });
      simulation.arrive({ id: 'r2', method: 'GET', path });
      for (let index = 0; index < writers; index += 1) {
        simulation.arrive({ id: `w${index}`, method: 'PUT', path, base: 'original' });
      }
      await simulation.finish();
      assert.deepEqual(simulation.problems(), []);
      for (const { request, status } of simulation.clients) {
        const possible = request.method === 'PUT' ? [204, 412, 503] : [200, 204, 504];
        assert.ok(possible.includes(status ?? 0), `${request.id}: ${status}`);
      }
      // What is known afterwards lets nobody through who has an older version, and refuses nobody who has the current one.
      const current = simulation.upstream.documents.get(path) ?? '';
      const older = new Set(simulation.upstream.applied.map(({ before }) => before ?? ''));
      for (const base of older) {
        assert.equal((await simulation.ask({ id: `after ${base}`, method: 'PUT', path, base })).status, 412);
      }
      assert.equal((await simulation.ask({ id: 'fresh', method: 'PUT', path, base: current })).status, 204);
    },
  );
}

t.test('a write is not sent on a check that an unguarded one has overtaken (W8, W16)', async () => {
  await fc.assert(besidePosts(), { numRuns: 200 });
});

t.test('the check notices a store that cannot tell that the epoch moved', async (t) => {
  const wrap: Wrap = (store) => ({ ...passingOn(store), movedSince: () => false });
  const { failed, errorInstance } = await fc.check(besidePosts(wrap), { numRuns: 400 });
  t.ok(failed);
  t.match(String(errorInstance), /was not decided again though the epoch moved/);
});

t.test('a decision is made again twice at most, then the writer is told to come back (W8)', async () => {
  const property = fc.asyncProperty(
    fc.scheduler(),
    kinds,
    fc.integer({ min: 0, max: 5 }),
    async (scheduler, kind, posts) => {
      let sent = 0;
      const simulation = simulate(scheduler, {
        kind,
        documents,
        // They are refused: the version stays what it was, and only the epoch moves.
        fault: ({ method }) => (method === 'POST' ? { kind: 'answered', status: 403, applies: false } : undefined),
        onApply({ id, method }) {
          if (id !== 'w1' || method === 'PUT' || sent === posts || wasSent()) return;
          simulation.send({ id: `p${sent}`, method: 'POST', path });
          sent += 1;
        },
      });
      const wasSent = () => simulation.upstream.requests.some(({ id, method }) => id === 'w1' && method === 'PUT');
      const writer = await simulation.ask({ id: 'w1', method: 'PUT', path, base: 'original' });
      assert.deepEqual(simulation.problems(), []);
      const before = simulation.upstream.requests.findIndex(({ id, method }) => id === 'w1' && method === 'PUT');
      const probes = simulation.upstream.requests
        .slice(0, before === -1 ? undefined : before)
        .filter(({ id }) => id === 'w1').length;
      assert.ok(probes <= 3, `${probes} probes`);
      if (posts === 0) assert.deepEqual([writer.status, probes], [204, 1]);
      if (posts >= 3) assert.equal(writer.status, 503);
      if (writer.status === 503) {
        assert.equal(probes, 3);
        assert.match(writer.content, /ifmatch:contention.*"outcome":"not-sent"/s);
      } else {
        assert.equal(writer.status, 204);
      }
    },
  );
  await fc.assert(property, { numRuns: 150 });
});

/** A write to a document changes the collection that it is in. */
function sideEffects(invalidates: readonly string[]) {
  return fc.asyncProperty(
    fc.scheduler(),
    kinds,
    fc.record({
      method: fc.constantFrom('PUT', 'PATCH', 'POST'),
      conditional: fc.boolean(),
      readers: fc.nat({ max: 2 }),
      rival: fc.boolean(),
      lost: fc.boolean(),
      freshFirst: fc.boolean(),
    }),
    async (scheduler, kind, { method, conditional, readers, rival, lost, freshFirst }) => {
      const simulation = simulate(scheduler, {
        kind,
        documents: { ...documents, '/docs': 'list' },
        policy: { recheck: Number.POSITIVE_INFINITY },
        routes: [{ path: '/docs/:id', policy: { invalidates: [...invalidates] } }],
        fault: ({ id, method }) =>
          lost && id === 'w1' && method !== 'GET' && method !== 'HEAD' ? timedOut : undefined,
        onApply(request, write) {
          const isWrite = request.method !== 'GET' && request.method !== 'HEAD';
          if (isWrite && request.path === path) write('/docs', `list+${request.id}`);
        },
      });
      await simulation.ask({ id: 'r0', method: 'GET', path: '/docs' });
      for (let index = 1; index <= readers; index += 1) {
        simulation.arrive({ id: `r${index}`, method: 'GET', path: '/docs' });
      }
      simulation.arrive({ id: 'w1', method, path, base: conditional ? 'original' : undefined });
      if (rival) simulation.arrive({ id: 'w2', method: 'PUT', path: '/docs', base: 'list' });
      await simulation.finish();

      const current = simulation.upstream.documents.get('/docs') ?? null;
      const fresh = { id: 'fresh', method: 'PUT', path: '/docs', base: current };
      const stale = { id: 'stale', method: 'PUT', path: '/docs', base: 'list' };
      const answers = new Map<string, number | undefined>();
      for (const request of freshFirst ? [fresh, stale] : [stale, fresh]) {
        answers.set(request.id, (await simulation.ask(request)).status);
      }
      assert.deepEqual(
        Object.fromEntries(answers),
        freshFirst ? { fresh: 204, stale: 412 } : { stale: 412, fresh: 204 },
      );
      assert.deepEqual(simulation.problems(), []);
    },
  );
}

t.test('what is known of a resource is void when a write changes it as a side effect (W8)', async () => {
  await fc.assert(sideEffects(['/docs']), { numRuns: 200 });
});

t.test('the check notices where such a resource is not named', async (t) => {
  t.ok((await fc.check(sideEffects([]), { numRuns: 200 })).failed);
});

import t, { type Test } from 'tap';
import { request } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';
import {
  hasRedis,
  type Redis,
  startRedis,
  startRedisCluster,
  startRedisWithReplica,
  startSentinels,
} from '../helpers/redis.js';
import {
  limits,
  metric,
  openScene,
  put,
  putWhenPossible,
  type Scene,
  storeConfig,
  tagOf,
  until,
} from '../helpers/redis-scene.js';
import type { TcpProxy } from '../helpers/tcp-proxy.js';

/** What a gate does while its shared store is in trouble (S2, S4). Reads always pass. */

/** What a problem says. */
function problem({ body }: { body: Buffer }): Record<string, unknown> {
  return JSON.parse(body.toString()) as Record<string, unknown>;
}

/** Reads pass with their tags, guarded writes do not and nothing of them is sent, and whoever looks is told. */
async function refusesWrites(t: Test, { gate, backend, lines }: Pick<Scene, 'gate' | 'backend' | 'lines'>) {
  const tag = await tagOf(gate);
  t.match(tag, /^"im-/, 'reads pass, with a tag');
  const sent = backend.requests.filter(({ method }) => method === 'PUT').length;
  const answer = await put(gate, tag, 'x');
  t.equal(answer.status, 503);
  t.ok(Number(answer.headers['retry-after']) >= 1);
  t.match(problem(answer), { type: 'urn:problem-type:ifmatch:store-unavailable', outcome: 'not-sent' });
  t.equal(backend.requests.filter(({ method }) => method === 'PUT').length, sent, 'nothing was sent');
  t.equal(
    (await request(`${gate.url}/docs/2`, { method: 'POST', body: '+' })).status,
    204,
    'what is not guarded passes',
  );
  t.equal(await metric(gate, 'ifmatch_store_up'), 0);
  t.ok((await metric(gate, 'ifmatch_store_errors_total')) > 0);
  t.equal(lines.filter(({ msg }) => String(msg).includes('out of reach')).length, 1, 'said once');
}

async function recovers(t: Test, { gate, stored, lines }: Scene): Promise<void> {
  const answer = await putWhenPossible(gate, 'after');
  t.equal(answer.status, 204);
  t.equal(stored.get('/docs/1')?.body, 'after');
  t.equal(await metric(gate, 'ifmatch_store_up'), 1);
  t.ok(lines.some(({ msg }) => String(msg).includes('is back')));
}

function slowDown(link: TcpProxy): void {
  link.delay = 30;
}

if (hasRedis(t)) {
  const redis = await startRedis(t);

  t.test('refused: it starts without, and takes the store up when it is there', async (t) => {
    const scene = await openScene(t, redis, { prepare: (link) => link.cut() });
    await refusesWrites(t, scene);
    await scene.link.resume();
    await recovers(t, scene);
    t.ok(
      scene.lines.some(({ msg }) => String(msg).includes('gives no leases')),
      'a store that it does not know rests first',
    );
  });

  t.test('cut off for a while: older knowledge is void for all gates', async (t) => {
    const scene = await openScene(t, redis);
    await scene.trust();
    t.equal((await put(scene.gate, await tagOf(scene.gate), 'before')).status, 204);
    await scene.link.cut();
    await refusesWrites(t, scene);
    await scene.link.resume();
    await recovers(t, scene);
  });

  t.test('hung: the first request waits for one timeout, the others for nothing', async (t) => {
    const own = await startRedis(t);
    const scene = await openScene(t, own);
    await scene.trust();
    const tag = await tagOf(scene.gate);
    await own.kill('SIGSTOP');
    const started = performance.now();
    const [read, write] = await Promise.all([request(`${scene.gate.url}/docs/1`), put(scene.gate, tag, 'x')]);
    const first = performance.now() - started;
    t.strictSame([read.status, write.status], [200, 503]);
    t.ok(first < 5000, `one timeout of a second, on a busy machine: ${Math.round(first)} ms`);
    await refusesWrites(t, scene);
    t.ok(performance.now() - started - first < 1000, 'nobody else waits');
    await own.kill('SIGCONT');
    await recovers(t, scene);
  });

  t.test('a link that swallows everything is a store that hangs', async (t) => {
    const scene = await openScene(t, redis);
    await scene.trust();
    const tag = await tagOf(scene.gate);
    scene.link.hang();
    t.equal((await put(scene.gate, tag, 'x')).status, 503);
    await refusesWrites(t, scene);
    await scene.link.resume();
    await recovers(t, scene);
  });

  t.test('slow: everything takes longer, and works', async (t) => {
    const scene = await openScene(t, redis, { prepare: slowDown });
    await scene.trust();
    const tag = await tagOf(scene.gate);
    const statuses = await Promise.all(['a', 'b', 'c'].map(async (body) => (await put(scene.gate, tag, body)).status));
    t.strictSame(statuses.sort(), [204, 412, 412]);
    t.equal(await metric(scene.gate, 'ifmatch_store_errors_total'), 0);
  });

  t.test('forward: decided by probe under a lease of this process, logged and counted', async (t) => {
    const scene = await openScene(t, redis, { store: { down: 'forward' }, prepare: (link) => link.cut() });
    const { gate, lines } = scene;
    const tag = await tagOf(gate);
    const answers = await Promise.all(['a', 'b', 'c'].map((body) => put(gate, tag, body)));
    t.strictSame(answers.map(({ status }) => status).sort(), [204, 412, 412]);
    const written = lines.filter(({ kind, status }) => kind === 'write' && status === 204);
    t.match(written, [{ withoutStore: true, decidedBy: 'probe' }]);
    const { body } = await request(`${gate.adminUrl}/metrics`);
    t.match(body.toString(), /^ifmatch_writes_without_store_total\{route="\*"\} 3$/m);
  });

  t.test('report mode refuses nothing', async (t) => {
    const scene = await openScene(t, redis, { policy: { mode: 'report' }, prepare: (link) => link.cut() });
    const answer = await put(scene.gate, '"stale"', 'x');
    t.equal(answer.status, 204);
    t.equal(answer.headers['ifmatch-report'], 'store-unavailable');
  });

  t.test('restarted empty: no lease for a lease time, and nothing is forgotten that matters', async (t) => {
    const own = await startRedis(t);
    const scene = await openScene(t, own, { policy: { recheck: Number.POSITIVE_INFINITY } });
    await scene.trust();
    const tag = await tagOf(scene.gate);
    await own.restart();
    await until('the gate says why', async () => {
      const answer = await put(scene.gate, tag, 'x');
      t.equal(answer.status, 503);
      return String(problem(answer).detail).includes('is new, was restarted or failed over');
    });
    const answer = await putWhenPossible(scene.gate, 'after');
    t.equal(answer.status, 204);
    t.equal((await put(scene.gate, tag, 'late')).status, 412, 'the old tag is as stale as before');
  });

  t.test('gone between a check and its outcome: the client is told what the upstream said', async (t) => {
    const own = await startRedis(t);
    const before = async ({ method }: { method: string }) => method === 'PUT' && own.kill().then(() => false);
    const scene = await openScene(t, own, { before });
    await scene.trust();
    const answer = await put(scene.gate, await tagOf(scene.gate), 'written');
    t.equal(answer.status, 204, 'it took effect, under a lease that nobody else can have yet');
    t.equal(scene.stored.get('/docs/1')?.body, 'written');
    t.equal((await put(scene.gate, await tagOf(scene.gate), 'again')).status, 503);
  });

  t.test('a write that outlives its lease is given up, and its outcome unknown (S2)', async (t) => {
    let cut: (() => Promise<void>) | undefined;
    const before = async ({ method }: { method: string }) => {
      if (method !== 'PUT') return false;
      await cut?.();
      // Never answered: its own timeout is longer than the lease that cannot be renewed.
      return true;
    };
    const scene = await openScene(t, redis, { before, policy: { timeouts: { upstreamTimeout: 600 } } });
    await scene.trust();
    cut = () => scene.link.cut();
    const answer = await put(scene.gate, await tagOf(scene.gate), 'x');
    t.match([502, 504].includes(answer.status), true);
    t.match(problem(answer), { outcome: 'unknown' });
  });

  t.test('a replica takes no writes: the store is out of reach until it is a master', async (t) => {
    const { replica } = await startRedisWithReplica(t);
    const scene = await openScene(t, replica);
    await refusesWrites(t, scene);
    await replica.command('REPLICAOF', 'NO', 'ONE');
    await recovers(t, scene);
  });

  t.test('out of memory', async (t) => {
    const own = await startRedis(t);
    const scene = await openScene(t, own);
    await scene.trust();
    await own.command('CONFIG', 'SET', 'maxmemory', '1');
    await put(scene.gate, '"x"', 'x');
    await refusesWrites(t, scene);
    await own.command('CONFIG', 'SET', 'maxmemory', '0');
    await recovers(t, scene);
  });

  t.test('failing over, by Sentinel', async (t) => failsOver(t));

  t.test('a cluster without one of its masters serves the resources of the others', async (t) => {
    const nodes = await startRedisCluster(t);
    await losesOne(t, nodes);
  });
}

async function failsOver(t: Test): Promise<void> {
  const replicated = await startRedisWithReplica(t);
  const { sentinels } = await startSentinels(t, replicated);
  const scene = await openScene(t, replicated.master, {
    store: storeConfig(sentinels, { topology: 'sentinel', namespace: 'failover' }),
  });
  await putWhenPossible(scene.gate, 'before');
  await replicated.master.kill();
  t.equal((await request(`${scene.gate.url}/docs/1`)).status, 200, 'reads pass');
  t.equal((await put(scene.gate, await tagOf(scene.gate), 'x')).status, 503);
  await recovers(t, scene);
  t.match(String(await replicated.replica.command('INFO', 'replication')), /role:master/);
}

async function losesOne(t: Test, nodes: readonly Redis[]): Promise<void> {
  const scene = await openScene(t, nodes[0] as Redis, {
    store: storeConfig(nodes, { topology: 'cluster', namespace: 'cluster' }),
    before: ({ url, method }, response) => {
      if (!url.startsWith('/many/')) return false;
      response.writeHead(method === 'GET' ? 200 : 204).end(method === 'GET' ? url : undefined);
      return true;
    },
  });
  const paths = Array.from({ length: 12 }, (_, index) => `/many/${index}`);
  for (const path of paths) t.equal((await putWhenPossible(scene.gate, 'x', path)).status, 204);
  await nodes[1]?.kill();
  // A cluster without all slots refuses everything unless it is told otherwise.
  for (const node of [nodes[0], nodes[2]]) await node?.command('CONFIG', 'SET', 'cluster-require-full-coverage', 'no');
  const tally = async (): Promise<string[]> => {
    const writes = paths.map(async (path) =>
      String((await put(scene.gate, await tagOf(scene.gate, path), 'x', path)).status),
    );
    return [...new Set(await Promise.all(writes))].sort();
  };
  await until('some are refused and some are not', async () => (await tally()).join() === '204,503');
  t.equal(await metric(scene.gate, 'ifmatch_store_up'), 0, 'not all of it is there');
}

t.test('without a server at the address the gate still starts at once', async (t) => {
  const gate = await startGate(t, {
    upstream: 'http://127.0.0.1:1',
    limits,
    config: { store: storeConfig([{ port: 1 }], {}) },
  });
  t.equal((await request(`${gate.adminUrl}/healthz`)).status, 200);
});

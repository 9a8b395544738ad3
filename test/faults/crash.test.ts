import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { type Answer, request, roundTrip } from '../helpers/client.js';
import { type GateProcess, startGateProcess } from '../helpers/gate-process.js';
import { type RawConnection, rawClient } from '../helpers/raw.js';
import { type StoppingBackend, stamp, startStoppingBackend } from '../helpers/stopping-backend.js';

/**
 * All that a gate knows is gone with its process. Tags depend on the content alone (V2), and who knows nothing probes
 * (W4): so the next process decides as the last one would have, whatever happened to that one.
 */

/** How versions are told (V1 to V3), and how old knowledge may be: each has a route of its own. */
const kinds = ['plain', 'stamped', 'tagged'] as const;
const rechecks = ['always', 'never'] as const;

const config = JSON.stringify({
  routes: [
    { path: '/stamped/never/*', ignore: ['/servedAt'], recheck: 'never' },
    { path: '/stamped/*', ignore: ['/servedAt'] },
    { path: '/:kind/never/*', recheck: 'never' },
  ],
});

/** One resource, and all that a crash happens amid of. */
interface Scene {
  readonly t: Test;
  readonly gate: GateProcess;
  readonly backend: StoppingBackend;
  readonly path: string;
  /** Of the content before the last one. */
  readonly stale: string;
  readonly current: string;
  /** Of another resource, which nothing happens to. */
  readonly other: string;
}

const bodyOf = (path: string, text: string): string => (path.startsWith('/stamped/') ? stamp(text, 0) : text);

function put(gate: GateProcess, path: string, tag: string, text: string): Promise<Answer> {
  return request(gate.url + path, { method: 'PUT', headers: { 'If-Match': tag }, body: bodyOf(path, text) });
}

async function tagOf(gate: GateProcess, path: string): Promise<string> {
  return (await request(gate.url + path)).headers.etag ?? 'none';
}

/** What became of a request for its client: the status of its answer, or that none came. */
function endOf(answer: Promise<Answer>): Promise<number | 'no answer'> {
  return answer.then(
    ({ status }) => status,
    () => 'no answer' as const,
  );
}

/** Brings a write of `mine` to where the gate is killed. @returns what its clients get to see, once they do */
type Bring = (scene: Scene) => Promise<readonly Promise<unknown>[]>;

/** A write that says `Expect: 100-continue`, up to the moment where its client is told to go on. */
async function expecting({ t, gate, path, current }: Scene): Promise<{ end: Promise<unknown>; client: RawConnection }> {
  const client = await rawClient(t, Number(new URL(gate.url).port));
  const { length } = bodyOf(path, 'mine');
  const fields = `Host: a\r\nIf-Match: ${current}\r\nContent-Length: ${length}\r\nExpect: 100-continue\r\n`;
  client.write(`PUT ${path} HTTP/1.1\r\n${fields}\r\n`);
  const goOn = await client.seen(/\r\n\r\n/);
  t.equal(goOn, 'HTTP/1.1 100 Continue\r\n\r\n', `${path}: the decision is made`);
  return { end: client.closed.then(({ text }) => (text === goOn ? 'no answer' : text)), client };
}

async function upTo(scene: Scene, moment: 'write arrived' | 'write applied'): Promise<Promise<unknown>[]> {
  const { gate, backend, path, current } = scene;
  const stop = backend.stop(path, moment);
  const end = endOf(put(gate, path, current, 'mine'));
  await stop.reached;
  return [end];
}

/** When the gate is killed, what the backend then holds, and how it comes to that. */
const moments: readonly [when: string, holds: string, bring: Bring][] = [
  ['between two requests', 'second', async () => []],
  [
    'before the probe is answered',
    'second',
    async ({ gate, backend, path, current }) => {
      // Where `recheck: never` lets knowledge decide, a write without a condition has made it void (W16).
      await request(gate.url + path, { method: 'POST', body: path.startsWith('/stamped/') ? stamp('', 0) : '' });
      const stop = backend.stop(path, 'read arrived');
      const end = endOf(put(gate, path, current, 'mine'));
      await stop.reached;
      return [end];
    },
  ],
  [
    'after the decision, before the first byte of the write',
    'second',
    async (scene) => {
      const { t, backend, path } = scene;
      const before = backend.writes(path);
      const { end } = await expecting(scene);
      t.equal(backend.writes(path), before, `${path}: nothing of it has been sent`);
      return [end];
    },
  ],
  [
    'in the middle of the write',
    'second',
    async (scene) => {
      const stop = scene.backend.stop(scene.path, 'write begun');
      const { end, client } = await expecting(scene);
      client.write(bodyOf(scene.path, 'mine').slice(0, 2));
      await stop.reached;
      return [end];
    },
  ],
  ['when the write has arrived and is never applied', 'second', (scene) => upTo(scene, 'write arrived')],
  [
    'while another writer is in line',
    'second',
    async (scene) => {
      const { gate, path, current } = scene;
      const ends = await upTo(scene, 'write arrived');
      const next = endOf(put(gate, path, current, 'in line'));
      await roundTrip(Number(new URL(gate.url).port));
      return [...ends, next];
    },
  ],
  ['when the write is applied and not answered', 'mine', (scene) => upTo(scene, 'write applied')],
  [
    'while the new version is read',
    'mine',
    async ({ gate, backend, path, current }) => {
      const applied = backend.stop(path, 'write applied');
      const end = endOf(put(gate, path, current, 'mine'));
      await applied.reached;
      const refresh = backend.stop(path, 'read arrived');
      applied.release();
      await refresh.reached;
      return [end];
    },
  ],
  [
    'when a write without a condition is applied and not answered',
    'mine',
    async ({ gate, backend, path }) => {
      const stop = backend.stop(path, 'write applied');
      const end = endOf(request(gate.url + path, { method: 'PUT', body: bodyOf(path, 'mine') }));
      await stop.reached;
      return [end];
    },
  ],
];

t.test('a gate that is killed', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'ifmatch-crash-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'gate.json');
  await writeFile(file, config);
  const backend = await startStoppingBackend(t);
  const start = (): Promise<GateProcess> => startGateProcess(t, backend.url, { CONFIG: file, LIMITS_HOLD_TIME: '1m' });
  let gate = await start();

  for (const [index, [when, holds, bring]] of moments.entries()) {
    await t.test(when, async (t) => {
      const paths = kinds.flatMap((kind) => rechecks.map((recheck) => `/${kind}/${recheck}/${index}`));
      const scenes = await Promise.all(paths.map((path) => prepare(t, gate, backend, path)));
      const ends = await Promise.all(scenes.map((scene) => bring(scene)));
      await gate.kill();
      for (const end of ends.flat())
        t.equal(await end, 'no answer', 'nobody is told that a write was taken or refused');
      gate = await start();
      await Promise.all(scenes.map((scene) => afterwards({ ...scene, gate }, holds)));
    });
  }

  await t.test('and whose write takes effect after the next check: the limit of what can be seen', async (t) => {
    const rows = [
      ['/plain/always/late', 204, 'next'],
      ['/checked/always/late', 412, 'mine'],
    ] as const;
    const left = await Promise.all(
      rows.map(async ([path, status, text]) => {
        const scene = await prepare(t, gate, backend, path);
        const arrived = backend.stop(path, 'write arrived');
        const end = endOf(put(gate, path, scene.current, 'mine'));
        await arrived.reached;
        return { ...scene, arrived, end, status, text };
      }),
    );
    await gate.kill();
    gate = await start();
    for (const { path, current, arrived, end, status, text } of left) {
      t.equal(await end, 'no answer', `${path}: its client knows nothing`);
      const checked = backend.stop(path, 'write arrived');
      const answer = put(gate, path, current, 'next');
      await checked.reached;
      const applied = backend.stop(path, 'write applied');
      arrived.release();
      await applied.reached;
      applied.release();
      checked.release();
      t.equal((await answer).status, status, `${path}: only a backend that checks for itself notices`);
      t.equal(backend.text(path), text, `${path}: what is left of the two writes`);
    }
  });
});

/** Two contents one after the other, the second written through the gate; and another resource with one content. */
async function prepare(t: Test, gate: GateProcess, backend: StoppingBackend, path: string): Promise<Scene> {
  backend.change(path, 'first');
  backend.change(`${path}/other`, 'other');
  const stale = await tagOf(gate, path);
  t.equal((await put(gate, path, stale, 'second')).status, 204, `${path}: a write that is up to date is taken`);
  const other = await tagOf(gate, `${path}/other`);
  return { t, gate, backend, path, stale, current: await tagOf(gate, path), other };
}

/** The first requests for a resource that a new process gets: a stale write, one with the last tag known, a read. */
async function afterwards({ t, gate, backend, path, stale, current, other }: Scene, holds: string): Promise<void> {
  t.equal(backend.text(path), holds, `${path}: what the backend holds`);
  const before = backend.writes(path);
  const refused = await put(gate, path, stale, 'late');
  t.equal(refused.status, 412, `${path}: a stale write is refused`);
  const now = await tagOf(gate, path);
  t.equal(refused.headers.etag, now, `${path}: and told the version`);
  if (holds === 'second') t.equal(now, current, `${path}: the tag is that of the process before`);
  else t.equal((await put(gate, path, current, 'late')).status, 412, `${path}: and so is one for the version before`);
  t.equal(backend.writes(path), before, `${path}: nothing of them was sent`);
  t.equal((await put(gate, path, now, 'fresh')).status, 204, `${path}: one that is up to date is taken`);
  t.equal(backend.text(path), 'fresh', `${path}: and takes effect`);
  t.equal(
    (await put(gate, `${path}/other`, other, 'new')).status,
    204,
    `${path}: elsewhere who is up to date is first`,
  );
  t.equal((await put(gate, `${path}/other`, other, 'late')).status, 412, `${path}: and then who is not`);
}

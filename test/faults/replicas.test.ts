import { setTimeout as delay } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type GateProcess, startGateProcess } from '../helpers/gate-process.js';
import { chainOf } from '../helpers/history.js';
import { rawClient } from '../helpers/raw.js';
import { hasRedis, type Redis, startRedis } from '../helpers/redis.js';
import {
  type Attempt,
  answerIn,
  ask,
  type Fate,
  fateOf,
  randomOf,
  sharing,
  startReplicas,
  startSlowBackend,
  type TextBackend,
  Turmoil,
  untilTrusted,
} from '../helpers/replicas.js';
import { type StoppingBackend, startStoppingBackend } from '../helpers/stopping-backend.js';
import { startTcpProxy, type TcpProxy } from '../helpers/tcp-proxy.js';

/**
 * Gates that share a store, while gates and store are killed, paused and cut off from each other. No write that was
 * answered with success may be lost.
 *
 * The faults of a run that failed, once more: REPLICAS_SEED=… npx tap test/faults/replicas.test.ts
 */

/** A lease lives for about one and a half times as long as the first two take together. */
const limits = {
  LIMITS_UPSTREAM_TIMEOUT: '500ms',
  LIMITS_QUARANTINE: '200ms',
  LIMITS_CONNECT_TIMEOUT: '200ms',
  LIMITS_LEASE_WAIT: '1s',
};

/** Milliseconds. */
const longerThanLease = 1300;

const path = '/plain/contested';
const initial = '0 start';

/** A resource that nobody contends for. */
const other = '/plain/other';

const { REPLICAS_SEED } = process.env;
const seed = REPLICAS_SEED === undefined ? Date.now() % 2 ** 31 : Number(REPLICAS_SEED);

/** A gate that can be replaced, with its own link to the store. */
interface Place {
  gate: GateProcess;
  readonly link: TcpProxy;
  readonly start: () => Promise<GateProcess>;
}

interface Scene {
  readonly t: Test;
  readonly redis: Redis;
  readonly backend: TextBackend;
  readonly places: readonly Place[];
}

async function startScene<B extends TextBackend>(t: Test, backend: B, count: number): Promise<Scene & { backend: B }> {
  const redis = await startRedis(t);
  const links = await Promise.all(Array.from({ length: count }, () => startTcpProxy(t, redis.port)));
  const settingsOf = (index: number) => ({ ...limits, ...sharing(`redis://127.0.0.1:${links[index]?.port}`) });
  const gates = await startReplicas(t, backend.url, count, settingsOf);
  const places = gates.map((gate, index): Place => {
    const start = () => startGateProcess(t, backend.url, settingsOf(index));
    return { gate, link: links[index] as TcpProxy, start };
  });
  await untilTrusted(gates, other);
  return { t, redis, backend, places };
}

interface Fault {
  readonly name: string;
  /** Whether a write may be lost that was sent meanwhile, for one that is told to be `unknown`. */
  readonly mayLose?: true;
  /** Lets something happen for as long as it takes. */
  readonly happen: (scene: Scene, place: Place, random: () => number) => Promise<void>;
}

const faults: readonly Fault[] = [
  {
    name: 'a gate is killed and replaced',
    async happen(_scene, place) {
      await place.gate.kill();
      place.gate = await place.start();
    },
  },
  {
    name: 'a gate is paused for longer than its lease',
    mayLose: true,
    async happen(_scene, { gate }, random) {
      gate.pause();
      await delay(longerThanLease + random() * 300);
      gate.resume();
    },
  },
  {
    name: 'Redis is killed and restarts empty',
    async happen({ redis }, _place, random) {
      await redis.kill();
      await delay(random() * 300);
      await redis.restart();
    },
  },
  {
    name: 'the link of a gate to Redis is cut and restored',
    async happen(_scene, { link }, random) {
      await link.cut();
      await delay(random() * longerThanLease);
      await link.resume();
    },
  },
];

t.test('a contest amid faults', async (t) => {
  if (!hasRedis(t)) return;
  t.comment(`REPLICAS_SEED=${seed}`);
  const random = randomOf(seed);
  const scene = await startScene(
    t,
    await startSlowBackend(t, randomOf(seed), { [path]: initial, [other]: 'other' }),
    3,
  );
  const turmoil = new Turmoil(scene.places, path);
  const end = turmoil.start();
  const schedule = [...faults, ...faults].sort(() => random() - 0.5);
  await turmoil.recovered(10);
  for (const [index, fault] of schedule.entries()) {
    turmoil.during = index + 1;
    const place = scene.places[Math.floor(random() * scene.places.length)] as Place;
    await fault.happen(scene, place, random);
    t.ok(await turmoil.recovered(10), `writes succeed again after: ${fault.name}`);
  }
  await end();
  judge(t, turmoil.attempts, schedule, scene.backend.text(path) ?? 'nothing');
});

/** Says what became of the writes in each fault, and which were lost. */
function judge(t: Test, attempts: readonly Attempt[], schedule: readonly Fault[], final: string): void {
  // One whose outcome is unknown may have taken effect.
  const candidates = attempts.filter(({ fate }) => fate !== 'refused');
  const chain = chainOf(final, candidates);
  const survived = new Set(chain);
  t.equal(chain.at(-1)?.read, initial, 'the final content goes back to the first one');
  for (const [index, { name, mayLose }] of [{ name: 'no fault yet' } as Fault, ...schedule].entries()) {
    const own = attempts.filter(({ during }) => during === index);
    const count = (wanted: Fate): number => own.filter(({ fate }) => fate === wanted).length;
    const lost = own.filter((attempt) => attempt.fate === 'succeeded' && !survived.has(attempt));
    const counts = `${count('succeeded')} succeeded, ${count('refused')} refused, ${count('unknown')} unknown`;
    t.comment(`${name}: ${counts}, ${lost.length} lost`);
    if (mayLose === undefined) t.same(lost, [], `nothing is lost: ${name}`);
    else {
      const read = new Set(lost.map((attempt) => attempt.read));
      const overwriting = chain.filter((attempt) => read.has(attempt.read));
      t.ok(
        overwriting.every(({ fate }) => fate === 'unknown'),
        `only one whose outcome is unknown has written over another: ${name}`,
      );
    }
  }
}

type Pair = Scene & { readonly backend: StoppingBackend };

const holder = ({ places }: Pair): Place => places[0] as Place;

function put(gate: GateProcess, path: string, tag: string, body: string): ReturnType<typeof ask> {
  return ask(gate.url + path, { method: 'PUT', headers: { 'If-Match': tag }, body });
}

/** Writes through the second gate as soon as that has the lease: the one of the first gate has expired then. */
async function writeOver({ t, places, backend }: Pair, path: string): Promise<void> {
  const gate = places[1]?.gate as GateProcess;
  const end = performance.now() + 10_000;
  let fate: Fate = 'refused';
  while (fate === 'refused' && performance.now() < end) {
    const { headers } = await ask(gate.url + path);
    fate = await fateOf(put(gate, path, headers.etag ?? '"none"', 'theirs'));
  }
  t.equal(fate, 'succeeded', `${path}: another gate writes once the lease is over`);
  t.equal(backend.text(path), 'theirs');
}

/** A write up to where its client is told to send its body. @returns sends it */
async function decided(pair: Pair, path: string, tag: string): Promise<() => Promise<Fate>> {
  const client = await rawClient(pair.t, Number(new URL(holder(pair).gate.url).port));
  const fields = `Host: api.test\r\nIf-Match: ${tag}\r\nContent-Length: 4\r\nExpect: 100-continue\r\n`;
  client.write(`PUT ${path} HTTP/1.1\r\n${fields}Connection: close\r\n\r\n`);
  const goOn = await client.seen('HTTP/1.1 100 Continue\r\n\r\n');
  return () => {
    client.write('mine');
    return fateOf(client.closed.then(({ text }) => answerIn(text.slice(goOn.length))));
  };
}

/** What holds a gate up for longer than its lease, before anything of its write is sent. @returns the write's fate */
const hindrances: Readonly<Record<string, (pair: Pair, path: string, tag: string) => Promise<Fate>>> = {
  async 'paused while its probe is answered'(pair, path, tag) {
    const { gate } = holder(pair);
    // Made before the other gate writes: it tells that nothing has changed.
    const made = pair.backend.stop(path, 'read made');
    const fate = fateOf(put(gate, path, tag, 'mine'));
    await made.reached;
    gate.pause();
    await writeOver(pair, path);
    made.release();
    gate.resume();
    return fate;
  },
  async 'paused after its decision'(pair, path, tag) {
    const { gate } = holder(pair);
    const go = await decided(pair, path, tag);
    gate.pause();
    await writeOver(pair, path);
    const fate = go();
    gate.resume();
    return fate;
  },
  async 'cut off from the store after its decision'(pair, path, tag) {
    const { link } = holder(pair);
    const go = await decided(pair, path, tag);
    await link.cut();
    await writeOver(pair, path);
    const fate = await go();
    await link.resume();
    return fate;
  },
  async 'told of its lease too late'(pair, path, tag) {
    const { gate, link } = holder(pair);
    link.hang('answers');
    const fate = fateOf(put(gate, path, tag, 'mine'));
    await writeOver(pair, path);
    await link.resume();
    return fate;
  },
};

t.test('a gate whose lease is over', async (t) => {
  if (!hasRedis(t)) return;
  const backend = await startStoppingBackend(t);
  backend.change(other, 'other');
  const scene = await startScene(t, backend, 2);

  async function prepare(t: Test, path: string): Promise<{ pair: Pair; tag: string }> {
    const pair = { ...scene, t };
    // After the last hindrance the gate may not have found the store again yet.
    await untilTrusted([holder(pair).gate], other);
    backend.change(path, 'first');
    const { headers } = await ask(holder(pair).gate.url + path);
    return { pair, tag: headers.etag ?? '"none"' };
  }

  for (const [index, [name, hinder]] of Object.entries(hindrances).entries()) {
    await t.test(`sends nothing: ${name}`, async (t) => {
      const path = `/plain/${index}`;
      const { pair, tag } = await prepare(t, path);
      const fate = await hinder(pair, path, tag);
      t.equal(fate, 'refused', 'its client is told that nothing was done');
      t.equal(backend.text(path), 'theirs');
      t.equal(backend.writes(path), 1, 'the backend has seen one write');
    });
  }

  await t.test('stops in the middle of a write, or goes on and does not claim success', async (t) => {
    const path = '/plain/half';
    const { pair, tag } = await prepare(t, path);
    const { gate } = holder(pair);
    const client = await rawClient(t, Number(new URL(gate.url).port));
    const half = 'mine'.repeat(50_000);
    const begun = backend.stop(path, 'write begun');
    const fields = `Host: api.test\r\nIf-Match: ${tag}\r\nContent-Length: ${2 * half.length}\r\nConnection: close\r\n`;
    client.write(`PUT ${path} HTTP/1.1\r\n${fields}\r\n${half}`);
    await begun.reached;
    begun.release();
    gate.pause();
    await writeOver(pair, path);
    client.write(half);
    gate.resume();
    const answer = client.closed.then(({ text }) => answerIn(text));
    t.equal(await fateOf(answer), 'unknown', 'its client is told of no success');
    t.comment(`the backend has ${backend.text(path) === 'theirs' ? 'the other write' : 'this write'}`);
  });

  // What has been sent cannot be taken back: this is the only way to lose a write, and its client knows of no success.
  await t.test('and whose backend takes longer than it may: the limit of what can be kept', async (t) => {
    const path = '/plain/late';
    const { pair, tag } = await prepare(t, path);
    const { gate } = holder(pair);
    const arrived = backend.stop(path, 'write arrived');
    const fate = fateOf(put(gate, path, tag, 'mine'));
    await arrived.reached;
    gate.pause();
    await writeOver(pair, path);
    const applied = backend.stop(path, 'write applied');
    arrived.release();
    await applied.reached;
    applied.release();
    gate.resume();
    t.equal(await fate, 'unknown', 'the client of the gate that was paused is told of no success');
    t.equal(backend.text(path), 'mine', 'its write has come over the other one');
  });
});

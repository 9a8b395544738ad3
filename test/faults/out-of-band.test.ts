import t, { type Test } from 'tap';
import { type Answer, request } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { type RunningGate, startGate } from '../helpers/gate.js';
import { startGateProcess } from '../helpers/gate-process.js';
import { contentTag, type Moment, type StoppingBackend, startStoppingBackend } from '../helpers/stopping-backend.js';

/**
 * Somebody changes resources of the backend without the gate. What the gate then sees is what its own reads tell, when
 * they tell it: what is lost for that is shown here as it is.
 */

const year = 365 * 86_400_000;

/** With `recheck: never` knowledge of any age decides. */
const never = Number.POSITIVE_INFINITY;

function get(gate: RunningGate, path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return request(gate.url + path, { headers });
}

async function tagOf(gate: RunningGate, path: string, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  return (await get(gate, path, headers)).headers.etag ?? 'none';
}

function put(gate: { readonly url: string }, path: string, tag: string, body: string): Promise<Answer> {
  return request(gate.url + path, { method: 'PUT', headers: { 'If-Match': tag }, body });
}

/** Who refused: the gate, with what it knew or with a probe, or the backend itself. */
function refusedBy({ status, headers, body }: Answer): string {
  if (status !== 412) return `nobody: ${status}`;
  if (headers['proxy-status'] === undefined) return 'backend';
  return String((JSON.parse(body.toString()) as { decidedBy?: string }).decidedBy);
}

/** The resource changes around the gate, and somebody may read it through the gate at once, whatever is on its way. */
async function changeAround(t: Test, gate: RunningGate, backend: StoppingBackend, path: string, isRead: boolean) {
  backend.change(path, 'around');
  if (isRead) t.equal((await get(gate, path)).body.toString(), 'around', `${path}: who reads now sees the change`);
}

t.test('recheck: always notices what came before the answer to the probe was made', async (t) => {
  const backend = await startStoppingBackend(t);
  const gate = await startGate(t, { upstream: backend.url, clock: createVirtualClock() });

  async function stale(path: string, isDuring: boolean, isRead: boolean): Promise<void> {
    backend.change(path, 'old');
    const tag = await tagOf(gate, path);
    if (!isDuring) await changeAround(t, gate, backend, path, isRead);
    const stop = backend.stop(path, 'read arrived');
    const answer = put(gate, path, tag, 'mine');
    await Promise.race([stop.reached, answer]);
    if (isDuring) await changeAround(t, gate, backend, path, isRead);
    stop.release();
    t.equal(refusedBy(await answer), 'probe', `${path}: changed ${isDuring ? 'during the probe' : 'before the write'}`);
    t.equal((await answer).headers.etag, await tagOf(gate, path), 'the writer is told what is there now');
    t.equal(backend.text(path), 'around', 'the change stays');
    t.equal(backend.writes(path), 0, 'nothing was sent');
  }

  for (const kind of ['plain', 'tagged', 'checked']) {
    for (const isDuring of [false, true]) {
      for (const isRead of [false, true]) await stale(`/${kind}/${isDuring}/${isRead}`, isDuring, isRead);
    }
  }
});

/** By kind of backend: whose tag the writer names, and what becomes of a change in the window. */
const inTheWindow: readonly [kind: string, names: string, isLost: boolean][] = [
  ['plain', 'synthetic', true],
  ['tagged', 'native', true],
  ['checked', 'native', false],
  // Read within 2 s after the change, so that the reader got a synthetic tag (V7); W8 puts the native one in its place.
  ['dated', 'synthetic', false],
];

t.test('what comes between the answer to the probe and the write only a backend that checks can see', async (t) => {
  const clock = createVirtualClock();
  const backend = await startStoppingBackend(t, { now: () => Math.floor(clock.now()) });
  const gate = await startGate(t, { upstream: backend.url, clock });

  /** @returns the writer's tag, what it was answered, and the If-Match that reached the backend */
  async function overtaken(path: string, moment: Moment, isRead: boolean) {
    backend.change(path, 'old');
    const tag = await tagOf(gate, path);
    clock.advance(3_000);
    const stop = backend.stop(path, moment);
    const answer = put(gate, path, tag, 'mine');
    await Promise.race([stop.reached, answer]);
    await changeAround(t, gate, backend, path, isRead);
    stop.release();
    const by = refusedBy(await answer);
    const sent = backend.requests.findLast(({ url, method }) => url === path && method === 'PUT');
    return { names: tag === contentTag('old') ? 'native' : 'synthetic', by, ifMatch: sent?.headers['if-match'] };
  }

  for (const [kind, names, isLost] of inTheWindow) {
    const ifMatch = kind === 'plain' ? undefined : contentTag('old');
    for (const moment of ['read made', 'write arrived'] as const) {
      for (const isRead of [false, true]) {
        const path = `/${kind}/${moment.replace(' ', '-')}/${isRead}`;
        const by = isLost ? 'nobody: 204' : 'backend';
        t.same(await overtaken(path, moment, isRead), { names, by, ifMatch }, `${path}: changed at "${moment}"`);
        t.equal(backend.text(path), isLost ? 'mine' : 'around', isLost ? 'the change is lost' : 'the change stays');
      }
    }
  }
});

type Step = number | 'change' | 'read' | 'read as another' | 'write without condition' | 'evict';

/** After a first read of `old`: what happens, in milliseconds or steps, until the stale write; who refuses it. */
const timelines: readonly [why: string, recheck: number, steps: readonly Step[], refusedBy: string][] = [
  ['younger than 5 s: decides', 5_000, [4_999, 'change'], 'nobody'],
  ['younger than 5 s, changed at once', 5_000, ['change', 4_999], 'nobody'],
  ['older than 5 s: a probe', 5_000, ['change', 5_001], 'probe'],
  ['a read learned the change', 5_000, ['change', 'read', 4_999], 'store'],
  ['a read learned it, but long ago', 5_000, ['change', 'read', 5_001], 'probe'],
  ['the age is that of the last read', 5_000, [4_000, 'read', 'change', 4_000], 'nobody'],
  ['a read as another identity teaches nothing about this one', 5_000, ['change', 'read as another', 10], 'nobody'],
  ['a write through the gate voids it', 5_000, ['change', 'write without condition', 10], 'probe'],
  ['an evicted resource is not known', 5_000, ['change', 'evict', 10], 'probe'],
  ['knowledge of any age decides', never, ['change', year], 'nobody'],
  ['a read learned the change, long ago', never, ['change', 'read', year], 'store'],
  ['a read as another identity teaches nothing', never, ['change', 'read as another', year], 'nobody'],
  ['a write through the gate voids it', never, ['change', 'write without condition', year], 'probe'],
  ['an evicted resource is not known', never, ['change', 'evict', year], 'probe'],
];

async function act(step: Step, gate: RunningGate, backend: StoppingBackend, path: string): Promise<void> {
  if (step === 'change') backend.change(path, 'around');
  else if (step === 'read') await get(gate, path);
  else if (step === 'read as another') await get(gate, path, { Authorization: 'another' });
  else if (step === 'evict') await get(gate, '/plain/elsewhere');
  // It appends nothing.
  else await request(gate.url + path, { method: 'POST', body: '' });
}

t.test('recheck: 5s and never decide by what was known before, within that age', async (t) => {
  for (const [why, recheck, steps, expected] of timelines) {
    const clock = createVirtualClock();
    const backend = await startStoppingBackend(t);
    const gate = await startGate(t, { upstream: backend.url, clock, policy: { recheck }, limits: { resources: 1 } });
    for (const kind of ['plain', 'tagged', 'checked']) {
      const path = `/${kind}/x`;
      backend.change('/plain/elsewhere', 'other');
      backend.change(path, 'old');
      const tag = await tagOf(gate, path);
      for (const step of steps) {
        if (typeof step === 'number') clock.advance(step);
        else await act(step, gate, backend, path);
      }
      const isRisk = expected === 'nobody';
      const answer = await put(gate, path, tag, 'mine');
      const by = !isRisk ? expected : kind === 'checked' ? 'backend' : 'nobody: 204';
      t.equal(refusedBy(answer), by, `recheck ${recheck}, ${kind}: ${why}`);
      t.equal(backend.text(path), isRisk && kind !== 'checked' ? 'mine' : 'around', 'what is left of the two');
    }
  }
});

t.test('recheck: the age of knowledge counts from when its read was sent', async (t) => {
  for (const [age, expected] of [
    [4_999, 'nobody: 204'],
    [5_001, 'probe'],
  ] as const) {
    const clock = createVirtualClock();
    const backend = await startStoppingBackend(t);
    const gate = await startGate(t, { upstream: backend.url, clock, policy: { recheck: 5_000 } });
    backend.change('/plain/x', 'old');
    const stop = backend.stop('/plain/x', 'read made');
    const slow = get(gate, '/plain/x');
    await stop.reached;
    backend.change('/plain/x', 'around');
    clock.advance(4_000);
    stop.release();
    const { headers, body } = await slow;
    t.equal(body.toString(), 'old', 'its reader is given what was true when it was asked for');
    clock.advance(age - 4_000);
    t.equal(refusedBy(await put(gate, '/plain/x', headers.etag ?? 'none', 'mine')), expected, `${age} ms`);
  }
});

t.test('recheck: who learned the new tag past the gate is refused, until a read of its own', async (t) => {
  for (const [recheck, age, expected] of [
    [0, 10, 'nobody: 204'],
    [5_000, 4_999, 'store'],
    [5_000, 5_001, 'nobody: 204'],
    [never, year, 'store'],
  ] as const) {
    const clock = createVirtualClock();
    const backend = await startStoppingBackend(t);
    const gate = await startGate(t, { upstream: backend.url, clock, policy: { recheck } });
    backend.change('/tagged/x', 'old');
    await get(gate, '/tagged/x');
    backend.change('/tagged/x', 'around');
    clock.advance(age);
    const answer = await put(gate, '/tagged/x', contentTag('around'), 'mine');
    t.equal(refusedBy(answer), expected, `recheck ${recheck}, knowledge of ${age} ms`);
    if (answer.status !== 412) continue;
    t.match(JSON.parse(answer.body.toString()), { next: /^Fetch the resource/ }, 'it is told to read');
    t.equal((await put(gate, '/tagged/x', await tagOf(gate, '/tagged/x'), 'mine')).status, 204, 'which is enough');
  }
});

t.test('how long the window is', async (t) => {
  const count = 500;
  const windows: number[] = [];
  let made = 0;
  const backend = await startStoppingBackend(t, {
    onMoment(moment) {
      if (moment === 'read made') made = performance.now();
      if (moment === 'write arrived') windows.push(performance.now() - made);
    },
  });
  const gate = await startGateProcess(t, backend.url, { LIMITS_HOLD_TIME: '1m' });
  for (const [kind, probe, length] of [
    ['plain', 'GET', 200],
    ['plain', 'GET', 65_536],
    ['tagged', 'HEAD', 200],
  ] as const) {
    const path = `/${kind}/${length}`;
    windows.length = 0;
    backend.change(path, '0'.padEnd(length));
    let tag = (await request(gate.url + path)).headers.etag;
    for (let number = 1; number <= count; number += 1) {
      const { headers } = await put(gate, path, tag ?? 'none', String(number).padEnd(length));
      // A refresh that takes longer than 2 s gives none (W10).
      tag = headers.etag ?? (await request(gate.url + path)).headers.etag;
    }
    windows.sort((a, b) => a - b);
    const at = (part: number) => windows[Math.floor(part * count)]?.toFixed(2);
    t.comment(`${kind}, ${length} bytes, ${probe}: median ${at(0.5)} ms, 99 % ${at(0.99)} ms, longest ${at(0.999)} ms`);
    t.equal(windows.length, count, 'every write was taken');
    t.ok(windows.every(Number.isFinite), 'and had a window');
    t.equal(backend.text(path)?.trim(), String(count), 'the last one is there');
  }
});

import t, { type Test } from 'tap';
import { type Answer, request, roundTrip } from '../helpers/client.js';
import { eventually } from '../helpers/eventually.js';
import {
  type Row,
  type Scene,
  type Script,
  type Seen,
  startScene,
  tagOf,
  type WriteKind,
} from '../helpers/outcome-scene.js';
import { type DoneWrite, meet, methodOf } from '../helpers/outcome-write.js';
import { answers, faults } from './outcome-rows.js';

const allKinds: readonly WriteKind[] = ['PUT', 'PATCH', 'DELETE', 'PUT without a condition'];

/**
 * The longest that anything goes on after a client has left or was refused: what it may still send is taken for so
 * long; what is left of a write's answer for less (W15). In milliseconds.
 */
const lingering = 30_000;

for (const way of ['plain', 'unreliable'] as const) {
  t.test(`whatever becomes of a write, over a way that is ${way} (W9, W11, W15)`, async (t) => {
    const scene = await startScene(t, way);
    const met = [...faults, ...answers].filter(({ connecting }) => (connecting === undefined) === (way === 'plain'));
    for (const [index, row] of met.entries()) {
      await t.test(row.why, async (t) => {
        for (const kind of row.kinds ?? allKinds)
          await judge(t, scene, row, kind, `/${index}/${allKinds.indexOf(kind)}`);
      });
    }
  });
}

t.test('an answer that is whole before the body is says nothing of what became of the write (W9, W11)', async (t) => {
  for (const status of [200, 500]) {
    const scene = await startScene(t, 'plain');
    scene.stored.set('/x', 'original');
    const row: Row = {
      why: 'early',
      body: 'long',
      steps: ['part', status],
      told: undefined,
      record: 'unknown',
      rest: 5000,
    };
    const { heard, script } = await meet(t, scene, row, { kind: 'PUT', path: '/x', id: 'early' });
    if (status === 200) t.not(heard?.status, 200, 'nobody is told that it took effect');
    t.equal(scene.records.get('early')?.outcome, 'unknown', `${status}: what is on record`);
    t.equal(await leases(scene), 1, `${status}: the resource rests`);
    script.apply();
    scene.clock.advance(row.rest);
    const { status: told } = await writeOver(scene, '/x', 'original');
    t.equal(told, 412, `${status}: what has come takes effect, and is not overwritten unseen`);
  }
});

/** What a row does with one kind of write, and everything that follows from it. */
async function judge(t: Test, scene: Scene, row: Row, kind: WriteKind, path: string): Promise<void> {
  const id = `victim${path}`;
  scene.stored.set(path, 'original');
  const done = await meet(t, scene, row, { kind, path, id });
  expectTruth(t, scene, row, id, done, kind);
  t.equal(await leases(scene), row.rest > 0 ? 1 : 0, `${kind}: leases after the answer`);
  const { status: next } =
    row.rest > 0 ? await waitForRest(t, scene, row, done.script, kind, path) : await writeOver(scene, path, 'original');
  const tookEffect = scene.applied.includes(id);
  t.equal(next, tookEffect ? 412 : 204, `${kind}: who has read what was there before`);
  t.equal(
    probes(scene, `next${path}`) > 0,
    isInDoubt(row, kind),
    `${kind}: whether the next writer is judged by a probe`,
  );
  if (tookEffect) {
    const created = !scene.stored.has(path);
    const { status } = await writeOver(scene, path, scene.stored.get(path));
    t.equal(status, created ? 201 : 204, `${kind}: who has read what is there now`);
  }
  await expectNothingLeft(t, scene, kind);
}

/** The client is told what happened, and the log says the same; the write was sent once at most. */
function expectTruth(t: Test, scene: Scene, row: Row, id: string, { heard }: DoneWrite, kind: WriteKind): void {
  if (row.told === undefined) t.equal(heard, undefined);
  else if (row.told === 'a broken answer') t.equal(heard?.isBroken, true, `${kind}: its answer never looks whole`);
  else t.same(heard, { outcome: undefined, ...row.told, isBroken: false }, `${kind}: what the client is told`);
  t.equal(scene.records.get(id)?.outcome, row.record, `${kind}: what is on record`);
  const isForwarded = row.record !== undefined && row.record !== 'not-sent' && row.neverComes !== true;
  t.equal(writes(scene, id), isForwarded ? 1 : 0, `${kind}: how often it was sent`);
  const effects = scene.applied.filter((other) => other === id).length;
  t.equal(effects, row.steps.some((step) => step === 'apply' || step === 'apply the part') ? 1 : 0);
  if (row.record === 'changed') t.equal(effects, 1, `${kind}: it is said to have taken effect, and has`);
  if (row.record === 'as-it-was' || row.record === 'not-sent') {
    t.equal(effects, 0, `${kind}: it is said to have none, and has none`);
  }
}

/** W9: nothing is known of the resource any more, but for what a conditional writer has read afterwards (W10). */
function isInDoubt({ record }: Row, kind: WriteKind): boolean {
  const { method, isConditional } = methodOf(kind);
  if (record === 'changed') return !isConditional || method === 'DELETE';
  return record === 'doubt' || record === 'unknown';
}

/**
 * W11: the resource stays leased for as long as the row says, in the way in which the write had leased it. Whoever reads
 * meanwhile is answered (R4), but what he has read does not count (R3): the write may still take effect.
 *
 * @returns the answer to the next conditional writer, who has read what was there before
 */
async function waitForRest(
  t: Test,
  scene: Scene,
  { rest, appliesLate }: Row,
  script: Script,
  kind: WriteKind,
  path: string,
): Promise<Answer> {
  const { clock, gate, stored } = scene;
  t.equal((await request(gate.url + path)).status, stored.has(path) ? 200 : 404, `${kind}: reads do not wait`);
  if (!methodOf(kind).isConditional) {
    const body = stored.get(path) ?? '';
    const other = await request(gate.url + path, { method: 'PUT', body });
    t.equal(other.status, 204, `${kind}: others without a condition do not wait either`);
  }
  const timers = clock.pending();
  const next = writeOver(scene, path, 'original');
  await eventually(t, () => clock.pending() === timers + 1, 'the next writer is in line');
  clock.advance(rest - 1);
  await roundTrip(scene.gate.port);
  const goesOn = (): boolean => scene.seen.some(({ id }) => id === `next${path}`);
  t.equal(goesOn(), false, `${kind}: the next writer waits`);
  if (appliesLate === true) script.apply();
  clock.advance(1);
  await eventually(t, goesOn, `${kind}: the next writer waits no longer`);
  // One that does is refused when it has waited for too long (W3).
  if (!goesOn()) clock.advance(lingering);
  return next;
}

/** Replaces what somebody has read at a path, or creates what he has not found. */
function writeOver({ gate }: Scene, path: string, base: string | undefined): Promise<Answer> {
  const isOld = base === 'original';
  const condition = base === undefined ? { 'If-None-Match': '*' } : { 'If-Match': tagOf(base) };
  const headers = { 'X-Request-Id': `${isOld ? 'next' : 'last'}${path}`, ...condition };
  return request(gate.url + path, { method: 'PUT', headers });
}

async function expectNothingLeft(t: Test, scene: Scene, kind: WriteKind): Promise<void> {
  t.equal(await leases(scene), 0, `${kind}: the lease is free in the end`);
  scene.clock.advance(lingering);
  await eventually(t, () => scene.clock.pending() === 0, `${kind}: no timer is left`);
}

function isRead({ method }: Seen): boolean {
  return method === 'GET' || method === 'HEAD';
}

/** How many reads the gate sent for a write before it was sent itself, if it was. */
function probes({ seen }: Scene, id: string): number {
  const own = seen.filter((one) => one.id === id);
  const sent = own.findIndex((one) => !isRead(one));
  return sent === -1 ? own.length : sent;
}

function writes({ seen }: Scene, id: string): number {
  return seen.filter((one) => one.id === id && !isRead(one)).length;
}

async function leases({ gate }: Scene): Promise<number> {
  const { body } = await request(`${gate.adminUrl}/metrics`);
  return Number(/^ifmatch_leases (\d+)$/m.exec(body.toString())?.[1]);
}

import t, { type Test } from 'tap';
import { countReachable, watchForLeaks } from '../helpers/leaks.js';
import { type Row, type Scene, startScene, type WriteKind } from '../helpers/outcome-scene.js';
import { meet } from '../helpers/outcome-write.js';
import { answers, faults } from './outcome-rows.js';

/** More than the listeners that an emitter may have before Node warns of a leak. */
const times = 20;

/** Longer than anything goes on that has an end: rests, what is still taken of a connection (W11, W15). */
const longerThanAnyEnd = 60_000;

/** An exclusive lease and a shared one (W3). */
const kinds: readonly WriteKind[] = ['PUT', 'PUT without a condition'];

/** Whole answers: one status for each outcome. */
const titles: ReadonlySet<string> = new Set(
  ['200 and has applied', '202', '303', '409', '500'].map((what) => `answers ${what}`),
);
const whole = answers.filter(({ why }) => titles.has(why));

// Hundreds of writes take their time on a busy machine.
t.setTimeout(180_000);

t.test('whatever becomes of a write leaves nothing behind (W9, W11, W15)', async (t) => {
  const watch = watchForLeaks(t);
  const ways = { plain: await startScene(t, 'plain'), unreliable: await startScene(t, 'unreliable') };
  const sceneOf = ({ connecting }: Row): Scene => ways[connecting === undefined ? 'plain' : 'unreliable'];
  const rows = [...faults, ...whole];
  // What is made once, for the first of its kind, is no leak.
  for (const row of rows) await repeat(t, sceneOf(row), row, kinds.length);
  const scenes = Object.values(ways);
  const before = await watch.count(scenes);
  const { Promise: promises = 0, ...objects } = countReachable();
  for (const row of rows) {
    await repeat(t, sceneOf(row), row, times);
    t.same(await watch.count(scenes, before), before, row.why);
  }
  const { Promise: promisesAfter = 0, ...objectsAfter } = countReachable();
  t.same(objectsAfter, objects, 'what is made for each request');
  // A few may be the test's own; a row that leaves one behind leaves as many as it was repeated.
  t.ok(promisesAfter - promises < times, `promises: ${promises} and then ${promisesAfter}`);
  t.same(watch.troubles, [], 'no listener too many, no rejection that nobody handles');
});

async function repeat(t: Test, scene: Scene, row: Row, count: number): Promise<void> {
  for (let index = 0; index < count; index += 1) {
    const path = '/x';
    scene.stored.set(path, 'original');
    await meet(t, scene, row, { kind: kinds[index % kinds.length] ?? 'PUT', path, id: 'victim' });
    scene.clock.advance(longerThanAnyEnd);
  }
}

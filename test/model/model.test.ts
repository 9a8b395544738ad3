/*
 * A gate over a backend in memory, time that stands still, and random sequences of what clients, a second writer behind
 * the gate's back, failures and time can do (commands.ts). After every step a model, which knows the rules and not the
 * gate (model.ts), says whether what happened may happen (postconditions.ts).
 *
 * More runs:                       MODEL_RUNS=100000 npx tap --timeout=0 test/model/model.test.ts
 * Without tags that lie (V7):      MODEL_LIARS=0 npx tap test/model/model.test.ts
 * A run that failed, once more:    MODEL_SEED=… MODEL_PATH=… MODEL_REPLAY=… npx tap test/model/model.test.ts
 *
 * The last line is printed, complete, above the counterexample of a run that fails: seed and path choose the sequence,
 * and the third variable says which of its commands have run.
 */
import { passingOn } from '../helpers/simulated-history.js';
import { check, diagnosis, replayOf, type Wrap } from './runs.js';

const nobody = { token: { keys: [] }, seenTags: [], isRecorded: true, mayForward: true };

/** Stores with one mistake each. */
const mistakes: readonly [name: string, wrap: Wrap][] = [
  [
    'leases exclude nobody',
    (store) => ({ ...passingOn(store), acquire: (request) => store.acquire({ ...request, kind: 'shared' }) }),
  ],
  [
    'a write leaves no doubt',
    (store) => ({
      ...passingOn(store),
      settle: (token, outcome) => store.settle(token, outcome.kind === 'changed' ? { kind: 'asItWas' } : outcome),
    }),
  ],
  [
    'an unknown outcome has no rest',
    (store) => ({
      ...passingOn(store),
      settle: (token, outcome) => store.settle(token, outcome.kind === 'unknown' ? { kind: 'changed' } : outcome),
    }),
  ],
  [
    'what is read may be old',
    (store) => ({
      ...passingOn(store),
      epoch: async (key) => ({ ...(await store.epoch(key)), doubtful: false }),
      observe: async (key, _epoch, observation) => store.observe(key, (await store.epoch(key)).epoch, observation),
    }),
  ],
  ['writes without a lease go unseen', (store) => ({ ...passingOn(store), touch: async () => nobody })],
  [
    'a lease is lost',
    (store) => ({
      ...passingOn(store),
      settle: async (token, outcome) => {
        return outcome.kind === 'notSent' || store.settle(token, outcome);
      },
    }),
  ],
];

async function findTwice([name, wrap]: (typeof mistakes)[number]) {
  const first = await check(5000, { seed: 1 }, wrap);
  return { name, first, again: await check(1, replayOf(first), wrap) };
}

const { MODEL_RUNS = '1500', MODEL_SEED, MODEL_PATH, MODEL_REPLAY } = process.env;
const replay = { seed: MODEL_SEED ? Number(MODEL_SEED) : undefined, path: MODEL_PATH, commands: MODEL_REPLAY };

// tap follows every promise from its import on, which takes as long as the runs themselves: so they come first.
const found = await check(Number(MODEL_RUNS), replay);
const mistaken = await Promise.all(mistakes.map(findTwice));
const { default: t } = await import('tap');

t.test('whatever happens, no update is lost and nobody is told a lie', async (t) => {
  if (!found.failed) return t.pass(`${found.numRuns} runs`);
  const { counterexample, replayLine } = diagnosis(found);
  t.comment(replayLine);
  return t.fail(String(found.errorInstance), { counterexample, at: null, stack: '' });
});

t.test('the model finds a mistake, and finds it again by its seed', async (t) => {
  for (const { name, first, again } of mistaken) {
    t.match(String(first.errorInstance), /^Error: (o\d+ |\d+ leases left)/, name);
    t.equal(String(again.errorInstance), String(first.errorInstance), `${name}: again`);
  }
});

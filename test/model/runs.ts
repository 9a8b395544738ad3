import fc from 'fast-check';
import type { Store } from '../../src/store/store.js';
import { commands } from './commands.js';
import type { Model } from './model.js';
import { paths, type Setting, settings, withLiars } from './setting.js';
import { World } from './world.js';

/** Puts something between the gate and its store. */
export type Wrap = (store: Store) => Store;
type Run = [Setting, Iterable<fc.AsyncCommand<Model, World>>];

/** What it takes to run one sequence again. */
export interface Replay {
  readonly seed?: number | undefined;
  readonly path?: string | undefined;
  /** Which of its commands ran. */
  readonly commands?: string | undefined;
}

/** Runs sequences until the model finds something wrong. */
export function check(numRuns: number, { seed, path, commands: replayPath }: Replay = {}, wrap?: Wrap) {
  const sequences = fc.commands(commands, { maxCommands: 60, size: 'max', ...(replayPath && { replayPath }) });
  const property = fc.asyncProperty(settings, sequences, async (setting, sequence) => {
    const world = new World(setting, wrap);
    await world.begin(paths[0]);
    await fc.asyncModelRun(() => ({ model: world.model, real: world }), sequence);
    await world.end();
  });
  return fc.check(property, { numRuns, ...(seed !== undefined && { seed }), ...(path !== undefined && { path }) });
}

/** @returns what it takes to run what failed again */
export function replayOf({ seed, counterexamplePath, counterexample }: fc.RunDetails<Run>): Replay {
  const ran = /replayPath="([^"]*)"/.exec(String(counterexample?.[1]))?.[1];
  return { seed, path: counterexamplePath ?? undefined, commands: ran };
}

/** What a reader of the failure needs. */
export function diagnosis(details: fc.RunDetails<Run>): {
  readonly counterexample: string[];
  readonly replayLine: string;
} {
  const { seed, path, commands } = replayOf(details);
  const [setting, sequence = []] = details.counterexample ?? [];
  const liars = withLiars ? '' : 'MODEL_LIARS=0 ';
  return {
    counterexample: [JSON.stringify(setting), ...[...sequence].map(String)],
    replayLine: `${liars}MODEL_SEED=${seed} MODEL_PATH=${path} MODEL_REPLAY='${commands}' npx tap test/model/model.test.ts`,
  };
}

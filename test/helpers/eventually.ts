import type { Test } from 'tap';

/** One turn of the event loop. */
export const turn = (): Promise<void> => new Promise(setImmediate);

/** Waits until something holds that no event tells of, for a bounded number of turns of the event loop. */
export async function eventually(t: Test, holds: () => unknown, what: string): Promise<void> {
  for (let turns = 0; turns < 20_000; turns += 1) {
    if (holds()) return;
    await turn();
  }
  t.fail(`never: ${what}`);
}

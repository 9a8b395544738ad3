import { readFileSync } from 'node:fs';

/** The steps of the store (S1), each one script and one round trip. */
export const steps = ['hello', 'acquire', 'renew', 'settle', 'observe', 'epoch', 'touch', 'leave'] as const;

export type Step = (typeof steps)[number];

/**
 * What every script begins with: KEYS[1] is the bucket; ARGV[1] the time in milliseconds (empty: the server's own), [2]
 * the latest time at which the step may still be taken (empty: any), [3] `1` where all older knowledge becomes void (S4),
 * [4] the time to live of leases and [5] that of versions, in milliseconds, [6] the channel on which those who wait are
 * told. A step's own arguments follow. Answers are lists of texts; the first says what happened, the second the time.
 */
const parts = ['store', 'seen-tags', 'resource'];

/** The Lua source of each step, with what it stands on. */
export function loadScripts(): ReadonlyMap<Step, string> {
  const read = (name: string): string => readFileSync(new URL(`./scripts/${name}.lua`, import.meta.url), 'utf8');
  const common = parts.map(read).join('\n');
  return new Map(steps.map((step) => [step, `${common}\n${read(step)}`]));
}

import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { properties } from './properties.js';
import type { Property } from './property.js';

const usage = `npm run fuzz -- [options]
  --cases N   how many cases in all (default 1000000)
  --only X    only properties whose name contains X
  --seed N    the seed of all of them (default: another one each time)
  --path P    with --only and --seed: the one case that failed`;

interface Options {
  readonly cases: number;
  readonly seed: number;
  readonly path: string | undefined;
  readonly chosen: readonly Property[];
}

/** Undefined where they make no sense. */
function readOptions(): Options | undefined {
  const text = { type: 'string' } as const;
  const { values } = parseArgs({ options: { cases: text, only: text, seed: text, path: text } });
  const cases = Number(values.cases ?? 1_000_000);
  const seed = Number(values.seed ?? Date.now() % 2 ** 31);
  const chosen = properties.filter(({ name }) => name.includes(values.only ?? ''));
  const isOne = values.path === undefined || (chosen.length === 1 && values.seed !== undefined);
  const isUsable = Number.isSafeInteger(cases) && cases > 0 && Number.isSafeInteger(seed) && chosen.length > 0 && isOne;
  return isUsable ? { cases, seed, path: values.path, chosen } : undefined;
}

/** Tries one property and prints a line. @returns whether it held, and for how many cases */
async function tried({ name, check }: Property, numRuns: number, { seed, path }: Options) {
  const started = performance.now();
  const details = await fc.check(check, path === undefined ? { numRuns, seed } : { numRuns, seed, path });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `${details.failed ? 'FAILED' : 'held'.padEnd(6)} ${String(details.numRuns).padStart(7)} cases ${seconds.padStart(5)} s  ${name}`,
  );
  if (details.failed) {
    console.log(fc.defaultReportMessage(details));
    console.log(details.errorInstance);
    console.log(`Again: npm run fuzz -- --only '${name}' --seed ${seed} --path ${details.counterexamplePath}`);
  }
  return { held: !details.failed, cases: details.numRuns };
}

async function main(): Promise<number> {
  const options = readOptions();
  if (options === undefined) {
    console.error(usage);
    return 2;
  }
  const started = performance.now();
  const shares = options.chosen.reduce((sum, { cost }) => sum + 1 / cost, 0);
  console.log(`seed ${options.seed}`);
  const results = [];
  for (const property of options.chosen) {
    results.push(await tried(property, Math.ceil(options.cases / property.cost / shares), options));
  }
  const cases = results.reduce((sum, result) => sum + result.cases, 0);
  const failed = results.filter(({ held }) => !held).length;
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`${cases} cases of ${results.length} properties in ${seconds} s, seed ${options.seed}: ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exitCode = await main();

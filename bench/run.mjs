// What the gate costs beside its peers: CPU time of each proxy per request, measured in interleaved rounds.
//
//   npm run bench               everything that is installed, about 20 minutes; writes bench/results/ and the figures
//                               in docs/performance.md
//   npm run bench -- --quick    the gate beside @fastify/http-proxy, under 50 seconds; exit status 1 where one of the
//                               first goals is missed by more than a tenth
//   npm run bench -- --profile  flame graph of an unguarded GET: bench/results/flame.svg
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { barChart } from './chart.mjs';
import { document } from './document.mjs';
import { cores, find, stopAll } from './machine.mjs';
import { measureGrowth } from './measures/growth.mjs';
import { measureHerd } from './measures/herd.mjs';
import { measureLatency } from './measures/latency.mjs';
import { measureStart } from './measures/start.mjs';
import { startOrigin } from './origin.mjs';
import { profile } from './profile.mjs';
import { environment, goalsOf, textOf } from './report.mjs';
import { measure } from './rounds.mjs';
import { sets } from './scenarios.mjs';

const folder = fileURLToPath(new URL('results/', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));
const memory = fileURLToPath(new URL('measures/memory.mjs', import.meta.url));
const log = (line) => process.stderr.write(`${line}\n`);

/** Seconds. */
const warmUp = { least: 5, most: 25 };

/** A missed goal counts where it is missed by more than this. */
const tolerance = 1.1;

async function quick(origin) {
  // As one set: each program is started once.
  const rows = sets.flatMap((set) => set.rows).filter((row) => row.quick === true);
  const set = { title: 'Quick', rows };
  const how = { processes: 1, rounds: 2, warmUp: { least: 1, most: 1 }, log };
  const ratios = [{ title: set.title, rows: await measure(set, origin, how) }];
  console.log(textOf({ ratios }));
  const missed = goalsOf({ ratios }).filter(({ value, goal }) => value > goal * tolerance);
  for (const { name, value, goal } of missed) {
    console.log(`missed by more than a tenth: ${name}: ${value.toFixed(2)}, goal ${goal}`);
  }
  return missed.length === 0 ? 0 : 1;
}

async function everything(origin) {
  const ratios = [];
  for (const set of sets) {
    ratios.push({ title: set.title, rows: await measure(set, origin, { processes: 2, rounds: 4, warmUp, log }) });
  }
  const results = {
    ...environment(),
    ratios,
    herd: await measureHerd(),
    start: await measureStart(origin, 7),
    memory: JSON.parse(spawnSync(process.execPath, ['--expose-gc', memory], { encoding: 'utf8' }).stdout),
    latency: await measureLatency(origin, { rounds: 5, seconds: 3, warmUp }),
    growth: await measureGrowth(origin, { rounds: 7, seconds: 1, many: 1_000_000, warmUp, log }),
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}latest.json`, `${JSON.stringify(results, undefined, 2)}\n`);
  writeFileSync(`${folder}chart.svg`, barChart(results));
  document(`${root}docs/performance.md`, results);
  console.log(textOf(results));
  return 0;
}

/** Builds the gate where its source is newer. */
function build() {
  const sources = readdirSync(`${root}src`, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  const newest = Math.max(
    ...sources.map((entry) => statSync(`${entry.parentPath ?? entry.path}/${entry.name}`).mtimeMs),
  );
  const built = statSync(`${root}dist/main.js`, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (built > newest) return;
  const { status } = spawnSync('npm', ['run', 'build', '--silent'], { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new Error('the gate could not be built');
}

async function main(options) {
  const known = new Map([
    ['--quick', quick],
    ['--profile', (origin) => profile(origin, folder)],
  ]);
  const [option, ...others] = options;
  const run = option === undefined ? everything : known.get(option);
  if (run === undefined || others.length > 0) {
    log(`Usage: npm run bench [-- ${[...known.keys()].join(' | ')}]`);
    return 2;
  }
  if (process.platform !== 'linux') throw new Error('CPU time is read from /proc, which only Linux has');
  for (const program of ['wrk', 'nginx']) {
    if (find(program) === undefined) throw new Error(`${program} is missing: apt-get install wrk nginx-light`);
  }
  build();
  if (cores === undefined) log('One core, or no taskset: proxies and clients share it.');
  const origin = await startOrigin();
  try {
    return await run(origin);
  } finally {
    await stopAll();
    await origin.stop();
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => stopAll().finally(() => process.exit(1)));
process.exitCode = await main(process.argv.slice(2));

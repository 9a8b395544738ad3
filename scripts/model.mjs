// Checks the model of the gate's protocol, docs/model/protocol.pml, with Spin: that the protocol has no error, that it
// loses an update wherever one mechanism is taken out, and that what matters can be reached.
//
//   node scripts/model.mjs [NAME…]         one line for each check, or for those that are named
//   node scripts/model.mjs --show NAME     the steps of its shortest counterexample
//
// Exit status 1 where something is not as it has to be, 2 where spin or a C compiler is missing. docs/model/README.md
// says what the model leaves out.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const model = fileURLToPath(new URL('../docs/model/protocol.pml', import.meta.url));
const compiler = ['cc', 'gcc'].find((name) => spawnSync(name, ['--version']).error === undefined);

/** How many of each fault there are where it says nothing else. */
const noFaults = { KILLS: 0, PAUSES: 0, RESTARTS: 0, AROUND: 0 };

/** What the assertion that fails has to be about. */
const lostUpdate = 'tag[w]>=lastGuarded';
const staleKnowledge = 'knowledge>=lastGuarded';
const place = '!(';

/** Takes one mechanism out, with no other faults than are needed, so that the counterexample is short. */
function without(name, what, faults = {}) {
  return { name, what, finds: lostUpdate, defines: { LOST_UPDATES_ONLY: 1, ...noFaults, ...faults, [name]: 1 } };
}

/** Looks for a state that must exist: an assertion in the model fails there. */
function reach(name, what, faults = {}) {
  return { name, what, finds: place, defines: { ...noFaults, ...faults, [name]: 1 } };
}

export const checks = [
  { name: 'MAIN', what: 'the protocol, with all faults', finds: undefined, defines: {} },
  without('NO_LEASE', 'writers of one resource do not wait for each other'),
  without('NO_EPOCH', 'a slow read is recorded, whatever was written since it began'),
  without('NO_DOUBT', 'a lease that ends unsettled leaves knowledge and epoch as they were', { KILLS: 1 }),
  without('NO_NEW_EPOCH', 'a settle leaves knowledge and epoch as they were'),
  without('NO_TOKEN', 'a settle is not asked for its token', { PAUSES: 1 }),
  without('NO_QUARANTINE', 'a write of unknown outcome frees its lease at once'),
  without('NO_INCARNATION', 'a store that has lost everything gives leases at once', { RESTARTS: 1 }),
  without('PAUSE_IN_FLIGHT', 'a gate is paused between checkLease and the end of send', { PAUSES: 1 }),
  without('NO_CHECK_LEASE', 'a gate sends without a look at its clock', { PAUSES: 1 }),
  without('SHORT_LEASE', 'lease and quarantine end before what was sent takes effect', { KILLS: 1 }),
  without('OLD_EPOCHS', 'epochs are compared without the incarnation', { RESTARTS: 1 }),
  without('RECORD_IN_REST', 'what is read while the store rests is recorded', { RESTARTS: 1 }),
  without('RESTORED', 'the store comes back with what it knew earlier', { RESTARTS: 1 }),
  {
    name: 'LAZY_DOUBT',
    what: 'readers do not notice that a lease has ended unsettled (stale knowledge)',
    finds: staleKnowledge,
    defines: { ...noFaults, KILLS: 1, LAZY_DOUBT: 1 },
  },
  reach('REACH_BOTH_SUCCEED', 'a write through each gate succeeds'),
  reach('REACH_412', 'a write is refused with 412'),
  reach('REACH_KNOWLEDGE_DECIDES', 'what is known after a write decides the next one'),
  reach('REACH_AFTER_QUARANTINE', 'a write begins after a quarantine in which the one before took effect'),
  reach('REACH_SETTLE_REFUSED', "a late settle finds somebody else's lease", { PAUSES: 1 }),
  reach('REACH_AFTER_RESTART', 'a write begins after a write and a restart of the store', { RESTARTS: 1 }),
];

/** @returns what has to be installed first, or undefined */
export function missing() {
  if (spawnSync('spin', ['-V']).error !== undefined) return 'spin';
  return compiler === undefined ? 'a C compiler' : undefined;
}

/** Runs `use` in an empty folder that is gone afterwards. */
async function inFolder(use) {
  const folder = await mkdtemp(join(tmpdir(), 'ifmatch-model-'));
  try {
    return await use(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** Builds and runs Spin's verifier. @returns what it prints */
async function verify(folder, { defines, finds }, signal) {
  const options = { cwd: folder, signal, maxBuffer: 2 ** 26 };
  const macros = Object.entries(defines).map(([name, value]) => `-D${name}=${value}`);
  await run('spin', ['-a', ...macros, model], options);
  // The whole search goes deep and is worth optimizing; that for a counterexample goes broad, and finds the shortest.
  const manner = finds === undefined ? ['-O2', '-DCOLLAPSE'] : ['-O0', '-DBFS'];
  await run(compiler, ['-w', '-DSAFETY', '-DMEMLIM=3000', ...manner, '-o', 'pan', 'pan.c'], options);
  const { stdout } = await run('./pan', ['-m10000', finds === undefined ? '-w25' : '-w20'], options);
  return stdout;
}

/** The number in front of or behind a wording of the verifier's. */
function figure(output, pattern) {
  return Number(pattern.exec(output)?.[1] ?? Number.NaN);
}

/** What is wrong with a search that should have found nothing, as far as its report tells. */
function flaws(output) {
  const found = [];
  if (figure(output, /errors: (\d+)/) !== 0) found.push(/^pan:1: (.*)$/m.exec(output)?.[1] ?? 'no report');
  if (/too small|not completed|out of memory|MEMLIM/i.test(output)) found.push('search is not complete');
  // Processes that have an end only if the world has one.
  const unreached = [...output.matchAll(/^\t.*protocol\.pml:(\d+), state \d+, "(.*)"$/gm)].filter(
    ([, , text]) => text !== '-end-',
  );
  found.push(...unreached.map(([, line, text]) => `line ${line} is never reached: ${text}`));
  return found;
}

/** @returns why the result is not what it has to be, or undefined */
function objection({ finds }, output) {
  if (finds === undefined) return flaws(output).join('; ') || undefined;
  const found = /^pan:1: assertion violated (.*)$/m.exec(output)?.[1];
  if (found?.includes(finds)) return undefined;
  return `found ${found ?? 'nothing'}`;
}

/** Carries out the checks, one after the other on one core. Yields for each what was found. */
export async function* checkModel({ names = [], signal } = {}) {
  for (const check of checks.filter(({ name }) => names.length === 0 || names.includes(name))) {
    const output = await inFolder((folder) => verify(folder, check, signal));
    yield {
      name: check.name,
      what: check.what,
      objection: objection(check, output),
      states: figure(output, /(\d+) states, stored/),
      seconds: figure(output, /elapsed time ([\d.]+) seconds/),
      megabytes: figure(output, /([\d.]+)\ttotal actual memory usage/),
    };
  }
}

/** @returns the steps of a counterexample */
async function trail(check) {
  return inFolder(async (folder) => {
    await verify(folder, check);
    const options = { cwd: folder, maxBuffer: 2 ** 26 };
    const macros = Object.entries(check.defines).map(([name, value]) => `-D${name}=${value}`);
    const { stdout } = await run('spin', ['-k', 'protocol.pml.trail', '-p', '-g', '-l', ...macros, model], options);
    return stdout;
  });
}

function line({ name, what, objection, states, seconds, megabytes }, expected) {
  const figures = `${states} states, ${seconds.toFixed(1)} s, ${Math.round(megabytes)} MB`;
  return `${name.padEnd(23)} ${(objection ?? expected).padEnd(15)} ${figures.padEnd(34)} ${what}`;
}

/** How a result is told that is as it has to be. */
function expected(name) {
  if (name === 'MAIN') return 'no error';
  return name.startsWith('REACH_') ? 'reached' : 'counterexample';
}

async function main(argv) {
  const lacking = missing();
  const names = argv.filter((argument) => argument !== '--show');
  const unknown = names.filter((wanted) => !checks.some(({ name }) => name === wanted));
  if (lacking !== undefined || unknown.length > 0) {
    console.error(lacking === undefined ? `no such check: ${unknown.join(', ')}` : `${lacking} is missing`);
    process.exitCode = 2;
    return;
  }
  if (names.length < argv.length) {
    for (const name of names) console.log(await trail(checks.find((check) => check.name === name)));
    return;
  }
  for await (const result of checkModel({ names })) {
    if (result.objection !== undefined) process.exitCode = 1;
    console.log(line(result, expected(result.name)));
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));

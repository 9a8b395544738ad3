// Runs http-cache-tests through the gate and through nginx as a plain reverse proxy, side by side: what passes through a
// proxy that stores nothing has to pass through the gate. How many pass says nothing: they are tests of caches.
//
//   npm run build --silent && node test/fidelity/cache-tests.mjs [ID…]
//
// The first run installs the package into node_modules/.cache. Exit status 1 where a test that passes through nginx does
// not pass through the gate, or where the run could not come to its end; 0 otherwise.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { loadSuites } from './cache-tests-client.mjs';
import { install, nginx, startGate, startNginx, startOrigin, stopAll, version } from './cache-tests-programs.mjs';

/** How long the whole run may take. */
const timeLimit = 300_000;

/** 114 of 350 pass through a proxy that stores nothing; many fewer only where something is wrong with the run itself. */
const floor = 100;

/** The signs of the package's display, in words. */
const kinds = new Map([
  ['✅', 'pass'],
  ['Y', 'yes'],
  ['N', 'no'],
  ['⛔️', 'fail'],
  ['⚠️', 'not optimal'],
  ['⚪️', 'another test, on which it depends, failed'],
  ['🔹', 'setup failed'],
  ['↻', 'request was repeated'],
  ['⁉️', 'harness failed'],
  ['-', 'not tested'],
]);

const headIsRead = 'V5: for the tag of a HEAD the gate also sends a GET, which counts as a repeated request';

/** Why tests say something else of the gate, where that is as it has to be. They pass through neither. */
const reasons = new Map([
  ['head-200-freshness-update', headIsRead],
  ['head-200-update', headIsRead],
  ['headers-store-Transfer-Encoding', 'an answer in an unknown transfer coding cannot be passed on (RFC 9112 6.1)'],
]);

/** Runs tests through the proxy at `base`. @returns what each says, by its id */
function results(folder, base, ids) {
  const worker = new Worker(new URL('cache-tests-client.mjs', import.meta.url), { workerData: { folder, base, ids } });
  return new Promise((resolve, reject) => {
    worker.once('message', (message) => {
      resolve(message);
      worker.terminate();
    });
    worker.once('error', reject);
    worker.once('exit', () => reject(new Error('the client ended without results')));
  });
}

async function runBoth(folder, urls, ids) {
  const [ofNginx, ofGate] = await Promise.all([results(folder, urls.nginx, ids), results(folder, urls.gate, ids)]);
  return { nginx: ofNginx, gate: ofGate };
}

/** What a test says, without what is another in every run. */
function wording(result) {
  if (result === true) return 'pass';
  if (result === undefined) return 'not run';
  return result
    .join(': ')
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, '<uuid>')
    .replace(/[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT/g, '<date>');
}

/** The ids of the tests that do not say the same of both. */
function differing({ nginx: ofNginx, gate: ofGate }) {
  return Object.keys(ofNginx).filter((id) => wording(ofNginx[id]) !== wording(ofGate[id]));
}

/** Runs everything, and what differs once more: only what differs again counts. */
async function compare(folder, urls, ids) {
  const first = await runBoth(folder, urls, ids);
  const suspects = differing(first);
  if (suspects.length === 0) return { found: first, differences: [], varied: [] };
  const second = await runBoth(folder, urls, suspects);
  const differences = differing(second);
  return {
    found: { nginx: { ...first.nginx, ...second.nginx }, gate: { ...first.gate, ...second.gate } },
    differences,
    varied: suspects.filter((id) => !differences.includes(id)),
  };
}

const passed = (ofProxy) => Object.keys(ofProxy).filter((id) => ofProxy[id] === true);

function table(found, kindOf) {
  const row = (name, ofNginx, ofGate) => `${String(ofNginx).padStart(7)}${String(ofGate).padStart(7)}  ${name}`;
  const count = (ofProxy, kind) => Object.keys(ofProxy).filter((id) => kindOf(id, ofProxy) === kind).length;
  const rows = [...new Set(kinds.values())].map((kind) => [kind, count(found.nginx, kind), count(found.gate, kind)]);
  const failed = (ofProxy) => Object.keys(ofProxy).length - passed(ofProxy).length;
  return [
    row('', 'nginx', 'gate'),
    row('passed', passed(found.nginx).length, passed(found.gate).length),
    row('failed', failed(found.nginx), failed(found.gate)),
    'As the package displays them:',
    ...rows.filter(([, ofNginx, ofGate]) => ofNginx + ofGate > 0).map((cells) => row(...cells)),
  ];
}

/** Prints what was found. @returns how many of the tests that pass through nginx do not pass through the gate */
async function report(folder, { found, differences, varied }) {
  const suites = await loadSuites(folder);
  const { determineTestResult, testLookup } = await import(pathToFileURL(join(folder, 'lib/display.mjs')).href);
  const lines = table(found, (id, ofProxy) => kinds.get(determineTestResult(suites, id, ofProxy)[2]));
  lines.push(`${differences.length} differ, in a second run too${differences.length === 0 ? '' : ':'}`);
  for (const id of differences) {
    lines.push(`  ${id}: ${testLookup(suites, id).name}`);
    lines.push(`    nginx: ${wording(found.nginx[id])}`, `    gate:  ${wording(found.gate[id])}`);
    if (reasons.has(id)) lines.push(`    why:   ${reasons.get(id)}`);
  }
  if (varied.length > 0) lines.push(`Differed in the first run only, which is timing: ${varied.join(', ')}`);
  const lost = passed(found.nginx).filter((id) => found.gate[id] !== true).length;
  const counts = `${passed(found.nginx).length} pass through nginx, ${passed(found.gate).length} through the gate`;
  console.log([...lines, `${counts}, ${lost} of nginx's do not pass through the gate`].join('\n'));
  return lost;
}

async function main(ids) {
  if (nginx === undefined) {
    console.log('Skipped: nginx is missing: apt-get install nginx-light');
    return process.env.CI === 'true' ? 1 : 0;
  }
  const folder = await install();
  const known = (await loadSuites(folder)).flatMap(({ tests }) => tests.map(({ id }) => id));
  const unknown = ids.filter((id) => !known.includes(id));
  if (unknown.length > 0) throw new Error(`There is no test ${unknown.join(', ')}`);
  const origin = await startOrigin(folder, prefix);
  const urls = { nginx: await startNginx(origin, prefix), gate: await startGate(origin) };
  console.log(`http-cache-tests ${version} through nginx and through the gate`);
  const compared = await compare(folder, urls, ids.length === 0 ? undefined : ids);
  const lost = await report(folder, compared);
  if (ids.length === 0 && passed(compared.found.nginx).length < floor) {
    throw new Error(`Fewer than ${floor} pass through nginx: this run says nothing about the gate`);
  }
  return lost === 0 ? 0 : 1;
}

/** Never resolves. @throws where the run takes too long or is told to end */
function interruption() {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error(`The run took longer than ${timeLimit / 1000} s`)), timeLimit).unref();
    for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => reject(new Error(`Ended by ${signal}`)));
  });
}

const prefix = mkdtempSync(join(tmpdir(), 'ifmatch-cache-tests-'));
let status = 1;
try {
  status = await Promise.race([main(process.argv.slice(2)), interruption()]);
} catch (error) {
  console.error(error.message);
} finally {
  await stopAll();
  rmSync(prefix, { recursive: true, force: true });
}
// Clients may still wait for answers.
process.exit(status);

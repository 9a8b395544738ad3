// The client of http-cache-tests in a thread of its own, for the package keeps its results, and what it writes into its
// tests, for as long as it is loaded. Sends back what each test says: `true`, or the kind of failure and a sentence.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';

/** A test whose answer does not come has failed; none of them needs longer. */
const patience = 20_000;

/**
 * The tests that the package's own command line runs.
 *
 * @param folder of the package
 */
export async function loadSuites(folder) {
  const load = async (path) => (await import(pathToFileURL(join(folder, path)).href)).default;
  return [...(await load('tests/index.mjs')), await load('tests/surrogate-control.mjs')];
}

/** Runs the tests that `ids` names, or all. */
async function runTests({ folder, base, ids }) {
  const { runTests: run, getResults } = await import(pathToFileURL(join(folder, 'client/runner.mjs')).href);
  const fetch = createRequire(join(folder, 'cli.mjs'))('node-fetch');
  const suites = (await loadSuites(folder)).map((suite) => ({
    ...suite,
    tests: suite.tests.filter(({ id }) => ids === undefined || ids.includes(id)),
  }));
  const impatient = (url, init) => fetch(url, { ...init, signal: AbortSignal.timeout(patience) });
  await run(suites, impatient, false, base);
  return getResults();
}

if (parentPort !== null) parentPort.postMessage(await runTests(workerData));

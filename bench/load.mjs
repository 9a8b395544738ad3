// Load on a proxy, and what it cost.
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { pinned } from './machine.mjs';

const run = promisify(execFile);
const script = fileURLToPath(new URL('load.lua', import.meta.url));

/** Requests in flight. */
export const connections = 50;

/**
 * Sends requests for a while.
 *
 * @param {number} port
 * @param {{ method?: string, path: string, headers?: Record<string, string>, arguments?: unknown[] }} what
 * @param {number} seconds
 * @returns {Promise<{ requests: number, refused: number, broken: number, p50: number, p99: number }>} latencies in µs;
 *   `refused`: answers from 400 on
 */
export async function load(port, what, seconds, inFlight = connections) {
  const headers = Object.entries({ ...what.headers }).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const [command, args] = pinned('others', 'wrk', [
    ...['-t1', `-c${inFlight}`, `-d${seconds}s`, '-s', script, ...headers, `http://127.0.0.1:${port}${what.path}`],
    ...['--', what.method ?? 'GET', ...(what.arguments ?? []).map(String)],
  ]);
  const { stdout } = await run(command, args);
  const result = JSON.parse(stdout.trim().split('\n').at(-1));
  if (result.requests === 0 || result.broken > result.requests / 1000) throw new Error(`the load failed: ${stdout}`);
  return result;
}

/** CPU time of a program for each request of a load, in microseconds. */
export async function cost(program, what, seconds, inFlight = connections) {
  const before = program.cpu();
  const result = await load(program.port, what, seconds, inFlight);
  return { ...result, cpu: (program.cpu() - before) / 1000 / result.requests };
}

/** Seconds without an improvement after which a program counts as warm, and how much less is one. */
const calm = 3;
const improvement = 0.95;

/**
 * Loads a program, second by second, until that costs no less any more: compilers that work while it runs take longer the
 * more of it there is, and share its core.
 *
 * @param {(second: number) => Promise<{ cpu: number }>} loadFor one second, of those numbered from 1
 * @param {{ least: number, most: number }} seconds
 */
export async function warm(loadFor, { least, most }) {
  let best = Number.POSITIVE_INFINITY;
  let since = 0;
  for (let second = 1; second <= most && (second <= least || since < calm); second += 1) {
    const { cpu } = await loadFor(second);
    since = cpu < best * improvement ? 0 : since + 1;
    best = Math.min(best, cpu);
  }
}

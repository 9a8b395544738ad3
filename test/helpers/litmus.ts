import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import type { Test } from 'tap';

const isInstalled = spawnSync('litmus', ['--version']).error === undefined;

const advice = 'litmus, which tests WebDAV servers, is missing: apt-get install litmus';

/** Far more than it needs; its own time limits are longer. */
const patience = 60_000;

/** Whether litmus is installed. Where it is not, says so: a skipped test, or under `CI=true` a failed one. */
export function hasLitmus(t: Pick<Test, 'pass' | 'fail'>): boolean {
  if (isInstalled) return true;
  if (process.env.CI === 'true') t.fail(advice);
  else t.pass('litmus', { skip: advice });
  return false;
}

export interface LitmusResult {
  readonly suite: string;
  readonly test: string;
  /** `pass`, `FAIL (why)`, `SKIPPED (why)` …, as litmus says it. */
  readonly result: string;
  readonly warnings: readonly string[];
}

/**
 * Runs all suites of litmus against a server. What differs from run to run is taken out of its words: addresses, lock
 * tokens and entity-tags.
 *
 * @param url of a collection in which `litmus` may be made and removed
 * @throws where litmus does not run all its suites
 */
export async function runLitmus(url: string): Promise<LitmusResult[]> {
  const folder = await mkdtemp(join(tmpdir(), 'ifmatch-litmus-'));
  try {
    const child = spawn('litmus', ['-k', url], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], timeout: patience });
    const [said, complained] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
    const results = readLitmus(said);
    if (new Set(results.map(({ suite }) => suite)).size !== 5) throw new Error(`litmus stopped: ${said}${complained}`);
    return results;
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** A line for each test. */
export function lines(results: readonly LitmusResult[]): string[] {
  return results.map(({ suite, test, result, warnings }) => [`${suite} ${test}: ${result}`, ...warnings].join('; '));
}

/** How many tests pass, and the lines of those that fail or warn. */
export function figures(name: string, results: readonly LitmusResult[]): string {
  const passed = results.filter(({ result }) => result === 'pass');
  const worthTelling = results.filter(({ result, warnings }) => result !== 'pass' || warnings.length > 0);
  return [`${name}: ${passed.length} of ${results.length} pass`, ...lines(worthTelling)].join('\n  ');
}

/**
 * Reads the output, in which a line is overwritten while its test runs: `\r 3. put_get... \r 3. put_get... pass`. A warning
 * interrupts it, and the result follows in a line without the name.
 */
function readLitmus(output: string): LitmusResult[] {
  const results: LitmusResult[] = [];
  let suite = '';
  let test = '';
  let warnings: string[] = [];
  for (const piece of steady(output).split(/[\r\n]+/)) {
    suite = /^-> running `(\w+)'/.exec(piece)?.[1] ?? suite;
    const [, name, rest] = /^ *(?:\d+\. (\w+)|)\.* *(.*)$/.exec(piece) ?? [];
    if (name !== undefined) test = name;
    const warning = /^WARNING: (.*)$/.exec(rest ?? '')?.[1];
    if (warning !== undefined) warnings.push(warning);
    const result = /^(?:pass|FAIL|SKIPPED|XFAIL)\b.*$/.exec(rest ?? '')?.[0];
    if (result === undefined) continue;
    results.push({ suite, test, result: result.replace(/ \(with \d+ warnings?\)$/, ''), warnings });
    warnings = [];
  }
  return results;
}

function steady(output: string): string {
  return output
    .replaceAll(/(?:127\.0\.0\.1|localhost)(?::\d+)?/g, 'HOST')
    .replaceAll(/(?:opaquelocktoken|urn:uuid):[\w-]+/g, 'TOKEN')
    .replaceAll(/(?:W\/)?"[\w-]+"/g, 'TAG');
}

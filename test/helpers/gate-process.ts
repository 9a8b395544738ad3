import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Owner } from './backend.js';

const main = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

/** A gate in a process of its own. */
export interface GateProcess {
  readonly url: string;
  /** What its memory has grown by at most since `measureFromNow`, in bytes; undefined where only Linux could tell. */
  growth(): number | undefined;
  /** Takes what is resident now as the measure for `growth`. @returns it, in bytes */
  measureFromNow(): number | undefined;
  /** The sum of a metric over all its labels. */
  metric(name: string): Promise<number>;
  /** Ends it at once, whatever it is doing: SIGKILL, which no process can put off. Resolves when it is gone. */
  kill(): Promise<void>;
  /** Stops it between two instructions: SIGSTOP. It notices nothing of that but the time, once it may `resume`. */
  pause(): void;
  resume(): void;
}

/**
 * Starts the gate as it was last built (`npm test` builds first), on free loopback ports with drain times of zero; it is
 * stopped when the test ends.
 *
 * @param settings more environment, names without their prefix: `{ RECHECK: 'never' }`
 */
export async function startGateProcess(
  t: Owner,
  upstream: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<GateProcess> {
  const environment = { LIMITS_DRAIN_DELAY: '0ms', LIMITS_DRAIN: '0ms', LOG_ACCESS: 'none', ...settings };
  const env = Object.fromEntries(Object.entries(environment).map(([name, value]) => [`IFMATCH_${name}`, value]));
  const addresses = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const child = spawn(process.execPath, [main, 'serve', '--upstream', upstream, ...addresses], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    // One that is paused would take no other signal.
    child.kill('SIGCONT');
    await ended;
  };
  t.teardown(() => end('SIGTERM'));
  const { listen, admin } = await addressesOf(child);
  const proc = `/proc/${child.pid}`;
  let baseline = 0;
  return {
    url: `http://${listen}`,
    growth: () => (existsSync(proc) ? memoryIn(proc, 'VmHWM') - baseline : undefined),
    measureFromNow() {
      if (!existsSync(proc)) return undefined;
      // proc(5): the peak starts again from what is resident now.
      writeFileSync(`${proc}/clear_refs`, '5');
      baseline = memoryIn(proc, 'VmRSS');
      return baseline;
    },
    async metric(name) {
      const text = await (await fetch(`http://${admin}/metrics`)).text();
      const values = text.matchAll(new RegExp(`^${name}(?:\\{.*\\})? (\\S+)$`, 'gm'));
      return [...values].reduce((sum, [, value]) => sum + Number(value), 0);
    },
    kill: () => end('SIGKILL'),
    pause: () => child.kill('SIGSTOP'),
    resume: () => child.kill('SIGCONT'),
  };
}

function addressesOf({ stdout }: ChildProcess): Promise<{ listen: string; admin: string }> {
  if (stdout === null) throw new Error('the gate was started without a pipe for its log');
  return new Promise((resolve, reject) => {
    createInterface(stdout)
      .on('line', (line) => {
        const { listen, admin } = JSON.parse(line) as { listen?: string; admin?: string };
        if (listen !== undefined && admin !== undefined) resolve({ listen, admin });
      })
      .on('close', () => reject(new Error('the gate ended before it listened')));
  });
}

/** @param name of the figure in `status`, which is in kB */
function memoryIn(proc: string, name: string): number {
  const status = readFileSync(`${proc}/status`, 'utf8');
  return Number(new RegExp(`^${name}:\\s*(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
}

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/**
 * Waits for a program that a test has started and that logs to its standard error.
 *
 * @param sign what stands in the line that says that it listens
 * @returns undefined once it does; its log where it gave up
 */
export function serving({ stderr }: ChildProcess, sign: string): Promise<string | undefined> {
  if (stderr === null) throw new Error('the program was started without a pipe for its log');
  return new Promise((resolve) => {
    const lines: string[] = [];
    createInterface(stderr)
      .on('line', (line) => {
        lines.push(line);
        if (line.includes(sign)) resolve(undefined);
      })
      .on('close', () => resolve(lines.join('\n')));
  });
}

/** Ends a program; resolves when it has ended. */
export async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill();
  await ended;
}

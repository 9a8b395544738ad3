#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import module from 'node:module';
import { setFlagsFromString } from 'node:v8';

/** The only file that touches the process: arguments, environment, streams, signals, exit status. */

// What a proxy allocates dies at once. The V8 of Node 24 would let 100 MB of buffers pile up before it looks (a long body:
// 93 MB more; with this, 43). Older ones look sooner, and do not know the flag.
if (Number.parseInt(process.versions.node, 10) >= 24) setFlagsFromString('--scavenger-max-new-space-capacity-mb=8');

// Node 22 and later keep compiled code in the system's folder for temporary files: it starts in half the time then.
(module as { enableCompileCache?: () => unknown }).enableCompileCache?.();
const { default: closeWithGrace } = await import('close-with-grace');
const { run } = await import('./cli.js');

const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

try {
  const status = await run({
    argv: process.argv.slice(2),
    env: process.env,
    readFile: (path) => readFileSync(path, 'utf8'),
    isTerminal: process.stdout.isTTY === true,
    version,
    print: (line) => process.stdout.write(`${line}\n`),
    complain: (line) => process.stderr.write(`${line}\n`),
    onStop(stop) {
      // The server bounds its own draining (O5); a second signal ends the process at once.
      closeWithGrace({ delay: false, logger: false }, async ({ err }) => {
        if (err !== undefined) process.stderr.write(`ifmatch: ${err.stack ?? err.message}\n`);
        await stop();
      });
    },
  });
  if (status !== undefined) process.exitCode = status;
} catch (error) {
  process.stderr.write(`ifmatch: ${(error as Error).stack ?? String(error)}\n`);
  process.exitCode = 1;
}

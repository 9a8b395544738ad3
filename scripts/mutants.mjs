// Shows that each mechanism behind a guarantee is needed, and that the tests would notice its loss: takes one mechanism
// at a time out of a copy of the source, and runs the tests that docs/guarantees.md names for it, one of which must fail.
//
//   npm run mutants [-- NAME…]
//
// Exit status 1 where a mutant survives, or where the source has changed so that one cannot be made any more.
import { spawn, spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { mutants } from './mutants-list.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const copied = ['src', 'test', 'scripts', 'config', 'package.json', 'tsconfig.json', 'tsconfig.build.json', '.taprc'];

/** Runs a program of this checkout's dependencies. @returns whether it ended well */
function run(folder, program, ...options) {
  return new Promise((resolve, reject) => {
    // In a group of its own: a test file that is broken off leaves the servers that it has started.
    const child = spawn(join(root, 'node_modules/.bin', program), options, {
      cwd: folder,
      stdio: 'ignore',
      detached: true,
    });
    child.on('error', reject);
    child.on('close', (status) => {
      endGroup(child.pid);
      resolve(status === 0);
    });
  });
}

function endGroup(pid) {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    // Nobody is left in it.
    if (error.code !== 'ESRCH') throw error;
  }
}

/** Tests a copy of the tree, changed by `change`. @returns whether the tests passed */
async function passes(tests, change) {
  const folder = mkdtempSync(join(tmpdir(), 'ifmatch-mutant-'));
  try {
    for (const name of copied) cpSync(join(root, name), join(folder, name), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
    change(folder);
    // Some tests start the gate as it was built. What a mutant does not use any more is no reason not to build it.
    await run(folder, 'tsc', '-p', 'tsconfig.build.json', '--noUnusedLocals', 'false', '--noUnusedParameters', 'false');
    spawnSync(process.execPath, ['scripts/copy-assets.mjs'], { cwd: folder });
    return await run(folder, 'tap', '--reporter=tap', '--bail', ...tests);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function tryOut({ file, find, replace, tests }) {
  const source = readFileSync(join(root, file), 'utf8');
  if (source.split(find).length !== 2) return 'cannot be made: the source has changed';
  const change = (folder) =>
    writeFileSync(
      join(folder, file),
      source.replace(find, () => replace),
    );
  return (await passes(tests, change)) ? 'SURVIVES' : 'seen';
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !mutants.some((mutant) => mutant.name === name));
if (unknown.length > 0) {
  console.error(`no such mutant: ${unknown.join(', ')}; there are ${mutants.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}
const chosen = mutants.filter(({ name }) => wanted.length === 0 || wanted.includes(name));
if (!(await passes([...new Set(chosen.flatMap(({ tests }) => tests))], () => {}))) {
  console.error('the tests fail without any mutant: nothing can be shown');
  process.exit(1);
}
for (const mutant of chosen) {
  const result = await tryOut(mutant);
  if (result !== 'seen') process.exitCode = 1;
  console.log(`${mutant.name.padEnd(14)} ${result.padEnd(9)} ${mutant.what}`);
}

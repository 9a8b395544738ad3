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

const root = fileURLToPath(new URL('..', import.meta.url));
const copied = ['src', 'test', 'scripts', 'config', 'package.json', 'tsconfig.json', 'tsconfig.build.json', '.taprc'];

/** `find` stands once in the file; `replace` takes the mechanism out. */
const mutants = [
  {
    name: 'lease',
    what: 'writers of one resource do not wait for each other (W3)',
    file: 'src/store/leases.ts',
    find: "      if (line.exclusive || (lease.kind === 'exclusive' && line.holders > 0)) return false;",
    replace: '      return true;',
    tests: ['test/gate/races.test.ts'],
  },
  {
    name: 'epoch',
    what: 'a slow read brings an old version back (R3, S3)',
    file: 'src/store/memory.ts',
    find: '    if (this.#isDoubtful(key) || this.#versions.epoch(key) !== epoch) return false;',
    replace: '    if (this.#isDoubtful(key)) return false;',
    tests: ['test/gate/races.test.ts'],
  },
  {
    name: 'doubt',
    what: 'what was known before a write is believed after it (W9)',
    file: 'src/store/memory.ts',
    find: '    if (!isAsBefore || held.lease === undefined) this.#move(held.keys);',
    replace: '',
    tests: ['test/gate/races.test.ts'],
  },
  {
    name: 'mark',
    what: 'a write without a lease leaves no trace while it is on its way (W16)',
    file: 'src/store/memory.ts',
    find: '    this.#move(token.keys);',
    replace: '',
    tests: ['test/gate/unguarded.test.ts'],
  },
  {
    name: 'again',
    what: 'a decision is not made again when somebody wrote meanwhile (W8)',
    file: 'src/store/memory.ts',
    find: '    return held.keys.some((key) => this.#lastMove(key) > Math.max(since, held.since));',
    replace: '    return since > Number.MAX_VALUE;',
    tests: ['test/gate/unguarded.test.ts'],
  },
  {
    name: 'destination',
    what: 'MOVE and COPY do not wait for who writes their Destination (I7)',
    file: 'src/gate/scope.ts',
    find: '  const leased = [...new Set([resource.key, ...named, ...(davIf?.keys ?? [])])];',
    replace: '  const leased = [...new Set([resource.key, ...(davIf?.keys ?? [])])];',
    tests: ['test/gate/webdav.test.ts'],
  },
  {
    name: 'dav-if',
    what: 'a stale tag in If is told as a current one (R5)',
    file: 'src/gate/dav-if.ts',
    find: "      holds = decision.kind === 'forward';",
    replace: '      holds = true;',
    tests: ['test/gate/webdav.test.ts'],
  },
  {
    name: 'barred-tag',
    what: 'a tag that is still there after a write is believed (V7)',
    file: 'src/store/seen-tags.ts',
    find: 'known.isWrittenOver && known.tag === tag &&',
    replace: 'known.isWrittenOver && known.tag !== known.tag &&',
    tests: ['test/faults/lying-tags.test.ts'],
  },
  {
    name: 'young-tag',
    what: 'a tag of size and time is believed within its second (V7)',
    file: 'src/version/trust.ts',
    find: '  return madeAt - modifiedAt >= settledAfter ? tag : undefined;',
    replace: '  return madeAt - modifiedAt >= -settledAfter ? tag : undefined;',
    tests: ['test/gate/answers.test.ts'],
  },
  {
    name: 'quarantine',
    what: 'the next writer does not wait for what may still take effect (W11)',
    file: 'src/store/memory.ts',
    find: "    if (outcome.kind === 'unknown') this.#rest(held, outcome.rest);",
    replace: "    if (outcome.kind === 'unknown') this.#rest(held, 0);",
    tests: ['test/gate/failures.test.ts'],
  },
  {
    name: 'identity',
    what: "one client's knowledge decides for another (I2, W4)",
    file: 'src/resource/identity.ts',
    find: '    return { id: digest([name, ...signer, ...counted.flat()]), bound: bound !== undefined };',
    replace: '    return { id: digest([name]), bound: bound !== undefined };',
    tests: ['test/faults/identities.test.ts'],
  },
  {
    name: 'no-cache',
    what: 'a probe may be answered from a cache (V10)',
    file: 'src/gate/learn.ts',
    find: "  return hasField(rawHeaders, 'age') &&",
    replace: "  return hasField(rawHeaders, 'cache-status') && hasField(rawHeaders, 'age') &&",
    tests: ['test/rules', 'test/gate/decisions.test.ts', 'test/faults/caches.test.ts'],
  },
  {
    name: 'synthetic-tag',
    what: 'a tag is good for one process only (V2)',
    file: 'src/version/tag.ts',
    find: "  return hash('sha256', bytes, 'base64url')",
    replace: "  return hash('sha256', Buffer.concat([bytes, Buffer.from(String(process.pid))]), 'base64url')",
    tests: ['test/faults/crash.test.ts'],
  },
  {
    name: 'lost-answer',
    what: 'whoever sends a write that was confirmed to another client is told that it was taken (W12)',
    file: 'src/gate/repeats.ts',
    find: '    else this.#passage.exchange.onGone(() => this.remember(made));',
    replace: '    else this.remember(made);',
    tests: ['test/faults/repeated-writes.test.ts'],
  },
  {
    name: 'redis-lease',
    what: 'gates do not wait for each other (S1)',
    file: 'src/store/redis/scripts/resource.lua',
    find: '  return any ~= nil and',
    replace: '  return false and',
    tests: ['test/store/redis-shared.test.ts'],
  },
  {
    name: 'redis-token',
    what: 'a late settle ends whatever lease there is (S2)',
    file: 'src/store/redis/scripts/settle.lua',
    find: 'if held > 0 and not kind then',
    replace: "kind = kind or 'x'\nredis.call('DEL', first.leases)\nif held < 0 then",
    tests: ['test/store/redis-shared.test.ts'],
  },
  {
    name: 'redis-expiry',
    what: 'a lease that ends unsettled leaves no doubt (S2)',
    file: 'src/store/redis/scripts/resource.lua',
    find: '  if has_expired or is_void then',
    replace: '  if is_void then',
    tests: ['test/store/redis-shared.test.ts'],
  },
  {
    name: 'redis-restart',
    what: 'a server that has forgotten gives leases at once (S2)',
    file: 'src/store/redis/scripts/store.lua',
    find: '  rest = now + longest',
    replace: '  rest = 0',
    tests: ['test/store/redis-shared.test.ts', 'test/faults/redis.test.ts'],
  },
  {
    name: 'redis-outage',
    what: 'what was known before an outage is believed after it (S4)',
    file: 'src/store/redis/link.ts',
    find: '    state.missed += 1;\n    if (state.isDown) return;',
    replace: '    if (state.isDown) return;',
    tests: ['test/store/redis-outage.test.ts'],
  },
  {
    name: 'redis-check',
    what: 'a gate sends a write without a look at its lease (S2)',
    file: 'src/gate/lease.ts',
    find: '  return () => store.remaining(token) > limits.quarantine;',
    replace: '  return () => store.remaining(token) > Number.NEGATIVE_INFINITY;',
    tests: ['test/faults/redis.test.ts', 'test/faults/replicas.test.ts'],
  },
];

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

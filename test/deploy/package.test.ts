import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  accessSync,
  chmodSync,
  constants,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import t, { type Test } from 'tap';
import { startDemoBackend } from '../../src/demo/backend.js';

// It builds, packs and installs: some seconds, and more on a machine that is busy.
t.setTimeout(300_000);

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
/** What the gate needs least: the user `nobody`, where the tests are root's. */
const unprivileged = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

/** The environment without what an outer `npm test` or a developer's own settings put there for another folder. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(
    ([name]) => !/^(npm_package_|npm_lifecycle_|npm_config_local_prefix$|IFMATCH_|OTEL_|NODE_OPTIONS$|TAP)/.test(name),
  ),
);

/** An empty folder that everyone may read, gone when the test ends. */
function emptyFolder(t: Test, name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `ifmatch-${name}-`));
  chmodSync(folder, 0o755);
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/**
 * Packs the project in a copy of it: `prepack` builds, and other tests run at the same time beside the real `dist`.
 *
 * @returns the tarball's path, and the paths of the files in it
 */
async function pack(t: Test): Promise<{ tarball: string; files: string[] }> {
  const copy = emptyFolder(t, 'source');
  const left = new Set(['node_modules', 'dist', '.git', '.tap', 'coverage'].map((name) => join(root, name)));
  cpSync(root, copy, { recursive: true, filter: (source) => !left.has(source) });
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  await run('npm', ['pack'], { cwd: copy, env: environment });
  const { name, version } = JSON.parse(readFileSync(join(copy, 'package.json'), 'utf8'));
  const tarball = join(copy, `${name}-${version}.tgz`);
  const { stdout } = await run('tar', ['--list', '--gzip', '--file', tarball]);
  const files = stdout.split('\n').filter((line) => line !== '' && !line.endsWith('/'));
  return { tarball, files: files.map((file) => file.replace(/^package\//, '')) };
}

/** Installs the tarball in an empty folder; says why where the dependencies are out of reach. */
async function install(t: Test, tarball: string): Promise<{ folder: string } | { unreachable: string }> {
  const folder = emptyFolder(t, 'installed');
  writeFileSync(join(folder, 'package.json'), '{"private":true}\n');
  const options = ['--omit=dev', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  try {
    await run('npm', ['install', ...options, tarball], { cwd: folder, env: environment });
    return { folder };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (/ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ENETUNREACH|ETIMEDOUT|ENOTCACHED/.test(reason))
      return { unreachable: reason };
    throw error;
  }
}

/** This Node's binary, in `folder` if the unprivileged user may not reach it where it is. */
function reachableNode(folder: string): string {
  const inPlace = spawnSync(process.execPath, ['--version'], { ...unprivileged, env: {} });
  if (inPlace.status === 0) return process.execPath;
  mkdirSync(join(folder, 'bin'));
  const copy = join(folder, 'bin', 'node');
  copyFileSync(process.execPath, copy);
  chmodSync(copy, 0o755);
  return copy;
}

/** The addresses that the gate's start line names; rejects with all that it printed if it ends before. */
async function startLine(gate: ChildProcess): Promise<{ listen: string; admin: string }> {
  if (gate.stdout === null || gate.stderr === null) throw new Error('the gate has no pipes');
  const printed: string[] = [];
  gate.stderr.on('data', (chunk) => printed.push(String(chunk)));
  for await (const line of createInterface({ input: gate.stdout })) {
    printed.push(line);
    const { listen, admin } = fields(line);
    if (typeof listen === 'string' && typeof admin === 'string') return { listen, admin };
  }
  throw new Error(`the gate ended before it listened:\n${printed.join('\n')}`);
}

function fields(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line);
  } catch {
    return {};
  }
}

t.test('npm ci can use the lock file: it names every optional package, also those of other machines', async (t) => {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  for (const [path, entry] of Object.entries<{ optionalDependencies?: Record<string, string> }>(lock.packages)) {
    for (const name of Object.keys(entry.optionalDependencies ?? {})) {
      t.ok(lock.packages[`node_modules/${name}`] ?? lock.packages[`${path}/node_modules/${name}`], name);
    }
  }
});

t.test('the package', async (t) => {
  const { tarball, files } = await pack(t);
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

  t.test('has what it needs, and nothing else', async (t) => {
    for (const file of ['dist/main.js', 'LICENSE', 'README.md', 'package.json', 'dist/demo/page/index.html']) {
      t.ok(files.includes(file), file);
    }
    t.equal(manifest.bin?.ifmatch?.replace(/^\.\//, ''), 'dist/main.js', 'the command');
    const targets = [...JSON.stringify(manifest.exports ?? {}).matchAll(/"\.\/(dist\/[^"]+)"/g)].map(
      ([, path]) => path,
    );
    for (const path of targets) t.ok(files.includes(path ?? ''), `exports ${path}`);
    for (const file of files) {
      t.notMatch(file, /^(test|src|node_modules|\.ci|\.tap|deploy|bench)\//, `${file} belongs there`);
      t.notMatch(file, /\.(tgz|log)$|(^|\/)\.env|tsbuildinfo/, `${file} belongs there`);
    }
  });

  const installed = await install(t, tarball);
  if ('unreachable' in installed) {
    if (process.env.CI === 'true') t.fail('the dependencies cannot be installed', { reason: installed.unreachable });
    else
      t.test(
        'the installed package',
        { skip: 'there is neither a registry nor a cache to install from' },
        async () => {},
      );
    return;
  }
  const { folder } = installed;
  const main = join(folder, 'node_modules', 'ifmatch', 'dist', 'main.js');
  const node = reachableNode(folder);
  const asUser = { ...unprivileged, cwd: folder, env: { ...environment, IFMATCH_LIMITS_DRAIN_DELAY: '10ms' } };

  t.test('has a command that can be executed', async (t) => {
    accessSync(join(folder, 'node_modules', '.bin', 'ifmatch'), constants.X_OK);
    t.match(readFileSync(main, 'utf8'), /^#!\/usr\/bin\/env node\n/);
  });

  t.test('runs as an unprivileged user, and ends cleanly', async (t) => {
    const backend = await startDemoBackend();
    t.teardown(() => backend.close());
    const addresses = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
    // tap has every Node process load a module of its own, which answers a SIGTERM with a second one.
    const command = ['-u', 'NODE_OPTIONS', node, main, 'serve', '--upstream', backend.url, ...addresses];
    const gate = spawn('env', command, asUser);
    t.teardown(() => gate.kill('SIGKILL'));
    const { listen, admin } = await startLine(gate);
    gate.stdout.resume();

    const read = await fetch(`http://${listen}/docs/1`);
    const document = await read.text();
    const etag = read.headers.get('etag') ?? '';
    t.match(etag, /^"im-[^"]+"$/, 'a read gets an ETag');
    const write = (ifMatch: string, body: string) =>
      fetch(`http://${listen}/docs/1`, {
        method: 'PUT',
        headers: { 'Content-Type': 'application/json', 'If-Match': ifMatch },
        body,
      });
    const first = await write(etag, '{"by":"Ada"}');
    t.equal(first.status, 200, 'the first write is made');
    t.not(first.headers.get('etag') ?? etag, etag, 'and gets a new ETag');
    t.equal((await write(etag, document)).status, 412, 'the stale one is refused');
    t.equal(await (await fetch(`${backend.url}/docs/1`)).text(), '{"by":"Ada"}');

    const healthy = spawnSync(node, [main, 'health', '--admin', admin], asUser);
    t.equal(healthy.status, 0, `health: ${healthy.stderr}`);

    const ended = once(gate, 'exit');
    gate.kill('SIGTERM');
    t.strictSame(await ended, [0, null], 'SIGTERM ends it with status 0');
    t.equal(spawnSync(node, [main, 'health', '--admin', admin], asUser).status, 1, 'then it is not healthy');
  });

  t.test('tells a wrong use by its status', async (t) => {
    const wrong = spawnSync(node, [main, 'serve', '--no-such-flag'], asUser);
    t.equal(wrong.status, 2);
    t.match(String(wrong.stderr), /no-such-flag/);
  });
});

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Owner } from './backend.js';
import { serving, stop } from './program.js';
import { freePort } from './tcp-proxy.js';

/** Debian keeps it where the PATH of ordinary users does not look. */
const program = ['lighttpd', '/usr/sbin/lighttpd'].find((path) => spawnSync(path, ['-v']).error === undefined);

const hasDav = ['/usr/lib/lighttpd', '/usr/lib64/lighttpd', '/usr/local/lib/lighttpd'].some((folder) =>
  existsSync(join(folder, 'mod_webdav.so')),
);

const advice = 'lighttpd with its DAV module is missing: apt-get install lighttpd lighttpd-mod-webdav';

/** How often another port is tried, where somebody else took the one that was found free. */
const portsTried = 5;

/** Whether lighttpd is installed. Where it is not, says so: a skipped test, or under `CI=true` a failed one. */
export function hasLighttpd(t: Pick<Test, 'pass' | 'fail'>): boolean {
  if (program !== undefined && hasDav) return true;
  if (process.env.CI === 'true') t.fail(advice);
  else t.pass('lighttpd', { skip: advice });
  return false;
}

/**
 * Starts lighttpd as a WebDAV server, properties and locks included, of a directory that is empty at first, on a free
 * loopback port; it is stopped and its files are removed when the test ends.
 *
 * @returns the base URL without a trailing slash
 * @throws where it does not start; call `hasLighttpd` first
 */
export async function startLighttpd(t: Owner): Promise<{ url: string }> {
  const prefix = await mkdtemp(join(tmpdir(), 'ifmatch-lighttpd-'));
  const children: ChildProcess[] = [];
  t.teardown(async () => {
    for (const child of children) await stop(child);
    await rm(prefix, { recursive: true });
  });
  await Promise.all(['files', 'uploads'].map((name) => mkdir(join(prefix, name))));
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    await writeFile(join(prefix, 'lighttpd.conf'), configuration(prefix, port));
    const child = spawn(program ?? 'lighttpd', ['-D', '-f', join(prefix, 'lighttpd.conf')], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    children.push(child);
    const log = await serving(child, 'server started');
    if (log === undefined) return { url: `http://127.0.0.1:${port}` };
    if (attempt === portsTried || !log.includes('Address already in use')) throw new Error(log);
  }
}

function configuration(prefix: string, port: number): string {
  return `
server.modules = ("mod_webdav")
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${join(prefix, 'files')}"
server.upload-dirs = ("${join(prefix, 'uploads')}")
mimetype.assign = ("" => "application/octet-stream")
webdav.activate = "enable"
webdav.is-readonly = "disable"
webdav.sqlite-db-name = "${join(prefix, 'webdav.db')}"
`;
}

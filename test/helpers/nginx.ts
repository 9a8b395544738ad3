import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Test } from 'tap';
import type { Owner } from './backend.js';
import { serving, stop } from './program.js';
import { freePort } from './tcp-proxy.js';

/** Debian keeps it where the PATH of ordinary users does not look. */
const program = ['nginx', '/usr/sbin/nginx'].find((path) => spawnSync(path, ['-v']).error === undefined);

const advice = 'nginx with its DAV module is missing: apt-get install nginx-light libnginx-mod-http-dav-ext';

/** How often another port is tried, where somebody else took the one that was found free. */
const portsTried = 5;

/** Whether nginx is installed. Where it is not, says so: a skipped test, or under `CI=true` a failed one. */
export function hasNginx(t: Pick<Test, 'pass' | 'fail'>): boolean {
  if (program !== undefined) return true;
  if (process.env.CI === 'true') t.fail(advice);
  else t.pass('nginx', { skip: advice });
  return false;
}

/** What nginx is: directives of its `http` block and of the one `server` in it. Files belong into `prefix`. */
export type Site = (prefix: string) => { readonly http?: string; readonly server: string };

/** A WebDAV server of a directory that is empty at first. */
const dav: Site = (prefix) => ({
  server: `root ${join(prefix, 'files')}; location / { dav_methods PUT DELETE; }`,
});

/**
 * Starts nginx, as a WebDAV server where nothing else is asked for, with a prefix of its own, on a free loopback port; it
 * is stopped and its files are removed when the test ends.
 *
 * @returns the base URL without a trailing slash
 * @throws where it does not start; call `hasNginx` first
 */
export async function startNginx(t: Owner, site: Site = dav): Promise<{ url: string }> {
  const prefix = await mkdtemp(join(tmpdir(), 'ifmatch-nginx-'));
  const children: ChildProcess[] = [];
  t.teardown(async () => {
    for (const child of children) await stop(child);
    await rm(prefix, { recursive: true });
  });
  await Promise.all(['files', 'temporary'].map((name) => mkdir(join(prefix, name))));
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    await writeFile(join(prefix, 'nginx.conf'), configuration(prefix, port, site(prefix)));
    const child = spawn(program ?? 'nginx', ['-p', prefix, '-c', join(prefix, 'nginx.conf')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    children.push(child);
    const log = await serving(child, 'start worker process');
    if (log === undefined) return { url: `http://127.0.0.1:${port}` };
    if (attempt === portsTried || !log.includes('Address already in use')) throw new Error(log);
  }
}

/** Two workers, so that writes meet in the file system as they do in earnest. Root must not become nobody: its files. */
function configuration(prefix: string, port: number, { http = '', server }: ReturnType<Site>): string {
  const user = process.getuid?.() === 0 ? 'user root root;' : '';
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(prefix, 'temporary', name)};`,
  );
  return `
daemon off;
${user}
worker_processes 2;
pid ${join(prefix, 'nginx.pid')};
error_log stderr notice;
events { worker_connections 256; }
http {
  access_log off;
  default_type text/plain;
  ${temporary.join('\n  ')}
  ${http}
  server {
    listen 127.0.0.1:${port};
    ${server}
  }
}
`;
}

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { constants, existsSync, openSync } from 'node:fs';
import { mkdir, mkdtemp, rm, utimes, writeFile } from 'node:fs/promises';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Test } from 'tap';
import type { Owner } from './backend.js';
import { type Answer, request } from './client.js';
import { stop } from './program.js';
import { freePort } from './tcp-proxy.js';

/** Debian keeps it where the PATH of ordinary users does not look, others call it httpd. */
const program = ['apache2', '/usr/sbin/apache2', 'httpd', '/usr/sbin/httpd'].find(
  (path) => spawnSync(path, ['-v']).error === undefined,
);

const modules = ['/usr/lib/apache2/modules', '/usr/lib64/httpd/modules', '/usr/libexec/apache2'].find(existsSync);

const advice = 'Apache with its DAV modules is missing: apt-get install apache2-bin';

/** Who the workers are where the test is root: Apache refuses to let them be. */
const worker = 'www-data';

/** How often another port is tried, where somebody else took the one that was found free. */
const portsTried = 5;

/** Whether Apache is installed. Where it is not, says so: a skipped test, or under `CI=true` a failed one. */
export function hasApache(t: Pick<Test, 'pass' | 'fail'>): boolean {
  if (program !== undefined && modules !== undefined) return true;
  if (process.env.CI === 'true') t.fail(advice);
  else t.pass('Apache', { skip: advice });
  return false;
}

/**
 * What Apache is: modules by name (`deflate`) beside the MPM and `authz_core`, and directives of the main server. Files
 * belong into `prefix`, of which `files` is the document root.
 */
export type ApacheSite = (prefix: string) => { readonly modules?: readonly string[]; readonly directives: string };

/** A WebDAV server, locks included, of a directory that is empty at first. Tags are made as by default (FileETag). */
export const davSite: ApacheSite = (prefix) => ({
  modules: ['dav', 'dav_fs'],
  directives: `
DavLockDB "${join(prefix, 'state', 'locks')}"
<Directory "${join(prefix, 'files')}">
  Dav On
</Directory>`,
});

export interface Apache {
  /** Without a trailing slash. */
  readonly url: string;
  /** The document root: tests may look at files, and set the times from which Apache makes its tags. */
  readonly files: string;
}

/**
 * Starts Apache, as a WebDAV server where nothing else is asked for, with a prefix of its own, on a free loopback port; it
 * is stopped and its files are removed when the test ends.
 *
 * @throws where it does not start; call `hasApache` first
 */
export async function startApache(t: Owner, site: ApacheSite = davSite): Promise<Apache> {
  const prefix = await mkdtemp(join(tmpdir(), 'ifmatch-apache-'));
  const children: ChildProcess[] = [];
  t.teardown(async () => {
    for (const child of children) await stop(child);
    await rm(prefix, { recursive: true });
  });
  await Promise.all(['files', 'state', 'run'].map((name) => mkdir(join(prefix, name))));
  const log = openLog(t, join(prefix, 'log'));
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort();
    await writeFile(join(prefix, 'apache.conf'), configuration(prefix, port, site(prefix)));
    if (isRoot()) execFileSync('chown', ['-R', worker, prefix]);
    const child = spawn(program ?? 'apache2', ['-D', 'FOREGROUND', '-d', prefix, '-f', join(prefix, 'apache.conf')], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, LC_ALL: 'C' },
    });
    children.push(child);
    const complaint = await serving(child, log);
    if (complaint === undefined) return { url: `http://127.0.0.1:${port}`, files: join(prefix, 'files') };
    if (attempt === portsTried || !complaint.includes('Address already in use')) throw new Error(complaint);
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function configuration(prefix: string, port: number, site: ReturnType<ApacheSite>): string {
  // What is built in must not be loaded once more.
  const load = (name: string): string => `<IfModule !${name}_module>
  LoadModule ${name}_module "${join(modules ?? '', `mod_${name}.so`)}"
</IfModule>`;
  return `
ServerRoot "${prefix}"
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
DefaultRuntimeDir "${join(prefix, 'run')}"
PidFile "${join(prefix, 'run', 'pid')}"
ErrorLog "${join(prefix, 'log')}"
${['mpm_event', 'authz_core', ...(site.modules ?? [])].map(load).join('\n')}
${isRoot() ? `User ${worker}\nGroup ${worker}` : ''}
DocumentRoot "${join(prefix, 'files')}"
${site.directives}
`;
}

/**
 * Apache opens its log by name, which does not work with what `spawn` calls a pipe: a socket. So it writes into a FIFO.
 *
 * @returns what reads it; it belongs to the test
 */
function openLog(t: Owner, path: string): Socket {
  execFileSync('mkfifo', [path]);
  // To open it for reading alone would end with whoever opens and closes it first, or wait for a writer.
  const log = new Socket({ fd: openSync(path, constants.O_RDWR | constants.O_NONBLOCK) });
  t.teardown(() => log.destroy());
  return log;
}

/** @returns undefined once Apache listens, after which it says that it operates; what it complained of where it gave up */
function serving(child: ChildProcess, log: Socket): Promise<string | undefined> {
  const { stderr } = child;
  if (stderr === null) throw new Error('Apache was started without a pipe for its complaints');
  const lines: string[] = [];
  createInterface(stderr).on('line', (line) => lines.push(line));
  const logged = createInterface(log);
  return new Promise((resolve) => {
    logged.on('line', (line) => {
      lines.push(line);
      if (line.includes('resuming normal operations')) resolve(undefined);
    });
    child.on('close', () => resolve(lines.join('\n')));
  });
}

/** Where a WebDAV client finds the server: at Apache itself, or at a gate before it. */
export interface Origin {
  readonly url: string;
}

export const lockInfo =
  '<?xml version="1.0"?><D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockinfo>';

export const propertyUpdate =
  '<?xml version="1.0"?><D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><c xmlns="urn:x">red</c></D:prop></D:set></D:propertyupdate>';

/** Sends one request. A body that is XML is said to be. */
export function ask(
  origin: Origin,
  method: string,
  path: string,
  headers: Readonly<Record<string, string>> = {},
  body?: string,
): Promise<Answer> {
  const type = body?.startsWith('<?xml') ? { 'Content-Type': 'application/xml' } : {};
  return request(origin.url + path, { method, headers: { ...type, ...headers }, ...(body !== undefined && { body }) });
}

/** Locks a file for a minute. Apache mixes up locks that are asked for at once: ask for one after the other. */
export async function lock(origin: Origin, path: string): Promise<string> {
  const { status, headers } = await ask(origin, 'LOCK', path, { Timeout: 'Second-60' }, lockInfo);
  const token = headers['lock-token'];
  if (status !== 200 || typeof token !== 'string') throw new Error(`LOCK was answered with ${status}`);
  return token.slice(1, -1);
}

/** Whose tags a gate gives to readers. */
export type TagKind = 'synthetic' | 'native';

/** A file of two versions, of which the first is gone. */
export interface VersionedFile {
  readonly path: string;
  /** The content of the second version. */
  readonly content: string;
  /** Entity-tags of both, as they came. */
  readonly stale: string;
  readonly current: string;
}

let files = 0;

/**
 * Makes a new file of two versions behind the gate's back, and reads both where the client does. Apache makes its tags of
 * size and time: weak ones of what is not a second old, in place of which a gate gives synthetic ones, and strong ones of
 * what is older.
 */
export async function makeFile(apache: Apache, origin: Origin, kind: TagKind): Promise<VersionedFile> {
  files += 1;
  const path = `/file-${files}`;
  const contents = ['first', 'second'].map((version) => `${version} version of ${path}`);
  const tags: string[] = [];
  for (const [index, content] of contents.entries()) {
    await ask(apache, 'PUT', path, {}, content);
    const time = Date.now() / 1000 + 3600 * (kind === 'synthetic' ? 1 : index - 2);
    await utimes(join(apache.files, path), time, time);
    const { status, headers } = await ask(origin, 'GET', path);
    if (status !== 200) throw new Error(`GET was answered with ${status}`);
    tags.push(headers.etag ?? '');
  }
  const [stale = '', current = ''] = tags;
  return { path, content: contents[1] ?? '', stale, current };
}

// What the run of http-cache-tests needs: the package, its server, nginx and the gate, each as a process of its own on
// a free loopback port.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, relative } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const main = join(root, 'dist/main.js');

/** Of http-cache-tests. */
export const version = '0.4.5';

/** Debian keeps it where the PATH of ordinary users does not look. */
export const nginx = ['nginx', '/usr/sbin/nginx'].find((path) => spawnSync(path, ['-v']).error === undefined);

const children = new Set();

/** How long a program may take to end before it is killed. */
const grace = 5000;

/** How long one may take to say that it listens. */
const startTime = 20_000;

/** Ends everything that was started here, and resolves when it is gone. */
export async function stopAll() {
  await Promise.all([...children].map(stop));
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill();
  const timer = setTimeout(() => child.kill('SIGKILL'), grace);
  await ended;
  clearTimeout(timer);
}

function start(command, options, spawnOptions) {
  const child = spawn(command, options, { stdio: ['ignore', 'pipe', 'pipe'], ...spawnOptions });
  children.add(child);
  // One that could not be started has no end.
  for (const event of ['exit', 'error']) child.once(event, () => children.delete(child));
  return child;
}

/** @returns what `find` makes of the first line, of either output, that it finds something in */
function said(child, find) {
  return new Promise((resolve, reject) => {
    const lines = [];
    const fail = (why) => reject(new Error([`${child.spawnfile} ${why}`, ...lines].join('\n')));
    const timer = setTimeout(() => fail('does not start'), startTime);
    // Read to their end: a program whose pipe is full stands still.
    for (const output of [child.stdout, child.stderr]) {
      createInterface(output).on('line', (line) => {
        if (lines.length < 20) lines.push(line);
        const found = find(line);
        if (found === undefined) return;
        clearTimeout(timer);
        resolve(found);
      });
    }
    child.once('error', reject);
    child.once('close', () => {
      clearTimeout(timer);
      fail('ended before it listened');
    });
  });
}

/**
 * Installs the package where it is not yet, apart from the packages of the gate: it brings an npm of its own.
 *
 * @returns its folder
 */
export async function install() {
  const prefix = join(root, 'node_modules/.cache/http-cache-tests');
  const folder = join(prefix, 'node_modules/http-cache-tests');
  if (isInstalled(prefix, folder)) return folder;
  console.log(`Installing http-cache-tests ${version} into ${relative(process.cwd(), prefix)}`);
  mkdirSync(prefix, { recursive: true });
  const options = ['install', '--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const child = start('npm', [...options, '--prefix', prefix, `http-cache-tests@${version}`], {
    cwd: prefix,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const [status] = await once(child, 'exit');
  if (status !== 0 || !isInstalled(prefix, folder))
    throw new Error(`http-cache-tests@${version} could not be installed`);
  return folder;
}

function isInstalled(prefix, folder) {
  // npm writes its list last: without it the installation broke off.
  const isWhole = existsSync(join(prefix, 'node_modules/.package-lock.json'));
  return isWhole && JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')).version === version;
}

/**
 * Starts the package's server. It can be told a port but no address, and would listen on all of them.
 *
 * @param prefix folder for its own files
 * @returns its URL
 */
export async function startOrigin(folder, prefix) {
  const onLoopback = `
    import { Server } from 'node:net';
    const { listen } = Server.prototype;
    Server.prototype.listen = function (port) { return listen.call(this, Number(port), '127.0.0.1'); };`;
  const preload = `data:text/javascript,${encodeURIComponent(onLoopback)}`;
  const child = start(process.execPath, ['--import', preload, 'server/server.mjs'], {
    cwd: folder,
    env: {
      npm_config_protocol: 'http',
      npm_config_port: '0',
      npm_config_pidfile: join(prefix, 'server.pid'),
    },
  });
  return said(child, (line) => /^Listening on (http:\/\/127\.0\.0\.1:\d+)\/$/.exec(line)?.[1]);
}

/**
 * Starts nginx as a reverse proxy that stores nothing.
 *
 * @param prefix folder for its own files
 * @returns its URL
 */
export async function startNginx(upstream, prefix) {
  mkdirSync(join(prefix, 'temporary'));
  // nginx can neither choose a port itself nor say which, so somebody else may take the one that was free.
  for (let attempts = 5; ; attempts -= 1) {
    const port = await freePort();
    const file = join(prefix, 'nginx.conf');
    writeFileSync(file, configuration(prefix, port, upstream));
    const child = start(nginx, ['-p', prefix, '-c', file]);
    try {
      return await said(child, (line) =>
        line.includes('start worker process') ? `http://127.0.0.1:${port}` : undefined,
      );
    } catch (error) {
      if (attempts === 1 || !error.message.includes('Address already in use')) throw error;
    }
  }
}

function configuration(prefix, port, upstream) {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (name) => `${name}_temp_path ${join(prefix, 'temporary', name)};`,
  );
  // As root nginx would become a user to whom its own files do not belong.
  return `
daemon off;
${process.getuid?.() === 0 ? 'user root root;' : ''}
worker_processes 1;
pid ${join(prefix, 'nginx.pid')};
error_log stderr notice;
events { worker_connections 1024; }
http {
  access_log off;
  ${temporary.join('\n  ')}
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass ${upstream};
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
    }
  }
}
`;
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts the gate as it was last built, with its defaults. @returns its URL */
export async function startGate(upstream) {
  if (!existsSync(main)) throw new Error('the gate is not built: npm run build');
  const addresses = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
  const child = start(process.execPath, [main, 'serve', '--upstream', upstream, ...addresses, '--log-level', 'info'], {
    env: { IFMATCH_LIMITS_DRAIN_DELAY: '0ms', IFMATCH_LIMITS_DRAIN: '0ms', IFMATCH_LOG_ACCESS: 'none' },
  });
  const listen = await said(child, (line) => (line.startsWith('{') ? JSON.parse(line).listen : undefined));
  return `http://${listen}`;
}

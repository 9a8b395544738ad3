// What is measured: other proxies as their documentation starts them, and the gate in each of its modes.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { find, freePort, start } from './machine.mjs';
import { startNginxProxy } from './origin.mjs';

const gate = fileURLToPath(new URL('../dist/main.js', import.meta.url));
/** The same, module by module. */
export const modules = fileURLToPath(new URL('../dist/modules.js', import.meta.url));
const peer = (name) => fileURLToPath(new URL(`peers/${name}.mjs`, import.meta.url));

/** A proxy in Node. */
const inNode = (name) => async (origin) => {
  const port = await freePort();
  return start({ core: 'measured', command: process.execPath, args: [peer(name), origin.url, String(port)], port });
};

/** Peers by name: starts one before an origin, undefined where it is not installed. */
export const peers = {
  nginx: async (origin) => startNginxProxy(origin, await freePort()),
  haproxy: installed('haproxy', (origin, port) => {
    const configuration = `
global
  nbthread 1
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind 127.0.0.1:${port}
  default_backend origin
backend origin
  server origin 127.0.0.1:${origin.port}
`;
    return ['-db', '-f', written('haproxy.cfg', configuration)];
  }),
  caddy: installed('caddy', (origin, port) => {
    const configuration = `
{
  admin off
  auto_https off
}
http://127.0.0.1:${port} {
  reverse_proxy 127.0.0.1:${origin.port}
}
`;
    return ['run', '--adapter', 'caddyfile', '--config', written('Caddyfile', configuration)];
  }),
  '@fastify/http-proxy': inNode('http-proxy'),
  'fast-gateway': inNode('fast-gateway'),
  'http-proxy-3': inNode('http-proxy-3'),
  'fastify and dispatch alone': inNode('dispatch'),
};

/**
 * The gate with settings of its environment, names without their prefix: `{ GUARD: 'off' }`.
 *
 * @param {string[]} nodeOptions for the profiler
 * @param core undefined: where the system likes
 */
export async function startGate(origin, settings = {}, nodeOptions = [], core = 'measured', program = gate) {
  const port = await freePort();
  const environment = { LOG_LEVEL: 'silent', ...settings };
  const env = Object.fromEntries(Object.entries(environment).map(([name, value]) => [`IFMATCH_${name}`, value]));
  const addresses = ['--listen', `127.0.0.1:${port}`, '--admin', '127.0.0.1:0'];
  const args = [...nodeOptions, program, 'serve', '--upstream', origin.url, ...addresses];
  return start({ core, command: process.execPath, args, port, env });
}

/** Short limits: for so long a store that is new gives no leases. */
const shared = {
  ...{ STORE_NAMESPACE: 'bench', STORE_SECRET: 'of no use to anybody' },
  ...{ LIMITS_UPSTREAM_TIMEOUT: '2s', LIMITS_CONNECT_TIMEOUT: '500ms', LIMITS_QUARANTINE: '100ms' },
};

/** The gate with a Redis of its own, which runs where clients and origin do; undefined where that is not installed. */
export async function startGateWithRedis(origin, settings = {}) {
  const command = find('redis-server') ?? find('valkey-server');
  if (command === undefined) return undefined;
  const port = await freePort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const redis = await start({ core: 'others', command, args, port });
  const gate = await startGate(origin, { STORE: `redis://127.0.0.1:${port}`, ...shared, ...settings });
  await givesLeases(gate);
  gate.besides(redis);
  return gate;
}

async function givesLeases({ port }) {
  for (;;) {
    const headers = { 'If-Match': '"none"' };
    const { status } = await fetch(`http://127.0.0.1:${port}/plain/1k/0`, { method: 'PUT', headers, body: 'x' });
    if (status !== 503) return;
  }
}

/** Bare node:http with one answer. */
export async function startFixedAnswer(answer) {
  const port = await freePort();
  const args = [peer('fixed-answer'), String(port), JSON.stringify(answer)];
  return start({ core: 'measured', command: process.execPath, args, port });
}

function installed(name, argumentsFor) {
  return async (origin) => {
    const command = find(name);
    if (command === undefined) return undefined;
    const port = await freePort();
    return start({ core: 'measured', command, args: argumentsFor(origin, port), port });
  };
}

function written(name, text) {
  const path = join(mkdtempSync(join(tmpdir(), 'ifmatch-bench-')), name);
  writeFileSync(path, text);
  return path;
}

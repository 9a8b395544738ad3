import type { Test } from 'tap';
import type { Config, Policy } from '../../src/config/schema.js';
import { type Backend, documents, type Handler, startBackend } from './backend.js';
import { type Answer, request } from './client.js';
import { type RunningGate, startGate } from './gate.js';
import type { Redis } from './redis.js';
import { trust } from './redis-store.js';
import { startTcpProxy, type TcpProxy } from './tcp-proxy.js';

/** Short ones: a lease lives 1.25 s. */
export const limits = { upstreamTimeout: 600, connectTimeout: 200, quarantine: 200, leaseWait: 2000 };

/** A gate before a backend without versions, whose link to Redis can be cut. */
export interface Scene {
  readonly gate: RunningGate;
  readonly backend: Backend;
  readonly link: TcpProxy;
  readonly stored: ReadonlyMap<string, { body: string }>;
  readonly lines: Record<string, unknown>[];
  /** Has the store trusted: as if it had been there for long. */
  trust(): Promise<void>;
}

export interface SceneOptions {
  readonly store?: Partial<Config['store']>;
  readonly policy?: Partial<Policy>;
  /** Comes before the documents: true where it has answered by itself. */
  readonly before?: (...args: Parameters<Handler>) => unknown;
  /** Acts on the link before the gate is started. */
  readonly prepare?: (link: TcpProxy) => Promise<void> | void;
}

let namespaces = 0;

/** Opens a scene on Redis; all of it ends with the test. */
export async function openScene(t: Test, redis: Redis, options: SceneOptions = {}): Promise<Scene> {
  namespaces += 1;
  const namespace = `scene-${namespaces}`;
  const handle = documents({ '/docs/1': { body: 'first' }, '/docs/2': { body: 'second' } });
  const backend = await startBackend(t, async (...args) => {
    if ((await options.before?.(...args)) !== true) handle(...args);
  });
  const link = await startTcpProxy(t, redis.port);
  await options.prepare?.(link);
  const lines: Record<string, unknown>[] = [];
  const gate = await startGate(t, {
    upstream: backend.url,
    limits,
    onLog: (line) => lines.push(line),
    ...(options.policy && { policy: options.policy }),
    config: { store: storeConfig([link], { namespace, ...options.store }) },
  });
  const trusted = () => trust([redis], namespace);
  return { gate, backend, link, lines, stored: handle.stored, trust: trusted };
}

/** What the configuration holds of a store at these addresses. */
export function storeConfig(servers: readonly { port: number }[], more: Partial<Config['store']>): Config['store'] {
  const hosts = servers.map(({ port }) => ({ host: '127.0.0.1', port }));
  return {
    url: { kind: 'redis', tls: false, hosts, database: 0, master: 'gates' },
    topology: 'single',
    namespace: 'scene',
    secret: 'a secret of scenes',
    ttl: 3_600_000,
    down: 'refuse',
    ...more,
  };
}

/** The tag that a reader is given. */
export async function tagOf(gate: RunningGate, path = '/docs/1'): Promise<string> {
  const { status, headers } = await request(gate.url + path);
  if (status !== 200 || headers.etag === undefined) throw new Error(`no tag: ${status}`);
  return headers.etag;
}

export function put(gate: RunningGate, tag: string, body: string, path = '/docs/1'): Promise<Answer> {
  return request(gate.url + path, { method: 'PUT', headers: { 'If-Match': tag }, body });
}

/** Repeats until it holds; what it waits for has its own time. */
export async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Writes until the store gives leases again. @returns the last answer */
export async function putWhenPossible(gate: RunningGate, body: string, path = '/docs/1'): Promise<Answer> {
  let answer: Answer | undefined;
  await until('a write is taken', async () => {
    answer = await put(gate, await tagOf(gate, path), body, path);
    return answer.status !== 503;
  });
  return answer as Answer;
}

/** The value of a metric without labels. */
export async function metric(gate: RunningGate, name: string): Promise<number> {
  const { body } = await request(`${gate.adminUrl}/metrics`);
  return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(body.toString())?.[1]);
}

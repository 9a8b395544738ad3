import type { Test } from 'tap';
import type { Config, Policy } from '../../src/config/schema.js';
import { type Backend, type Handler, startBackend } from './backend.js';
import { type Answer, request } from './client.js';
import { startGate } from './gate.js';

/** A gate before a small WebDAV server that looks at no condition, has no versions or strong ones, and can be held up. */
export interface DavScene {
  readonly backend: Backend;
  readonly stored: Map<string, string>;
  readonly url: string;
  /** Requests that write, as `METHOD path`, in the order in which they came. */
  writes(): string[];
  /** Holds back the answers to requests of this method until the returned function is called. */
  hold(method: string): () => void;
  ask(method: string, path: string, headers?: Record<string, string>, body?: string): Promise<Answer>;
  tagOf(path: string): Promise<string>;
}

export interface DavSettings {
  /** Whether the backend has strong tags of its own. */
  readonly native?: boolean;
  readonly policy?: Partial<Policy>;
  readonly routes?: readonly { readonly path: string; readonly policy?: Partial<Policy> }[];
  readonly config?: Partial<Config>;
  /** Base path of the upstream; the backend knows documents without it. */
  readonly base?: string;
  /** What is answered to `METHOD path` in the place of what the backend would, after it was done. */
  readonly answers?: Readonly<Record<string, { readonly status: number; readonly fields?: Record<string, string> }>>;
}

/** Starts both, with documents `/a` and `/b`. */
export async function startDavScene(
  t: Test,
  { native = false, policy = {}, routes, config, base = '', answers = {} }: DavSettings = {},
): Promise<DavScene> {
  const stored = new Map([
    ['/a', 'a1'],
    ['/b', 'b1'],
  ]);
  const held = new Map<string, Promise<void>>();
  const handler: Handler = async ({ method, url: whole, headers, body }, response) => {
    await held.get(method);
    const url = whole.slice(base.length);
    const found = stored.get(url);
    const status = carryOut(stored, method, url, body.toString(), headers.destination?.toString() ?? '/');
    const told = answers[`${method} ${url}`];
    if (told !== undefined) return response.writeHead(told.status, told.fields).end('told');
    const isRead = (method === 'GET' || method === 'HEAD') && found !== undefined;
    response.writeHead(status, { ...(isRead && native && { etag: `"n-${found}"` }) });
    return response.end(isRead && method === 'GET' ? found : undefined);
  };
  const backend = await startBackend(t, handler);
  const more = { ...(routes && { routes }), ...(config && { config }) };
  const gate = await startGate(t, { upstream: backend.url + base, policy, ...more });
  const ask: DavScene['ask'] = (method, path, headers = {}, body) =>
    request(gate.url + path, { method, headers, ...(body !== undefined && { body }) });
  return {
    backend,
    stored,
    url: gate.url,
    ask,
    writes: () =>
      backend.requests
        .filter(({ method }) => !/^(?:GET|HEAD)$/.test(method))
        .map(({ method, url }) => `${method} ${url}`),
    hold(method) {
      let release = () => {};
      const answers = new Promise<void>((resolve) => {
        release = resolve;
      });
      held.set(method, answers);
      return () => {
        held.delete(method);
        release();
      };
    },
    async tagOf(path) {
      const tag = (await ask('GET', path)).headers.etag;
      t.ok(tag, `a tag for ${path}`);
      return tag ?? '';
    },
  };
}

/** @returns the status that such a request has */
function carryOut(stored: Map<string, string>, method: string, url: string, body: string, destination: string): number {
  const found = stored.get(url);
  if (method === 'PUT') {
    stored.set(url, body);
    return found === undefined ? 201 : 204;
  }
  if (found === undefined) return 404;
  if (method !== 'MOVE' && method !== 'COPY') return 200;
  const path = decodeURI(new URL(destination, 'http://h').pathname);
  const status = stored.has(path) ? 204 : 201;
  stored.set(path, found);
  if (method === 'MOVE') stored.delete(url);
  return status;
}

/** Resolves once the backend has got a request of this method. */
export async function begun({ backend }: DavScene, method: string): Promise<void> {
  for (let count = 1; ; count += 1) {
    await backend.arrived(count);
    if (backend.requests[count - 1]?.method === method) return;
  }
}

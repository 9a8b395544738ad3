import t, { type Test } from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { type Backend, documents, type Handler, startBackend } from '../helpers/backend.js';
import { hasBrowser, openPage, type ScriptAnswer, startBrowser } from '../helpers/browser.js';
import { startGate } from '../helpers/gate.js';

/**
 * R6, with a browser as the judge: which requests of a script are sent, and what of the answers it may read, is
 * Chromium's own decision. The API permits one origin, knows neither ETag nor If-Match, and has no versions.
 */

const path = '/docs/1';
const json = { 'Content-Type': 'application/json' };
const cookie = 'session=ada';

type Cors = Readonly<Record<string, string>>;
const credentialed: Cors = { 'Access-Control-Allow-Credentials': 'true' };

/** An API that lets the scripts of `origin` read and put, with their cookies if `cors` says so. */
function api(origin: string, cors: Cors): Handler & ReturnType<typeof documents> {
  const store = documents({ [path]: { body: '{"n":0}', contentType: 'application/json' } });
  const handler: Handler = (request, response, incoming) => {
    response.setHeader('Vary', 'Origin');
    if (request.headers.origin === origin) {
      response.setHeader('Access-Control-Allow-Origin', origin);
      for (const [name, value] of Object.entries(cors)) response.setHeader(name, value);
    }
    const isPreflight = request.method === 'OPTIONS';
    if (isPreflight) {
      response.setHeader('Access-Control-Allow-Methods', 'GET, PUT');
      response.setHeader('Access-Control-Allow-Headers', 'Content-Type');
      return response.writeHead(204).end();
    }
    if ('Access-Control-Allow-Credentials' in cors && request.headers.cookie !== cookie) {
      return response.writeHead(401).end();
    }
    return store(request, response, incoming);
  };
  return Object.assign(handler, { stored: store.stored });
}

interface Scene {
  readonly backend: Backend;
  /** Of the document, through the gate. */
  readonly url: string;
  /** Of the document, past the gate. */
  readonly direct: string;
  stored(): string | undefined;
}

function problemOf({ body }: ScriptAnswer): Record<string, unknown> {
  return JSON.parse(body ?? '') as Record<string, unknown>;
}

t.test('scripts of another origin', async (t) => {
  if (!hasBrowser(t)) return;
  const browser = await startBrowser(t);
  const [home, stranger] = await Promise.all([startPages(t), startPages(t)]);
  const [name = '', value = ''] = cookie.split('=');
  // Both have the cookie, which all ports of a host share: what a script may not read must not depend on who it is.
  const open = (page: Backend) => openPage(browser, page.url, [{ name, value, domain: '127.0.0.1', path: '/' }]);
  const [permitted, foreign] = await Promise.all([open(home), open(stranger)]);

  async function startScene(t: Test, policy: Partial<Policy> = {}, cors: Cors = {}): Promise<Scene> {
    const handler = api(home.url, cors);
    const backend = await startBackend(t, handler);
    const gate = await startGate(t, { upstream: backend.url, policy });
    const stored = () => handler.stored.get(path)?.body;
    return { backend, url: gate.url + path, direct: backend.url + path, stored };
  }

  const put = (tag: string | undefined, body: string) => ({
    method: 'PUT',
    headers: { ...json, ...(tag !== undefined && { 'If-Match': tag }) },
    body,
  });

  /** Reads, writes with the tag of that, and again with the same one. */
  async function readWriteAndLose(t: Test, scene: Scene, options: { credentials?: 'include' }): Promise<void> {
    const read = await permitted.fetch(scene.url, options);
    t.match(read, { status: 200, body: '{"n":0}', headers: { etag: /^"im-[\w-]{22}"$/ } });
    const first = await permitted.fetch(scene.url, { ...put(read.headers?.etag, '{"n":1}'), ...options });
    t.match(first, { status: 204, headers: { etag: /^"im-[\w-]{22}"$/ } }, 'the new tag can be read of the answer');
    t.not(first.headers?.etag, read.headers?.etag);
    const second = await permitted.fetch(scene.url, { ...put(read.headers?.etag, '{"n":2}'), ...options });
    t.match(second, {
      status: 412,
      headers: {
        etag: first.headers?.etag,
        'content-type': 'application/problem+json',
        'proxy-status': /^ifmatch;/,
        'x-request-id': /./,
      },
    });
    t.match(problemOf(second), { type: /:precondition-failed$/, current: { etag: first.headers?.etag } });
    t.equal(scene.stored(), '{"n":1}');
    const third = await permitted.fetch(scene.url, { ...put(second.headers?.etag, '{"n":3}'), ...options });
    t.equal(third.status, 204, 'the tag of the refusal is good for the next attempt');
    const again = await permitted.fetch(scene.url, options);
    t.match(again, { status: 200, body: '{"n":3}', headers: { etag: third.headers?.etag } });
    const headers = { 'If-None-Match': third.headers?.etag ?? '' };
    const kept = await permitted.fetch(scene.url, { headers, ...options });
    t.match(kept, { status: 304, body: '', headers: { etag: third.headers?.etag } });
    const conditions = scene.backend.requests.filter(({ headers }) => headers['if-match'] !== undefined);
    t.same(conditions, [], 'the API hears nothing of versions');
  }

  await t.test('without the gate a script sees no tag, and may not send one', async (t) => {
    const { direct, backend } = await startScene(t);
    const read = await permitted.fetch(direct);
    t.match({ status: read.status, etag: read.headers?.etag }, { status: 200, etag: undefined });
    t.equal((await permitted.fetch(direct, put(undefined, '{"n":1}'))).status, 204, 'writing is permitted');
    t.equal((await permitted.fetch(direct, put('"x"', '{"n":2}'))).error, 'TypeError', 'but not with If-Match');
    t.equal(backend.requests.filter(({ method }) => method === 'PUT').length, 1, 'which was not even sent');
  });

  await t.test('a script reads the tag, writes with it, and reads why it was refused', async (t) => {
    const scene = await startScene(t);
    await readWriteAndLose(t, scene, {});
    const asked = scene.backend.requests.filter(({ method }) => method === 'OPTIONS');
    t.ok(
      asked.some(({ headers }) => headers['access-control-request-headers']?.includes('if-match')),
      'the browser asked before it sent If-Match',
    );
  });

  await t.test('with credentials: include', async (t) => {
    const scene = await startScene(t, {}, credentialed);
    await readWriteAndLose(t, scene, { credentials: 'include' });
    const asked = await permitted.fetch(scene.url, { credentials: 'omit' });
    t.equal(asked.status, 401, 'the API does ask for the cookie');
  });

  await t.test('with credentials: include, where the API does not permit them, nothing can be read', async (t) => {
    const { url } = await startScene(t, { guard: 'required' });
    t.equal((await permitted.fetch(url)).status, 200);
    t.equal((await permitted.fetch(url, { credentials: 'include' })).error, 'TypeError');
    // Needs no preflight, and is answered by the gate itself.
    const overridden = { method: 'POST', body: '{}' } as const;
    t.equal((await permitted.fetch(`${url}?_method=PUT`, overridden)).status, 428);
    t.equal(
      (await permitted.fetch(`${url}?_method=PUT`, { ...overridden, credentials: 'include' })).error,
      'TypeError',
    );
  });

  await t.test('under guard: required, the first that a script hears may be that it must name a version', async (t) => {
    const { url, stored } = await startScene(t, { guard: 'required' });
    const answer = await permitted.fetch(url, put(undefined, '{"n":1}'));
    t.match(answer, { status: 428, headers: { 'content-type': 'application/problem+json' } });
    t.match(problemOf(answer), { type: /:precondition-required$/, next: /If-Match/ });
    const malformed = await permitted.fetch(url, put('abc', '{"n":1}'));
    t.equal(malformed.status, 400);
    t.match(problemOf(malformed), { type: /:malformed-precondition$/, detail: /double quotes/ });
    t.equal(stored(), '{"n":0}');
  });

  await t.test('a page of an origin that the API does not permit can read nothing', async (t) => {
    const { backend, url, stored } = await startScene(t, { guard: 'required' }, credentialed);
    const cookies = { credentials: 'include' } as const;
    const { headers } = await permitted.fetch(url, cookies);
    const simple = { method: 'POST', body: '{"n":9}', ...cookies } as const;
    t.equal((await permitted.fetch(`${url}?_method=PUT`, simple)).status, 428, 'another is told by the gate');
    const unreadable: Record<string, ScriptAnswer> = {
      read: await foreign.fetch(url, cookies),
      'write with the current tag': await foreign.fetch(url, { ...put(headers?.etag, '{"n":9}'), ...cookies }),
      'write with a stale tag': await foreign.fetch(url, { ...put('"im-stale"', '{"n":9}'), ...cookies }),
      'write without a tag': await foreign.fetch(url, { ...put(undefined, '{"n":9}'), ...cookies }),
      'refusal of the gate’s own': await foreign.fetch(`${url}?_method=PUT`, simple),
      'the same without cookies': await foreign.fetch(`${url}?_method=PUT`, { ...simple, credentials: 'omit' }),
    };
    for (const [name, answer] of Object.entries(unreadable)) t.equal(answer.error, 'TypeError', name);
    t.equal(stored(), '{"n":0}');
    t.notOk(
      backend.requests.some(({ method }) => method === 'PUT' || method === 'POST'),
      'nor was anything written',
    );
    t.equal((await permitted.fetch(url, cookies)).status, 200, 'which changes nothing for the other');
  });
});

/** A server of one empty page: an origin. */
function startPages(t: Test): Promise<Backend> {
  return startBackend(t, (_, response) =>
    response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html>'),
  );
}

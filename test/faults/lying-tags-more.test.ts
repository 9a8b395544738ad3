import t from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { type Backend, type Owner, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { type GateSettings, startGate } from '../helpers/gate.js';

/**
 * V7: what a stale writer must not get through although the upstream's tag is still the one that it holds. In each
 * sequence the gate has seen that tag before somebody else's write.
 */

type Fields = Readonly<Record<string, string>>;

/** Sends one request for `/docs/1`, or for another path. */
type Ask = (method: string, headers?: Fields, body?: string, path?: string) => Promise<Answer>;

interface World {
  readonly backend: Backend;
  readonly ask: Ask;
  /** The next write is applied at once and answered when `go` is called. */
  hold(): { readonly applied: Promise<void>; readonly go: () => void };
  /** What happens before the next HEAD is answered. */
  beforeHead(action: () => Promise<unknown>): void;
}

const same = '"same"';
const path = '/docs/1';

interface Settings extends Omit<GateSettings, 'upstream'> {
  readonly owner: Owner & { teardown(action: () => Promise<void>): void };
  readonly content?: string;
  /** Fields of the answer to a read, given the method and the client's fields. */
  readonly read?: (method: string, headers: Readonly<Record<string, unknown>>) => Fields;
  readonly written?: Fields;
}

async function world({
  owner,
  content = 'one',
  read = () => ({ ETag: same }),
  written = {},
  ...rest
}: Settings): Promise<World> {
  const contents = new Map<string, string>();
  let held: { readonly applied: () => void; readonly until: Promise<void> } | undefined;
  let atHead: (() => Promise<unknown>) | undefined;
  const backend = await startBackend(owner, async ({ method, url, headers, body }, response) => {
    if (method === 'GET' || method === 'HEAD') {
      const action = method === 'HEAD' ? atHead : undefined;
      if (action !== undefined) atHead = undefined;
      await action?.();
      return response.writeHead(200, read(method, headers)).end(method === 'GET' ? (contents.get(url) ?? content) : '');
    }
    const status = Number(headers['x-answer'] ?? 200);
    if (status < 400) contents.set(url, body.toString());
    const now = held;
    held = undefined;
    now?.applied();
    await now?.until;
    return response.writeHead(status, written).end();
  });
  const gate = await startGate(owner, { upstream: backend.url, ...rest });
  const ask: Ask = (method, headers = {}, body, at = path) =>
    request(gate.url + at, { method, headers, ...(body !== undefined && { body }) });
  const hold = (): ReturnType<World['hold']> => {
    let apply = (): void => {};
    let go = (): void => {};
    const applied = new Promise<void>((resolve) => (apply = resolve));
    const until = new Promise<void>((resolve) => (go = resolve));
    held = { applied: apply, until };
    return { applied, go };
  };
  const beforeHead = (action: () => Promise<unknown>): void => {
    atHead = action;
  };
  return { backend, ask, hold, beforeHead };
}

const match = (tag: string | undefined): Fields => ({ 'If-Match': tag ?? '"none"' });

t.test('a refusal does not make the gate forget what it has told', async (t) => {
  for (const [method, status] of [
    ['POST', 422],
    ['POST', 404],
    ['PUT', 404],
    ['PUT', 410],
    ['PUT', 412],
  ] as const) {
    const { ask } = await world({ owner: t });
    const { etag } = (await ask('GET')).headers;
    await ask(method, { 'X-Answer': String(status) }, 'refused');
    await ask('PUT', {}, 'theirs');
    t.equal((await ask('PUT', match(etag), 'mine')).status, 412, `${method} ${status}`);
  }
  const routes = [{ path: '/docs/:id', policy: { invalidates: ['/docs'] } }];
  const { ask } = await world({ owner: t, routes });
  const { etag } = (await ask('GET', {}, undefined, '/docs')).headers;
  await ask('PUT', { 'X-Answer': '409' }, 'refused');
  await ask('PUT', {}, 'theirs', '/docs');
  t.equal((await ask('PUT', match(etag), 'mine', '/docs')).status, 412, 'side effects that did not happen');
});

t.test('an unguarded write while a probe goes from HEAD to GET', async (t) => {
  const read = (method: string): Fields => (method === 'GET' ? { ETag: same } : {});
  const { ask, beforeHead } = await world({ owner: t, read, policy: { recheck: 60_000 } });
  const accept = { Accept: 'text/plain' };
  const { etag } = (await ask('GET')).headers;
  beforeHead(() => ask('POST', {}, 'theirs'));
  t.equal((await ask('PUT', { ...match('"other"'), ...accept }, 'x')).status, 412, 'a probe that began before');
  t.equal((await ask('PUT', { ...match(etag), ...accept }, 'mine')).status, 412, 'its tag is no knowledge');
});

t.test('reads of many other resources while a write is on its way', async (t) => {
  const policy: Partial<Policy> = { recheck: 60_000, refresh: 'never' };
  const { ask, hold } = await world({ owner: t, limits: { resources: 2 }, policy });
  const { etag } = (await ask('GET')).headers;
  const { applied, go } = hold();
  const put = ask('PUT', match(etag), 'theirs');
  await applied;
  for (let number = 0; number < 5; number += 1) await ask('GET', {}, undefined, `/other/${number}`);
  go();
  t.equal((await put).status, 200);
  t.equal((await ask('PUT', match(etag), 'mine')).status, 412, 'the tag is barred');
});

t.test('the answer to an unguarded write', async (t) => {
  const written = { ETag: same };
  const { ask } = await world({ owner: t, written });
  await ask('PUT', match((await ask('GET')).headers.etag), 'x');
  t.equal((await ask('POST', {}, 'y')).headers.etag, undefined, 'a barred tag is taken out');
});

t.test('one tag seen by many readers does not push another one out', async (t) => {
  const read = (_method: string, headers: Readonly<Record<string, unknown>>): Fields => ({
    ETag: headers['accept-encoding'] === 'gzip' ? '"same-gzip"' : same,
  });
  const { ask } = await world({ owner: t, read });
  const alice = { Authorization: 'Bearer alice', 'Accept-Encoding': 'gzip' };
  const { etag } = (await ask('GET', alice)).headers;
  await ask('PUT', {}, 'theirs');
  t.equal((await ask('PUT', { ...alice, ...match(etag) }, 'mine')).status, 412, 'barred');
  for (let number = 0; number < 17; number += 1) await ask('GET', { Authorization: `Bearer ${number}` });
  await ask('PUT', {}, 'theirs again');
  t.equal((await ask('PUT', { ...alice, ...match(etag) }, 'mine')).status, 412, 'still');
});

t.test('a tag that follows the content of one representation says nothing about those of others', async (t) => {
  let german = '"de-1"';
  const read = (_method: string, headers: Readonly<Record<string, unknown>>): Fields => ({
    ETag: headers['accept-language'] === 'de' ? german : same,
  });
  const { ask } = await world({ owner: t, read });
  const { etag } = (await ask('GET')).headers;
  await ask('GET', { 'Accept-Language': 'de' });
  await ask('PUT', {}, 'theirs');
  german = '"de-2"';
  await ask('GET', { 'Accept-Language': 'de' });
  t.equal((await ask('PUT', match(etag), 'mine')).status, 412, 'the tag is barred');
});

t.test('a barred tag does not travel', async (t) => {
  let tag = same;
  const { ask, backend } = await world({ owner: t, read: () => ({ ETag: tag }) });
  await ask('PUT', match((await ask('GET')).headers.etag), 'x');
  tag = '"new"';
  const put = await ask('PUT', { ...match('"same", "new"'), Authorization: 'Bearer other' }, 'y');
  t.equal(put.status, 200);
  const sent = backend.requests.findLast(({ method }) => method === 'PUT');
  t.equal(sent?.headers['if-match'], '"new"', 'beside one that decided');

  const limits = { hashBody: 10, hashProbe: 20 };
  const { ask: askLong, backend: long } = await world({ owner: t, limits, content: 'x'.repeat(100) });
  const { etag } = (await askLong('GET')).headers;
  t.equal(etag, same);
  await askLong('PUT', { 'X-Answer': '500' }, 'theirs');
  const refused = await askLong('PUT', match(etag), 'mine');
  t.equal(refused.status, 502, 'nor where no hash can take its place');
  t.equal(long.requests.filter(({ method }) => method === 'PUT').length, 1, 'it is not forwarded');
  t.match(refused.body.toString(), /more than one content/, 'and the reason is the true one');
});

t.test('what a probe with other credentials saw before a write', async (t) => {
  const policy: Partial<Policy> = { probe: { headers: { Authorization: 'Bearer probe' } } };
  const { ask } = await world({ owner: t, policy });
  const scope = 'Credential=AK/20260101/eu/s3/aws4_request, SignedHeaders=host, Signature=00';
  const headers = { ...match(same), Authorization: `AWS4-HMAC-SHA256 ${scope}` };
  t.equal((await ask('PUT', headers, 'theirs')).status, 200);
  t.equal((await ask('PUT', headers, 'mine')).status, 412, 'the tag is barred');
});

t.test('an old answer out of a cache says nothing about the tags of the upstream', async (t) => {
  const log: string[] = [];
  const onLog = ({ advice }: Record<string, unknown>) => advice !== undefined && log.push(String(advice));
  let answer: Fields = { ETag: '"v1"' };
  const { ask } = await world({ owner: t, onLog, read: () => answer, written: { ETag: '"v2"' } });
  await ask('PUT', match((await ask('GET')).headers.etag), 'two');
  answer = { ETag: '"v1"', Age: '3' };
  await ask('GET');
  t.same(log, [], 'V10');
});

import t from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { type Backend, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { type RunningGate, startGate } from '../helpers/gate.js';
import { contend, figures, historyOf } from '../helpers/history.js';

/** V7: strong tags that stay the same although the content is another. */

const clients = 8;
const updates = 5;

/** An old date, so that the time since a change never makes a tag suspicious. */
const longAgo = 'Thu, 01 Jan 2026 00:00:00 GMT';

/** What a backend says about its content on a read and on a write. */
interface Kind {
  readonly name: string;
  readonly read: (content: string) => Readonly<Record<string, string>>;
  readonly written: (content: string) => Readonly<Record<string, string>>;
}

const none = (): Readonly<Record<string, string>> => ({});
const bySize = (content: string) => ({ ETag: `"696969-${content.length}"`, 'Last-Modified': longAgo });
const constant = () => ({ ETag: '"same"' });
const perDeployment = () => ({ ETag: '"build-7"', 'Last-Modified': longAgo });
const honest = (content: string) => ({ ETag: `"v-${content}"` });

const size: Kind = { name: 'a tag of size and time', read: bySize, written: none };
const everywhere: Kind = { name: 'one tag for everything', read: constant, written: constant };
const lying: readonly Kind[] = [
  size,
  { ...size, name: 'a tag of size and time, in the answers to writes too', written: bySize },
  everywhere,
  { name: 'one tag in the answers to writes', read: none, written: constant },
  { name: 'one tag on reads', read: constant, written: none },
  { name: 'a tag for each deployment', read: perDeployment, written: perDeployment },
];
const tellsTruth: Kind = { name: 'honest', read: honest, written: honest };

/** A backend that holds one content for each path, checks nothing, and answers as a path under `/status/…` says. */
async function store(kind: Kind, initial: string): Promise<{ backend: Backend; contents: Map<string, string> }> {
  const contents = new Map<string, string>();
  const backend = await startBackend(t, ({ method, url, headers, body }, response) => {
    const content = contents.get(url) ?? initial;
    if (method === 'GET' || method === 'HEAD') {
      const fields = kind.read(content);
      const isKnown = fields.ETag !== undefined && headers['if-none-match'] === fields.ETag;
      if (isKnown) return response.writeHead(304, fields).end();
      return response.writeHead(200, fields).end(method === 'HEAD' ? undefined : content);
    }
    const status = Number(headers['x-answer'] ?? 200);
    if (headers['x-applies'] !== 'no') contents.set(url, body.toString());
    return response.writeHead(status, kind.written(body.toString())).end();
  });
  return { backend, contents };
}

const fixedWidth = (count: number, writer: string): string => `${String(count).padStart(8, '0')} ${writer.padEnd(8)}`;

t.test('many writers of contents of one size: every success replaced what its writer had read', async (t) => {
  const others: readonly Partial<Policy>[] = [{ recheck: Number.POSITIVE_INFINITY }, { refresh: 'never' }];
  for (const kind of lying) {
    for (const [index, policy] of [{}, ...(kind === size || kind === everywhere ? others : [])].entries()) {
      const { backend, contents } = await store(kind, fixedWidth(0, 'start'));
      const gate = await startGate(t, { upstream: backend.url, policy });
      const path = '/contested';
      const contest = await contend({
        clients,
        updates,
        attempts: 40 * updates,
        modify: (content, writer) => fixedWidth(Number.parseInt(content, 10) + 1, writer),
        read: async () => {
          const { headers, body } = await request(gate.url + path);
          return { content: body.toString(), tag: headers.etag };
        },
        write: async (content, tag) =>
          (await request(gate.url + path, { method: 'PUT', headers: { 'If-Match': tag ?? '"none"' }, body: content }))
            .status,
      });
      const history = historyOf(fixedWidth(0, 'start'), contents.get(path) ?? '', contest.replacements);
      const title = `${kind.name}, policy ${index}`;
      t.comment(figures(title, contest, history));
      t.same(history, { lost: 0, forks: 0, reachesInitial: true }, title);
      t.equal(contest.replacements.length, clients * updates, `${title}: everybody got all updates`);
      t.same(contest.unexpected, [], title);
      await gate.close();
    }
  }
});

/** Requests, one after the other, and what comes of them. */
interface World {
  readonly gate: RunningGate;
  readonly backend: Backend;
  readonly contents: Map<string, string>;
  get(headers?: Readonly<Record<string, string>>): Promise<Answer>;
  head(): Promise<Answer>;
  put(tag: string | undefined, body: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
}

const path = '/docs/1';

async function world(kind: Kind, policy: Partial<Policy> = {}, log: string[] = []): Promise<World> {
  const { backend, contents } = await store(kind, 'one');
  const onLog = ({ advice }: Record<string, unknown>) => advice !== undefined && log.push(String(advice));
  const gate = await startGate(t, { upstream: backend.url, policy, onLog });
  const ask = (method: string, headers: Readonly<Record<string, string>>, body?: string) =>
    request(gate.url + path, { method, headers, ...(body !== undefined && { body }) });
  return {
    gate,
    backend,
    contents,
    get: (headers = {}) => ask('GET', headers),
    head: () => ask('HEAD', {}),
    put: (tag, body, headers = {}) => ask('PUT', { ...(tag !== undefined && { 'If-Match': tag }), ...headers }, body),
  };
}

const synthetic = /^"im-/;

t.test('what a barred tag is good for', async (t) => {
  const log: string[] = [];
  const { get, head, put, backend } = await world(everywhere, {}, log);
  t.equal((await get()).headers.etag, '"same"', 'nothing is held against it at first');
  t.match(await put('"same"', 'two'), { status: 200 });
  const refused = await put('"same"', 'three');
  t.equal(refused.status, 412, 'it satisfies no If-Match');
  t.match(refused.body.toString(), /may stand for more than one content/, 'and the reason is the true one');
  const { etag = '' } = (await get()).headers;
  t.match(etag, synthetic, 'readers get a synthetic one');
  t.equal((await head()).headers.etag, etag, 'by HEAD too');
  t.equal(refused.headers.etag, etag, 'and so did who was refused');
  t.match(await get({ 'If-None-Match': '"same"' }), { status: 200, headers: { etag } }, 'it revalidates nothing');
  t.equal(backend.requests.at(-1)?.headers['if-none-match'], undefined, 'nor is the upstream asked about it');
  t.match(await get({ 'If-None-Match': etag }), { status: 304, headers: { etag } }, 'the synthetic one does');
  t.match(await get({ Range: 'bytes=0-0', 'If-Range': '"same"' }), { status: 200, headers: { etag } });
  t.equal(backend.requests.at(-1)?.headers.range, undefined);
  const written = await put(etag, 'three');
  t.match(written, { status: 200 }, 'who holds that may write');
  t.match(written.headers.etag, synthetic, 'and is not given the barred one');
  t.equal(backend.requests.findLast(({ method }) => method === 'PUT')?.headers['if-match'], undefined);
  t.same(log, ['repeated-tag'], 'the operator is told once');
});

t.test('a tag in the answer to a write counts until the next write', async (t) => {
  const { put } = await world(everywhere);
  t.match(await put(undefined, 'two'), { status: 200, headers: { etag: '"same"' } });
  t.match(await put('"same"', 'three'), { status: 200 }, 'nobody else wrote');
  t.match(await put('"same"', 'four'), { status: 412 });
  const unconditional = await put(undefined, 'five');
  t.equal(unconditional.headers.etag, undefined, 'it is not given any more');
  t.match(await put('"same"', 'six'), { status: 412 });
});

t.test('another tag ends it', async (t) => {
  const { get, put, contents } = await world({ name: 'by length', read: bySize, written: none });
  const tag = (await get()).headers.etag ?? '';
  t.match(await put(tag, 'two'), { status: 200 });
  t.match((await get()).headers.etag, synthetic);
  t.match(await put((await get()).headers.etag, 'three'), { status: 200 });
  t.equal((await get()).headers.etag, bySize('three').ETag, 'the upstream has another one now');
  contents.set(path, 'six');
  t.equal((await get()).headers.etag, tag, 'what came back without a write through the gate is not held against it');
});

t.test('a tag that stays the same over a write of the same content', async (t) => {
  for (const refresh of ['auto', 'always'] as const) {
    const log: string[] = [];
    const { get, put } = await world(tellsTruth, { refresh }, log);
    const tag = (await get()).headers.etag ?? '';
    t.equal(tag, '"v-one"');
    t.match(await put(tag, 'one'), { status: 200 });
    const after = (await get()).headers.etag;
    if (refresh === 'auto') {
      t.match(after, synthetic, 'nobody knows that it is the same, where nothing was hashed before');
      continue;
    }
    t.match(await put(after, 'two'), { status: 200 });
    t.match(await put('"v-two"', 'two'), { status: 200 });
    t.equal((await get()).headers.etag, '"v-two"', 'both hashes are known');
    t.match(await put('"v-two"', 'three'), { status: 200 });
  }
});

/** What becomes of the tag that everybody holds when somebody's write ends in some way that leaves it as it was. */
// biome-ignore format: a table
const outcomes: readonly (readonly [string, number, Partial<Policy>, barred: boolean])[] = [
  ['PUT', 200, {}, true],
  ['PUT', 302, {}, true],
  ['PUT', 400, {}, false],
  ['PUT', 404, {}, false],
  ['PUT', 409, {}, false],
  ['PUT', 412, {}, false],
  ['PUT', 500, {}, true],
  ['POST', 200, {}, true],
  ['POST', 303, {}, true],
  ['POST', 400, {}, false],
  ['POST', 404, {}, false],
  ['PUT', 200, { validator: { kind: 'upstream' } }, false],
];

t.test('which writes count', async (t) => {
  for (const [method, status, policy, barred] of outcomes) {
    const { gate, get, put } = await world(everywhere, policy);
    const { etag } = (await get()).headers;
    const headers = { 'X-Answer': String(status), 'X-Applies': 'no' };
    await request(gate.url + path, { method, headers, body: 'ignored' });
    const title = `${method} ${status} ${policy.validator?.kind ?? ''}`;
    t.equal((await put(etag, 'two')).status, barred ? 412 : 200, title);
  }
});

t.test('what a write changes as a side effect', async (t) => {
  const { backend } = await store(everywhere, 'one');
  const routes = [{ path: '/docs/:id', policy: { invalidates: ['/docs'] } }];
  const gate = await startGate(t, { upstream: backend.url, routes });
  const list = await request(`${gate.url}/docs`);
  t.equal(list.headers.etag, '"same"');
  await request(`${gate.url}/docs/1`, { method: 'PUT', body: 'x' });
  const headers = { 'If-Match': '"same"' };
  t.equal((await request(`${gate.url}/docs`, { method: 'PUT', headers, body: 'y' })).status, 412);
});

t.test('reads of many other resources do not make it forgotten', async (t) => {
  const { backend } = await store(everywhere, 'one');
  const gate = await startGate(t, { upstream: backend.url, limits: { resources: 3 } });
  const url = `${gate.url}${path}`;
  await request(url);
  const put = () => request(url, { method: 'PUT', headers: { 'If-Match': '"same"' }, body: 'x' });
  t.equal((await put()).status, 200);
  for (let number = 0; number < 20; number += 1) await request(`${gate.url}/other/${number}`);
  t.equal((await put()).status, 412);
});

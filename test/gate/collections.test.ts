import { EventEmitter, once } from 'node:events';
import type { ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { hashContent, syntheticTag } from '../../src/version/tag.js';
import { type Backend, type Handler, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { type GateSettings, startGate } from '../helpers/gate.js';

/** A tag of the gate's form that is the version of nothing here. */
const stale = tagOf('what was there before');

function tagOf(content: string): string {
  return syntheticTag(hashContent(Buffer.from(content)), undefined);
}

interface Scene {
  readonly backend: Backend;
  ask(method: string, path: string, headers?: readonly string[], body?: string): Promise<Answer>;
  /** Whether a write to it is decided without asking the upstream. Where it is not known, it is known afterwards. */
  known(path: string): Promise<boolean>;
}

type Settings = Omit<GateSettings, 'upstream'> & { readonly base?: string };

/** A backend and a gate before it that trusts what it knows until the next write. */
async function join(t: Test, handler: Handler, { base = '', ...settings }: Settings = {}): Promise<Scene> {
  const backend = await startBackend(t, handler);
  const policy = { recheck: Number.POSITIVE_INFINITY, ...settings.policy };
  const gate = await startGate(t, { ...settings, policy, upstream: backend.url + base });
  const ask: Scene['ask'] = (method, path, headers = [], body) =>
    request(gate.url + path, { method, headers, ...(body !== undefined && { body }) });
  const known: Scene['known'] = async (path) => {
    const before = backend.requests.length;
    const { status } = await ask('PUT', path, ['If-Match', stale], 'x');
    if (status !== 412) throw new Error(`${status} for a stale write to ${path}`);
    return backend.requests.length === before;
  };
  return { backend, ask, known };
}

type Fields = Readonly<Record<string, string>>;

/** Contents by path, at first the path itself; writes append. `written` gives the fields of a write's answer. */
function contents(of = new Map<string, string>(), written: (path: string) => Fields = () => ({})): Handler {
  return ({ method, url, body }, response) => {
    const path = url.split('?', 1)[0] ?? '';
    const content = of.get(path) ?? path;
    if (method === 'GET' || method === 'HEAD') return response.end(method === 'GET' ? content : undefined);
    of.set(path, content + body.toString());
    return response.writeHead(200, { ...written(path) }).end();
  };
}

type SideRow = {
  title: string;
  route: string;
  invalidates: string[];
  writes: string;
  doubted: string[];
  left: string[];
};

// biome-ignore format: a table
const sideRows: readonly SideRow[] = [
  { title: 'the collection', route: '/docs/:id', invalidates: ['/docs'], writes: '/docs/1', doubted: ['/docs'], left: ['/docs/2', '/docsx', '/'] },
  { title: 'whatever way it is spelled and asked', route: '/docs/:id', invalidates: ['/docs'], writes: '/DOCS/1?x=1', doubted: ['/docs/', '/docs?page=2', '/d%6Fcs'], left: ['/docs/2'] },
  { title: 'several', route: '/docs/:id', invalidates: ['/docs', '/index', '/docs/:id/history', '/by/:id/:id'], writes: '/docs/1', doubted: ['/docs', '/index', '/docs/1/history', '/by/1/1'], left: ['/docs/2/history', '/by/1/2', '/by'] },
  { title: 'two names', route: '/:kind/of/:id', invalidates: ['/:id/:kind'], writes: '/a/of/b', doubted: ['/b/a'], left: ['/a/b', '/:id/:kind'] },
  { title: 'the rest', route: '/files/*', invalidates: ['/index/*', '/index'], writes: '/files/a/b', doubted: ['/index/a/b', '/index'], left: ['/index/a', '/index/a/b/c', '/files/a'] },
  { title: 'an encoded name', route: '/docs/:id', invalidates: ['/about/:id'], writes: '/docs/%61%20b', doubted: ['/about/a%20b', '/about/%61%20B'], left: ['/about/a'] },
  { title: 'itself', route: '/docs/:id', invalidates: ['/docs/:id'], writes: '/docs/1', doubted: ['/docs/1'], left: ['/docs/2'] },
];

t.test('what a write changes elsewhere is not known afterwards (W8)', async (t) => {
  for (const { title, route, invalidates, writes, doubted, left } of sideRows) {
    const settings = { routes: [{ path: route, policy: { invalidates: [...invalidates] } }] };
    const { ask, known } = await join(t, contents(), settings);
    for (const method of ['PUT', 'PATCH', 'DELETE', 'POST']) {
      for (const path of [...doubted, ...left]) await ask('GET', path);
      for (const path of [...doubted, ...left]) t.equal(await known(path), true, `${title}: ${path} is known at first`);
      t.equal((await ask(method, writes, [], 'x')).status, 200);
      // What is asked for first is learned, for other spellings of it too.
      for (const path of doubted) t.equal(await known(path), false, `${title}: ${path} after ${method}`);
      for (const path of left) t.equal(await known(path), true, `${title}: ${path} is left after ${method}`);
    }
  }
});

t.test('a collection’s old tag is refused after a write to a member, its new one is not', async (t) => {
  const routes = [{ path: '/docs/:id', policy: { invalidates: ['/docs'] } }];
  for (const method of ['PUT', 'DELETE', 'POST']) {
    const stored = new Map<string, string>();
    const handler = contents(stored, (path) => {
      if (path === '/docs/1') stored.set('/docs', 'two');
      return {};
    });
    const { ask } = await join(t, handler, { routes });
    t.equal((await ask('GET', '/docs')).headers.etag, tagOf('/docs'));
    t.equal((await ask(method, '/docs/1', [], 'x')).status, 200);
    const refused = await ask('PUT', '/docs', ['If-Match', tagOf('/docs')], 'mine');
    t.equal(refused.status, 412, method);
    t.equal(refused.headers.etag, tagOf('two'), 'the one that counts');
    t.equal((await ask('PUT', '/docs', ['If-Match', tagOf('two')], 'mine')).status, 200);
  }
});

t.test('a write that is refused, or that was never sent, voids nothing elsewhere (W7)', async (t) => {
  const routes = [{ path: '/docs/:id', policy: { invalidates: ['/docs'], guard: 'required' as const } }];
  const { ask, known } = await join(t, contents(), { routes });
  await ask('GET', '/docs');
  for (const [headers, status] of [
    [['If-Match', stale], 412],
    [[], 428],
    [['If-Match', 'x'], 400],
  ] as const) {
    t.equal((await ask('PUT', '/docs/1', headers, 'x')).status, status);
    t.equal(await known('/docs'), true, `after ${status}`);
  }
});

t.test('while a member is being written, nothing that is read of the collection counts (R3, W8)', async (t) => {
  const stored = new Map<string, string>();
  const others = contents(stored);
  const held = new EventEmitter();
  const handler: Handler = (seen, response, incoming) =>
    seen.url === '/docs/1' ? held.emit('write', response) : others(seen, response, incoming);
  const routes = [{ path: '/docs/:id', policy: { invalidates: ['/docs'] } }];
  const { ask } = await join(t, handler, { routes });
  const arrived = once(held, 'write') as Promise<[ServerResponse]>;
  const writing = ask('PUT', '/docs/1', [], 'x');
  const [response] = await arrived;
  t.equal((await ask('GET', '/docs')).headers.etag, tagOf('/docs'), 'it has not happened yet');
  stored.set('/docs', 'two');
  response.writeHead(204).end();
  t.equal((await writing).status, 204);
  t.equal((await ask('PUT', '/docs', ['If-Match', tagOf('/docs')], 'mine')).status, 412);
});

type NamedRow = { title: string; fields: (port: number) => Fields; writes?: string; base?: string; doubted: boolean };

// biome-ignore format: a table
const namedRows: readonly NamedRow[] = [
  { title: 'a path', fields: () => ({ 'Content-Location': '/docs/9' }), doubted: true },
  { title: 'a relative path', fields: () => ({ 'Content-Location': 'docs/9' }), doubted: true },
  { title: 'relative to where the write went', fields: () => ({ 'Content-Location': '../9?x#y' }), writes: '/docs/a/b', doubted: true },
  { title: 'another spelling', fields: () => ({ 'Content-Location': '/x/../DOCS//%39/' }), doubted: true },
  { title: 'this host', fields: () => ({ 'Content-Location': 'http://api.example/docs/9' }), doubted: true },
  { title: 'the upstream', fields: (port) => ({ 'Content-Location': `http://127.0.0.1:${port}/docs/9` }), doubted: true },
  { title: 'the upstream, as Location', fields: (port) => ({ Location: `http://127.0.0.1:${port}/docs/9` }), doubted: true },
  { title: 'Location beside another Content-Location', fields: () => ({ Location: '/docs/9', 'Content-Location': '/docs/8' }), doubted: true },
  { title: 'Content-Location beside another Location', fields: () => ({ Location: '/docs/8', 'Content-Location': '/docs/9' }), doubted: true },
  { title: 'under the upstream’s base path', fields: () => ({ Location: '/base/docs/9' }), base: '/base', doubted: true },
  { title: 'another host', fields: () => ({ 'Content-Location': 'http://other.example/docs/9' }), doubted: false },
  { title: 'another host that begins like this one', fields: () => ({ 'Content-Location': 'http://api.example.org/docs/9' }), doubted: false },
  { title: 'this host as user information of another', fields: () => ({ 'Content-Location': 'http://api.example@other.example/docs/9' }), doubted: false },
  { title: 'another host without a scheme', fields: () => ({ 'Content-Location': '//other.example/docs/9' }), doubted: false },
  { title: 'another scheme', fields: () => ({ 'Content-Location': 'urn:docs/9' }), doubted: false },
  { title: 'what is no URL', fields: () => ({ 'Content-Location': 'http://[/docs/9' }), doubted: false },
];

t.test('what a successful write’s answer names besides is not known afterwards (W10, W16)', async (t) => {
  for (const { title, fields, writes = '/docs', base = '', doubted } of namedRows) {
    let port = 0;
    const { ask, known, backend } = await join(
      t,
      contents(new Map(), () => fields(port)),
      { base },
    );
    port = backend.port;
    for (const [method, condition] of [
      ['POST', []],
      ['PUT', []],
      ['PATCH', ['If-Match', '*']],
    ] as const) {
      await known('/docs/9');
      t.equal(await known('/docs/9'), true);
      t.equal((await ask(method, writes, ['Host', 'api.example', ...condition], 'x')).status, 200);
      t.equal(await known('/docs/9'), !doubted, `${method}: ${title}`);
    }
  }
});

/** A collection of documents that gives each new one its place; writes to the collection are counted. */
function collection(): Handler {
  const members = new Map<string, string>();
  let writes = 0;
  return ({ method, url, body }, response) => {
    const isList = url === '/docs';
    const found = isList ? `${[...members.keys()]}; ${writes}` : members.get(url);
    if (method === 'POST') {
      members.set('/docs/1', body.toString());
      return response.writeHead(201, { Location: '/docs/1' }).end();
    }
    if (method === 'GET') return response.writeHead(found === undefined ? 404 : 200).end(found);
    if (isList) writes += 1;
    else members.set(url, body.toString());
    return response.writeHead(204).end();
  };
}

t.test('after a POST that creates, both it and the collection are decided anew', async (t) => {
  const { ask } = await join(t, collection());
  const { etag: before = '' } = (await ask('GET', '/docs')).headers;
  t.equal((await ask('GET', '/docs/1')).status, 404, 'known not to be there');
  t.equal((await ask('POST', '/docs', [], 'first')).status, 201);
  t.equal((await ask('PUT', '/docs/1', ['If-None-Match', '*'], 'mine')).status, 412, 'it is there now');
  t.equal((await ask('PUT', '/docs', ['If-Match', before], 'mine')).status, 412, 'it is in the list');
  t.equal((await ask('PUT', '/docs/1', ['If-Match', tagOf('first')], 'second')).status, 204);
  t.equal((await ask('PUT', '/docs/1', ['If-Match', tagOf('first')], 'third')).status, 412);
  const { etag: after = '' } = (await ask('GET', '/docs')).headers;
  t.equal((await ask('PUT', '/docs', ['If-Match', after], 'mine')).status, 204);
});

interface PostRow {
  readonly title: string;
  readonly methods?: readonly string[];
  readonly guard?: 'required';
  readonly method?: string;
  readonly path?: string;
  readonly headers: readonly string[];
  readonly status: number;
}

const named = ['POST'];
const current = tagOf('content');

// biome-ignore format: a table
const postRows: readonly PostRow[] = [
  { title: 'named, the current tag', methods: named, headers: ['If-Match', current], status: 201 },
  { title: 'named, a stale tag', methods: named, headers: ['If-Match', stale], status: 412 },
  { title: 'named, If-None-Match: * where there is something', methods: named, headers: ['If-None-Match', '*'], status: 412 },
  { title: 'named, If-None-Match: * where there is nothing', methods: named, path: '/none', headers: ['If-None-Match', '*'], status: 201 },
  { title: 'named, If-Match: * where there is nothing', methods: named, path: '/none', headers: ['If-Match', '*'], status: 412 },
  { title: 'named and required, no condition', methods: named, guard: 'required', headers: [], status: 428 },
  { title: 'named and required, the current tag', methods: named, guard: 'required', headers: ['If-Match', current], status: 201 },
  { title: 'named, no quotes', methods: named, headers: ['If-Match', 'x'], status: 400 },
  { title: 'not named, but required and with a stale tag', guard: 'required', headers: ['If-Match', stale], status: 412 },
  { title: 'not named, If-None-Match with the current tag', headers: ['If-None-Match', current], status: 412 },
  { title: 'not named and required: a date that is none is no condition', guard: 'required', headers: ['If-Unmodified-Since', 'yesterday'], status: 201 },
  { title: 'another unsafe method with a stale tag', method: 'LOCK', headers: ['If-Match', stale], status: 412 },
  { title: 'PUT that is not named, with a stale tag', methods: named, method: 'PUT', headers: ['If-Match', stale], status: 412 },
  { title: 'PUT that is not named, without a condition', methods: named, guard: 'required', method: 'PUT', headers: [], status: 201 },
];

t.test('conditional POST', async (t) => {
  const handler: Handler = ({ method, url }, response) => {
    const isRead = method === 'GET' || method === 'HEAD';
    if (!isRead) return response.writeHead(201, { Location: '/docs/7' }).end();
    return response.writeHead(url === '/none' ? 404 : 200).end(method === 'GET' ? 'content' : undefined);
  };
  for (const { title, methods, guard = 'optional', method = 'POST', path = '/docs', headers, status } of postRows) {
    await t.test(title, async (t) => {
      const { ask, backend } = await join(t, handler, { policy: { guard, ...(methods && { methods: [...methods] }) } });
      const answer = await ask(method, path, headers, 'x');
      t.equal(answer.status, status, answer.body.toString());
      t.equal(backend.requests.filter((seen) => seen.method === method).length, status === 201 ? 1 : 0);
      // What was created is somewhere else: a tag would be taken for its own (RFC 9110 9.3.3).
      if (status === 201) t.equal(answer.headers.etag, undefined, 'no tag is made for what was created');
    });
  }
});

t.test('the tag of what a POST created is not that of the collection (W9)', async (t) => {
  let version = '"list-1"';
  const { ask } = await join(
    t,
    ({ method }, response) => {
      if (method === 'POST') {
        version = '"list-2"';
        return response.writeHead(201, { Location: '/docs/7', ETag: '"document-1"' }).end();
      }
      response.writeHead(method === 'PUT' ? 204 : 200, { ETag: version });
      return response.end();
    },
    { policy: { validator: { kind: 'upstream' }, methods: ['POST', 'PUT'] } },
  );
  const created = await ask('POST', '/docs', ['If-Match', '"list-1"'], 'x');
  t.equal(created.status, 201);
  t.equal(created.headers.etag, '"document-1"');
  t.equal((await ask('PUT', '/docs', ['If-Match', '"document-1"'], 'x')).status, 412);
  t.equal((await ask('PUT', '/docs', ['If-Match', '"list-1"'], 'x')).status, 412);
  t.equal((await ask('PUT', '/docs', ['If-Match', '"list-2"'], 'x')).status, 204);
});

// biome-ignore format: a list
const patchTypes = [
  'application/json-patch+json', 'application/merge-patch+json', 'application/json', 'application/x-www-form-urlencoded',
  'multipart/form-data; boundary=b', 'text/plain; charset=utf-16', 'no media type', undefined,
];

t.test('PATCH in any language', async (t) => {
  let answers = (content: string): string => content;
  let content = 'content';
  const { ask, backend } = await join(t, ({ method, body }, response) => {
    if (method === 'PATCH') content += body.toString('latin1').length;
    return response.end(method === 'PATCH' ? answers(content) : content);
  });
  for (const type of patchTypes) {
    const fields = type === undefined ? [] : ['Content-Type', type];
    const patch = '\x00[{"op": "remove",\r\n';
    answers = (content) => content;
    const refused = await ask('PATCH', '/docs/1', [...fields, 'If-Match', stale], patch);
    t.equal(refused.status, 412, `${type}`);
    const first = await ask('PATCH', '/docs/1', [...fields, 'If-Match', tagOf(content)], patch);
    t.equal(first.status, 200);
    const seen = backend.requests.findLast(({ method }) => method === 'PATCH');
    t.equal(seen?.body.toString(), patch, 'it arrives as it was sent');
    t.equal(seen?.headers['content-type'], type);
    t.equal(first.headers.etag, tagOf(content), 'the answer is what is stored now');
    answers = () => '{"ok": true}';
    const second = await ask('PATCH', '/docs/1', [...fields, 'If-Match', first.headers.etag ?? ''], patch);
    t.equal(second.status, 200, 'its tag is good for the next one');
    t.equal(second.headers.etag, undefined, 'the answer is something else (W10)');
  }
});

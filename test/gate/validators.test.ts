import zlib from 'node:zlib';
import t, { type Test } from 'tap';
import { type Backend, type Handler, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { type GateSettings, startGate } from '../helpers/gate.js';
import { answering, startRawBackend } from '../helpers/raw.js';

const syntheticForm = /^"im-[\w-]{22}"$/;
const stale = '"im-AAAAAAAAAAAAAAAAAAAAAA"';
/** Valid, but nested further than any canonical form goes. */
const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;

type Content = { readonly body: string | Buffer; readonly fields?: readonly string[] };

interface Scene {
  readonly backend: Backend;
  /** What reads of each path are answered with; writes change nothing. */
  readonly contents: Map<string, Content>;
  readonly logged: readonly Record<string, unknown>[];
  ask(method: string, path: string, headers?: readonly string[]): Promise<Answer>;
}

async function join(t: Test, settings: Omit<GateSettings, 'upstream'>, answers?: Handler): Promise<Scene> {
  const contents = new Map<string, Content>();
  const logged: Record<string, unknown>[] = [];
  const handler: Handler = ({ method, url }, response) => {
    const isRead = method === 'GET' || method === 'HEAD';
    const { body, fields = ['Content-Type', 'application/json'] } = contents.get(url) ?? { body: '' };
    response.writeHead(isRead ? 200 : 204, isRead ? [...fields] : []);
    return response.end(method === 'GET' ? body : undefined);
  };
  const backend = await startBackend(t, answers ?? handler);
  const gate = await startGate(t, { ...settings, upstream: backend.url, onLog: (line) => logged.push(line) });
  const ask: Scene['ask'] = (method, path, headers = []) =>
    request(gate.url + path, { method, headers, ...(method === 'PUT' && { body: '{}' }) });
  return { backend, contents, logged, ask };
}

function problemOf({ body }: Answer): Record<string, unknown> {
  return JSON.parse(body.toString()) as Record<string, unknown>;
}

interface PairRow {
  readonly title: string;
  readonly ignore?: readonly string[];
  readonly one: string | Buffer;
  readonly other: string | Buffer;
  readonly fields?: readonly string[];
  readonly otherFields?: readonly string[];
  readonly same: boolean;
}

const gzip = ['Content-Type', 'application/json', 'Content-Encoding', 'gzip'];
const plain = ['Content-Type', 'text/plain'];

// biome-ignore format: a table
const ignoreRows: readonly PairRow[] = [
  { title: 'one member', ignore: ['/at'], one: '{"a":1,"at":1}', other: '{"a":1,"at":2}', same: true },
  { title: 'beside it', ignore: ['/at'], one: '{"a":1,"at":1}', other: '{"a":2,"at":1}', same: false },
  { title: 'it comes and goes', ignore: ['/at'], one: '{"a":1,"at":1}', other: '{"a":1}', same: true },
  { title: 'it changes its kind', ignore: ['/at'], one: '{"a":1,"at":null}', other: '{"a":1,"at":{"b":[1]}}', same: true },
  { title: 'of that name, elsewhere', ignore: ['/at'], one: '{"a":{"at":1}}', other: '{"a":{"at":2}}', same: false },
  { title: 'another case', ignore: ['/at'], one: '{"At":1}', other: '{"At":2}', same: false },
  { title: 'several, nested', ignore: ['/at', '/meta/by', '/meta/deep/x'], one: '{"at":1,"meta":{"by":1,"deep":{"x":1,"y":2}}}', other: '{"at":2,"meta":{"by":2,"deep":{"x":2,"y":2}}}', same: true },
  { title: 'nested, but its neighbour', ignore: ['/meta/deep/x'], one: '{"meta":{"deep":{"x":1,"y":2}}}', other: '{"meta":{"deep":{"x":1,"y":3}}}', same: false },
  { title: 'all that is in an object is not the object', ignore: ['/meta/at'], one: '{"meta":{"at":1}}', other: '{"meta":[]}', same: false },
  { title: 'one pointer within another', ignore: ['/meta', '/meta/at'], one: '{"meta":{"at":1,"x":1}}', other: '{"meta":2}', same: true },
  { title: 'a place in an array', ignore: ['/list/1/at'], one: '{"list":[{"at":1},{"at":1}]}', other: '{"list":[{"at":1},{"at":2}]}', same: true },
  { title: 'an array at the root', ignore: ['/0/at'], one: '[{"at":1},1]', other: '[{"at":2},1]', same: true },
  { title: 'an element of it', ignore: ['/0'], one: '[1,5]', other: '[2,5]', same: true },
  { title: 'the elements after it', ignore: ['/0'], one: '[1,5]', other: '[1,6]', same: false },
  { title: '~1 is a slash', ignore: ['/a~1b'], one: '{"a/b":1}', other: '{"a/b":2}', same: true },
  { title: '~1 leads to no child', ignore: ['/a~1b'], one: '{"a":{"b":1}}', other: '{"a":{"b":2}}', same: false },
  { title: '~0 is a tilde', ignore: ['/a~0b'], one: '{"a~b":1}', other: '{"a~b":2}', same: true },
  { title: '~01 is no slash', ignore: ['/a~01b'], one: '{"a/b":1}', other: '{"a/b":2}', same: false },
  { title: 'a name that JSON escapes', ignore: ['/é"'], one: String.raw`{"\u00e9\"":1}`, other: '{"é\\"":2}', same: true },
  { title: '__proto__', ignore: ['/__proto__'], one: '{"__proto__":1}', other: '{"__proto__":2}', same: true },
  { title: '__proto__ that is not ignored', ignore: ['/at'], one: '{"__proto__":{"a":1}}', other: '{"__proto__":{"a":2}}', same: false },
  { title: 'absent pointers', ignore: ['/x', '/a/b/c', '/9'], one: '{"a":1}', other: '{"a":1 }', same: true },
  { title: '1 and 1.0', ignore: ['/x'], one: '{"a":1}', other: '{"a":1.0}', same: true },
  { title: '100 and 1e2', ignore: ['/x'], one: '[100]', other: '[1E+2]', same: true },
  { title: '1 and "1"', ignore: ['/x'], one: '{"a":1}', other: '{"a":"1"}', same: false },
  { title: 'integers that a double makes equal', ignore: ['/x'], one: '{"a":9007199254740993}', other: '{"a":9007199254740992}', same: false },
  { title: 'the order of members, white space', ignore: ['/x'], one: '{"a":1,"b":2}', other: ' {\n"b" : 2,\t"a":1}\r\n', same: true },
  { title: 'the order of elements', ignore: ['/x'], one: '[1,2]', other: '[2,1]', same: false },
  { title: 'escapes', ignore: ['/x'], one: String.raw`{"\u0061":"\u00e9\/"}`, other: '{"a":"é/"}', same: true },
  { title: 'composed and decomposed letters are two', ignore: ['/x'], one: '["\u00e9"]', other: '["e\u0301"]', same: false },
  { title: 'absent and null are two', ignore: ['/x'], one: '{"a":null}', other: '{}', same: false },
  { title: 'a duplicate that differs', ignore: ['/x'], one: '{"a":1,"a":2}', other: '{"a":1,"a":3}', same: false },
  { title: 'duplicates of what is ignored', ignore: ['/at'], one: '{"at":1,"at":2}', other: '{"at":3}', same: true },
  { title: 'no JSON: ignored members of it count', ignore: ['/at'], one: '{"at":1,}', other: '{"at":2,}', same: false },
  { title: 'no JSON: white space counts', ignore: ['/at'], one: '{a:1}', other: '{a: 1}', same: false },
  { title: 'no JSON and JSON', ignore: ['/at'], one: '{"at":1}', other: '{"at":1', same: false },
  { title: 'too deep', ignore: ['/at'], one: deep, other: `${deep} `, same: false },
  { title: 'nothing and null', ignore: ['/at'], one: '', other: 'null', same: false },
  { title: 'nothing twice', ignore: ['/at'], one: '', other: '', same: true },
  { title: 'text is as it is', ignore: ['/at'], one: 'at 1', other: 'at 2', fields: plain, same: false },
  { title: 'a media type of JSON’s kind', ignore: ['/at'], one: '{"at":1}', other: '{"at":2}', fields: ['Content-Type', 'Application/Problem+JSON; charset=utf-8'], same: true },
  { title: 'two codings, ignored', ignore: ['/at'], one: zlib.gzipSync('{"a":1,"at":1}'), other: zlib.gzipSync('{"a":1,"at":2}'), fields: gzip, same: true },
  { title: 'two codings, changed', ignore: ['/at'], one: zlib.gzipSync('{"a":1}'), other: zlib.gzipSync('{"a":2}'), fields: gzip, same: false },
  { title: 'compressed in another way', ignore: ['/at'], one: zlib.gzipSync('{"at":1}'), other: zlib.gzipSync('{"at":1}', { level: 0 }), fields: gzip, same: true },
];

type PolicyOf = (row: PairRow) => NonNullable<GateSettings['policy']>;

async function compare(t: Test, rows: readonly PairRow[], policyOf: PolicyOf): Promise<void> {
  const routes = rows.map((row, index) => ({ path: `/${index}`, policy: policyOf(row) }));
  const { ask, contents } = await join(t, { routes });
  for (const [index, { title, one, other, fields, otherFields, same }] of rows.entries()) {
    const path = `/${index}`;
    contents.set(path, { body: one, ...(fields && { fields }) });
    const { etag = '' } = (await ask('GET', path)).headers;
    t.match(etag, fields?.includes('gzip') ? /-gzip"$/ : syntheticForm, title);
    t.equal((await ask('HEAD', path)).headers.etag, etag, `${title}: HEAD`);
    t.equal((await ask('GET', path, ['If-None-Match', etag])).status, 304, `${title}: 304`);
    contents.set(path, { body: other, ...((otherFields ?? fields) && { fields: otherFields ?? fields ?? [] }) });
    t.equal((await ask('PUT', path, ['If-Match', etag])).status, same ? 204 : 412, `${title}: a write`);
    const after = await ask('GET', path, ['If-None-Match', etag]);
    t.equal(after.status, same ? 304 : 200, `${title}: a read`);
    if (same) t.equal(after.headers.etag, etag, title);
    else t.not(after.headers.etag, etag, title);
  }
}

t.test('what is the same content where members are ignored (V3)', async (t) => {
  await compare(t, ignoreRows, ({ ignore = [] }) => ({ ignore: [...ignore] }));
});

const json = { validator: { kind: 'json', pointer: '/version' } } as const;
const field = { validator: { kind: 'header', name: 'x-revision' } } as const;

function revision(value: string): readonly string[] {
  return ['X-Revision', Buffer.from(value).toString('latin1'), 'ETag', '"n"'];
}

// biome-ignore format: a table
const jsonRows: readonly PairRow[] = [
  { title: 'all else changes', one: '{"version":7,"a":1}', other: '{"a":[2], "version" : 7}', same: true },
  { title: 'it alone changes', one: '{"version":7}', other: '{"version":8}', same: false },
  { title: 'a number and a string', one: '{"version":7}', other: '{"version":"7"}', same: false },
  { title: 'a number in another spelling', one: '{"version":100}', other: '{"version":1.0e2}', same: true },
  { title: 'numbers beyond doubles', one: '{"version":1700000000123456789}', other: '{"version":1700000000123456788}', same: false },
  { title: 'strings with quotes and backslashes', one: String.raw`{"version":"a\"b"}`, other: String.raw`{"version":"a\\\"b"}`, same: false },
  { title: 'a string in another spelling', one: String.raw`{"version":"\u0061\"é"}`, other: '{"version":"a\\"é"}', same: true },
  { title: 'the empty string and a space', one: '{"version":""}', other: '{"version":" "}', same: false },
  { title: 'false and 0', one: '{"version":false}', other: '{"version":0}', same: false },
  { title: 'false and true', one: '{"version":false}', other: '{"version":true}', same: false },
  { title: 'an object, its members in another order', one: '{"version":{"a":1,"b":2}}', other: '{"version":{"b":2,"a":1}}', same: true },
  { title: 'an array in another order', one: '{"version":[1,2]}', other: '{"version":[2,1]}', same: false },
  { title: 'the last of two', one: '{"version":1,"version":7}', other: '{"version":2,"version":7}', same: true },
  { title: 'a version further in is none of it', one: '{"version":7,"a":{"version":1}}', other: '{"version":7,"a":{"version":2}}', same: true },
  { title: 'beside what is too deep', one: `{"version":7,"a":${deep}}`, other: '{"version":7}', same: true },
  { title: 'compressed', one: zlib.gzipSync('{"version":7,"a":1}'), other: zlib.gzipSync('{"version":8,"a":1}'), fields: gzip, same: false },
  { title: 'the upstream’s own tag is none', one: '{"version":7}', other: '{"version":7}', fields: ['ETag', '"1"'], otherFields: ['ETag', '"2"'], same: true },
];

// biome-ignore format: a table
const fieldRows: readonly PairRow[] = [
  { title: 'all else changes', one: 'a', other: 'b', fields: revision('7'), same: true },
  { title: 'it alone changes', one: 'a', other: 'a', fields: revision('7'), otherFields: revision('8'), same: false },
  { title: 'digits are no number', one: 'a', other: 'a', fields: revision('7'), otherFields: revision('7.0'), same: false },
  { title: 'case counts', one: 'a', other: 'a', fields: revision('a'), otherFields: revision('A'), same: false },
  { title: 'quotes count', one: 'a', other: 'a', fields: revision('"7"'), otherFields: revision('7'), same: false },
  { title: 'letters beyond ASCII', one: 'a', other: 'a', fields: revision('é'), otherFields: revision('è'), same: false },
  { title: 'another spelling of its name', one: 'a', other: 'b', fields: revision('7'), otherFields: ['x-rEVISION', '7'], same: true },
  { title: 'two lines, of which the second changes', one: 'a', other: 'a', fields: [...revision('7'), ...revision('8')], otherFields: [...revision('7'), ...revision('9')], same: false },
  { title: 'two lines, of which the first changes', one: 'a', other: 'a', fields: [...revision('7'), ...revision('8')], otherFields: [...revision('6'), ...revision('8')], same: false },
];

// biome-ignore format: a table
const spaced: readonly (readonly [line: string, matches: boolean])[] = [
  ['"n"', true], [' "n"', true], ['\t "n"', true], [' "n" ', true], [' "n"\t', true], [' "n" \t ', true], [' "n" x', false],
];

t.test('white space around a field’s value is no part of it (RFC 9110 5.5)', async (t) => {
  const tags = new Set<string>();
  for (const [line, matches] of spaced) {
    const bytes = `HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag:${line}\r\nX-Revision:${line}\r\n\r\n`;
    const { url } = await startRawBackend(t, answering(bytes));
    const gates = await Promise.all([{}, field].map((policy) => startGate(t, { upstream: url, policy })));
    const [native, byField] = gates.map((gate) => `${gate.url}/x`);
    const write = await request(native ?? '', { method: 'PUT', headers: { 'If-Match': '"n"' }, body: 'x' });
    t.equal(write.status, matches ? 200 : 412, `ETag:${JSON.stringify(line)}`);
    const { etag = '' } = (await request(byField ?? '')).headers;
    t.match(etag, syntheticForm);
    if (matches) tags.add(etag);
  }
  t.equal(tags.size, 1, 'one value, one version');
});

t.test('a member is the version (V1)', (t) => compare(t, jsonRows, () => json));
t.test('a field is the version (V1)', (t) => compare(t, fieldRows, () => field));

// biome-ignore format: a table
const withoutVersion: readonly (readonly [title: string, policy: typeof json | typeof field, body: string | Buffer, fields?: readonly string[]])[] = [
  ['no member', json, '{"a":1}'],
  ['null', json, '{"version":null}'],
  ['an array at the root', json, '[7]'],
  ['no JSON', json, 'version 7', plain],
  ['broken JSON', json, '{"version":7'],
  ['nothing', json, ''],
  ['no gzip', json, '{"version":7}', gzip],
  ['no field', field, 'content', ['ETag', '"n"']],
];

t.test('where the version should be there is none (V1, W5)', async (t) => {
  for (const [title, policy, body, fields] of withoutVersion) {
    await t.test(`${policy.validator.kind}: ${title}`, async (t) => {
      const { ask, contents, backend } = await join(t, { policy });
      contents.set('/x', { body, ...(fields && { fields }) });
      for (const headers of [[], ['If-None-Match', '"n"'], ['If-None-Match', stale]]) {
        for (const method of ['GET', 'HEAD']) {
          const answer = await ask(method, '/x', headers);
          t.equal(answer.status, 200, `${method} ${headers}`);
          t.equal(answer.headers.etag, undefined, 'no tag that no write can name');
          t.equal(answer.body.length, method === 'GET' ? Buffer.byteLength(body) : 0);
        }
      }
      for (const condition of ['If-Match', 'If-None-Match']) {
        const answer = await ask('PUT', '/x', [condition, `"m", ${stale}`]);
        t.equal(answer.status, 502, condition);
        t.equal(problemOf(answer).type, 'urn:problem-type:ifmatch:version-unknown');
      }
      t.equal((await ask('PUT', '/x', ['If-None-Match', '*'])).status, 412, 'it is there');
      t.notOk(backend.requests.some(({ method }) => method === 'PUT'));
      t.equal((await ask('PUT', '/x', ['If-Match', '*'])).status, 204, 'that needs no version');
      t.equal((await ask('PUT', '/x')).status, 204, 'nor does this');
    });
  }
});

t.test('each route has its own idea of a version', async (t) => {
  const { ask, contents } = await join(t, {
    routes: [
      { path: '/json', policy: json },
      { path: '/field', policy: field },
      { path: '/body', policy: { validator: { kind: 'body' } } },
      { path: '/ignore', policy: { validator: { kind: 'body' }, ignore: ['/a', '/b'] } },
      { path: '/upstream', policy: { validator: { kind: 'upstream' } } },
    ],
  });
  const paths = ['/json', '/field', '/body', '/ignore', '/upstream'];
  const put = (body: string, revision: string, etag: string): void => {
    for (const path of paths) contents.set(path, { body, fields: ['X-Revision', revision, 'ETag', etag] });
  };
  const tags = (): Promise<(string | undefined)[]> =>
    Promise.all(paths.map(async (path) => (await ask('GET', path)).headers.etag));
  put('{ "version":1}', 'a', '"n"');
  const before = await tags();
  t.equal(new Set(before).size, paths.length, 'no two are alike');
  const changes: readonly [body: string, revision: string, etag: string, changed: readonly string[]][] = [
    ['{"version":1, "a":2}', 'a', '"n"', ['/body']],
    ['{ "version":1}', 'b', '"n"', ['/field']],
    ['{ "version":1}', 'a', '"m"', ['/upstream']],
    ['{"version":2}', 'a', '"n"', ['/json', '/body', '/ignore']],
    ['{ "version":1}', 'a', '"n"', []],
  ];
  for (const [body, revision, etag, changed] of changes) {
    put(body, revision, etag);
    const now = await tags();
    for (const [index, path] of paths.entries()) {
      t.equal(now[index] !== before[index], changed.includes(path), `${path} with ${body} ${revision} ${etag}`);
      const write = await ask('PUT', path, ['If-Match', before[index] ?? '']);
      t.equal(write.status, changed.includes(path) ? 412 : 204, `a write to ${path}`);
      if (write.status !== 412) continue;
      t.equal(write.headers['content-type'], 'application/problem+json', `${path}: nobody asked for the content (A2)`);
    }
  }
});

t.test('noise: the 412 says what to do, until it is done (V9)', async (t) => {
  let nonce = 0;
  const handler: Handler = ({ method }, response) =>
    response.end(method === 'PUT' ? '' : `{"a":1,"meta":{"at":1,"nonce":${++nonce}}}`);
  const routes = [
    { path: '/wrong/:id', policy: { ignore: ['/meta/at'] } },
    { path: '/right/:id', policy: { ignore: ['/meta/nonce', '/meta/at'] } },
  ];
  const { ask, logged } = await join(t, { routes }, handler);
  for (const path of ['/none/1', '/none/2', '/wrong/1']) {
    const { etag = '' } = (await ask('GET', path)).headers;
    t.not((await ask('GET', path)).headers.etag, etag);
    const refused = await ask('PUT', path, ['If-Match', etag]);
    t.equal(refused.status, 412, path);
    t.match(problemOf(refused).next, /ignore/, path);
  }
  const unstable = logged.filter(({ msg }) => /ignore/.test(String(msg)));
  t.equal(unstable.length, 2, 'once for each route');
  const { etag = '' } = (await ask('GET', '/right/1')).headers;
  t.equal((await ask('PUT', '/right/1', ['If-Match', etag])).status, 200);
  t.equal((await ask('GET', '/right/1')).headers.etag, etag);
});

t.test('what a write has changed is no noise (V9)', async (t) => {
  let content = 'one';
  const { ask, logged } = await join(t, {}, ({ method, body }, response) => {
    if (method === 'PUT') content += body.toString();
    return response.end(method === 'PUT' ? '' : content);
  });
  const { etag = '' } = (await ask('GET', '/x')).headers;
  t.equal((await ask('PUT', '/x', ['If-Match', etag])).status, 200);
  const refused = await ask('PUT', '/x', ['If-Match', etag]);
  t.equal(refused.status, 412);
  t.notMatch(problemOf(refused).next, /ignore/);
  t.notOk(logged.some(({ msg }) => /ignore/.test(String(msg))));
});

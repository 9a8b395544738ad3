import { once } from 'node:events';
import { request as httpRequest, type OutgoingHttpHeaders } from 'node:http';
import t from 'tap';
import { startDemoBackend } from '../../src/demo/backend.js';

interface Row {
  readonly title: string;
  readonly method: string;
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer;
  readonly status: number;
  /** The whole body, or what it must contain. */
  readonly expect?: string | RegExp;
  readonly answerHeaders?: Readonly<Record<string, string>>;
}

const json = { 'Content-Type': 'application/json' };
const patch = { 'Content-Type': 'application/merge-patch+json' };
const lunch = '{"id":"1","title":"Lunch","text":"soup"}';

/** Run in this order against one backend: later rows see what earlier ones wrote. */
// biome-ignore format: a table
const rows: readonly Row[] = [
  { title: 'documents 1 to 3 exist', method: 'GET', path: '/docs', status: 200, expect: /^\[\{"id":"1",.*"id":"3",.*\}\]$/s },
  { title: 'a document', method: 'GET', path: '/docs/1', status: 200, expect: /^\{"id":"1","title":"Menu/ },
  { title: 'the query changes nothing', method: 'GET', path: '/docs/1?x=1', status: 200, expect: /"Menu/ },
  { title: 'HEAD has no body', method: 'HEAD', path: '/docs/1', status: 200, expect: '' },
  { title: 'HEAD of nothing', method: 'HEAD', path: '/docs/9', status: 404, expect: '' },
  { title: 'no such document', method: 'GET', path: '/docs/9', status: 404, expect: '{"error":"There is no document 9."}' },
  { title: 'no such path', method: 'GET', path: '/nothing', status: 404, expect: /"There is nothing at \/nothing\."/ },
  { title: 'a trailing slash is another path', method: 'GET', path: '/docs/', status: 404 },
  { title: 'a path below a document', method: 'GET', path: '/docs/1/x', status: 404 },
  { title: 'an escaped id', method: 'GET', path: '/docs/%31', status: 404 },

  { title: 'PUT answers with the document', method: 'PUT', path: '/docs/1', headers: json, body: lunch, status: 200, expect: lunch },
  { title: 'it is there', method: 'GET', path: '/docs/1', status: 200, expect: lunch },
  { title: 'white space is kept', method: 'PUT', path: '/docs/1', headers: json, body: '{ "a" : 1.0 }\n', status: 200, expect: '{ "a" : 1.0 }\n' },
  { title: 'byte for byte', method: 'GET', path: '/docs/1', status: 200, expect: '{ "a" : 1.0 }\n', answerHeaders: { 'content-length': '14' } },
  { title: 'a charset parameter', method: 'PUT', path: '/docs/1', headers: { 'Content-Type': 'Application/JSON; charset=utf-8' }, body: '{"ü":"€"}', status: 200, expect: '{"ü":"€"}' },
  { title: 'PUT creates', method: 'PUT', path: '/docs/new-one', headers: json, body: '{}', status: 201, expect: '{}' },
  { title: 'PUT without a body', method: 'PUT', path: '/docs/1', headers: json, status: 400, expect: /"The body is not JSON/ },
  { title: 'PUT of half an object', method: 'PUT', path: '/docs/1', headers: json, body: '{"a":', status: 400, expect: /"The body is not JSON/ },
  { title: 'PUT of an array', method: 'PUT', path: '/docs/1', headers: json, body: '[]', status: 400, expect: /must be a JSON object/ },
  { title: 'PUT of null', method: 'PUT', path: '/docs/1', headers: json, body: 'null', status: 400, expect: /must be a JSON object/ },
  { title: 'PUT of bad UTF-8', method: 'PUT', path: '/docs/1', headers: json, body: Buffer.from([0x7b, 0xff, 0x7d]), status: 400, expect: /not UTF-8/ },
  { title: 'PUT with a byte order mark', method: 'PUT', path: '/docs/1', headers: json, body: '\ufeff{}', status: 400 },
  { title: 'PUT too deep', method: 'PUT', path: '/docs/1', headers: json, body: `{"a":${'['.repeat(9e4)}${']'.repeat(9e4)}}`, status: 400, expect: /nested/ },
  { title: 'PUT without a type', method: 'PUT', path: '/docs/1', body: '{}', status: 415, expect: /must be application\/json\./ },
  { title: 'PUT of a form', method: 'PUT', path: '/docs/1', headers: { 'Content-Type': 'application/x-www-form-urlencoded' }, body: 'a=1', status: 415 },
  { title: 'PUT of a merge patch', method: 'PUT', path: '/docs/1', headers: patch, body: '{}', status: 415 },
  { title: 'PUT with a coding', method: 'PUT', path: '/docs/1', headers: { ...json, 'Content-Encoding': 'gzip' }, body: '{}', status: 415, expect: /Content-Encoding/ },
  { title: 'PUT too long', method: 'PUT', path: '/docs/1', headers: json, body: `{"a":"${'x'.repeat(1024 * 1024)}"}`, status: 413, expect: /longer than 1048576 bytes/ },
  { title: 'PUT just short enough', method: 'PUT', path: '/docs/2', headers: json, body: `{"a":"${'x'.repeat(1024 * 1024 - 8)}"}`, status: 200 },
  { title: 'refused ones changed nothing', method: 'GET', path: '/docs/1', status: 200, expect: '{"ü":"€"}' },

  { title: 'PUT something to patch', method: 'PUT', path: '/docs/2', headers: json, body: '{"a":{"b":1,"c":2},"d":[1]}', status: 200 },
  { title: 'PATCH merges, removes, replaces', method: 'PATCH', path: '/docs/2', headers: patch, body: '{"a":{"b":null,"e":{"f":null,"g":3}},"d":{"h":4}}', status: 200, expect: '{"a":{"c":2,"e":{"g":3}},"d":{"h":4}}' },
  { title: 'PATCH as plain JSON', method: 'PATCH', path: '/docs/2', headers: json, body: '{"a":1}', status: 200, expect: '{"a":1,"d":{"h":4}}' },
  { title: 'PATCH with an unkind name', method: 'PATCH', path: '/docs/2', headers: patch, body: '{"__proto__":{"x":1},"a":null}', status: 200, expect: '{"d":{"h":4},"__proto__":{"x":1}}' },
  { title: 'PATCH is stored', method: 'GET', path: '/docs/2', status: 200, expect: '{"d":{"h":4},"__proto__":{"x":1}}' },
  { title: 'PATCH of nothing', method: 'PATCH', path: '/docs/9', headers: patch, body: '{}', status: 404 },
  { title: 'PATCH with an array', method: 'PATCH', path: '/docs/2', headers: patch, body: '[]', status: 400 },
  { title: 'PATCH with a JSON Patch', method: 'PATCH', path: '/docs/2', headers: { 'Content-Type': 'application/json-patch+json' }, body: '[]', status: 415 },

  { title: 'POST', method: 'POST', path: '/docs', headers: json, body: '{"title":"x","id":"1"}', status: 201, expect: '{"id":"4","title":"x"}', answerHeaders: { location: '/docs/4' } },
  { title: 'what was posted', method: 'GET', path: '/docs/4', status: 200, expect: '{"id":"4","title":"x"}' },
  { title: 'PUT takes the next id', method: 'PUT', path: '/docs/5', headers: json, body: '{}', status: 201 },
  { title: 'POST goes around it', method: 'POST', path: '/docs', headers: json, body: '{}', status: 201, expect: '{"id":"6"}', answerHeaders: { location: '/docs/6' } },
  { title: 'POST of no object', method: 'POST', path: '/docs', headers: json, body: '1', status: 400 },
  { title: 'POST of text', method: 'POST', path: '/docs', headers: { 'Content-Type': 'text/plain' }, body: '{}', status: 415 },

  { title: 'DELETE', method: 'DELETE', path: '/docs/3', status: 204, expect: '' },
  { title: 'DELETE again', method: 'DELETE', path: '/docs/3', status: 404 },
  { title: 'it is gone', method: 'GET', path: '/docs/3', status: 404 },
  { title: 'the list', method: 'GET', path: '/docs', status: 200, expect: '[{"ü":"€"},{"d":{"h":4},"__proto__":{"x":1}},{},{"id":"4","title":"x"},{},{"id":"6"}]' },

  { title: 'POST to a document', method: 'POST', path: '/docs/1', headers: json, body: '{}', status: 405, answerHeaders: { allow: 'GET, HEAD, PUT, PATCH, DELETE' } },
  { title: 'DELETE of the list', method: 'DELETE', path: '/docs', status: 405, answerHeaders: { allow: 'GET, HEAD, POST' } },
  { title: 'OPTIONS', method: 'OPTIONS', path: '/docs/1', status: 405 },
  { title: 'PUT of the page', method: 'PUT', path: '/', headers: json, body: '{}', status: 405, answerHeaders: { allow: 'GET, HEAD' } },

  { title: 'a precondition that fails is ignored', method: 'PUT', path: '/docs/1', headers: { ...json, 'If-Match': '"stale"', 'If-Unmodified-Since': 'Mon, 01 Jan 1990 00:00:00 GMT' }, body: lunch, status: 200, expect: lunch },
  { title: 'and one of a read', method: 'GET', path: '/docs/1', headers: { 'If-None-Match': '*', Range: 'bytes=0-1' }, status: 200, expect: lunch },
];

/** One exchange with node:http, which sends exactly the given fields. */
async function exchange(url: string, { method, path, headers = {}, body }: Row) {
  const length = body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) };
  const sent = httpRequest(new URL(path, url), { method, path, headers: { ...headers, ...length }, agent: false });
  sent.end(body);
  const [response] = await once(sent, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk);
  return { status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks).toString() };
}

t.test('the API, in order', async (t) => {
  const backend = await startDemoBackend();
  t.teardown(() => backend.close());
  for (const row of rows) {
    const answer = await exchange(backend.url, row);
    t.equal(answer.status, row.status, `${row.title}: ${row.method} ${row.path} is ${row.status}`);
    if (typeof row.expect === 'string') t.equal(answer.body, row.expect, `${row.title}: body`);
    else if (row.expect) t.match(answer.body, row.expect, `${row.title}: body`);
    if (row.status >= 400 && row.method !== 'HEAD')
      t.type(JSON.parse(answer.body).error, 'string', `${row.title}: error`);
    for (const [name, value] of Object.entries(row.answerHeaders ?? {}))
      t.equal(answer.headers[name], value, row.title);
    for (const name of ['etag', 'last-modified']) t.notOk(answer.headers[name], `${row.title}: no ${name}`);
    if (row.status !== 204) t.equal(answer.headers['content-type']?.split(';')[0], 'application/json', row.title);
  }
});

t.test('HEAD says the length of GET', async (t) => {
  const backend = await startDemoBackend();
  t.teardown(() => backend.close());
  const get = await fetch(`${backend.url}/docs/1`);
  const head = await fetch(`${backend.url}/docs/1`, { method: 'HEAD' });
  t.equal(head.headers.get('content-length'), String((await get.arrayBuffer()).byteLength));
});

t.test('two backends begin with the same documents and share nothing', async (t) => {
  const [one, other] = await Promise.all([startDemoBackend(), startDemoBackend()]);
  t.teardown(() => Promise.all([one.close(), other.close()]));
  const list = await (await fetch(`${one.url}/docs`)).text();
  t.equal(await (await fetch(`${other.url}/docs`)).text(), list);
  await fetch(`${one.url}/docs/1`, { method: 'DELETE' });
  t.equal(await (await fetch(`${other.url}/docs`)).text(), list);
});

t.test('a client that goes away in its body does no harm', async (t) => {
  const backend = await startDemoBackend();
  t.teardown(() => backend.close());
  const sent = httpRequest(`${backend.url}/docs/1`, {
    method: 'PUT',
    headers: { ...json, 'Content-Length': 100, Expect: '100-continue' },
  });
  sent.on('error', () => {});
  sent.flushHeaders();
  await once(sent, 'continue');
  sent.write('{"half":');
  sent.destroy();
  const answer = await fetch(`${backend.url}/docs/1`);
  t.match(await answer.text(), /"Menu of the week"/);
});

t.test('close ends idle connections and may come twice; a port in use is an error', async (t) => {
  const backend = await startDemoBackend({ host: '127.0.0.1', port: 0 });
  await (await fetch(`${backend.url}/docs`)).text();
  await t.rejects(startDemoBackend({ port: Number(new URL(backend.url).port) }), { code: 'EADDRINUSE' });
  await backend.close();
  await backend.close();
  await t.rejects(fetch(backend.url));
});

t.test('the editor page brings all that it needs', async (t) => {
  const backend = await startDemoBackend();
  t.teardown(() => backend.close());
  const page = await fetch(`${backend.url}/`);
  t.equal(page.status, 200);
  t.equal(page.headers.get('content-type'), 'text/html; charset=utf-8');
  t.match(page.headers.get('content-security-policy'), /default-src 'self'/);
  const html = await page.text();
  const namesOtherPlace = /(?:src|href|url|import|fetch)\W{1,3}https?:/;
  const types = {
    'editor.css': 'text/css; charset=utf-8',
    'editor.js': 'text/javascript; charset=utf-8',
    'icon.svg': 'image/svg+xml',
  };
  const resources = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1]);
  t.strictSame(resources.sort(), Object.keys(types));
  for (const [name, type] of Object.entries(types)) {
    const file = await fetch(new URL(name, `${backend.url}/`));
    t.equal(file.status, 200, name);
    t.equal(file.headers.get('content-type'), type, name);
    t.notMatch(await file.text(), namesOtherPlace, `${name} names no other place`);
  }
  t.notMatch(html, namesOtherPlace, 'the page names no other place');
});

import t from 'tap';
import { documents, startBackend } from '../helpers/backend.js';
import { rawRequest, request } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';
import { rawClient } from '../helpers/raw.js';

const forwarded: readonly { target: string; arrives?: string; host?: string; why: string }[] = [
  { target: '/', why: 'the root' },
  { target: '//x', why: 'an empty first segment is no authority' },
  { target: '//evil.example/x', why: 'nor is a host name in it' },
  { target: '///', why: 'nothing but slashes' },
  { target: '/a/../b', why: 'dot segments are the backend’s to resolve' },
  { target: '/a/./b', why: 'single dots stay' },
  { target: '/a/%2e/b', why: 'encoded dots stay encoded' },
  { target: '/a/..b', why: 'dots inside a name' },
  { target: '/a%2Fb', why: 'an encoded slash' },
  { target: '/a%2fb', why: 'in lower case hex' },
  { target: '/a+b?x=%20&y=+', why: 'plus and space' },
  { target: '/a?', why: 'an empty query' },
  { target: '/a??b=?', why: 'question marks in the query' },
  { target: '/?', why: 'an empty query of the root' },
  { target: '/%zz%', why: 'what is no percent-encoding' },
  { target: '/;v=1/b;c', why: 'path parameters' },
  { target: '/a|b"<>`{}^', why: 'characters that a URL must not have, but clients send' },
  { target: "/a!$&'()*+,;=:@b", why: 'all sub-delims' },
  { target: '/%C3%BC?q=%c3%bc', why: 'encoded UTF-8, hex case as it is' },
  { target: '/:80', why: 'a colon' },
  { target: '/http://other.example/', why: 'a URL in the path' },
  { target: '/x?url=http://other.example/../y', why: 'dot segments in the query' },
  { target: `/${'long/'.repeat(3000)}`, why: 'fifteen thousand octets' },
  { target: 'http://api.example/x?y', arrives: '/x?y', host: 'api.example', why: 'absolute-form' },
  { target: 'http://api.example', arrives: '/', host: 'api.example', why: 'absolute-form without a path' },
  { target: 'http://api.example:81?q', arrives: '/?q', host: 'api.example:81', why: 'absolute-form, port and query' },
  { target: 'HTTPS://API.example//a/../b', arrives: '//a/../b', host: 'API.example', why: 'absolute-form, as it is' },
];

t.test('request-targets arrive byte for byte (I3)', async (t) => {
  const backend = await startBackend(t, (_, response) => response.end('ok'));
  const gate = await startGate(t, { upstream: backend.url });
  for (const method of ['GET', 'PUT', 'POST', 'OPTIONS', 'DELETE']) {
    for (const { target, arrives, host, why } of forwarded) {
      const before = backend.requests.length;
      const head = `${method} ${target} HTTP/1.1\r\nHost: client.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
      const answer = await rawRequest(gate.port, head);
      t.match(answer, /^HTTP\/1\.1 200 OK\r\n/, `${method}: ${why}`);
      t.equal(backend.requests.length, before + 1, 'forwarded once');
      // A URL without a path is the server's to OPTIONS (RFC 9112 3.2.4).
      const isServer = method === 'OPTIONS' && target === 'http://api.example';
      t.equal(backend.requests.at(-1)?.url, isServer ? '*' : (arrives ?? target), why);
      t.equal(backend.requests.at(-1)?.method, method);
      t.equal(backend.requests.at(-1)?.headers.host, host ?? 'client.example', 'Host');
    }
  }
});

for (const [base, target, arrives] of [
  ['/api', '/x?y', '/api/x?y'],
  ['/api/', '/x', '/api/x'],
  ['/api/v1', '/', '/api/v1/'],
  ['/api', '//x', '/api//x'],
  ['/api', '/a/../b', '/api/a/../b'],
  ['/a%20b', '/x', '/a%20b/x'],
] as const) {
  t.test(`base path ${base} before ${target}`, async (t) => {
    const backend = await startBackend(t, (_, response) => response.end());
    const gate = await startGate(t, { upstream: backend.url + base });
    await rawRequest(gate.port, `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    t.equal(backend.requests[0]?.url, arrives);
  });
}

const refused: readonly [target: string, why: string][] = [
  ['/x#frag', 'a fragment'],
  ['/x?y#frag', 'a fragment behind a query'],
  ['/a\\b', 'a backslash'],
  ['/a?b=\\', 'a backslash in the query'],
  ['/a/.;/b', 'a dot segment with a parameter'],
  ['/a/..;v=1/b', 'a double one'],
  ['/a/%2e%2e;/b', 'the same, encoded'],
  ['/a/..%3bx/b', 'an encoded semicolon'],
  ['/..', 'climbs above the root'],
  ['/a/../../b', 'climbs above the root on the way'],
  ['/%2e%2e/b', 'climbs, encoded'],
  ['/a/..%2f../b', 'climbs with an encoded slash'],
  ['/a%00b', 'an encoded NUL'],
  ['/a%0d%0ab', 'an encoded line break'],
  ['ftp://api.example/x', 'a scheme that is not HTTP'],
  ['http://user@api.example/x', 'user information'],
  ['http:///x', 'no host'],
];

t.test('a target that two parsers could read differently is refused, with nothing forwarded (I6)', async (t) => {
  const backend = await startBackend(t, (_, response) => response.end());
  const gate = await startGate(t, { upstream: backend.url });
  const off = await startGate(t, { upstream: backend.url, policy: { guard: 'off' } });
  const report = await startGate(t, { upstream: backend.url, policy: { mode: 'report' } });
  for (const { port } of [gate, off, report]) {
    for (const method of ['GET', 'PUT', 'POST']) {
      for (const [target, why] of refused) {
        const head = `${method} ${target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx`;
        const answer = await rawRequest(port, head);
        t.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/, `${method} with ${why}`);
        t.match(answer, /\r\nContent-Type: application\/problem\+json\r\n/);
        t.match(answer, /\r\nProxy-Status: ifmatch; error=http_request_error; details="/);
        t.match(answer, /\r\nX-Request-Id: [0-9a-f-]{36}\r\n/);
      }
    }
  }
  t.same(backend.requests, [], 'nothing forwarded');
});

const get = 'GET /x HTTP/1.1\r\nHost: a\r\n';
const put = 'PUT /x HTTP/1.1\r\nHost: a\r\n';

const unparsable: readonly [bytes: string, why: string][] = [
  [`${put}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 'Content-Length and Transfer-Encoding'],
  [`${put}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n`, 'the same, the other way round'],
  [`${put}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc`, 'two equal Content-Length fields'],
  [`${put}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd`, 'two different Content-Length fields'],
  [`${put}Content-Length: 3, 3\r\n\r\nabc`, 'a list of lengths'],
  [`${put}Content-Length: +3\r\n\r\nabc`, 'a sign before the length'],
  [`${put}Content-Length: 0x3\r\n\r\nabc`, 'a hexadecimal length'],
  [`${put}Content-Length: -1\r\n\r\n`, 'a negative length'],
  [`${put}Content-Length: \r\n\r\n`, 'an empty length'],
  [`${put}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`, 'chunked, but not last'],
  [`${put}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, 'an unknown transfer coding'],
  [`${put}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n`, 'a space before the colon'],
  [`${put}Transfer-Encoding: chunked\r\n\r\nZ\r\n`, 'a chunk size that is none'],
  [`${get}X: a\r\n  b\r\n\r\n`, 'obs-fold'],
  [`${get}X: a\nY: b\r\n\r\n`, 'a bare LF between fields'],
  ['GET /x HTTP/1.1\nHost: a\n\n', 'bare LF everywhere'],
  [`${get}X: a\rb\r\n\r\n`, 'a bare CR in a value'],
  [`${get}X: a\0b\r\n\r\n`, 'NUL in a value'],
  [`${get}X Y: a\r\n\r\n`, 'a space in a name'],
  [`${get}: a\r\n\r\n`, 'an empty name'],
  [`${get}nonsense\r\n\r\n`, 'a line without a colon'],
  ['GET /x y HTTP/1.1\r\nHost: a\r\n\r\n', 'a space in the target'],
  ['GET /x\r\n\r\n', 'HTTP/0.9'],
  ['GET /x HTTP/2.0\r\nHost: a\r\n\r\n', 'a version that this is not'],
  ['GET /a\u007f HTTP/1.1\r\nHost: a\r\n\r\n', 'DEL in the target'],
  ['GET /\u00c3\u00bc HTTP/1.1\r\nHost: a\r\n\r\n', 'UTF-8 that is not encoded'],
  ['GET /x?\u00c3\u00bc HTTP/1.1\r\nHost: a\r\n\r\n', 'UTF-8 that is not encoded, in the query'],
  ['BREW /x HTTP/1.1\r\nHost: a\r\n\r\n', 'a method that Node does not know'],
  ['GET /x HTTP/1.1\r\n\r\n', 'no Host'],
  ['GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 'two Hosts'],
  ['\x16\x03\x01\x02\x00\x01', 'a TLS handshake'],
];

t.test('what cannot be read as one request is refused, with nothing forwarded', async (t) => {
  const backend = await startBackend(t, (_, response) => response.end());
  const gate = await startGate(t, { upstream: backend.url });
  for (const [bytes, why] of unparsable) {
    const answer = await rawRequest(gate.port, bytes);
    t.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/, why);
    t.match(answer, /\r\nContent-Type: application\/problem\+json\r\n/, why);
    t.match(answer, /\r\nX-Request-Id: [0-9a-f-]{36}\r\n/, why);
    t.match(answer, /\r\nConnection: close\r\n/i, why);
  }
  const complete = backend.requests.filter((seen) => seen.complete);
  t.same(complete, [], 'nothing that is whole was forwarded');
});

t.test('what cannot be read on a connection that was in use', async (t) => {
  let answer: () => void = () => {};
  const backend = await startBackend(t, (seen, response) => {
    if (seen.method === 'GET') return response.end('ok');
    answer = () => response.end('written');
    return undefined;
  });
  const gate = await startGate(t, { upstream: backend.url });
  const client = await rawClient(t, gate.port);
  client.write(`${get}\r\n`);
  await client.seen(/\r\n\r\nok$/);
  client.write(`${get}X: ${'a'.repeat(70_000)}\r\n\r\n`);
  t.match((await client.closed).text, /okHTTP\/1\.1 431 /, 'is answered behind what was answered before');

  const pipelining = await rawClient(t, gate.port);
  pipelining.write(`${put}Content-Length: 1\r\n\r\nb`);
  await backend.arrived(2);
  pipelining.write('nonsense\r\n\r\n');
  const { text } = await pipelining.closed;
  t.equal(text, '', 'an answer to it is not taken for that of a write that is under way');
  answer();
});

t.test('request heads', async (t) => {
  const backend = await startBackend(t, documents({ '/x': { body: 'one' } }));
  const gate = await startGate(t, { upstream: backend.url });
  const { headers } = await request(`${gate.url}/x`);
  const etag = headers.etag ?? '';

  await t.test('one that is too long gets 431', async (t) => {
    const before = backend.requests.length;
    for (const [bytes, why] of [
      [`${get}X: ${'a'.repeat(70_000)}\r\n\r\n`, 'one field'],
      [`${get}${'X: a\r\n'.repeat(40_000)}\r\n`, 'many fields'],
      [`GET /${'a'.repeat(70_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 'the target'],
    ] as const) {
      const answer = await rawRequest(gate.port, bytes);
      t.match(answer, /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/, why);
      t.match(answer, /\r\nContent-Type: application\/problem\+json\r\n/);
    }
    t.equal(backend.requests.length, before, 'nothing forwarded');
  });

  await t.test('a condition behind 2500 other fields counts', async (t) => {
    const many = 'X-N: 1\r\n'.repeat(2500);
    const write = (tag: string) =>
      `PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 3\r\n${many}If-Match: ${tag}\r\n\r\ntwo`;
    const stale = await rawRequest(gate.port, write('"other"'));
    t.match(stale, /^HTTP\/1\.1 412 /);
    const current = await rawRequest(gate.port, write(etag));
    t.match(current, /^HTTP\/1\.1 204 /);
    const arrived = backend.requests.filter((seen) => seen.method === 'PUT');
    t.equal(arrived.length, 1, 'the stale one was not forwarded');
  });
});

t.test('OPTIONS * asks the upstream (RFC 9110 9.3.7)', async (t) => {
  const backend = await startBackend(t, (_, response) => response.writeHead(204, { Allow: 'GET' }).end());
  const gate = await startGate(t, { upstream: `${backend.url}/base` });
  for (const path of ['*', '/', '*']) {
    const answer = await rawRequest(gate.port, `OPTIONS ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
    t.match(answer, /^HTTP\/1\.1 204 No Content\r\nAllow: GET\r\n/);
    t.match(answer, /\r\nX-Request-Id: /);
  }
  t.same(
    backend.requests.map(({ method, url }) => `${method} ${url}`),
    ['OPTIONS *', 'OPTIONS /base/', 'OPTIONS *'],
  );
  const other = await rawRequest(gate.port, 'GET * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  t.match(other, /^HTTP\/1\.1 400 /, 'only OPTIONS has that form (RFC 9112 3.2.4)');
  const tunnel = await rawRequest(gate.port, 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n');
  t.notMatch(tunnel, /^HTTP\/1\.1 2/, 'there are no tunnels through the gate');
  t.equal(backend.requests.length, 3);
});

t.test('fields that name another method or path (I4)', async (t) => {
  const backend = await startBackend(t, documents({ '/x': { body: 'one' } }));
  const gate = await startGate(t, { upstream: backend.url, policy: { guard: 'required' } });
  const passing = await startGate(t, {
    upstream: backend.url,
    config: {
      identity: {
        caseSensitive: false,
        trailingSlash: false,
        duplicateSlashes: false,
        pathParams: false,
        host: false,
        pathHeaders: 'pass',
      },
    },
  });

  for (const [name, path] of [
    ['X-HTTP-Method-Override', '/x'],
    ['x-http-method', '/x'],
    ['X_Method_Override', '/x'],
    [undefined, '/x?_method=put'],
  ] as const) {
    const headers = name === undefined ? {} : { [name]: 'PUT' };
    const raised = await request(gate.url, { method: 'POST', path, headers, body: 'b' });
    t.equal(raised.status, 428, `${name ?? path} makes POST a guarded PUT`);
  }
  const lowered = await request(`${gate.url}/x`, { method: 'PUT', headers: { 'X-HTTP-Method': 'POST' }, body: 'b' });
  t.equal(lowered.status, 428, 'it never lowers');
  const two = { 'X-HTTP-Method': 'PUT', 'X-Method-Override': 'DELETE' };
  const conflict = await request(`${gate.url}/x`, { method: 'POST', headers: two, body: 'b' });
  t.equal(conflict.status, 400, 'two that disagree');
  t.same(backend.requests, [], 'nothing was forwarded');

  const { headers } = await request(`${gate.url}/x`);
  const condition = { 'X-HTTP-Method-Override': 'PUT', 'If-Match': headers.etag ?? '' };
  const written = await request(`${gate.url}/x`, { method: 'POST', headers: condition, body: 'b' });
  t.equal(written.status, 204);
  const seen = backend.requests.find(({ method }) => method === 'POST');
  t.equal(seen?.headers['x-http-method-override'], 'PUT', 'the override travels on');
  t.notOk(
    backend.requests.some((other) => other.method === 'GET' && other.headers['x-http-method-override'] !== undefined),
    'but not with a probe',
  );

  const paths = ['X-Original-URL', '/admin', 'X_Rewrite_URL', '/admin', 'X-Rewrite-Url', '/admin'];
  await request(`${gate.url}/x`, { headers: paths });
  t.same(
    Object.keys(backend.requests.at(-1)?.headers ?? {}).filter((name) => /original|rewrite/.test(name)),
    [],
  );
  await request(`${passing.url}/x`, { headers: paths });
  t.same(
    Object.keys(backend.requests.at(-1)?.headers ?? {}).filter((name) => /original|rewrite/.test(name)),
    ['x-original-url', 'x_rewrite_url', 'x-rewrite-url'],
  );
});

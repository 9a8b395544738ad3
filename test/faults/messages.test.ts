import t from 'tap';
import { type Backend, documents, startBackend } from '../helpers/backend.js';
import { rawRequest, request } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { eventually } from '../helpers/eventually.js';
import { startGate } from '../helpers/gate.js';
import { answering, type RawConnection, rawClient, startRawBackend } from '../helpers/raw.js';

function startPlain(t: Parameters<typeof startBackend>[0]): Promise<Backend> {
  return startBackend(t, (_, response) => response.setHeader('ETag', '"n"').end('ok'));
}

const invalidHosts = [
  'a b',
  'a/b',
  'a?b',
  'a#b',
  'a\\b',
  'u@b:99',
  'a,b',
  '[::1',
  '::1',
  'a:b',
  'a:1:2',
  'a"b',
  'b\u00e9',
];
const validHosts = ['a', 'a:81', 'A.example.', 'a_b', '127.0.0.1:80', '[::1]', '[::1]:80', 'a:', ''];

t.test('a Host that two servers could read differently is refused (RFC 9112 3.2)', async (t) => {
  const backend = await startPlain(t);
  const gate = await startGate(t, { upstream: backend.url });
  const off = await startGate(t, { upstream: backend.url, policy: { guard: 'off' } });
  const ask = (port: number, host: string): Promise<string> =>
    rawRequest(port, `PUT /x HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`);
  for (const { port } of [gate, off]) {
    for (const host of invalidHosts) {
      const answer = await ask(port, host);
      t.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/, host);
      t.match(answer, /\r\nContent-Type: application\/problem\+json\r\n/);
    }
  }
  t.same(backend.requests, [], 'nothing forwarded');
  for (const host of validHosts) t.match(await ask(gate.port, host), /^HTTP\/1\.1 200 OK\r\n/, host);
});

const codings: readonly [version: string, coding: string, accepted: boolean][] = [
  ['1.1', 'gzip, chunked', false],
  ['1.1', 'chunked, chunked', false],
  ['1.1', 'identity, chunked', false],
  ['1.1', ', chunked', false],
  ['1.1', 'gzip\r\nTransfer-Encoding: chunked', false],
  ['1.0', 'chunked', false],
  ['1.1', 'chunked', true],
  ['1.1', 'Chunked', true],
];

t.test('a request in a transfer coding besides chunked is refused (RFC 9112 6.1)', async (t) => {
  const backend = await startPlain(t);
  const gate = await startGate(t, { upstream: backend.url });
  for (const method of ['PUT', 'POST']) {
    for (const [version, coding, accepted] of codings) {
      const before = backend.requests.length;
      const head = `${method} /x HTTP/${version}\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: ${coding}\r\n\r\n`;
      const answer = await rawRequest(gate.port, `${head}1\r\nb\r\n0\r\n\r\n`);
      t.match(answer, accepted ? /^HTTP\/1\.1 200 / : /^HTTP\/1\.1 400 /, `${method} ${version} ${coding}`);
      t.equal(backend.requests.length, before + (accepted ? 1 : 0));
    }
  }
});

t.test('an answer in a transfer coding besides chunked cannot be passed on (RFC 9112 6.1)', async (t) => {
  for (const coding of ['gzip, chunked', 'gzip', 'gzip\r\nTransfer-Encoding: chunked']) {
    const bytes = `HTTP/1.1 200 OK\r\nTransfer-Encoding: ${coding}\r\n\r\n2\r\nok\r\n0\r\n\r\n`;
    const backend = await startRawBackend(t, answering(bytes));
    const gate = await startGate(t, { upstream: backend.url });
    for (const method of ['GET', 'PUT', 'POST']) {
      const { status, headers, body } = await request(gate.url, { method });
      t.equal(status, 502, `${method} ${coding}`);
      t.match(headers['proxy-status'], /^ifmatch; error=http_protocol_error;/);
      t.equal(JSON.parse(body.toString()).outcome, method === 'GET' ? undefined : 'unknown');
    }
  }
});

t.test('a request has 4096 fields at most', async (t) => {
  const backend = await startPlain(t);
  const gate = await startGate(t, { upstream: backend.url });
  for (const [count, status] of [
    [4096, '200 OK'],
    [4097, '431 Request Header Fields Too Large'],
    [12_000, '431 Request Header Fields Too Large'],
  ] as const) {
    const fields = `Host: a\r\nConnection: close\r\n${'a:\r\n'.repeat(count - 2)}`;
    const before = backend.requests.length;
    const answer = await rawRequest(gate.port, `GET /x HTTP/1.1\r\n${fields}\r\n`);
    t.ok(answer.startsWith(`HTTP/1.1 ${status}\r\n`), `${count} fields: ${answer.split('\r\n', 1)}`);
    t.equal(backend.requests.length, before + (status === '200 OK' ? 1 : 0));
  }
});

t.test('an expectation that nobody can meet gets a problem (RFC 9110 10.1.1)', async (t) => {
  const backend = await startPlain(t);
  const lines: Record<string, unknown>[] = [];
  const gate = await startGate(t, { upstream: backend.url, onLog: (line) => lines.push(line) });
  for (const method of ['GET', 'PUT']) {
    const headers = { Expect: 'something', 'X-Request-Id': `mine-${method}` };
    const { status, headers: fields, body } = await request(gate.url, { method, headers });
    t.equal(status, 417);
    t.equal(fields['x-request-id'], `mine-${method}`);
    t.equal(fields['content-type'], 'application/problem+json');
    t.match(JSON.parse(body.toString()), { status: 417, requestId: `mine-${method}` });
    t.equal(lines.filter(({ requestId }) => requestId === `mine-${method}`).length, 1, 'it is logged');
  }
  t.same(backend.requests, []);
});

const utf8 = (text: string): string => Buffer.from(text).toString('latin1');

/** Answers that Node itself would not write, or not to this client. */
const heads: readonly [why: string, method: string, version: string, sent: string, gets: string | RegExp][] = [
  ...(['GET', 'PUT', 'POST'] as const).map(
    (method) =>
      [
        ...['a reason phrase in UTF-8', method, '1.1', `404 ${utf8('找不到')}\r\nContent-Length: 2\r\n\r\nhi`],
        `HTTP/1.1 404 ${utf8('找不到')}\r\n`,
      ] as [string, string, string, string, string],
  ),
  ['Trailer beside a length', 'GET', '1.1', '200 OK\r\nTrailer: X-A\r\nContent-Length: 2\r\n\r\nhi', /\r\n\r\nhi$/],
  ['Trailer beside a tag', 'PUT', '1.1', '200 OK\r\nTrailer: X-A\r\nContent-Length: 2\r\n\r\nhi', /\r\n\r\nhi$/],
  [
    ...['Trailer for a client of HTTP/1.0', 'GET', '1.0'],
    '200 OK\r\nTrailer: X-A\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-A: 1\r\n\r\n',
    /\r\n\r\nhi$/,
  ] as [string, string, string, string, RegExp],
  [
    'an answer to a client of HTTP/1.0',
    'GET',
    '1.0',
    '200 OK\r\nContent-Length: 0\r\n\r\n',
    '\r\nVia: 1.1 ifmatch\r\n',
  ],
  ['the same to a write', 'POST', '1.0', '200 OK\r\nContent-Length: 0\r\n\r\n', '\r\nVia: 1.1 ifmatch\r\n'],
  [
    ...['early hints with an id of their own', 'GET', '1.1'],
    '103 Early Hints\r\nLink: </a>; rel=preload, </b>; rel=preload\r\nX-Request-Id: theirs\r\n\r\n' +
      'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    /^HTTP\/1\.1 103 Early Hints\r\nLink: <\/a>; rel=preload, <\/b>; rel=preload\r\n\r\nHTTP\/1\.1 200 OK\r\n/,
  ] as [string, string, string, string, RegExp],
];

t.test('unusual heads of answers', async (t) => {
  for (const [why, method, version, sent, gets] of heads) {
    const backend = await startRawBackend(t, answering(`HTTP/1.1 ${sent}`));
    const gate = await startGate(t, { upstream: backend.url });
    const head = `${method} /x HTTP/${version}\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`;
    const answer = await rawRequest(gate.port, head);
    t.ok(typeof gets === 'string' ? answer.includes(gets) : gets.test(answer), `${method}, ${why}: ${answer}`);
    t.notMatch(answer, /theirs/);
  }
});

t.test('a HEAD whose tag cannot be found out is answered without one (V5)', async (t) => {
  const endings: readonly [why: string, body: string, end: (connection: RawConnection) => void][] = [
    ['breaks off before its head', '', ({ reset }) => reset()],
    ['breaks off', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc', ({ end }) => end()],
    ['is reset', 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc', ({ reset }) => reset()],
    ['is refused', 'HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n', () => {}],
  ];
  for (const [why, body, end] of endings) {
    const backend = await startRawBackend(t, (connection) => {
      connection.socket.on('data', (chunk) => {
        if (chunk.toString().startsWith('HEAD')) connection.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n');
        else if (body === '') end(connection);
        else connection.socket.write(body, () => end(connection));
      });
    });
    const gate = await startGate(t, { upstream: backend.url });
    const { status, headers } = await request(gate.url, { method: 'HEAD' });
    t.equal(status, 200, `the read that ${why}`);
    t.equal(headers.etag, undefined);
    t.equal(headers['content-length'], '10');
    t.match(backend.connections.map(({ text }) => text).join(''), /GET \/ HTTP/, 'it was tried');
  }
});

t.test('a write that breaks off after an early 2xx may have taken effect or not (W9, W11)', async (t) => {
  for (const method of ['PUT', 'POST']) {
    const clock = createVirtualClock(Date.now());
    const lines: Record<string, unknown>[] = [];
    const stored = documents({ '/x': { body: 'one' } });
    const backend = await startBackend(
      t,
      (seen, response, incoming) => {
        if (seen.headers['content-length'] !== '100000') return stored(seen, response, incoming);
        response.writeHead(200, { 'Content-Length': 10 }).write('ok');
        return incoming.socket.end();
      },
      { early: true },
    );
    const gate = await startGate(t, {
      ...{ upstream: backend.url, clock, policy: { recheck: 60_000 } },
      config: { log: { level: 'info', access: 'all', pretty: false } },
      onLog: (line) => lines.push(line),
    });
    const client = await rawClient(t, gate.port);
    client.write(`${method} /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: early\r\nContent-Length: 100000\r\n\r\nabc`);
    if (method === 'PUT') await client.seen(/^HTTP\/1\.1 502 [\s\S]*"outcome":"unknown"/);
    else await client.closed;
    await eventually(t, () => lines.some(({ requestId }) => requestId === 'early'), 'it is on record');
    t.equal(lines.find(({ requestId }) => requestId === 'early')?.outcome, 'unknown', method);

    const { headers } = await request(`${gate.url}/x`);
    const condition = { 'If-Match': headers.etag ?? '' };
    const next = request(`${gate.url}/x`, { method: 'PATCH', headers: condition });
    await request(`${gate.url}/other`);
    if (method === 'PUT') t.equal(backend.requests.length, 3, 'nobody writes while the resource rests');
    clock.advance(5000);
    t.equal((await next).status, 204);
    const own = backend.requests.filter(({ url }) => url === '/x').map((seen) => seen.method);
    t.same(own.slice(0, 4), [method, 'GET', 'GET', 'PATCH'], 'what was read meanwhile does not count');
  }
});

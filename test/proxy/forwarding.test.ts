import { METHODS } from 'node:http';
import t from 'tap';
import type { Config } from '../../src/config/schema.js';
import { type Handler, startBackend } from '../helpers/backend.js';
import { rawRequest, request } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';
import { answering, rawClient, startRawBackend } from '../helpers/raw.js';

const ok: Handler = (_, response) => response.end('ok');

/** Pairs of a flat list, one line each, without those that one hop adds for itself. */
function lines(rawHeaders: readonly string[], without: readonly string[]): string[] {
  const list: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    if (!without.includes(name.toLowerCase())) list.push(`${name}: ${rawHeaders[index + 1]}`);
  }
  return list;
}

t.test('fields of a request', async (t) => {
  const backend = await startBackend(t, ok);
  const gate = await startGate(t, { upstream: backend.url });
  const sent = [
    'x-LOWER: 1',
    'X-Dup: a',
    'Accept: text/html;q=0.5, */*',
    'x-dup: b',
    'Cookie: a=1',
    'Cookie: b=2',
    'X-Empty: ',
    'X-Latin: caf\u00e9',
    'Authorization: Basic x',
    'X-Dup: c, d',
    'Range: bytes=0-1',
    'Max-Forwards: 3',
    'Content-Encoding: x-unknown',
  ];
  const own = ['host', 'connection', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-request-id'];

  await t.test('arrive with their names, order and duplicates', async (t) => {
    for (const method of ['GET', 'POST', 'PUT']) {
      const head = `${method} /x HTTP/1.1\r\nHost: a.example\r\n${sent.join('\r\n')}\r\nConnection: close\r\n\r\n`;
      t.match(await rawRequest(gate.port, head), /^HTTP\/1\.1 200 OK/);
      const seen = backend.requests.at(-1)?.rawHeaders ?? [];
      t.same(lines(seen, [...own, 'content-length']), sent.map((line) => line.trim()).map(asSent), method);
    }
    function asSent(line: string): string {
      return line.endsWith(':') ? `${line} ` : line;
    }
  });

  await t.test('of one hop only go, protected ones cannot be nominated away', async (t) => {
    const head = [
      'PUT /x HTTP/1.1',
      'Host: a.example',
      'Connection: close, X-Hop, If-None-Match, authorization, Cookie, Content-Length, Host',
      'connection: x-other',
      'X-Hop: gone',
      'X-Other: gone',
      'Keep-Alive: timeout=5',
      'Proxy-Connection: keep-alive',
      'TE: trailers',
      'Trailer: X-Sum',
      'Upgrade: h2c',
      'If-None-Match: "other"',
      'Authorization: Basic x',
      'Cookie: a=1',
      'Proxy-Authorization: Basic y',
      'Content-Length: 1',
      'X-Kept: 1',
      '',
      'b',
    ];
    t.match(await rawRequest(gate.port, head.join('\r\n')), /^HTTP\/1\.1 200 OK/);
    const seen = backend.requests.findLast(({ method }) => method === 'PUT');
    t.same(lines(seen?.rawHeaders ?? [], own), [
      'Trailer: X-Sum',
      'If-None-Match: "other"',
      'Authorization: Basic x',
      'Cookie: a=1',
      'Proxy-Authorization: Basic y',
      'X-Kept: 1',
      'content-length: 1',
    ]);
    t.equal(seen?.headers.host, 'a.example');
    t.equal(seen?.body.toString(), 'b');
  });

  await t.test('a client that offers h2c is served in HTTP/1.1', async (t) => {
    const offer = 'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n';
    for (const [method, body] of [
      ['GET', ''],
      ['PUT', 'body'],
    ] as const) {
      const client = await rawClient(t, gate.port);
      client.write(`${method} /x HTTP/1.1\r\nHost: a\r\n${offer}Content-Length: ${body.length}\r\n\r\n${body}`);
      t.match(await client.seen(/\r\n\r\nok$/), /^HTTP\/1\.1 200 OK\r\n/, method);
      t.equal(backend.requests.at(-1)?.headers.upgrade, undefined);
      t.equal(backend.requests.at(-1)?.headers['http2-settings'], undefined);
      t.equal(backend.requests.at(-1)?.body.toString(), body);
    }
  });
});

t.test('fields of an answer', async (t) => {
  const fields = [
    'server: lower/1',
    'Set-Cookie: a=1; Path=/',
    'X-Order: 1',
    'Set-Cookie: b=2; Expires=Wed, 09 Jun 2027 10:18:14 GMT',
    'Link: </a>; rel=next',
    'WWW-Authenticate: Basic realm="a, b"',
    'set-cookie: c=3',
    'Link: </b>; rel=prev',
    'WWW-Authenticate: Digest realm="x", nonce="y"',
    'X-Latin: caf\u00e9',
    'Vary: Accept',
    'vary: Cookie',
    'Date: Sat, 01 Jan 2022 00:00:00 GMT',
    'Via: 1.0 inner',
    'Last-Modified: Fri, 31 Dec 2021 00:00:00 GMT',
  ];
  const hop = [
    'Connection: X-Hop, ETag, Set-Cookie',
    'X-Hop: gone',
    'Keep-Alive: timeout=5',
    'Proxy-Connection: keep-alive',
    'X-Request-Id: of the backend',
  ];
  for (const [method, status] of [
    ['GET', '200 OK'],
    ['GET', '401 Unauthorized'],
    ['PUT', '200 Very Well'],
    ['POST', '201 Created'],
    ['OPTIONS', '299 Odd'],
    ['GET', '404 '],
    ['PUT', '200 \u00c3\u0089t\u00c3\u00a9'],
  ] as const) {
    await t.test(`${method} ${status}`, async (t) => {
      const head = ['HTTP/1.1 '.concat(status), ...fields, ...hop, 'ETag: "n"', 'Content-Length: 2', '', 'ok'];
      const backend = await startRawBackend(t, answering(head.join('\r\n')));
      const gate = await startGate(t, { upstream: backend.url });
      const answer = await rawRequest(
        gate.port,
        `${method} /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: mine\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
      );
      const [top = '', body] = answer.split('\r\n\r\n');
      const [statusLine, ...got] = top.split('\r\n');
      t.equal(statusLine, `HTTP/1.1 ${status}`);
      t.same(got, [
        ...fields,
        'ETag: "n"',
        'Content-Length: 2',
        'Via: 1.1 ifmatch',
        'X-Request-Id: mine',
        'Connection: close',
      ]);
      t.equal(body, 'ok');
    });
  }
});

const forwardedRows: readonly {
  readonly why: string;
  readonly config: Partial<Config>;
  readonly sends?: readonly string[];
  /** Undefined: the field must not be there. `UPSTREAM`: the upstream's authority. */
  readonly arrives: Readonly<Record<string, string | undefined>>;
  readonly via?: string | undefined;
}[] = [
  { why: 'Host is preserved', config: {}, arrives: { host: 'client.example:81' }, via: '1.1 ifmatch' },
  { why: 'Host of the upstream', config: { host: 'upstream' }, arrives: { host: 'UPSTREAM' } },
  { why: 'Host by name', config: { host: 'api.internal' }, arrives: { host: 'api.internal' } },
  {
    why: 'X-Forwarded-* are made',
    config: {},
    arrives: {
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'client.example:81',
    },
  },
  {
    why: 'append: the address is added, Proto and Host stay',
    config: {},
    sends: ['X-Forwarded-For', '192.0.2.1', 'X-Forwarded-Proto', 'https', 'X-Forwarded-Host', 'outer.example'],
    arrives: {
      'x-forwarded-for': '192.0.2.1, 127.0.0.1',
      'x-forwarded-proto': 'https',
      'x-forwarded-host': 'outer.example',
    },
  },
  {
    why: 'append: to the last of several lines',
    config: {},
    sends: ['X-Forwarded-For', '192.0.2.1', 'X-Forwarded-For', '192.0.2.2'],
    arrives: { 'x-forwarded-for': '192.0.2.1, 192.0.2.2, 127.0.0.1' },
  },
  {
    why: 'replace: what the client says does not count',
    config: { forwarded: 'replace' },
    sends: ['X-Forwarded-For', '192.0.2.1', 'x-forwarded-proto', 'https', 'X_Forwarded_Host', 'outer.example'],
    arrives: {
      'x-forwarded-for': '127.0.0.1',
      'x-forwarded-proto': 'http',
      'x-forwarded-host': 'client.example:81',
      x_forwarded_host: undefined,
    },
  },
  {
    why: 'off: nothing is made',
    config: { forwarded: 'off' },
    arrives: { 'x-forwarded-for': undefined, 'x-forwarded-proto': undefined, 'x-forwarded-host': undefined },
  },
  {
    why: 'off: what is there passes',
    config: { forwarded: 'off' },
    sends: ['X-Forwarded-For', '192.0.2.1'],
    arrives: { 'x-forwarded-for': '192.0.2.1', 'x-forwarded-proto': undefined },
  },
  { why: 'Via on responses alone', config: {}, arrives: { via: undefined }, via: '1.1 ifmatch' },
  { why: 'Via on both', config: { via: 'both' }, arrives: { via: '1.1 ifmatch' }, via: '1.1 ifmatch' },
  {
    why: 'Via behind those that are there',
    config: { via: 'both' },
    sends: ['Via', '1.0 outer'],
    arrives: { via: '1.0 outer, 1.1 ifmatch' },
  },
  {
    why: 'Via off: one that is there passes',
    config: { via: 'off' },
    sends: ['Via', '1.0 outer'],
    arrives: { via: '1.0 outer' },
    via: undefined,
  },
];

t.test('Host, X-Forwarded-* and Via', async (t) => {
  for (const row of forwardedRows) {
    await t.test(row.why, async (t) => {
      const backend = await startBackend(t, ok);
      const gate = await startGate(t, { upstream: backend.url, config: row.config });
      for (const method of ['GET', 'PUT', 'OPTIONS']) {
        const headers = ['Host', 'client.example:81', ...(row.sends ?? [])];
        const answer = await request(gate.url, { method, headers });
        const seen = backend.requests.at(-1)?.headers ?? {};
        for (const [name, value] of Object.entries(row.arrives)) {
          t.equal(seen[name], value === 'UPSTREAM' ? backend.url.slice('http://'.length) : value, `${method} ${name}`);
        }
        if ('via' in row) t.equal(answer.headers.via, row.via, 'Via of the answer');
      }
    });
  }
});

const requestIds: readonly [sends: readonly string[], kept: boolean, why: string][] = [
  [['abc-1.2:3=4/5+6@7_8'], true, 'harmless characters'],
  [['a'.repeat(128)], true, '128 characters'],
  [['a'.repeat(129)], false, '129 characters'],
  [[], false, 'none'],
  [[''], false, 'an empty one'],
  [['a', 'b'], false, 'two'],
  [['a b'], false, 'a space'],
  [['<script>'], false, 'markup'],
  [['"a"'], false, 'quotes'],
  [['caf\u00e9'], false, 'not ASCII'],
];

t.test('every request and answer has exactly one X-Request-Id (A3)', async (t) => {
  const backend = await startBackend(t, (_, response) => {
    response.writeHead(200, ['X-Request-Id', 'backend', 'x-request-id', 'backend 2', 'X-Other', '1']);
    response.end();
  });
  const gate = await startGate(t, { upstream: backend.url });
  for (const [sends, kept, why] of requestIds) {
    const headers = sends.flatMap((id) => ['X-Request-Id', id]);
    for (const path of ['/x', '/x#refused']) {
      const before = backend.requests.length;
      const { rawHeaders } = await request(gate.url, { path, headers });
      const ids = rawHeaders.filter((_, index) => index % 2 === 1 && rawHeaders[index - 1] === 'X-Request-Id');
      t.equal(lines(rawHeaders, []).filter((line) => /^x-request-id:/i.test(line)).length, 1, `one: ${why}`);
      if (kept) t.equal(ids[0], sends[0], `kept: ${why}`);
      else t.match(ids[0], /^[0-9a-f-]{36}$/, `made: ${why}`);
      if (path !== '/x') {
        t.equal(backend.requests.length, before);
        continue;
      }
      t.equal(backend.requests.at(-1)?.headers['x-request-id'], ids[0], `the backend gets the same: ${why}`);
    }
  }
});

t.test('methods and bodies', async (t) => {
  // With a tag of its own, so that HEAD is not followed by the gate's GET (V5).
  const backend = await startBackend(t, (_, response) => response.setHeader('ETag', '"n"').end('ok'));
  const gate = await startGate(t, { upstream: backend.url });

  await t.test('all methods but CONNECT pass, with bodies and without', async (t) => {
    for (const method of METHODS.filter((name) => name !== 'CONNECT')) {
      for (const body of ['', 'a body']) {
        for (const framing of ['length', 'chunked'] as const) {
          const sent = framing === 'length' ? body : body === '' ? '0\r\n\r\n' : `6\r\n${body}\r\n0\r\n\r\n`;
          const field = framing === 'length' ? `Content-Length: ${body.length}` : 'Transfer-Encoding: chunked';
          // Each a resource of its own: a tag that stays the same over writes is none of its own any more (V7).
          const head = `${method} /${method}/${body.length}/${framing} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${field}\r\n\r\n`;
          const answer = await rawRequest(gate.port, head + sent);
          const seen = backend.requests.at(-1);
          const what = `${method}, ${framing}, ${body.length} octets`;
          t.match(answer, /^HTTP\/1\.1 200 OK\r\n/, what);
          t.equal(seen?.method, method, what);
          t.equal(seen?.body.toString(), body, what);
        }
      }
    }
  });

  await t.test('any Content-Type, or none', async (t) => {
    const types = [
      undefined,
      '',
      'application/json',
      'nonsense',
      'a/b;;',
      'text/plain; charset="',
      'multipart/form-data',
    ];
    for (const method of ['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'OPTIONS', 'PROPFIND']) {
      for (const type of types) {
        const headers = type === undefined ? {} : { 'Content-Type': type };
        const { status } = await request(gate.url, { method, headers, body: '{not json' });
        t.equal(status, 200, `${method} ${type}`);
        t.equal(backend.requests.at(-1)?.body.toString(), '{not json');
        t.equal(backend.requests.at(-1)?.headers['content-type'], type);
      }
    }
  });

  await t.test('framing of requests stays', async (t) => {
    for (const method of ['POST', 'PUT', 'DELETE', 'GET', 'LOCK']) {
      for (const length of [1, 1000, 200_000]) {
        const body = 'b'.repeat(length);
        await request(gate.url, { method, headers: { 'Transfer-Encoding': 'chunked' }, body });
        const chunked = backend.requests.at(-1);
        t.equal(chunked?.headers['transfer-encoding'], 'chunked', `${method} ${length} chunked`);
        t.equal(chunked?.headers['content-length'], undefined);
        t.equal(chunked?.body.length, length);
        await request(gate.url, { method, body });
        const counted = backend.requests.at(-1);
        t.equal(counted?.headers['content-length'], String(length), `${method} ${length} counted`);
        t.equal(counted?.headers['transfer-encoding'], undefined);
        t.equal(counted?.body.length, length);
      }
    }
  });

  await t.test('a write without a body says so, or not, as it came', async (t) => {
    await rawRequest(gate.port, 'PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
    t.equal(backend.requests.at(-1)?.headers['content-length'], '0');
    await rawRequest(gate.port, 'DELETE /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    t.equal(backend.requests.at(-1)?.headers['content-length'], undefined);
    t.equal(backend.requests.at(-1)?.headers['transfer-encoding'], undefined);
  });
});

const bodiless: readonly [method: string, sent: string, gets: RegExp, why: string][] = [
  ['GET', '204 No Content\r\n', /^HTTP\/1\.1 204 No Content\r\n/, '204'],
  ['HEAD', '200 OK\r\nETag: "n"\r\nTrailer: X-Sum\r\nContent-Length: 5\r\n', /^HTTP\/1\.1 200 OK\r\n/, 'HEAD, Trailer'],
  ['PUT', '204 No Content\r\nTrailer: X-Sum\r\n', /^HTTP\/1\.1 204 No Content\r\n/, '204 with Trailer'],
  ['PUT', '204 No Content\r\nETag: "n"\r\n', /^HTTP\/1\.1 204 No Content\r\n/, '204 to a write'],
  ['PUT', '205 Reset Content\r\nContent-Length: 0\r\n', /^HTTP\/1\.1 205 .*\r\nContent-Length: 0\r\n/s, '205'],
  ['GET', '304 Not Modified\r\nETag: "n"\r\n', /^HTTP\/1\.1 304 .*\r\nETag: "n"\r\n/s, '304'],
  ['GET', '304 Not Modified\r\nETag: "n"\r\nContent-Length: 5\r\n', /^HTTP\/1\.1 304 /, '304 with a length'],
  ['HEAD', '200 OK\r\nETag: "n"\r\nContent-Length: 1234\r\n', /\r\nContent-Length: 1234\r\n/, 'HEAD with a length'],
  ['HEAD', '200 OK\r\nETag: "n"\r\nTransfer-Encoding: chunked\r\n', /^HTTP\/1\.1 200 OK\r\n/, 'HEAD, chunked'],
  ['HEAD', '404 Not Found\r\nContent-Length: 9\r\n', /^HTTP\/1\.1 404 .*\r\nContent-Length: 9\r\n/s, 'HEAD of nothing'],
  ['HEAD', '200 OK\r\nETag: "n"\r\nConnection: keep-alive\r\n', /^HTTP\/1\.1 200 OK\r\n/, 'HEAD without framing'],
  ['GET', '200 OK\r\nContent-Length: 0\r\n', /\r\nContent-Length: 0\r\n/, 'an empty 200'],
];

t.test('answers without a body leave the connection in order', async (t) => {
  for (const [method, sent, gets, why] of bodiless) {
    await t.test(why, async (t) => {
      const backend = await startRawBackend(t, answering(`HTTP/1.1 ${sent}\r\n`));
      const gate = await startGate(t, { upstream: backend.url });
      const client = await rawClient(t, gate.port);
      for (const count of [1, 2, 3]) {
        client.write(`${method} /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: n${count}\r\n\r\n`);
        const text = await client.seen(new RegExp(`X-Request-Id: n${count}\\r\\n(?:[^\\r]+\\r\\n)*\\r\\n`));
        t.match(
          text
            .split(`n${count - 1}\r\n`)
            .at(-1)
            ?.replace(/^(?:[^H\r][^\r]*\r\n|\r\n)*/, ''),
          gets,
        );
      }
      const rest = client.text.replace(/HTTP\/1\.1 \d{3} [^\r]*\r\n(?:[^\r]+\r\n)*\r\n/g, '');
      t.equal(rest, '', 'nothing but heads');
      // undici takes the length of a 304 for one of a body that is missing, and gives the connection up.
      t.equal(backend.connections.length, why === '304 with a length' ? 3 : 1, 'connections to the upstream');
    });
  }
});

const chunked = 'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n';
const framings: readonly [sent: string, closes: boolean, framing: RegExp, body: string, why: string][] = [
  ['Content-Length: 7\r\n\r\nabcdefg', false, /\r\nContent-Length: 7\r\n/, 'abcdefg', 'counted'],
  [chunked, false, /\r\nTransfer-Encoding: chunked\r\n/, '7\r\nabcdefg\r\n0\r\n\r\n', 'chunked, held back'],
  [`ETag: "n"\r\n${chunked}`, false, /\r\nTransfer-Encoding: chunked\r\n/, 'abc', 'chunked, streamed'],
  [
    '\r\nabcdefg',
    true,
    /\r\nTransfer-Encoding: chunked\r\n/,
    '7\r\nabcdefg\r\n0\r\n\r\n',
    'until the connection closes',
  ],
];

t.test('framing of answers stays', async (t) => {
  for (const [sent, closes, framing, body, why] of framings) {
    await t.test(why, async (t) => {
      const backend = await startRawBackend(t, answering(`HTTP/1.1 200 OK\r\n${sent}`, { closes }));
      const gate = await startGate(t, { upstream: backend.url });
      for (const method of ['GET', 'POST']) {
        const head = `${method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`;
        const answer = await rawRequest(gate.port, head);
        t.match(answer, framing, method);
        t.notMatch(answer, /Content-Length.*Transfer-Encoding|Transfer-Encoding.*Content-Length/s, 'one framing');
        const { body: decoded } = await request(gate.url, { method });
        t.equal(decoded.toString(), 'abcdefg');
        if (method === 'GET') t.ok(answer.split('\r\n\r\n').slice(1).join('\r\n\r\n').includes(body), 'bytes');
      }
    });
  }
});

t.test('clients of HTTP/1.0', async (t) => {
  const backend = await startBackend(t, (seen, response) => {
    response.writeHead(200, seen.url === '/counted' ? { 'Content-Length': 5 } : {});
    response.write('ab');
    response.end('cde');
  });
  const gate = await startGate(t, { upstream: backend.url });
  for (const method of ['GET', 'PUT', 'POST']) {
    const length = method === 'GET' ? '' : 'Content-Length: 1\r\n';
    const plain = await rawRequest(gate.port, `${method} /x HTTP/1.0\r\n${length}\r\n${length && 'x'}`);
    t.match(plain, /^HTTP\/1\.1 200 OK\r\n/);
    t.notMatch(plain, /transfer-encoding/i, 'never chunked');
    t.match(plain, /\r\n\r\nabcde$/, 'closed by the connection');
    t.equal(backend.requests.at(-1)?.headers.host, backend.url.slice('http://'.length), 'the upstream needs a Host');
    if (length) t.equal(backend.requests.at(-1)?.body.toString(), 'x');
  }
  const kept = await rawClient(t, gate.port);
  for (const count of [1, 2]) {
    kept.write('GET /counted HTTP/1.0\r\nConnection: keep-alive\r\nHost: a\r\n\r\n');
    const text = await kept.seen(new RegExp(`(?:.*?\\r\\n\\r\\nabcde){${count}}$`, 's'));
    t.match(text, /\r\nConnection: keep-alive\r\n/i);
  }
});

t.test('pipelined requests are answered in order', async (t) => {
  const backend = await startBackend(t, (seen, response) => {
    if (seen.url === '/slow') {
      // The other read has every chance to be first: its answer is there before this one is made.
      const wait = () => (backend.requests.length < 2 ? setImmediate(wait) : response.end('slow'));
      wait();
    } else response.end(`${seen.method} ${seen.url} ${seen.body}`);
  });
  const gate = await startGate(t, { upstream: backend.url });
  const head = (line: string, more = '') => `${line} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
  const answer = await rawRequest(
    gate.port,
    [
      head('GET /slow'),
      head('GET /a'),
      `${head('PUT /b', 'Content-Length: 3\r\n')}one`,
      `${head('POST /c', 'Transfer-Encoding: chunked\r\n')}3\r\ntwo\r\n0\r\n\r\n`,
      head('GET /d', 'Connection: close\r\n'),
    ].join(''),
  );
  const bodies = [...answer.matchAll(/slow|(?:PUT|POST|GET) \/[abcd] [a-z]*/g)].map(([text]) => text);
  t.same(bodies, ['slow', 'GET /a ', 'PUT /b one', 'POST /c two', 'GET /d ']);
  t.equal(answer.match(/HTTP\/1\.1 200 OK/g)?.length, 5);
  const order = backend.requests.map(({ url }) => url).slice(2);
  t.same(order, ['/b', '/c', '/d'], 'no write overtakes what came before it, and nothing overtakes a write');
});

t.test('connections to the upstream are used again', async (t) => {
  const ports = new Set<number | undefined>();
  const backend = await startBackend(t, (seen, response, incoming) => {
    ports.add(incoming.socket.remotePort);
    if (seen.url === '/204') response.statusCode = 204;
    response.end(seen.url === '/204' ? undefined : 'ok');
  });
  const gate = await startGate(t, { upstream: backend.url, limits: { upstreamConnections: 1 } });
  const fresh = await startGate(t, { upstream: backend.url, limits: { upstreamKeepAlive: 0 } });
  const requests = [
    ['HEAD', undefined],
    ['GET', undefined],
    ['DELETE', 'body'],
    ['GET', 'body'],
    ['PUT', 'body'],
    ['HEAD', undefined],
    ['OPTIONS', undefined],
    ['POST', ''],
  ] as const;
  for (const [method, body] of requests) {
    for (const path of ['/x', '/204']) await request(gate.url, { method, path, ...(body !== undefined && { body }) });
  }
  // What follows a body that an upstream might leave unread would be taken for its end.
  t.equal(ports.size, 5, 'one connection for all, but those behind DELETE and GET with a body');
  ports.clear();
  for (const body of ['a', 'b', 'c']) await request(fresh.url, { method: 'PUT', body });
  t.equal(ports.size, 3, 'upstreamKeepAlive: 0 gives every write its own');
});

t.test('early answers and trailers', async (t) => {
  const backend = await startBackend(t, (seen, response) => {
    response.writeProcessing();
    response.writeEarlyHints({ link: ['</a.css>; rel=preload', '</b.js>; rel=preload'], 'x-early': '1' });
    response.writeHead(200, { Trailer: 'X-Sum, X-Other', ...(seen.url === '/native' && { ETag: '"n"' }) });
    response.write(seen.url === '/long' ? 'x'.repeat(2_000_000) : 'short');
    response.addTrailers([
      ['X-Sum', '1'],
      ['X-Other', '2'],
    ]);
    response.end();
  });
  const gate = await startGate(t, { upstream: backend.url });
  for (const [method, path] of [
    ['GET', '/held'],
    ['GET', '/long'],
    ['GET', '/native'],
    ['PUT', '/x'],
    ['POST', '/x'],
    ['OPTIONS', '/x'],
  ] as const) {
    const answer = await request(gate.url + path, { method });
    const what = `${method} ${path}`;
    t.same(
      answer.informational.map(({ status }) => status),
      [102, 103],
      what,
    );
    const hints = lines(answer.informational[1]?.rawHeaders ?? [], []).map((line) => line.toLowerCase());
    t.same(hints, ['link: </a.css>; rel=preload, </b.js>; rel=preload', 'x-early: 1'], what);
    t.equal(answer.headers.trailer, 'X-Sum, X-Other', what);
    t.same({ ...answer.trailers }, { 'x-sum': '1', 'x-other': '2' }, what);
    t.equal(answer.body.length, path === '/long' ? 2_000_000 : 5);
  }
  const old = await rawRequest(gate.port, 'GET /held HTTP/1.0\r\n\r\n');
  t.match(old, /^HTTP\/1\.1 200 OK\r\n/, 'a client of HTTP/1.0 gets no 1xx');
});

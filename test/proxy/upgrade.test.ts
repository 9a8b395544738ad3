import { type EventEmitter, once } from 'node:events';
import { createServer as createHttpsServer } from 'node:https';
import { createRequire } from 'node:module';
import type { AddressInfo, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import { loadConfig } from '../../src/config/load.js';
import type { Owner } from '../helpers/backend.js';
import { startBackend } from '../helpers/backend.js';
import { certificate, certificateKey } from '../helpers/certificate.js';
import { type GateSettings, type RunningGate, startGate } from '../helpers/gate.js';
import { type RawBackend, type RawConnection, rawClient, rawConnection, startRawBackend } from '../helpers/raw.js';

/** What is used of `ws`, which brings no types. */
interface Peer extends EventEmitter {
  readonly protocol: string;
  send(data: string | Buffer): void;
  close(code: number, reason: string): void;
  terminate(): void;
}
interface WsModule {
  WebSocket: new (url: string, protocols: string[], options: { headers?: Record<string, string>; ca?: string }) => Peer;
  WebSocketServer: new (
    options: { port: number; host: string } | { server: unknown },
  ) => EventEmitter & {
    readonly clients: ReadonlySet<Peer>;
    address(): AddressInfo;
    close(callback: () => void): void;
  };
}
const { WebSocket, WebSocketServer } = createRequire(import.meta.url)('ws') as WsModule;

const head = 'Host: client.example\r\nConnection: Upgrade\r\n';
const upgradeTo = (protocol: string, path = '/chat') =>
  `GET ${path} HTTP/1.1\r\n${head}Upgrade: ${protocol}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n`;
const switching = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: chat\r\nConnection: Upgrade\r\n\r\n';

/** Lets what is on its way arrive: `holds` is asked after each turn of the event loop. */
async function settled(holds: () => boolean, turns = 20_000): Promise<boolean> {
  for (let turn = 0; turn < turns && !holds(); turn++) await new Promise(setImmediate);
  return holds();
}

function connectionsOf(server: { getConnections(callback: (error: Error | null, count: number) => void): void }) {
  return new Promise<number>((resolve, reject) => {
    server.getConnections((error, count) => (error ? reject(error) : resolve(count)));
  });
}

/** A gate before a server that reads byte by byte, and one client of it. */
async function stage(t: Owner & Parameters<typeof startGate>[0], settings: Partial<GateSettings> = {}) {
  const backend = await startRawBackend(t);
  const gate = await startGate(t, { upstream: backend.url, ...settings });
  const client = await rawClient(t, gate.port);
  return { backend, gate, client };
}

/** Opens a tunnel for the protocol `chat`. */
async function tunnel(t: Owner & Parameters<typeof startGate>[0], settings: Partial<GateSettings> = {}) {
  const staged = await stage(t, settings);
  staged.client.write(upgradeTo('chat'));
  const upstream = await staged.backend.connection(staged.backend.connections.length);
  await upstream.seen('\r\n\r\n');
  upstream.write(switching);
  await staged.client.seen('\r\n\r\n');
  return { ...staged, upstream };
}

const bodyOf = (text: string) => text.slice(text.indexOf('\r\n\r\n') + 4);

t.test('a WebSocket works through the gate, and nothing is left of it', async (t) => {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  await once(server, 'listening');
  t.teardown(() => new Promise<void>((resolve) => server.close(resolve)));
  const requests: { url: string; headers: Record<string, string> }[] = [];
  server.on('connection', (peer: Peer, request: { url: string; headers: Record<string, string> }) => {
    requests.push(request);
    peer.on('message', (data: Buffer, isBinary: boolean) => peer.send(isBinary ? data : data.toString()));
  });
  const { port } = server.address();
  const gate = await startGate(t, { upstream: `http://127.0.0.1:${port}/base`, limits: { drain: 60_000 } });
  const client = new WebSocket(`ws://127.0.0.1:${gate.port}/room?a=%2F`, ['v2', 'v1'], {
    headers: { 'X-Request-Id': 'ws-1', Cookie: 'session=1' },
  });
  await once(client, 'open');
  t.equal(client.protocol, 'v2', 'the subprotocol is agreed on between the two ends');
  t.equal(requests[0]?.url, '/base/room?a=%2F', 'the base path comes before the target, which stays as it is (I3)');
  t.match(requests[0]?.headers, {
    host: `127.0.0.1:${gate.port}`,
    connection: 'Upgrade',
    upgrade: 'websocket',
    cookie: 'session=1',
    'x-forwarded-for': '127.0.0.1',
    'x-forwarded-proto': 'http',
    'x-forwarded-host': `127.0.0.1:${gate.port}`,
    'x-request-id': 'ws-1',
    'sec-websocket-version': '13',
  });
  for (const message of ['short', 'ü'.repeat(70_000), Buffer.alloc(1_000_000, 7)]) {
    client.send(message);
    const [echoed] = (await once(client, 'message')) as [Buffer];
    t.ok(Buffer.from(message as string).equals(echoed), `${message.length} characters or octets come back`);
  }
  const [serverSide] = server.clients;
  const closedThere = once(serverSide as Peer, 'close');
  const closedHere = once(client, 'close');
  client.close(4001, 'enough');
  t.match((await closedThere).map(String), ['4001', 'enough'], 'the closing handshake arrives');
  t.match((await closedHere).map(String), ['4001', 'enough'], 'and comes back');
  t.equal(server.clients.size, 0);
  await gate.close();
  t.pass('the gate has no connection left to wait for');
});

t.test('the head of a 101 is passed on as it is', async (t) => {
  const { backend, client } = await stage(t);
  client.write(upgradeTo('chat'));
  const upstream = await backend.connection(0);
  await upstream.seen('\r\n\r\n');
  const fields =
    'x-ODD:  spaced \r\nUPGRADE: chat\r\nSet-Cookie: a=1\r\nset-cookie: b=\xe9\r\nconnection: upgrade, X-Odd\r\n';
  upstream.write(`HTTP/1.1 101 Have it\r\n${fields}x-request-id: theirs\r\n\r\n`);
  const seen = await client.seen('\r\n\r\n');
  const [own] = seen.match(/X-Request-Id: [\w-]{36}\r\n/) ?? [];
  t.equal(seen, `HTTP/1.1 101 Have it\r\n${fields.replace(':  spaced ', ': spaced')}${own}\r\n`);
});

t.test('what either side sends early comes after the 101, and not before', async (t) => {
  const { backend, client } = await stage(t);
  client.write(`${upgradeTo('chat')}early `);
  const upstream = await backend.connection(0);
  await upstream.seen('\r\n\r\n');
  client.write('bird ');
  t.equal(bodyOf(upstream.text), '', 'no byte of the new protocol before the upstream has agreed');
  upstream.write(`${switching}hello `);
  await upstream.seen('early bird ');
  await client.seen('hello ');
  t.equal(bodyOf(upstream.text), 'early bird ');
  t.equal(bodyOf(client.text), 'hello ');
  upstream.write('\x00\xff');
  await client.seen('hello \x00\xff');
});

for (const first of ['client', 'upstream'] as const) {
  t.test(`the ${first} ends its direction first`, async (t) => {
    const sides = await tunnel(t, { limits: { drain: 60_000 } });
    const other = first === 'client' ? sides.upstream : sides.client;
    const ended = once(other.socket, 'end');
    // What Node opens by itself would answer an end with its own.
    other.socket.allowHalfOpen = true;
    sides[first].end('last words');
    await ended;
    t.match(other.text, /last words$/, 'the end comes after what was said');
    other.write('I still have something to say.');
    await sides[first].seen('something to say.');
    other.end('Bye.');
    t.match((await sides[first].closed).text, /Bye\.$/);
    await other.closed;
    await sides.gate.close();
    t.pass('nothing is left');
  });

  t.test(`the ${first} breaks the connection`, async (t) => {
    const sides = await tunnel(t, { limits: { drain: 60_000 } });
    sides[first].reset();
    await (first === 'client' ? sides.upstream : sides.client).closed;
    await sides.gate.close();
    t.pass('nothing is left');
  });
}

for (const [sender, reader] of [
  ['upstream', 'client'],
  ['client', 'upstream'],
] as const) {
  t.test(`a ${reader} that does not read holds the ${sender} up`, async (t) => {
    const sides = await tunnel(t);
    const from = sides[sender].socket;
    const data = Buffer.alloc(1 << 20, 'x');
    sides[reader].socket.pause();
    for (let count = 0; count < 64; count++) from.write(data);
    let left = from.writableLength;
    // Quiet for many turns: whatever could be taken has been taken.
    for (let quiet = 0; quiet < 500; quiet++) {
      await new Promise(setImmediate);
      if (from.writableLength !== left) quiet = 0;
      left = from.writableLength;
    }
    t.ok(left > 32 << 20, `${left} octets wait at the ${sender}`);
    const before = sides[reader].length;
    sides[reader].socket.resume();
    from.end();
    await sides[reader].received(before + (64 << 20));
    t.pass('and all of them arrive');
  });
}

t.test('a large answer is delivered whole although its sender is already gone', async (t) => {
  const { client, upstream } = await tunnel(t);
  client.socket.pause();
  const before = client.length;
  client.end();
  upstream.socket.end(Buffer.alloc(8 << 20, 'y'));
  await new Promise(setImmediate);
  client.socket.resume();
  await client.closed;
  t.equal(client.length - before, 8 << 20);
});

t.test('an answer other than 101 is an answer like any other, and the last on its connection', async (t) => {
  const rows: readonly { answer: string; matches: RegExp; not?: RegExp; body: string }[] = [
    {
      answer:
        'HTTP/1.1 200 Fine\r\nContent-Length: 5\r\nETag: "native"\r\nX-A: 1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nhello',
      matches:
        /^HTTP\/1\.1 200 Fine\r\nContent-Length: 5\r\nX-A: 1\r\nVia: 1\.1 ifmatch\r\nX-Request-Id: .+\r\nConnection: close\r\n/,
      not: /upgrade|etag/i,
      body: 'hello',
    },
    {
      answer:
        'HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nno\r\n0\r\nX-T: 1\r\n\r\n',
      matches: /^HTTP\/1\.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\n/,
      body: '2\r\nno\r\n0\r\nX-T: 1\r\n\r\n',
    },
    {
      answer: 'HTTP/1.1 426 Upgrade Required\r\nConnection: Upgrade\r\nUpgrade: foo/2\r\nContent-Length: 2\r\n\r\nno',
      matches:
        /^HTTP\/1\.1 426 Upgrade Required\r\nContent-Length: 2\r\nUpgrade: foo\/2\r\nConnection: Upgrade\r\nVia: .+\r\nX-Request-Id: .+\r\nConnection: close\r\n/,
      body: 'no',
    },
    { answer: 'HTTP/1.1 304 Not Modified\r\n\r\n', matches: /^HTTP\/1\.1 304 Not Modified\r\n/, body: '' },
    { answer: 'HTTP/1.1 204 No Content\r\n\r\n', matches: /^HTTP\/1\.1 204 No Content\r\n/, body: '' },
    {
      answer: 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno',
      matches: /^HTTP\/1\.1 404 Not Found\r\n/,
      body: 'no',
    },
  ];
  for (const { answer, matches, not, body } of rows) {
    const { backend, gate, client } = await stage(t, { limits: { drain: 60_000 } });
    client.write(`${upgradeTo('websocket')}GET /smuggled HTTP/1.1\r\n\r\n`);
    const upstream = await backend.connection(0);
    await upstream.seen('\r\n\r\n');
    upstream.write(answer);
    const { text, reset } = await client.closed;
    t.match(text, matches);
    if (not !== undefined) t.notMatch(text, not);
    t.equal(bodyOf(text), body);
    t.equal(reset, false);
    t.notMatch((await upstream.closed).text, 'smuggled', 'nothing behind the head reaches the upstream');
    await gate.close();
  }
});

t.test('an answer whose body breaks off never looks whole', async (t) => {
  for (const framing of ['Content-Length: 100\r\n', 'Transfer-Encoding: chunked\r\n', '']) {
    const { backend, client } = await stage(t);
    client.write(upgradeTo('websocket'));
    const upstream = await backend.connection(0);
    await upstream.seen('\r\n\r\n');
    upstream.write(`HTTP/1.1 200 OK\r\n${framing}\r\n${framing.startsWith('T') ? '4\r\nhalf\r\n' : 'half'}`);
    await client.seen('half');
    if (framing.startsWith('C')) upstream.end();
    else upstream.reset();
    t.equal((await client.closed).reset, true, framing || 'a body without a length');
  }
});

t.test('a long answer is held up by a client that does not read, and given up with it', async (t) => {
  const { backend, client } = await stage(t);
  client.write(upgradeTo('websocket'));
  const upstream = await backend.connection(0);
  await upstream.seen('\r\n\r\n');
  upstream.write('HTTP/1.1 200 OK\r\n\r\n');
  await client.seen('\r\n\r\n');
  client.socket.pause();
  for (let count = 0; count < 64; count++) upstream.write(Buffer.alloc(1 << 20));
  client.socket.resume();
  await client.received(16 << 20);
  client.reset();
  await upstream.closed;
  t.pass('the upstream is let go');
});

/** An ordinary server; its requests show whether an Upgrade reached it. */
function startPlain(t: Owner) {
  return startBackend(t, (request, response) => {
    response.setHeader('ETag', '"v1"');
    response.end(request.method === 'GET' ? 'content' : '');
  });
}

t.test('an Upgrade that could bring requests past the gate is ignored', async (t) => {
  const backend = await startPlain(t);
  const gate = await startGate(t, { upstream: backend.url });
  const lines = [
    'Upgrade: h2c',
    'Upgrade: H2C',
    'Upgrade: HTTP/2.0',
    'Upgrade: http',
    'Upgrade: TLS/1.0',
    'Upgrade: TLS/1.2, HTTP/1.1',
    'Upgrade: websocket, h2c',
    'Upgrade: websocket\r\nUpgrade: h2c',
    'Upgrade: h2c\r\nUpgrade: websocket',
    'Upgrade: "h2c"',
    'Upgrade: h2c;q=1',
    'Upgrade: websocket h2c',
    'Upgrade: websocket/h2c/h2c',
    'Upgrade: "a, h2c',
    'Upgrade: ,',
  ];
  for (const line of lines) {
    const client = await rawClient(t, gate.port);
    const settings = 'HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA';
    client.write(
      `GET /docs/1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n${line}\r\n${settings}\r\n\r\n`,
    );
    const { text } = await client.closed;
    t.match(text, /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\nConnection: close\r\n[\s\S]*content$/, line);
    t.match(text, /\r\nETag: "/i, 'a read like any other');
    const { headers } = backend.requests.at(-1) ?? {};
    t.equal(headers?.upgrade, undefined, 'the upstream sees nothing of it');
    t.equal(headers?.['http2-settings'], undefined);
    t.notMatch(headers?.connection, /upgrade/i);
  }
  t.equal(backend.requests.length, lines.length);
});

t.test('an Upgrade on any request but a plain GET is ignored, and the gate decides as ever', async (t) => {
  const backend = await startPlain(t);
  const gate = await startGate(t, {
    upstream: backend.url,
    policy: { guard: 'required' },
    routes: [
      { path: '/free/*', policy: { guard: 'off' } },
      { path: '/optional/*', policy: { guard: 'optional' } },
    ],
  });
  const rows: readonly [start: string, fields: string, body: string, status: number, forwarded: boolean][] = [
    ['PUT /docs/1 HTTP/1.1', '', 'body', 428, false],
    ['PUT /docs/1 HTTP/1.1', 'If-Match: "stale"\r\n', 'body', 412, false],
    ['PUT /docs/1 HTTP/1.1', 'If-Match: "v1"\r\n', 'body', 200, true],
    ['PUT /optional/1 HTTP/1.1', '', 'body', 200, true],
    ['PUT /free/1 HTTP/1.1', '', 'body', 200, true],
    ['PUT /free/1 HTTP/1.1', '', '', 200, true],
    ['DELETE /docs/1 HTTP/1.1', 'If-Match: "stale"\r\n', '', 412, false],
    ['PATCH /docs/1 HTTP/1.1', 'Expect: 100-continue\r\n', 'body', 428, false],
    ['POST /docs HTTP/1.1', '', 'body', 200, true],
    ['OPTIONS /docs HTTP/1.1', '', '', 200, true],
    ['HEAD /docs/1 HTTP/1.1', '', '', 200, true],
    ['GET /docs/1 HTTP/1.1', '', 'body', 200, true],
    ['GET /docs/1 HTTP/1.0', '', '', 200, true],
    ['GET /docs/1 HTTP/1.1', 'X-HTTP-Method-Override: PUT\r\n', '', 428, false],
    ['GET /docs/1 HTTP/1.1', 'X_Method_Override: DELETE\r\nIf-Match: "stale"\r\n', '', 412, false],
    ['GET /docs/1?_method=PATCH HTTP/1.1', '', '', 428, false],
    ['GET /docs/1?_method=PATCH HTTP/1.1', 'X-HTTP-Method: PUT\r\n', '', 400, false],
    ['GET /optional/1?_method=PUT HTTP/1.1', 'If-Match: "v1"\r\n', '', 200, true],
    ['GET /a/..;/b HTTP/1.1', '', '', 400, false],
    ['GET /a#b HTTP/1.1', '', '', 400, false],
    ['GET /a/../../b HTTP/1.1', '', '', 400, false],
  ];
  for (const [start, fields, body, status, forwarded] of rows) {
    const before = backend.requests.length;
    const client = await rawClient(t, gate.port);
    const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`;
    client.write(`${start}\r\n${head}Upgrade: websocket\r\n${fields}${length}\r\n`);
    client.write(body);
    const { text } = await client.closed;
    const name = `${start} ${fields.trimEnd()}`;
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), name);
    t.notMatch(text, ' 101 ', name);
    const [method, path] = start.split(' ');
    const arrived = backend.requests.slice(before);
    const isProbe = ({ headers }: { headers: { pragma?: string | undefined } }) => headers.pragma === 'no-cache';
    const same = arrived.filter((it) => it.method === method && it.url === path && !isProbe(it));
    t.equal(same.length > 0, forwarded, `${name}: forwarded`);
    if (forwarded) t.equal(same.at(-1)?.body.toString(), body, `${name}: with its body`);
    t.ok(
      arrived.every(({ headers }) => headers.upgrade === undefined),
      `${name}: without Upgrade`,
    );
  }
});

t.test('behind an ignored Upgrade no bytes are taken for a request', async (t) => {
  const backend = await startPlain(t);
  const gate = await startGate(t, { upstream: backend.url });
  const inner = 'DELETE /docs/1 HTTP/1.1\r\nHost: a\r\n\r\n';
  for (const first of [
    `GET /docs/1 HTTP/1.1\r\n${head}Upgrade: h2c\r\n\r\n`,
    `PUT /docs/1 HTTP/1.1\r\n${head}Upgrade: websocket\r\nContent-Length: 2\r\n\r\nok`,
  ]) {
    const client = await rawClient(t, gate.port);
    client.write(`${first}PUT /docs/2 HTTP/1.1\r\nHost: a\r\nContent-Length: ${inner.length}\r\n\r\n`);
    client.write(inner);
    const { text } = await client.closed;
    t.equal(text.split('HTTP/1.1 ').length - 1, 1, 'one answer');
    t.match(text, '\r\nConnection: close\r\n');
  }
  t.notOk(
    backend.requests.some(({ method }) => method === 'DELETE'),
    'a body is never a request',
  );
});

t.test('an upgrade behind a request that is not yet answered ends the connection', async (t) => {
  const { backend, gate, client } = await stage(t);
  client.write(`GET /slow HTTP/1.1\r\nHost: a\r\n\r\n${upgradeTo('chat')}`);
  t.equal((await client.closed).text, '');
  await (await backend.connection(0)).closed;
  t.equal(backend.connections.length, 1);
  const next = await rawClient(t, gate.port);
  next.write(upgradeTo('chat'));
  await (await backend.connection(1)).seen('/chat');
  t.pass('the gate lives');
});

t.test('a connection that was used for requests can become a tunnel', async (t) => {
  const backend = await startRawBackend(t, ({ socket }, index) => {
    if (index === 0) socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1'));
    else socket.once('data', () => socket.write(switching));
  });
  const gate = await startGate(t, { upstream: backend.url });
  const client = await rawClient(t, gate.port);
  client.write('GET /a HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.seen(/\r\n\r\n1$/);
  client.write(upgradeTo('chat'));
  await client.seen(' 101 ');
  client.write('word');
  await (await backend.connection(1)).seen(/word$/);
});

t.test('websocket: false refuses upgrades and nothing else', async (t) => {
  const backend = await startPlain(t);
  const flags = new Map([['upstream', backend.url]]);
  const loaded = loadConfig({ flags, env: { IFMATCH_WEBSOCKET: 'false' }, readFile: () => '' });
  t.match(loaded, { config: { websocket: false } }, 'which can be said in the configuration');
  const gate = await startGate(t, { upstream: backend.url, config: { websocket: false } });
  const client = await rawClient(t, gate.port);
  client.write(upgradeTo('websocket'));
  const { text, reset } = await client.closed;
  t.match(text, /^HTTP\/1\.1 426 Upgrade Required\r\n/);
  t.match(text, '\r\nUpgrade: HTTP/1.1\r\nConnection: Upgrade\r\n', 'what is spoken here (RFC 9110 15.5.22)');
  t.match(text, '\r\nConnection: close\r\n');
  t.match(JSON.parse(bodyOf(text)), { type: 'urn:problem-type:ifmatch:upgrade-refused', status: 426 });
  t.equal(reset, false);
  t.equal(backend.requests.length, 0);
  const ordinary = await rawClient(t, gate.port);
  ordinary.write(`PUT /docs/1 HTTP/1.1\r\n${head}Upgrade: websocket\r\nContent-Length: 0\r\n\r\n`);
  t.match((await ordinary.closed).text, /^HTTP\/1\.1 200 OK/);
});

t.test('an upstream that does not answer gives a problem', async (t) => {
  type Row = readonly [name: string, act: (upstream: RawConnection) => void, status: number, error: string];
  const rows: readonly Row[] = [
    ['ends the connection', (upstream) => upstream.end(), 502, 'connection_terminated'],
    ['resets the connection', (upstream) => upstream.reset(), 502, 'connection_terminated'],
    ['answers nonsense', (upstream) => upstream.write('nonsense\r\n\r\n'), 502, 'http_protocol_error'],
    ['switches without a name', (upstream) => upstream.write('HTTP/1.1 101 Yes\r\n\r\n'), 502, 'http_protocol_error'],
    [
      'switches without saying so',
      (upstream) => upstream.write('HTTP/1.1 101 Yes\r\nUpgrade: chat\r\n\r\n'),
      502,
      'http_protocol_error',
    ],
    ['says nothing', () => {}, 504, 'http_response_timeout'],
  ];
  for (const [name, act, status, error] of rows) {
    const { backend, client } = await stage(t, { limits: { upstreamTimeout: status === 504 ? 50 : 60_000 } });
    client.write(upgradeTo('websocket'));
    const upstream = await backend.connection(0);
    await upstream.seen('\r\n\r\n');
    act(upstream);
    const { text } = await client.closed;
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} [\\s\\S]*\\r\\nProxy-Status: ifmatch; error=${error};`), name);
    t.match(JSON.parse(bodyOf(text)), { status });
    await upstream.closed;
  }
  const silent = await stage(t, {
    upstream: (await startRawBackend(t)).url.replace('http:', 'https:'),
    limits: { connectTimeout: 50 },
  });
  silent.client.write(upgradeTo('websocket'));
  t.match((await silent.client.closed).text, /^HTTP\/1\.1 50[24] [\s\S]*error=connection_timeout;/, 'no TLS handshake');
  const unused = await startRawBackend(t);
  const refused = await stage(t, { upstream: await closedAddress(unused) });
  refused.client.write(upgradeTo('websocket'));
  t.match((await refused.client.closed).text, /^HTTP\/1\.1 502 [\s\S]*error=connection_refused;/);
});

/** An address at which nobody listens. */
async function closedAddress(backend: RawBackend): Promise<string> {
  const { createServer } = await import('node:net');
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return backend.url.replace(/\d+$/, String(port));
}

t.test('a client that goes away before the answer takes the upstream’s request with it', async (t) => {
  for (const leave of ['end', 'reset'] as const) {
    const { backend, gate, client } = await stage(t, { limits: { drain: 60_000 } });
    client.write(upgradeTo('websocket'));
    const upstream = await backend.connection(0);
    await upstream.seen('\r\n\r\n');
    client[leave]();
    await upstream.closed;
    await client.closed;
    await gate.close();
    t.pass(`${leave}: nothing is left`);
  }
});

t.test('tunnels are broken when the time to drain is over, those that wait for an answer too', async (t) => {
  const { backend, client, gate, upstream } = await tunnel(t);
  const waiting = await rawClient(t, gate.port);
  waiting.write(upgradeTo('chat'));
  await (await backend.connection(1)).seen('\r\n\r\n');
  await gate.close();
  await Promise.all([client.closed, upstream.closed, waiting.closed, (await backend.connection(1)).closed]);
  t.notMatch(waiting.text, ' 101 ');
});

t.test('a tunnel outlives the beginning of a shutdown', async (t) => {
  const { client, gate, upstream } = await tunnel(t, { limits: { drain: 60_000 } });
  const closing = gate.close();
  client.write('still here');
  await upstream.seen(/still here$/);
  upstream.end();
  await closing;
  await client.closed;
});

t.test('an upgrade is put on record when it is answered', async (t) => {
  const lines: Record<string, unknown>[] = [];
  const settings: Partial<GateSettings> = {
    routes: [{ path: '/chat' }],
    config: { log: { level: 'info', access: 'all', pretty: false } as never },
    onLog: (line) => lines.push(line),
  };
  const { client } = await tunnel(t, settings);
  t.ok(await settled(() => lines.some(({ status }) => status === 101)));
  const record = lines.find(({ status }) => status === 101);
  t.match(record, { kind: 'passed', route: '/chat', method: 'GET', path: '/chat', decision: 'forwarded' });
  t.type(record?.upstreamMs, 'number');
  t.match(client.text, `X-Request-Id: ${record?.requestId}`);
});

t.test('over TLS on both sides', async (t) => {
  const server = createHttpsServer({ key: certificateKey, cert: certificate });
  const wss = new WebSocketServer({ server });
  wss.on('connection', (peer: Peer) => peer.on('message', (data: Buffer) => peer.send(data)));
  // Too long to be held back.
  const half = 'HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\nhalf';
  server.on('request', ({ socket }) => socket.end(half));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const dir = t.testdir({ 'key.pem': certificateKey, 'cert.pem': certificate });
  const tls = { cert: `${dir}/cert.pem`, key: `${dir}/key.pem` };
  const { port } = server.address() as AddressInfo;
  const secure = (upstreamTls: object): Promise<RunningGate> =>
    startGate(t, {
      upstream: `https://localhost:${port}`,
      config: { tls, upstreamTls: { insecure: false, ...upstreamTls } as never },
      limits: { drain: 60_000 },
    });
  const gate = await secure({ ca: tls.cert });

  t.test('a WebSocket', async (t) => {
    const client = new WebSocket(`wss://localhost:${gate.port}/`, [], { ca: certificate });
    await once(client, 'open');
    client.send('over TLS');
    t.equal(String((await once(client, 'message'))[0]), 'over TLS');
    client.close(1000, '');
    await once(client, 'close');
    t.ok(await untilNone(server));
  });

  for (const upgrade of ['Connection: Upgrade\r\nUpgrade: chat\r\n', 'Connection: close\r\n']) {
    t.test(`a body that breaks off after ${upgrade.trimEnd()}`, async (t) => {
      server.removeAllListeners('upgrade');
      server.on('upgrade', (_, socket: Socket) => socket.end(half));
      const socket = connectTls({ host: '127.0.0.1', port: gate.port, ca: certificate, servername: 'localhost' });
      const client = rawConnection(socket);
      client.write(`GET / HTTP/1.1\r\nHost: a\r\n${upgrade}\r\n`);
      t.match((await client.closed).text, /half$/, 'the connection breaks, the gate lives');
    });
  }

  t.test('a direction that ends first', async (t) => {
    server.removeAllListeners('upgrade');
    server.on('upgrade', (_, socket: Socket) => {
      socket.allowHalfOpen = true;
      socket.write(switching);
      socket.once('end', () => socket.end('Bye.')).resume();
    });
    const settings = { port: gate.port, ca: certificate, servername: 'localhost', allowHalfOpen: true };
    const client = rawConnection(connectTls(settings));
    client.write(upgradeTo('chat'));
    await client.seen(' 101 ');
    client.end('last words');
    t.match((await client.closed).text, /Bye\.$/);
    t.ok(await untilNone(server));
  });

  t.test('a certificate that nobody vouches for', async (t) => {
    const suspicious = await secure({});
    const socket = connectTls({ host: '127.0.0.1', port: suspicious.port, ca: certificate, servername: 'localhost' });
    const client = rawConnection(socket);
    client.write(upgradeTo('chat'));
    t.match((await client.closed).text, /^HTTP\/1\.1 502 [\s\S]*error=tls_/);
  });
});

async function untilNone(server: Parameters<typeof connectionsOf>[0]): Promise<boolean> {
  for (let turn = 0; turn < 20_000; turn++) {
    if ((await connectionsOf(server)) === 0) return true;
    await new Promise(setImmediate);
  }
  return false;
}

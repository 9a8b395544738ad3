import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import t, { type Test } from 'tap';
import type { Config } from '../../src/config/schema.js';
import { documents, startBackend } from '../helpers/backend.js';
import { certificate, certificateKey } from '../helpers/certificate.js';
import { type Answer, request } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { startGate } from '../helpers/gate.js';
import { type RawConnection, rawClient, rawConnection, startRawBackend } from '../helpers/raw.js';

/** Calls back at every request head on a connection. */
function atHead(connection: RawConnection, act: () => void): void {
  let heads = 0;
  connection.socket.on('data', () => {
    const seen = connection.text.split('\r\n\r\n').length - 1;
    for (; heads < seen; heads += 1) act();
  });
}

function problemOf(answer: Answer): Record<string, unknown> {
  return JSON.parse(answer.body.toString()) as Record<string, unknown>;
}

/** An address where nobody listens any more. */
async function closedAddress(): Promise<string> {
  const actions: (() => unknown)[] = [];
  const { url } = await startRawBackend({ teardown: (action) => actions.push(action) });
  for (const action of actions) await action();
  return url;
}

const methods = ['GET', 'HEAD', 'PUT', 'POST', 'OPTIONS'] as const;

/** What becomes of a request whose answer has no head. */
function judge(
  t: Test,
  method: string,
  answer: Answer,
  expected: { status: number; error: string; sent: boolean },
): void {
  const { status, error, sent } = expected;
  t.equal(answer.status, status, `${method}: status`);
  t.match(answer.headers['proxy-status'], new RegExp(`^ifmatch; error=${error}; details="`));
  t.equal(answer.headers['cache-control'], 'no-store');
  t.match(answer.headers['x-request-id'], /./);
  if (method === 'HEAD') return;
  t.equal(answer.headers['content-type'], 'application/problem+json');
  const outcome = sent ? 'unknown' : 'not-sent';
  const isWrite = method === 'PUT' || method === 'POST';
  t.equal(problemOf(answer).outcome, isWrite ? outcome : undefined, `${method}: outcome`);
}

const noHead: readonly {
  readonly why: string;
  readonly serve: (connection: RawConnection) => unknown;
  /** How long the gate then waits, in milliseconds of its own clock. */
  readonly waits?: number;
  readonly status: number;
  readonly error: string;
}[] = [
  { why: 'accepts and hangs', serve: () => {}, waits: 60_001, status: 504, error: 'http_response_timeout' },
  { why: 'resets', serve: ({ reset }) => reset(), status: 502, error: 'connection_terminated' },
  { why: 'ends', serve: ({ end }) => end(), status: 502, error: 'connection_terminated' },
  {
    why: 'ends in the middle of its head',
    serve: ({ end }) => end('HTTP/1.1 200 OK\r\nContent-'),
    status: 502,
    error: 'connection_terminated',
  },
  {
    why: 'hangs in the middle of its head',
    serve: ({ write }) => write('HTTP/1.1 200 OK\r\nContent-'),
    waits: 60_001,
    status: 504,
    error: 'http_response_timeout',
  },
  {
    why: 'hangs after 103',
    serve: ({ write }) => write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'),
    waits: 60_001,
    status: 504,
    error: 'http_response_timeout',
  },
  {
    why: 'does not speak HTTP',
    serve: ({ write }) => write('220 mail\r\n\r\n'),
    status: 502,
    error: 'http_protocol_error',
  },
  {
    why: 'sends a status that is none',
    serve: ({ write }) => write('HTTP/1.1 abc\r\n\r\n'),
    status: 502,
    error: 'http_protocol_error',
  },
  {
    why: 'sends a field name with a space',
    serve: ({ write }) => write('HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n'),
    status: 502,
    error: 'http_protocol_error',
  },
  {
    why: 'sends two lengths',
    serve: ({ write }) => write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab'),
    status: 502,
    error: 'http_protocol_error',
  },
  {
    why: 'sends a length and chunked',
    serve: ({ write }) => write('HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
    status: 502,
    error: 'http_protocol_error',
  },
  {
    why: 'folds a line',
    serve: ({ write }) => write('HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n'),
    status: 502,
    error: 'http_protocol_error',
  },
  {
    why: 'sends a head that is too long',
    serve: ({ write }) => write(`HTTP/1.1 200 OK\r\nX: ${'a'.repeat(70_000)}\r\n\r\n`),
    status: 502,
    error: 'http_protocol_error',
  },
  {
    why: 'switches protocols unasked',
    serve: ({ write }) => write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'),
    status: 502,
    error: 'connection_terminated',
  },
];

for (const { why, serve, waits, status, error } of noHead) {
  t.test(`an upstream that ${why}`, async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startRawBackend(t, (connection) => atHead(connection, () => serve(connection)));
    const gate = await startGate(t, { upstream: backend.url, clock });
    for (const [index, method] of methods.entries()) {
      const answering = request(`${gate.url}/${method}`, { method, ...(method === 'PUT' && { body: 'b' }) });
      if (waits !== undefined) {
        await (await backend.connection(index)).seen('\r\n\r\n');
        clock.advance(waits);
      }
      judge(t, method, await answering, { status, error, sent: true });
    }
    t.equal(backend.connections.length, methods.length, 'nothing was tried twice');
    t.ok(backend.connections.every(({ text }) => text.split('HTTP/1.1\r\n').length === 2));
  });
}

t.test('an upstream that refuses connections: nothing was sent', async (t) => {
  const upstream = await closedAddress();
  const gate = await startGate(t, { upstream });
  for (const method of methods) {
    const answer = await request(gate.url, { method });
    judge(t, method, answer, { status: 502, error: 'connection_refused', sent: false });
  }
  const conditional = await request(gate.url, { method: 'PUT', headers: { 'If-Match': '"x"' }, body: 'b' });
  judge(t, 'PUT', conditional, { status: 502, error: 'connection_refused', sent: false });
});

t.test('no connection becomes free in time: nothing was sent', async (t) => {
  const clock = createVirtualClock(Date.now());
  const backend = await startRawBackend(t);
  const gate = await startGate(t, {
    upstream: backend.url,
    clock,
    limits: { upstreamConnections: 1 },
    routes: [{ path: '/hangs', policy: { timeouts: { upstreamTimeout: 600_000 } } }],
  });
  const first = request(`${gate.url}/hangs`, { method: 'PUT' });
  await (await backend.connection(0)).seen('\r\n\r\n');
  const second = request(`${gate.url}/waits`, { method: 'PUT' });
  while (clock.pending() < 2) await new Promise(setImmediate);
  clock.advance(60_001);
  judge(t, 'PUT', await second, { status: 502, error: 'connection_timeout', sent: false });
  t.equal(backend.connections.length, 1);
  clock.advance(600_001);
  judge(t, 'PUT', await first, { status: 504, error: 'http_response_timeout', sent: true });
  const third = request(`${gate.url}/after`);
  const next = await backend.connection(1);
  await next.seen('\r\n\r\n');
  next.write('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
  t.equal((await third).status, 404, 'the place is free again');
});

t.test('a flood of 1xx answers ends at upstreamTimeout', async (t) => {
  const clock = createVirtualClock(Date.now());
  const backend = await startRawBackend(t, (connection) =>
    atHead(connection, () => {
      const flood = (): void => {
        if (connection.socket.destroyed) return;
        connection.write('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n');
        setImmediate(flood);
      };
      flood();
    }),
  );
  const gate = await startGate(t, { upstream: backend.url, clock });
  const client = await rawClient(t, gate.port);
  client.write('PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
  await client.seen(/(?:HTTP\/1\.1 103 Early Hints\r\nLink: <\/a>\r\n\r\n){50}/);
  clock.advance(60_001);
  t.match((await client.closed).text, /\r\n\r\nHTTP\/1\.1 504 Gateway Timeout\r\n[\s\S]*"outcome":"unknown"/);
  await backend.connections[0]?.closed;
});

const native = 'ETag: "n"\r\n';
const brokenBodies: readonly {
  readonly why: string;
  /** The beginning of an answer. */
  readonly sends: string;
  readonly ends: 'reset' | 'end' | 'stall' | 'garbage';
}[] = [
  { why: 'a length, reset', sends: `${native}Content-Length: 10\r\n\r\nabc`, ends: 'reset' },
  { why: 'a length, short', sends: `${native}Content-Length: 10\r\n\r\nabc`, ends: 'end' },
  { why: 'a length, stalled', sends: `${native}Content-Length: 10\r\n\r\nabc`, ends: 'stall' },
  { why: 'chunked, reset', sends: `${native}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`, ends: 'reset' },
  { why: 'chunked, ended in order', sends: `${native}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`, ends: 'end' },
  { why: 'chunked, within a chunk', sends: `${native}Transfer-Encoding: chunked\r\n\r\n9\r\nabc`, ends: 'end' },
  { why: 'chunked, stalled', sends: `${native}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`, ends: 'stall' },
  {
    why: 'a chunk size that is none',
    sends: `${native}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`,
    ends: 'garbage',
  },
  { why: 'until the connection closes, reset', sends: `${native}\r\nabc`, ends: 'reset' },
  { why: 'until the connection closes, stalled', sends: `${native}\r\nabc`, ends: 'stall' },
];

t.test('a body that breaks off never looks whole', async (t) => {
  for (const { why, sends, ends } of brokenBodies) {
    for (const method of ['GET', 'PUT', 'POST', 'OPTIONS']) {
      for (const version of ['1.1', '1.0']) {
        await t.test(`${method} HTTP/${version}: ${why}`, async (t) => {
          const clock = createVirtualClock(Date.now());
          const backend = await startRawBackend(t, (connection) =>
            atHead(connection, () => connection.write(`HTTP/1.1 200 OK\r\n${sends}`)),
          );
          const gate = await startGate(t, { upstream: backend.url, clock });
          const client = await rawClient(t, gate.port);
          client.write(`${method} /x HTTP/${version}\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
          const upstream = await backend.connection(0);
          await client.seen(/\r\n\r\n[\s\S]*abc/);
          if (ends === 'reset') upstream.reset();
          if (ends === 'end') upstream.end();
          if (ends === 'garbage') upstream.write('z\r\n');
          if (ends === 'stall') clock.advance(60_001);
          const { text, reset } = await client.closed;
          t.match(text, /^HTTP\/1\.1 200 OK\r\n/, 'the head was on its way already');
          const [, body = ''] = text.split('\r\n\r\n');
          t.notMatch(text, /\r\n0\r\n/, 'no last chunk');
          t.ok(body.length < 10);
          t.equal(reset, true, 'the connection is reset');
          await upstream.closed;
        });
      }
    }
  }
});

t.test('a body that breaks off to a client that uses TLS', async (t) => {
  const files = t.testdir({ 'cert.pem': certificate, 'key.pem': certificateKey });
  const backend = await startRawBackend(t, (connection) =>
    atHead(connection, () => connection.write(`HTTP/1.1 200 OK\r\n${native}\r\nabc`)),
  );
  const tls = { cert: join(files, 'cert.pem'), key: join(files, 'key.pem') };
  const gate = await startGate(t, { upstream: backend.url, config: { tls } });
  for (const version of ['1.1', '1.0']) {
    const socket = connectTls({ port: gate.port, host: '127.0.0.1', ca: certificate });
    t.teardown(() => socket.destroy());
    const client = rawConnection(socket);
    client.write(`GET /x HTTP/${version}\r\nHost: a\r\n\r\n`);
    await client.seen('abc');
    backend.connections.at(-1)?.reset();
    const { text } = await client.closed;
    t.notMatch(text, /\r\n0\r\n/);
  }
  t.equal(backend.connections.length, 2, 'the gate goes on after each');
});

t.test('an upstream that takes nothing of a body', async (t) => {
  const clock = createVirtualClock(Date.now());
  const backend = await startRawBackend(t, ({ socket }) => socket.pause());
  const gate = await startGate(t, { upstream: backend.url, clock });
  const client = await rawClient(t, gate.port);
  client.write('PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100000000\r\n\r\n');
  const chunk = Buffer.alloc(1_000_000);
  let blocked = 0;
  while (blocked < 100) {
    blocked = client.socket.writableNeedDrain ? blocked + 1 : 0;
    if (!client.socket.writableNeedDrain) client.write(chunk);
    await new Promise(setImmediate);
  }
  clock.advance(100_000);
  const text = await client.seen('"outcome"');
  t.match(text, /^HTTP\/1\.1 504 /, 'the client is not to blame');
  t.match(text, /error=connection_write_timeout/);
  t.match(text, /"outcome":"unknown"/);
});

t.test('a body that breaks off while it is held back becomes a 502', async (t) => {
  for (const ends of ['reset', 'end', 'stall'] as const) {
    const clock = createVirtualClock(Date.now());
    const backend = await startRawBackend(t, (connection) =>
      atHead(connection, () => {
        connection.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc');
        if (ends === 'reset') connection.reset();
        if (ends === 'end') connection.end();
      }),
    );
    const gate = await startGate(t, { upstream: backend.url, clock, limits: { holdTime: 100_000 } });
    const answering = request(gate.url);
    if (ends === 'stall') {
      await (await backend.connection(0)).seen('\r\n\r\n');
      // One timer for the call, one for holding back: its head is here.
      while (clock.pending() < 2) await new Promise(setImmediate);
      await new Promise(setImmediate);
      clock.advance(60_001);
    }
    const { status, headers } = await answering;
    t.equal(status, ends === 'stall' ? 504 : 502, ends);
    t.match(
      headers['proxy-status'],
      ends === 'stall' ? /error=connection_read_timeout/ : /error=http_response_incomplete/,
    );
    t.equal(headers.etag, undefined);
  }
});

t.test('a write whose answer breaks off is done, and its outcome on record', async (t) => {
  const stored = documents({ '/x': { body: 'one' } });
  const backend = await startBackend(t, (seen, response, incoming) => {
    if (seen.method !== 'PUT' || seen.body.toString() !== 'two') return stored(seen, response, incoming);
    stored(seen, { writeHead() {}, end() {} } as unknown as typeof response, incoming);
    response.writeHead(200, { 'Content-Length': 100 });
    response.write('short');
    return response.socket?.end();
  });
  const gate = await startGate(t, { upstream: backend.url });
  const etag = (await request(`${gate.url}/x`)).headers.etag ?? '';
  const broken = request(`${gate.url}/x`, { method: 'PUT', headers: { 'If-Match': etag }, body: 'two' });
  await t.rejects(broken, { code: 'ECONNRESET' });
  const stale = await request(`${gate.url}/x`, { method: 'PUT', headers: { 'If-Match': etag }, body: 'three' });
  t.equal(stale.status, 412, 'the next writer is not held up, and does not win');
  t.equal(stored.stored.get('/x')?.body, 'two');
});

t.test('an event stream may be silent', async (t) => {
  const clock = createVirtualClock(Date.now());
  const backend = await startRawBackend(t, (connection) =>
    atHead(connection, () => connection.write('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n')),
  );
  const gate = await startGate(t, { upstream: backend.url, clock });
  const client = await rawClient(t, gate.port);
  client.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n');
  t.match(await client.seen('\r\n\r\n'), /Content-Type: text\/event-stream/, 'the head does not wait for an event');
  const upstream = await backend.connection(0);
  for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
    clock.advance(3_600_000);
    upstream.write(event);
    await client.seen(event);
  }
  upstream.end();
  await client.seen(/\r\n0\r\n\r\n$/);
});

t.test('TLS to the upstream', async (t) => {
  const files = t.testdir({});
  const ca = join(files, 'ca.pem');
  writeFileSync(ca, certificate);
  const seen: { servername: string | false | undefined; host: string | undefined }[] = [];
  const server = createHttpsServer({ cert: certificate, key: certificateKey }, (incoming, response) => {
    const { servername } = incoming.socket as unknown as { servername: string | false };
    seen.push({ servername, host: incoming.headers.host });
    response.end('secret');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;

  const rows: readonly [upstreamTls: Config['upstreamTls'], host: string, accepted: boolean, why: string][] = [
    [{ insecure: false }, 'localhost', false, 'an unknown authority'],
    [{ insecure: false, ca }, 'localhost', true, 'a known one'],
    [{ insecure: false, ca }, '127.0.0.1', true, 'an address in the certificate'],
    [{ insecure: false, ca, serverName: 'other.example' }, 'localhost', false, 'another name than expected'],
    [{ insecure: false, ca, serverName: 'localhost' }, '127.0.0.1', true, 'the name that is expected'],
    [{ insecure: true }, 'localhost', true, 'unverified on purpose'],
  ];
  for (const [upstreamTls, host, accepted, why] of rows) {
    await t.test(why, async (t) => {
      const gate = await startGate(t, { upstream: `https://${host}:${port}`, config: { upstreamTls } });
      for (const [method, clientHost] of [
        ['GET', 'one.example'],
        ['PUT', 'two.example'],
      ] as const) {
        const before = seen.length;
        const answer = await request(gate.url, { method, headers: { Host: clientHost } });
        if (!accepted) {
          judge(t, method, answer, { status: 502, error: 'tls_certificate_error', sent: false });
          t.equal(seen.length, before);
          continue;
        }
        t.equal(answer.status, 200);
        const name = upstreamTls.serverName ?? (host === 'localhost' ? 'localhost' : false);
        t.same(seen.at(-1), { servername: name, host: clientHost }, 'SNI is the upstream’s own name');
      }
    });
  }

  await t.test('an upstream that speaks no TLS', async (t) => {
    const backend = await startRawBackend(t, ({ socket, end }) =>
      socket.once('data', () => end('HTTP/1.1 400 No\r\n\r\n')),
    );
    const gate = await startGate(t, { upstream: `https://localhost:${backend.port}` });
    judge(t, 'PUT', await request(gate.url, { method: 'PUT' }), {
      status: 502,
      error: 'tls_protocol_error',
      sent: false,
    });
  });

  await t.test('a connection that is not established in time', async (t) => {
    const backend = await startRawBackend(t);
    const gate = await startGate(t, { upstream: `https://127.0.0.1:${backend.port}`, limits: { connectTimeout: 50 } });
    for (const method of ['GET', 'PUT']) {
      const answer = await request(gate.url, { method });
      judge(t, method, answer, { status: 502, error: 'connection_timeout', sent: false });
    }
  });
});

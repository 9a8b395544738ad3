import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { documents, startBackend } from '../helpers/backend.js';
import { request, roundTrip } from '../helpers/client.js';
import { createVirtualClock, type VirtualClock } from '../helpers/clock.js';
import { eventually } from '../helpers/eventually.js';
import { startGate } from '../helpers/gate.js';
import { type RawBackend, type RawConnection, rawClient, rawConnection, startRawBackend } from '../helpers/raw.js';

const megabyte = 2 ** 20;

/** Breaks connections off and waits until the gate has noticed. */
async function leave(port: number, clients: readonly RawConnection[]): Promise<void> {
  for (const client of clients) client.reset();
  await Promise.all(clients.map(({ closed }) => closed));
  await roundTrip(port);
}

t.test('an endless answer to a write is given up ten seconds after its client (W15)', async (t) => {
  for (const begun of [false, true]) {
    await t.test(`who leaves ${begun ? 'after' : 'before'} it has begun`, async (t) => {
      const clock = createVirtualClock(Date.now());
      const waiting: ServerResponse[] = [];
      const open = new Set<ServerResponse>();
      const backend = await startBackend(t, (seen, response) => {
        if (seen.url === '/ok') return response.end('ok');
        waiting.push(response);
        open.add(response);
        return response.once('close', () => open.delete(response));
      });
      const begin = (): void => {
        for (const response of waiting) {
          response.writeHead(200, { 'Content-Type': 'text/event-stream' }).write('data: 1\n\n');
        }
      };
      const gate = await startGate(t, { upstream: backend.url, clock, limits: { upstreamConnections: 4 } });
      const clients = await Promise.all(Array.from({ length: 4 }, () => rawClient(t, gate.port)));
      for (const [index, client] of clients.entries()) {
        client.write(`POST /events/${index} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}`);
      }
      await eventually(t, () => waiting.length === 4, 'all of them arrive');
      if (begun) {
        begin();
        await Promise.all(clients.map(({ seen }) => seen('data: 1')));
      }
      await leave(gate.port, clients);
      if (!begun) begin();
      await eventually(t, () => clock.pending() === 8, 'a deadline for each, besides those of the calls');
      clock.advance(9_999);
      await roundTrip(gate.port);
      t.equal(open.size, 4, 'the upstream may still be at it');
      clock.advance(1);
      await eventually(t, () => open.size === 0, 'they are given up');
      t.equal((await request(`${gate.url}/ok`)).status, 200, 'their connections are free again');
    });
  }
});

t.test('the answer to a write whose client left before it is taken to its end (W15)', async (t) => {
  for (const [method, guard] of [
    ['PUT', 'optional'],
    ['POST', 'optional'],
    ['PUT', 'off'],
  ] as const) {
    const backend = await startRawBackend(t);
    const gate = await startGate(t, { upstream: backend.url, policy: { guard }, limits: { upstreamConnections: 1 } });
    const client = await rawClient(t, gate.port);
    client.write(`${method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb`);
    const upstream = await backend.connection(0);
    await upstream.seen(/\r\n\r\nb$/);
    await leave(gate.port, [client]);
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc');
    await roundTrip(gate.port);
    upstream.write('def');
    const next = request(`${gate.url}/next`);
    await upstream.seen('GET /next');
    upstream.write('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
    t.equal((await next).status, 404, `${method}, guard ${guard}: its connection is used again`);
  }
});

t.test('an unguarded write whose client leaves while it waits for a connection is never sent (W15)', async (t) => {
  const body = 'hello';
  for (const [method, guard] of [
    ['POST', 'optional'],
    ['POST', 'off'],
    ['PUT', 'off'],
  ] as const) {
    const backend = await startRawBackend(t);
    const gate = await startGate(t, { upstream: backend.url, policy: { guard }, limits: { upstreamConnections: 1 } });
    const first = request(`${gate.url}/first`);
    const upstream = await backend.connection(0);
    await upstream.seen('GET /first');
    const client = await rawClient(t, gate.port);
    // In one piece: the gate holds all of it before it has a connection to send it on.
    client.write(`${method} /left HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await leave(gate.port, [client]);
    const last = request(`${gate.url}/last`);
    upstream.write('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
    t.equal((await first).status, 404);
    await upstream.seen('GET /last');
    upstream.write('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
    t.equal((await last).status, 404);
    t.notMatch(upstream.text, '/left', `${method}, guard ${guard}`);
  }
});

t.test('a write whose client has left is finished, and on record, before the gate stops (W15, O5)', async (t) => {
  const lines: Record<string, unknown>[] = [];
  for (const answers of [true, false]) {
    lines.length = 0;
    const clock = createVirtualClock(Date.now());
    const backend = await startRawBackend(t);
    const onLog = (line: Record<string, unknown>) => lines.push(line);
    const gate = await startGate(t, { upstream: backend.url, clock, onLog, limits: { drain: 25_000 } });
    const client = await rawClient(t, gate.port);
    client.write('PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb');
    const upstream = await backend.connection(0);
    await upstream.seen(/\r\n\r\nb$/);
    await leave(gate.port, [client]);
    const stopped = gate.close();
    await eventually(t, () => lines.some(({ msg }) => msg === 'draining'), 'it drains');
    if (answers) upstream.write('HTTP/1.1 204 No Content\r\n\r\n');
    else clock.advance(25_000);
    await stopped;
    const record = lines.find(({ method }) => method === 'PUT');
    const outcome = answers ? 'changed' : 'unknown';
    t.match(record, { outcome }, `${answers ? 'answered in time' : 'broken off at the end of drain'}: ${outcome}`);
  }
});

t.test('a client that takes nothing of its answer is broken off', async (t) => {
  /** Asks for `/big` and reads its beginning, no more. */
  async function beginReading(port: number): Promise<RawConnection> {
    const client = await rawClient(t, port);
    client.socket.once('data', () => client.socket.pause());
    client.write('GET /big HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.received(1);
    return client;
  }

  await t.test('a stream after idleTimeout, and its upstream connection is free', async (t) => {
    const clock = createVirtualClock(Date.now());
    const closed: Promise<unknown>[] = [];
    const backend = await startBackend(t, (seen, response) => {
      if (seen.url === '/ok') return response.end('ok');
      closed.push(once(response, 'close'));
      return response.setHeader('ETag', '"n"').end(Buffer.alloc(64 * megabyte));
    });
    const gate = await startGate(t, { upstream: backend.url, clock, limits: { upstreamConnections: 1 } });
    const client = await beginReading(gate.port);
    await eventually(t, () => clock.pending() === 2, 'the gate waits for its client');
    clock.advance(59_999);
    const next = request(`${gate.url}/ok`);
    await roundTrip(gate.port);
    t.equal(backend.requests.length, 1, 'the only connection is in use');
    clock.advance(1);
    await closed[0];
    t.equal((await next).status, 200);
    client.socket.resume();
    const { text } = await client.closed;
    t.ok(text.length < 64 * megabyte, 'it never looks whole');
  });

  await t.test('one in one piece when the slowest reader would be done, and its memory is free', async (t) => {
    const clock = createVirtualClock(Date.now());
    const body = Buffer.alloc(24 * megabyte);
    const backend = await startBackend(t, (_, response) => response.end(body));
    const limits = { hashBody: 30 * megabyte, holdTotal: 30 * megabyte };
    const gate = await startGate(t, { upstream: backend.url, clock, limits });
    const client = await beginReading(gate.port);
    const duration = 60_000 + body.length / 16;
    clock.advance(duration - 1);
    t.equal((await request(`${gate.url}/big`)).headers.etag, undefined, 'there is no room for another one');
    clock.advance(1);
    const { headers } = await request(`${gate.url}/big`);
    t.match(headers.etag, /^"im-/, 'there is room again');
    client.socket.resume();
    const { text } = await client.closed;
    t.ok(text.length < body.length, 'it never looks whole');
  });
});

/** Two requests for one resource that come in one segment, and whether the second may be under way with the first. */
const pipelines: readonly [first: string, second: string, sideBySide: boolean][] = [
  ['PUT', 'PUT', false],
  ['DELETE', 'GET', false],
  ['POST', 'HEAD', false],
  ['GET', 'PUT', false],
  ['GET', 'PATCH', false],
  ['GET', 'GET', true],
  ['GET', 'HEAD', true],
];

t.test('pipelined requests are carried out in order (RFC 9112 9.3.2)', async (t) => {
  for (const [first, second, sideBySide] of pipelines) {
    await t.test(`${first}, ${second}`, async (t) => {
      const answers: (() => void)[] = [];
      const backend = await startBackend(t, (_, response) => {
        answers.push(() => response.setHeader('ETag', '"n"').end());
      });
      const gate = await startGate(t, { upstream: backend.url });
      const client = await rawClient(t, gate.port);
      const head = (method: string, id: string): string => {
        const length = method.startsWith('P') ? 'Content-Length: 0\r\n' : '';
        return `${method} /x HTTP/1.1\r\nHost: a\r\nX-Request-Id: ${id}\r\n${length}\r\n`;
      };
      client.write(head(first, 'first') + head(second, 'second'));
      await backend.arrived(sideBySide ? 2 : 1);
      await roundTrip(gate.port);
      t.equal(backend.requests.length, sideBySide ? 2 : 1);
      await eventually(t, () => answers.length === backend.requests.length, 'what has arrived waits for its answer');
      for (const answer of answers.splice(0)) answer();
      if (!sideBySide) {
        await eventually(t, () => answers.length === 1, 'the second follows');
        answers[0]?.();
      }
      await client.seen(/X-Request-Id: first\r\n[\s\S]*X-Request-Id: second\r\n/);
      t.same(
        backend.requests.map(({ headers }) => headers['x-request-id']),
        ['first', 'second'],
      );
    });
  }
});

t.test('clients on a Unix socket', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'ifmatch-'));
  t.teardown(() => rm(directory, { recursive: true }));
  const path = join(directory, 'gate');
  const stored = documents({ '/x': { body: 'one' } });
  const broken: ServerResponse[] = [];
  const backend = await startBackend(t, (seen, response, incoming) => {
    if (seen.url !== '/broken') return stored(seen, response, incoming);
    broken.push(response);
    return response.writeHead(200, { ETag: '"n"' }).write('abc');
  });
  await startGate(t, { upstream: backend.url, config: { listen: { kind: 'unix', path } } });
  const client = (): RawConnection => {
    const socket = connect(path);
    t.teardown(() => socket.destroy());
    return rawConnection(socket);
  };
  const ask = async (method: string, body: string, fields = ''): Promise<string> => {
    const connection = client();
    const head = `${method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}`;
    connection.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
    return (await connection.closed).text;
  };

  const read = await ask('GET', '');
  t.match(read, /^HTTP\/1\.1 200 OK\r\n/);
  const [condition = ''] = /ETag: "im-.*\r\n/.exec(read) ?? [];
  t.match(await ask('PUT', 'two', condition.replace('ETag', 'If-Match')), /^HTTP\/1\.1 204 /);
  t.match(await ask('PUT', 'new', condition.replace('ETag', 'If-Match')), /^HTTP\/1\.1 412 /);
  t.equal(stored.stored.get('/x')?.body, 'two');

  const cut = client();
  cut.write('GET /broken HTTP/1.1\r\nHost: a\r\n\r\n');
  await cut.seen('abc');
  broken[0]?.socket?.resetAndDestroy();
  t.notMatch((await cut.closed).text, /\r\n0\r\n/, 'a body that breaks off never looks whole');
  t.match(await ask('GET', ''), /^HTTP\/1\.1 200 OK\r\n/, 'the gate goes on');
});

/** A request that stands still, and what ends that. */
interface Standstill {
  readonly why: string;
  readonly policy?: Partial<Policy>;
  readonly sends: string;
  /** What the upstream answers at once. */
  readonly answered?: string;
  /** What has happened when it stands still. */
  readonly until: (clock: VirtualClock, backend: RawBackend) => unknown;
  /** How long it takes at most, in milliseconds. */
  readonly limit: number;
  readonly status: string;
  readonly outcome: 'not-sent' | 'unknown' | undefined;
}

const timeouts: Partial<Policy> = { timeouts: { idleTimeout: 5000, upstreamTimeout: 3000 } };
const short = (method: string): string => `${method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc`;
const conditional = 'PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: "im-none"\r\nContent-Length: 0\r\n\r\n';
const long = `PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n${'b'.repeat(999)}abc`;
const isReceiving: Standstill['until'] = (clock) => clock.pending() > 0;
const isSent: Standstill['until'] = (_, { connections }) => connections[0]?.text.endsWith('abc');
const isAsked: Standstill['until'] = (_, { connections }) => connections[0]?.text.endsWith('\r\n\r\n');

const standstills: readonly Standstill[] = [
  ...(['POST', 'LOCK'] as const).map(
    (method): Standstill => ({
      ...{ why: `${method}, its body`, sends: short(method), until: isSent },
      ...{ limit: 60_000, status: '408 Request Timeout', outcome: 'unknown' },
    }),
  ),
  {
    ...{ why: 'PROPFIND, its body', sends: short('PROPFIND'), until: isSent },
    ...{ limit: 60_000, status: '408 Request Timeout', outcome: undefined },
  },
  {
    ...{ why: 'PUT that nobody guards, its body', policy: { guard: 'off' }, sends: short('PUT'), until: isSent },
    ...{ limit: 60_000, status: '408 Request Timeout', outcome: undefined },
  },
  {
    ...{ why: 'a short body, on a route of its own', policy: timeouts, sends: short('PUT'), until: isReceiving },
    ...{ limit: 5000, status: '408 Request Timeout', outcome: 'not-sent' },
  },
  {
    ...{ why: 'a long body, on a route of its own', policy: timeouts, sends: long, until: isSent },
    ...{ limit: 5000, status: '408 Request Timeout', outcome: 'unknown' },
  },
  {
    ...{ why: 'POST, its body, on a route of its own', policy: timeouts, sends: short('POST'), until: isSent },
    ...{ limit: 5000, status: '408 Request Timeout', outcome: 'unknown' },
  },
  {
    ...{ why: 'a probe without an answer, on a route of its own', policy: timeouts, sends: conditional },
    ...{ until: isAsked, limit: 3000, status: '504 Gateway Timeout', outcome: 'not-sent' },
  },
  {
    ...{ why: 'a probe within its answer, on a route of its own', policy: timeouts, sends: conditional },
    answered: 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc',
    // The call, and reading its body.
    until: (clock) => clock.pending() === 2,
    ...{ limit: 3000, status: '502 Bad Gateway', outcome: 'not-sent' },
  },
];

t.test('nothing stands still for longer than the limits of its route (W3, W4)', async (t) => {
  for (const { why, policy = {}, sends, answered, until, limit, status, outcome } of standstills) {
    await t.test(why, async (t) => {
      const clock = createVirtualClock(Date.now());
      const backend = await startRawBackend(t, (connection) => {
        if (answered !== undefined) connection.socket.once('data', () => connection.write(answered));
      });
      const gate = await startGate(t, { upstream: backend.url, clock, routes: [{ path: '/x', policy }] });
      const client = await rawClient(t, gate.port);
      client.write(sends);
      await eventually(t, () => until(clock, backend), 'it stands still');
      clock.advance(limit - 1);
      await roundTrip(gate.port);
      t.equal(client.length, 0, 'not before its time');
      clock.advance(2);
      const text = await client.seen('"requestId"');
      t.ok(text.startsWith(`HTTP/1.1 ${status}\r\n`), text);
      t.match(text, '\r\nContent-Type: application/problem+json\r\n');
      t.equal(/"outcome":"([^"]*)"/.exec(text)?.[1], outcome);
    });
  }
});

import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { brotliCompressSync, constants, deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { createListener } from '../../src/listen/listener.js';
import { documents, startBackend } from '../helpers/backend.js';
import { rawRequest, request, roundTrip } from '../helpers/client.js';
import { createVirtualClock, type VirtualClock } from '../helpers/clock.js';
import { eventually, turn } from '../helpers/eventually.js';
import { startGate } from '../helpers/gate.js';
import { type RawConnection, rawClient } from '../helpers/raw.js';
import { simulate } from '../helpers/simulation.js';

/** What the process complains of while it is attacked. */
const complaints: unknown[] = [];
for (const event of ['warning', 'unhandledRejection', 'uncaughtExceptionMonitor']) {
  process.on(event, (complaint: unknown) => complaints.push(complaint));
}

const megabyte = 2 ** 20;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Bytes that are in use when nothing is left to be collected: what is freed may free more in the next turn. */
async function memoryInUse(): Promise<number> {
  for (let round = 0; round < 3; round += 1) {
    collectGarbage();
    await turn();
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** A conditional write of somebody who means well. @returns the answer's status */
async function writeFairly(url: string): Promise<number> {
  const { headers } = await request(url);
  const condition = { 'If-Match': headers.etag ?? '' };
  return (await request(url, { method: 'PUT', headers: condition, body: 'fair' })).status;
}

t.test('a head that comes octet by octet', async (t) => {
  const backend = await startBackend(t, documents({ '/x': { body: 'one' } }));
  const gate = await startGate(t, { upstream: backend.url });
  const slow = await rawClient(t, gate.port);
  const head = 'PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: *\r\nContent-Length: 1\r\n\r\n';
  for (const octet of head.slice(0, -1)) slow.write(octet);
  t.equal(await writeFairly(`${gate.url}/x`), 204, 'holds nothing that others need');
  t.equal(slow.length, 0, 'and is not answered yet');
  slow.write('\nb');
  await slow.seen(/^HTTP\/1\.1 204 /);

  await t.test('is cut off in the end', async (t) => {
    const listener = await createListener({
      gate: { handle: () => Promise.reject(new Error('no request came')), idle: () => Promise.resolve() },
      ...{
        clock: createVirtualClock(),
        decided: () => {},
        upstream: backend.url,
        maxHeaderSize: 65_536,
        tls: undefined,
      },
      ...{ keepAlive: 75_000, idleTimeout: 60_000, trustProxy: false, isDraining: () => false },
    });
    t.teardown(() => listener.close());
    const address = await listener.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 });
    t.ok(listener.server.headersTimeout > 0 && listener.server.headersTimeout <= 60_000, 'within a minute');
    const connected = new Promise((resolve) => listener.server.once('connection', resolve));
    const client = await rawClient(t, Number(address.split(':').at(-1)));
    client.write(head.slice(0, -1));
    const socket = await connected;
    // What Node says then; its own timer runs twice a minute.
    listener.server.emit('clientError', Object.assign(new Error(), { code: 'ERR_HTTP_REQUEST_TIMEOUT' }), socket);
    t.match((await client.closed).text, /^HTTP\/1\.1 408 Request Timeout\r\n[\s\S]*:ifmatch:slow-request"/);
  });
});

/** A writer that sends its head and some octets, and then one more whenever it is told to. */
async function startSlowly(t: Test, port: number, length: number, first: number): Promise<RawConnection> {
  const { text } = await (await rawGet(t, port)).closed;
  const etag = /\r\nETag: (".*")\r\n/i.exec(text)?.[1];
  const client = await rawClient(t, port);
  client.write(`PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: ${etag}\r\nContent-Length: ${length}\r\n\r\n`);
  client.write('b'.repeat(first));
  return client;
}

async function rawGet(t: Test, port: number): Promise<RawConnection> {
  const client = await rawClient(t, port);
  client.write('GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  return client;
}

/** Lets time pass while a writer sends an octet every ten seconds; each arrives before time goes on. */
async function dribble(port: number, clock: VirtualClock, client: RawConnection, seconds: number): Promise<void> {
  for (let passed = 0; passed < seconds; passed += 10) {
    client.write('b');
    await roundTrip(port);
    clock.advance(10_000);
  }
}

t.test('a body that comes octet by octet (W3)', async (t) => {
  await t.test('a short one holds no lease', async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startBackend(t, documents({ '/x': { body: 'one' } }));
    const gate = await startGate(t, { upstream: backend.url, clock });
    const slow = await startSlowly(t, gate.port, 60_000, 10_000);
    await dribble(gate.port, clock, slow, 30);
    t.equal(await writeFairly(`${gate.url}/x`), 204, 'others write meanwhile');
    clock.advance(60_000);
    const { text } = await slow.closed;
    t.match(text, /^HTTP\/1\.1 408 [\s\S]*"outcome":"not-sent"/, 'and who stops altogether is cut off');
  });

  await t.test('a long one is ended, and its lease with it', async (t) => {
    const clock = createVirtualClock(Date.now());
    const stored = documents({ '/x': { body: 'one' } });
    const backend = await startBackend(t, stored);
    const gate = await startGate(t, { upstream: backend.url, clock, limits: { leaseWait: 600_000 } });
    const slow = await startSlowly(t, gate.port, 1_000_000, 100_000);
    await backend.arrived(3);
    const { headers } = await request(`${gate.url}/x`);
    const condition = { 'If-Match': headers.etag ?? '' };
    const fair = request(`${gate.url}/x`, { method: 'PUT', headers: condition, body: 'fair' });
    await dribble(gate.port, clock, slow, 20);
    t.equal(slow.length, 0, 'it has half a minute');
    await dribble(gate.port, clock, slow, 30);
    t.ok(slow.length > 0, 'then it must keep minBodyRate');
    await dribble(gate.port, clock, slow, 50);
    const { text } = await slow.closed;
    t.match(text, /^HTTP\/1\.1 408 [\s\S]*"outcome":"unknown"/, 'then it is cut off');
    clock.advance(5000);
    t.equal((await fair).status, 204, 'who was waiting gets his turn after the rest (W11)');
    t.equal(stored.stored.get('/x')?.body, 'fair');
  });

  await t.test('one that began fast cannot rest on that', async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startBackend(t, documents({ '/x': { body: 'one' } }));
    const gate = await startGate(t, { upstream: backend.url, clock });
    const slow = await startSlowly(t, gate.port, 5 * megabyte, 4 * megabyte);
    await backend.arrived(3);
    await dribble(gate.port, clock, slow, 180);
    t.ok(slow.length > 0, 'it is cut off within three minutes');
    slow.reset();
  });
});

t.test('writers in line behind one whose probe is held (W3)', async (t) => {
  const stored = documents({ '/x': { body: 'one' } });
  const held: (() => void)[] = [];
  let holds = true;
  const backend = await startBackend(t, (seen, response, incoming) => {
    if (holds) held.push(() => stored(seen, response, incoming));
    else stored(seen, response, incoming);
  });
  const gate = await startGate(t, { upstream: backend.url, limits: { leaseQueue: 50 } });
  const bytes = 'PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: *\r\nConnection: close\r\nContent-Length: 1\r\n\r\nb';
  const first = rawRequest(gate.port, bytes);
  await backend.arrived(1);
  const others = Array.from({ length: 300 }, () => rawRequest(gate.port, bytes));
  const answers: string[] = [];
  for (const other of others) void other.then((text) => answers.push(text));
  await eventually(t, () => answers.length === 250, 'those beyond the line are answered at once');
  const isBusy = (text: string): boolean => /^HTTP\/1\.1 503 [\s\S]*\r\nRetry-After: 1\r\n/.test(text);
  t.ok(answers.every(isBusy), 'with 503');
  t.equal(backend.requests.length, 1, 'nobody else has come to the backend');
  holds = false;
  for (const answer of held) answer();
  const all = await Promise.all([first, ...others]);
  t.equal(all.filter((text) => text.startsWith('HTTP/1.1 204 ')).length, 51, 'the others get their turn');
});

/** A text of brackets so deep that no recursion comes to its end. */
const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
const objects = `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`;
const zeros = Buffer.alloc(6 * megabyte);
/** Whether the gate tells the version of it as it is, the coding, and the content. */
const bodies: readonly (readonly [told: boolean, coding: string, body: Buffer])[] = [
  [false, 'gzip', gzipSync(zeros)],
  [false, 'deflate', deflateSync(zeros)],
  [false, 'br', brotliCompressSync(zeros)],
  [false, 'gzip, gzip', gzipSync(gzipSync(zeros))],
  [false, 'gzip, br, deflate', deflateSync(brotliCompressSync(gzipSync(zeros)))],
  [true, 'gzip, br, deflate', deflateSync(brotliCompressSync(gzipSync(zeros.subarray(0, 500_000))))],
  [false, 'gzip, gzip, gzip, gzip', gzipSync(gzipSync(gzipSync(gzipSync('{}'))))],
  [false, 'gzip', Buffer.from('no gzip at all')],
  [false, 'gzip', gzipSync(zeros.subarray(0, 500_000)).subarray(0, 200)],
  [false, 'x'.repeat(10_000), Buffer.from('{}')],
  [true, 'identity', Buffer.from(deep)],
  [true, 'identity', Buffer.from(objects)],
  [true, 'identity', Buffer.from(`{"a":${deep}}`)],
  [true, 'gzip', gzipSync(objects)],
  [true, 'identity', Buffer.from(`[${'1e999,'.repeat(50_000)}1]`)],
  [true, 'identity', Buffer.from(`{"__proto__":{"a":1},"a":${'9'.repeat(200_000)}}`)],
];

const policies = {
  'as it is': {},
  ignore: { ignore: ['/a', `${'/a'.repeat(1000)}`, '/__proto__'] },
  'json:': { validator: { kind: 'json' as const, pointer: '/a/a' } },
};

const limits = { hashProbe: 4 * megabyte };

t.test('bodies that are made to burst (V2, V3)', async (t) => {
  const before = await memoryInUse();
  for (const [name, policy] of Object.entries(policies)) {
    const backend = await startBackend(t, (seen, response) => {
      const [, coding = '', body = ''] = bodies[Number(seen.url.slice(1))] ?? [];
      return response.writeHead(200, { 'Content-Encoding': coding }).end(seen.method === 'GET' ? body : undefined);
    });
    const gate = await startGate(t, { upstream: backend.url, policy, limits });
    for (const [index, [told, coding, body]] of bodies.entries()) {
      const what = `${name}, ${coding.slice(0, 30)} ${index}`;
      const url = `${gate.url}/${index}`;
      const read = await request(url);
      t.ok(read.body.equals(body), `${what}: arrives as it is`);
      if (name !== 'json:')
        t.equal(read.headers.etag !== undefined, told, `${what}: its version is ${told ? '' : 'not '}told`);
      const tag = read.headers.etag ?? '"im-AAAAAAAAAAAAAAAAAAAAAA"';
      const { status } = await request(url, { method: 'PUT', headers: { 'If-Match': tag }, body: '' });
      // Where no version can be told, a 412 would be a loop that the client cannot win (W5).
      t.equal(status, read.headers.etag === undefined ? 502 : 200, `${what}: ${status}`);
    }
    await gate.close();
  }
  t.ok((await memoryInUse()) - before < 32 * megabyte, 'nothing of it is kept');
});

t.test('what decodes to nothing through a lot', async (t) => {
  // Stored blocks without content (RFC 1951 3.2.4): 20 MB that a few octets of Brotli make.
  const blocks = Buffer.alloc(20 * megabyte, Buffer.from([0, 0, 0, 0xff, 0xff]));
  const last = Buffer.from([1, 0, 0, 0xff, 0xff, 0, 0, 0, 1]);
  const nothing = Buffer.concat([Buffer.from([0x78, 0x9c]), blocks, last]);
  const body = brotliCompressSync(nothing, { params: { [constants.BROTLI_PARAM_QUALITY]: 5 } });
  t.ok(body.length < 10_000, `${body.length} octets`);
  const backend = await startBackend(t, (_, response) =>
    response.writeHead(200, { 'Content-Encoding': 'deflate, br' }).end(body),
  );
  const gate = await startGate(t, { upstream: backend.url, limits });
  const { headers } = await request(gate.url);
  t.equal(headers.etag, undefined, 'is given up at hashProbe, at whatever stage it is');
});

/** What is sent a hundred times, each time a little different. */
const fillers: readonly [why: string, head: (padding: string, index: number) => string][] = [
  ['heads of 500 kB', (padding, index) => `GET /${index} HTTP/1.1\r\nX: ${padding.repeat(8)}`],
  ['fields', (padding, index) => `GET /x HTTP/1.1\r\nX-Pad: ${padding}${index}`],
  ['Origins', (padding, index) => `GET /x HTTP/1.1\r\nOrigin: ${padding}${index}`],
  ['queries', (padding, index) => `GET /x?${padding}${index} HTTP/1.1\r\nX: y`],
  ['paths', (padding, index) => `GET /${padding}${index} HTTP/1.1\r\nX: y`],
  ['selecting fields', (padding, index) => `GET /s/${index} HTTP/1.1\r\nAccept: ${padding}${index}`],
];

t.test('heads that are made to fill the memory', async (t) => {
  // It keeps nothing of what it gets.
  const server = createServer((socket) => {
    socket.on('error', () => {});
    let end = '';
    socket.on('data', (chunk) => {
      end = (end + chunk.toString('latin1')).slice(-4);
      if (end === '\r\n\r\n') socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => server.close());
  const upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const padding = 'a'.repeat(60_000);
  for (const [why, head] of fillers) {
    const gate = await startGate(t, { upstream });
    const send = (index: number): Promise<unknown> =>
      flood(gate.port, `${head(padding, index)}\r\nHost: a\r\nConnection: close\r\n\r\n`);
    await Promise.all(Array.from({ length: 20 }, () => send(0)));
    const before = await memoryInUse();
    for (let index = 1; index < 100; index += 20) {
      await Promise.all(Array.from({ length: 20 }, (_, other) => send(index + other)));
    }
    const growth = (await memoryInUse()) - before;
    t.ok(growth < 4 * megabyte, `100 ${why}: ${Math.round(growth / megabyte)} MB`);
    await gate.close();
  }
});

/** Sends bytes, reads and forgets what comes, until the connection is closed in whatever way. */
function flood(port: number, bytes: string): Promise<unknown> {
  const socket = connect(port, '127.0.0.1')
    .on('error', () => {})
    .resume();
  socket.write(bytes);
  return new Promise((resolve) => socket.once('close', resolve));
}

t.test('ten thousand writers in line for one resource (W3)', async (t) => {
  const before = await memoryInUse();
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (scheduler) => {
      const simulation = simulate(scheduler, { kind: 'none', documents: { '/x': 'original' } });
      for (let index = 0; index < 10_000; index += 1) {
        simulation.send({ id: `w${index}`, method: 'PUT', path: '/x', base: 'original' });
      }
      await turn();
      t.ok((await memoryInUse()) - before < 128 * megabyte, 'they fit into memory');
      await simulation.finish();
      t.same(simulation.problems(), [], 'no update is lost, nothing is left');
      const counts = new Map<number | undefined, number>();
      for (const { status } of simulation.clients) counts.set(status, (counts.get(status) ?? 0) + 1);
      t.same(
        [...counts].sort(),
        [
          [204, 1],
          [412, 1024],
          [503, 8975],
        ],
        'one wins, the line is bounded',
      );
      t.ok(simulation.upstream.mostInFlight <= 1, 'one at a time goes upstream');
      const busy = simulation.clients.find(({ status }) => status === 503);
      t.match(JSON.parse(busy?.content ?? ''), { type: /resource-busy$/, outcome: 'not-sent' });
    }),
    { numRuns: 1 },
  );
});

t.test('the process has not complained', async (t) => {
  t.same(complaints, []);
});

import t from 'tap';
import { type Backend, documents, type Handler, startBackend } from '../helpers/backend.js';
import { rawRequest, request } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { eventually, turn } from '../helpers/eventually.js';
import { startGate } from '../helpers/gate.js';
import { answering, type RawConnection, rawClient, startRawBackend } from '../helpers/raw.js';

/** The entity-tag that a gate gives for a path. */
async function tagOf(url: string): Promise<string> {
  const { headers } = await request(url);
  return headers.etag ?? '';
}

function sentBy(backend: Backend, method: string): Backend['requests'] {
  return backend.requests.filter((seen) => seen.method === method);
}

t.test('bodies stream, and whoever is slow slows the other side down', async (t) => {
  const size = 256 * 1024 * 1024;
  const bounded = 32 * 1024 * 1024;
  const chunk = Buffer.alloc(64 * 1024);

  /** Writes until the socket takes no more for long. @returns how many octets it took */
  async function fill({ socket }: RawConnection): Promise<number> {
    let written = 0;
    for (let idle = 0; idle < 300 && written < size; idle += 1) {
      while (!socket.writableNeedDrain && written < size) {
        socket.write(chunk);
        written += chunk.length;
        idle = 0;
      }
      await turn();
    }
    return written;
  }

  await t.test('an answer to a client that does not read', async (t) => {
    for (const [method, fields] of [
      ['GET', 'ETag: "n"\r\n'],
      ['GET', ''],
      ['POST', ''],
      ['PUT', ''],
    ] as const) {
      const backend = await startRawBackend(t);
      const gate = await startGate(t, { upstream: backend.url });
      const client = await rawClient(t, gate.port);
      client.socket.pause();
      client.write(`${method} /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
      const upstream = await backend.connection(0);
      await upstream.seen('\r\n\r\n');
      upstream.write(`HTTP/1.1 200 OK\r\n${fields}Content-Length: ${size}\r\n\r\n`);
      const written = await fill(upstream);
      t.ok(written < bounded, `${method} ${fields}: ${written} octets are under way`);
      client.socket.resume();
      await client.received(written);
      t.pass('all of it arrives once the client reads');
    }
  });

  await t.test('a request to an upstream that does not read', async (t) => {
    for (const [method, framing] of [
      ['PUT', `Content-Length: ${size}`],
      ['POST', `Content-Length: ${size}`],
      ['PROPFIND', `Content-Length: ${size}`],
    ] as const) {
      const backend = await startRawBackend(t, ({ socket }) => socket.pause());
      const gate = await startGate(t, { upstream: backend.url });
      const client = await rawClient(t, gate.port);
      client.write(`${method} /x HTTP/1.1\r\nHost: a\r\n${framing}\r\n\r\n`);
      const written = await fill(client);
      t.ok(written < bounded, `${method} ${framing}: ${written} octets are under way`);
      const upstream = await backend.connection(0);
      upstream.socket.resume();
      await upstream.received(written);
      t.pass('all of it arrives once the upstream reads');
    }
  });
});

t.test('events pass one by one, the head at once', async (t) => {
  const backend = await startRawBackend(t);
  const gate = await startGate(t, { upstream: backend.url });
  for (const [index, type] of [
    'text/event-stream',
    'Text/Event-Stream; charset=utf-8',
    'application/x-ndjson',
  ].entries()) {
    const client = await rawClient(t, gate.port);
    client.write('GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n');
    const upstream = await backend.connection(index);
    await upstream.seen('\r\n\r\n');
    upstream.write(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`);
    t.notMatch(await client.seen('\r\n\r\n'), /etag/i, type);
    for (const event of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
      upstream.write(`${event.length.toString(16)}\r\n${event}\r\n`);
      await client.seen(event);
    }
    client.socket.destroy();
    await upstream.closed;
    t.pass('the upstream is told when the client goes');
  }
});

t.test('what is held back for its tag, and what is not (V4)', async (t) => {
  const kilobyte = 'k'.repeat(1024);
  const rows: readonly [fields: string, status: string, tagged: boolean, why: string][] = [
    ['', '200 OK', true, 'a plain one'],
    ['Content-Type: application/json\r\n', '200 OK', true, 'JSON'],
    ['Content-Type: multipart/mixed; boundary=x\r\n', '200 OK', false, 'multipart'],
    ['Content-Type: application/x-ndjson\r\n', '200 OK', false, 'lines of JSON'],
    ['Content-Type: text/event-stream\r\n', '200 OK', false, 'events'],
    ['X-Accel-Buffering: no\r\n', '200 OK', false, 'not to be buffered'],
    ['ETag: W/"weak"\r\n', '200 OK', true, 'a weak tag is replaced'],
    ['', '201 Created', false, 'another status'],
    ['', '404 Not Found', false, 'an error'],
    ['Content-Range: bytes 0-1023/2048\r\n', '206 Partial Content', false, 'a part'],
  ];
  for (const [fields, status, tagged, why] of rows) {
    await t.test(why, async (t) => {
      const bytes = `HTTP/1.1 ${status}\r\n${fields}Content-Length: 1024\r\n\r\n${kilobyte}`;
      const backend = await startRawBackend(t, answering(bytes));
      const gate = await startGate(t, { upstream: backend.url });
      const answer = await request(gate.url);
      t.equal(answer.body.toString(), kilobyte);
      if (tagged) t.match(answer.headers.etag, /^"im-/);
      else t.equal(answer.headers.etag, undefined);
    });
  }

  await t.test('longer than hashBody', async (t) => {
    const backend = await startBackend(t, (seen, response) => {
      const body = 'b'.repeat(seen.url.endsWith('/limit') ? 1000 : 1001);
      if (seen.url.startsWith('/counted')) response.setHeader('Content-Length', body.length);
      response.write(body.slice(0, 500));
      response.end(body.slice(500));
    });
    const gate = await startGate(t, { upstream: backend.url, limits: { hashBody: 1000 } });
    for (const framing of ['counted', 'chunked']) {
      const within = await request(`${gate.url}/${framing}/limit`);
      t.match(within.headers.etag, /^"im-/, framing);
      t.equal(within.body.length, 1000);
      const beyond = await request(`${gate.url}/${framing}/longer`);
      t.equal(beyond.headers.etag, undefined, framing);
      t.equal(beyond.body.length, 1001);
      const head = await request(`${gate.url}/${framing}/longer`, { method: 'HEAD' });
      t.match(head.headers.etag, /^"im-/, 'HEAD is the way to its tag (V5)');
    }
  });

  await t.test('slower than holdTime', async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startRawBackend(t);
    const gate = await startGate(t, { upstream: backend.url, clock });
    const client = await rawClient(t, gate.port);
    client.write('GET /x HTTP/1.1\r\nHost: a\r\n\r\n');
    const upstream = await backend.connection(0);
    await upstream.seen('\r\n\r\n');
    upstream.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst');
    await eventually(t, () => clock.pending() >= 2, 'holding begins');
    t.equal(client.length, 0);
    clock.advance(1000);
    t.notMatch(await client.seen('first'), /etag/i, 'what was held comes as a stream');
    upstream.write('after');
    await client.seen(/firstafter$/);
  });

  await t.test('more than holdTotal, until a client goes away', async (t) => {
    const clock = createVirtualClock(Date.now());
    const body = 'b'.repeat(600);
    const backend = await startRawBackend(t, (connection) => {
      connection.socket.on('data', () => {
        const stalls = connection.text.includes('/stalls');
        connection.write(`HTTP/1.1 200 OK\r\nContent-Length: ${stalls ? 601 : 600}\r\n\r\n${body}`);
      });
    });
    const gate = await startGate(t, { upstream: backend.url, clock, limits: { holdTotal: 1000 } });
    t.match(await tagOf(gate.url), /^"im-/, 'there is room');
    for (const round of [1, 2, 3]) {
      const holder = await rawClient(t, gate.port);
      holder.write('GET /stalls HTTP/1.1\r\nHost: a\r\n\r\n');
      t.ok(await comesTo(gate.url, ''), `round ${round}: no room for another`);
      holder.socket.destroy();
      t.ok(await comesTo(gate.url, 'im-'), `round ${round}: its room is given back`);
    }
  });

  await t.test('a thousand at once, each slower than it may be', async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startRawBackend(t, async (connection) => {
      await connection.seen('\r\n\r\n');
      connection.write(`HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n${'b'.repeat(1999)}`);
    });
    // Room for a quarter of them.
    const limits = { holdTotal: 500_000, upstreamConnections: 1000 };
    const gate = await startGate(t, { upstream: backend.url, clock, limits });
    const clients = await Promise.all(Array.from({ length: 1000 }, () => rawClient(t, gate.port)));
    for (const client of clients) client.write('GET /x HTTP/1.1\r\nHost: a\r\n\r\n');
    const streaming = (): number => clients.filter(({ length }) => length > 0).length;
    await eventually(t, () => streaming() >= 750, 'what there is no room for streams at once');
    for (let turns = 0; turns < 20; turns += 1) await turn();
    t.equal(streaming(), 750, 'the others are held');
    clock.advance(1000);
    await Promise.all(clients.map((client) => client.seen(/b{1999}$/)));
    t.notMatch(clients.map(({ text }) => text).join(''), /etag/i, 'and stream when holdTime is over');
    for (const { socket } of backend.connections) socket.write('e');
    await Promise.all(clients.map((client) => client.seen(/be$/)));
  });

  /** Whether readers are given a tag that begins so, or none, before long. */
  async function comesTo(url: string, beginning: string): Promise<boolean> {
    for (let tries = 0; tries < 300; tries += 1) {
      const tag = await tagOf(url);
      if (beginning === '' ? tag === '' : tag.startsWith(`"${beginning}`)) return true;
    }
    return false;
  }
});

t.test('clients that go away', async (t) => {
  await t.test('during a read: the upstream is told', async (t) => {
    const backend = await startRawBackend(t);
    const gate = await startGate(t, { upstream: backend.url });
    const off = await startGate(t, { upstream: backend.url, policy: { guard: 'off' } });
    const beginning = 'HTTP/1.1 200 OK\r\nETag: "n"\r\nContent-Length: 10\r\n\r\nabc';
    let count = 0;
    const leave = async (port: number, method: string, answered: boolean): Promise<void> => {
      const target = `/x${++count}`;
      const client = await rawClient(t, port);
      client.write(`${method} ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      // undici connects again after each request that is given up, whether another one waits or not.
      const carrying = (): RawConnection | undefined =>
        backend.connections.find(({ text }) => text.includes(`${target} `));
      await eventually(t, carrying, 'the request arrives');
      if (answered) {
        carrying()?.write(beginning);
        await client.seen('abc');
      }
      client.socket.destroy();
      await carrying()?.closed;
      t.pass(`${method}, ${answered ? 'after' : 'before'} the head`);
    };
    for (const { port } of [gate, off]) {
      for (const method of ['GET', 'HEAD', 'OPTIONS', 'PROPFIND']) {
        await leave(port, method, false);
        if (method !== 'HEAD') await leave(port, method, true);
      }
    }
  });

  await t.test('during the probe, or while it waits: nothing is forwarded', async (t) => {
    let holds = true;
    let release: () => void = () => {};
    const stored = documents({ '/x': { body: 'one' } });
    const backend = await startBackend(t, (seen, response, incoming) => {
      if (seen.url === '/x' && holds) release = () => stored(seen, response, incoming);
      else stored(seen, response, incoming);
    });
    const gate = await startGate(t, { upstream: backend.url });
    const probing = await rawClient(t, gate.port);
    const write = 'PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: "im-other"\r\nContent-Length: 3\r\n\r\ntwo';
    probing.write(write.replace('If-Match', 'If-None-Match'));
    await backend.arrived(1);
    const waiting = await rawClient(t, gate.port);
    waiting.write(write.replace('If-Match', 'If-None-Match'));
    const control = await rawClient(t, gate.port);
    control.write('GET /other HTTP/1.1\r\nHost: a\r\n\r\n');
    await backend.arrived(2);
    holds = false;
    waiting.socket.destroy();
    probing.socket.destroy();
    await Promise.all([probing.closed, waiting.closed]);
    await request(`${gate.url}/unrelated`);
    release();
    const next = await request(`${gate.url}/x`, { method: 'PUT', body: 'three', headers: { 'If-None-Match': '"y"' } });
    t.equal(next.status, 204, 'the next one has the lease');
    t.same(
      sentBy(backend, 'PUT').map(({ body }) => body.toString()),
      ['three'],
    );
  });

  await t.test('in the middle of a short body: nothing is forwarded', async (t) => {
    const backend = await startBackend(t, documents({ '/x': { body: 'one' } }));
    const gate = await startGate(t, { upstream: backend.url });
    const etag = await tagOf(`${gate.url}/x`);
    for (const framing of ['Content-Length: 100\r\n\r\n', 'Transfer-Encoding: chunked\r\n\r\n64\r\n']) {
      const client = await rawClient(t, gate.port);
      client.write(`PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: ${etag}\r\n${framing}half`);
      await request(`${gate.url}/x`);
      client.socket.destroy();
      await client.closed;
    }
    const next = await request(`${gate.url}/x`, { method: 'PUT', headers: { 'If-Match': etag }, body: 'two' });
    t.equal(next.status, 204);
    t.equal(sentBy(backend, 'PUT').length, 1);
  });

  await t.test(
    'in the middle of a long body: the upstream is told, and the resource rests a second (W11)',
    async (t) => {
      const clock = createVirtualClock(Date.now());
      const stored = documents({ '/x': { body: 'one' } });
      const aborted: Promise<unknown>[] = [];
      const backend = await startBackend(
        t,
        (seen, response, incoming) => {
          if (seen.headers['content-length'] === '200000')
            aborted.push(new Promise((resolve) => incoming.once('close', resolve)));
          else incoming.on('end', () => setImmediate(() => stored(seen, response, incoming)));
        },
        { early: true },
      );
      const gate = await startGate(t, { upstream: backend.url, clock });
      const etag = await tagOf(`${gate.url}/x`);
      const client = await rawClient(t, gate.port);
      client.write(
        `PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: ${etag}\r\nContent-Length: 200000\r\n\r\n${'b'.repeat(100_000)}`,
      );
      await eventually(t, () => sentBy(backend, 'PUT').length === 1, 'the write arrives');
      client.socket.destroy();
      await aborted[0];
      t.notOk(sentBy(backend, 'PUT')[0]?.complete);
      const before = backend.requests.length;
      const next = request(`${gate.url}/x`, { method: 'PUT', headers: { 'If-Match': etag }, body: 'two' });
      const control = await request(`${gate.url}/y`);
      t.equal(control.status, 404);
      t.equal(backend.requests.length, before + 1, 'the next writer has to wait');
      clock.advance(1000);
      t.equal((await next).status, 204);
      t.equal(stored.stored.get('/x')?.body, 'two');
    },
  );

  await t.test('after the whole request: the write runs to its end (W15)', async (t) => {
    for (const [method, guard] of [
      ['PUT', 'optional'],
      ['DELETE', 'optional'],
      ['POST', 'optional'],
      ['PUT', 'off'],
    ] as const) {
      const stored = documents({ '/x': { body: 'one' } });
      let carryOut: () => void = () => {};
      let broken = false;
      const backend = await startBackend(t, (seen, response, incoming) => {
        if (seen.method !== method) return stored(seen, response, incoming);
        incoming.socket.on('close', () => {
          broken = true;
        });
        carryOut = () => stored(seen, response, incoming);
        return undefined;
      });
      const gate = await startGate(t, { upstream: backend.url, policy: { guard } });
      const etag = (await tagOf(`${gate.url}/x`)) || '"none"';
      const condition = method === 'POST' || guard === 'off' ? '' : `If-Match: ${etag}\r\n`;
      const client = await rawClient(t, gate.port);
      client.write(`${method} /x HTTP/1.1\r\nHost: a\r\n${condition}Content-Length: 3\r\n\r\ntwo`);
      await eventually(t, () => sentBy(backend, method).some(({ complete }) => complete), 'all of it arrives');
      client.socket.destroy();
      await client.closed;
      await request(`${gate.url}/unrelated`);
      t.equal(broken, false, `${method}, guard ${guard}: the upstream is not interrupted`);
      carryOut();
      if (guard === 'off') continue;
      const next = await request(`${gate.url}/x`, { method: 'PATCH', headers: { 'If-Match': etag }, body: '+' });
      t.equal(next.status, 412, 'the next writer is judged by what became of it');
    }
  });

  await t.test('two hundred of them leave nothing behind', async (t) => {
    const big = Buffer.alloc(2_000_000);
    const sockets = new Set<unknown>();
    const backend = await startBackend(
      t,
      (seen, response, incoming) => {
        sockets.add(incoming.socket);
        incoming.socket.once('close', () => sockets.delete(incoming.socket));
        if (seen.url === '/big') response.writeHead(200, { 'Content-Length': big.length }).end(big);
        else if (seen.url === '/ok') response.end('ok');
      },
      { early: true },
    );
    const gate = await startGate(t, { upstream: backend.url, limits: { upstreamConnections: 4, quarantine: 1 } });
    const part = 'b'.repeat(1000);
    const kinds: readonly [head: string, waits: boolean][] = [
      ['GET /big HTTP/1.1\r\nHost: a\r\n\r\n', true],
      ['GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n', false],
      [`PUT /big HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n${part}`, true],
      [`POST /hangs HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n${part}`, false],
      [`PUT /hangs HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n${part}`, false],
      ['HEAD /big HTTP/1.1\r\nHost: a\r\n\r\n', false],
      [`POST /big HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n${part}\r\n`, true],
    ];
    const visit = async (index: number): Promise<void> => {
      const [head, waits] = kinds[index % kinds.length] ?? ['', false];
      const client = await rawClient(t, gate.port);
      client.write(head);
      if (waits) await client.received(1);
      else for (let turns = 0; turns < index % 20; turns += 1) await turn();
      client.socket.destroy();
      await client.closed;
    };
    await Promise.all(Array.from({ length: 200 }, (_, index) => visit(index)));
    const answers = await Promise.all(Array.from({ length: 12 }, () => request(`${gate.url}/ok`)));
    t.ok(
      answers.every(({ status }) => status === 200),
      'the gate serves as before',
    );
    t.ok(sockets.size <= 4, `${sockets.size} connections to the upstream`);
  });
});

t.test('Expect: 100-continue (W13)', async (t) => {
  const backend = await startBackend(t, documents({ '/x': { body: 'one' } }));
  const gate = await startGate(t, { upstream: backend.url });
  const etag = await tagOf(`${gate.url}/x`);
  const head = (method: string, condition: string, version = '1.1') =>
    `${method} /x HTTP/${version}\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n${condition}\r\n`;

  await t.test('a stale write is refused before its body is sent', async (t) => {
    for (const expectation of ['100-continue', '100-Continue']) {
      const client = await rawClient(t, gate.port);
      client.write(head('PUT', 'If-Match: "other"\r\n').replace('100-continue', expectation));
      const { text } = await client.closed;
      t.match(text, /^HTTP\/1\.1 412 Precondition Failed\r\n/);
      t.notMatch(text, /100 Continue/);
      t.match(text, /\r\nConnection: close\r\n/i, 'nobody can tell whether a body follows');
    }
    t.same(sentBy(backend, 'PUT'), []);
  });

  for (const [method, condition] of [
    ['PUT', ''],
    ['POST', ''],
    ['PUT', `If-Match: ${etag}\r\n`],
  ] as const) {
    await t.test(`${method} ${condition === '' ? 'without condition' : 'that holds'} is told to go on`, async (t) => {
      const client = await rawClient(t, gate.port);
      const current = condition === '' ? '' : `If-Match: ${await tagOf(`${gate.url}/x`)}\r\n`;
      client.write(head(method, current));
      t.equal(await client.seen(/\r\n\r\n/), 'HTTP/1.1 100 Continue\r\n\r\n');
      client.write('two');
      await client.seen(/\r\n\r\nHTTP\/1\.1 204 No Content\r\n/);
      t.equal(sentBy(backend, method).at(-1)?.headers.expect, undefined, 'the expectation was the gate’s to meet');
      t.equal(sentBy(backend, method).at(-1)?.body.toString(), 'two');
    });
  }

  await t.test('a client of HTTP/1.0 cannot expect it (RFC 9110 10.1.1)', async (t) => {
    const answer = await rawRequest(gate.port, `${head('PUT', '', '1.0')}two`);
    t.match(answer, /^HTTP\/1\.1 204 No Content\r\n/);
    t.notMatch(answer, /100 Continue/);
  });

  await t.test('a client that does not wait', async (t) => {
    const answer = await rawRequest(gate.port, `${head('PUT', 'Connection: close\r\n')}two`);
    t.match(answer, /HTTP\/1\.1 204 No Content\r\n/);
    const stale = await rawRequest(gate.port, `${head('PUT', 'If-Match: "other"\r\n')}two`);
    t.match(stale, /^HTTP\/1\.1 412 /);
  });

  await t.test('another expectation cannot be met', async (t) => {
    const before = backend.requests.length;
    const answer = await rawRequest(gate.port, `${head('PUT', 'Connection: close\r\n').replace('100-', 'x-')}two`);
    t.match(answer, /^HTTP\/1\.1 417 Expectation Failed\r\n/);
    t.match(answer, /\r\nX-Request-Id: /);
    t.equal(backend.requests.length, before);
  });
});

t.test('slow request bodies (W3)', async (t) => {
  await t.test('one that has not arrived holds nobody up', async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startBackend(t, documents({ '/x': { body: 'one' } }));
    const gate = await startGate(t, { upstream: backend.url, clock });
    const etag = await tagOf(`${gate.url}/x`);
    const slow: RawConnection[] = [];
    for (const framing of ['Content-Length: 1000\r\n\r\n', 'Transfer-Encoding: chunked\r\n\r\n3e8\r\n']) {
      const client = await rawClient(t, gate.port);
      client.write(`PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: ${etag}\r\n${framing}half`);
      slow.push(client);
    }
    await eventually(t, () => clock.pending() >= 2, 'both are being received');
    const other = await request(`${gate.url}/x`, { method: 'PUT', headers: { 'If-Match': etag }, body: 'two' });
    t.equal(other.status, 204, 'somebody else writes meanwhile');
    slow[0]?.write('h'.repeat(996));
    t.match(await slow[0]?.seen('"requestId"'), /^HTTP\/1\.1 412 /, 'and the slow one was too slow');
    clock.advance(60_001);
    const late = await slow[1]?.seen('"requestId"');
    t.match(late, /^HTTP\/1\.1 408 Request Timeout\r\n/, 'idleTimeout');
    t.match(late, /"outcome":"not-sent"/);
    t.match(late, /\r\nConnection: close\r\n/i);
    t.equal(sentBy(backend, 'PUT').length, 1);
  });

  await t.test('a long one that is slower than minBodyRate', async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startBackend(t, () => {});
    const gate = await startGate(t, { upstream: backend.url, clock });
    const client = await rawClient(t, gate.port);
    client.write('PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n');
    client.write('b'.repeat(100_000));
    await backend.arrived(1);
    for (let seconds = 0; seconds < 25; seconds += 5) {
      clock.advance(5000);
      client.write('b'.repeat(1000));
      await turn();
    }
    t.equal(client.length, 0, 'not in the first 30 seconds');
    clock.advance(20_000);
    clock.advance(40_000);
    const text = await client.seen('"requestId"');
    t.match(text, /^HTTP\/1\.1 408 Request Timeout\r\n/);
    t.match(text, /"outcome":"unknown"/, 'some of it was sent');
  });

  await t.test('one without a lease goes at its own pace', async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startRawBackend(t);
    const gate = await startGate(t, { upstream: backend.url, clock });
    const client = await rawClient(t, gate.port);
    client.write('POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n');
    const upstream = await backend.connection(0);
    for (let count = 1; count <= 20; count += 1) {
      client.write('b');
      await upstream.seen(new RegExp(`\\r\\n\\r\\nb{${count}}$`));
      clock.advance(50_000);
    }
    upstream.write('HTTP/1.1 204 No Content\r\n\r\n');
    t.match(await client.seen('\r\n\r\n'), /^HTTP\/1\.1 204 No Content\r\n/);
  });
});

t.test('answers that the gate makes', async (t) => {
  const cors: Handler = (seen, response, incoming) => {
    if (seen.headers.origin !== undefined) {
      response.setHeader('Access-Control-Allow-Origin', seen.headers.origin);
      response.setHeader('Access-Control-Allow-Credentials', 'true');
      response.setHeader('Vary', 'Origin');
    }
    return documents({ '/x': { body: 'one' } })(seen, response, incoming);
  };
  const backend = await startBackend(t, cors);
  const required = await startGate(t, { upstream: backend.url, policy: { guard: 'required' } });
  const report = await startGate(t, { upstream: backend.url, policy: { guard: 'required', mode: 'report' } });
  const stale = { 'If-Match': '"im-other"' };

  await t.test('428 where a precondition is required', async (t) => {
    const { status, headers, body } = await request(`${required.url}/x`, { method: 'PUT', body: 'b' });
    t.equal(status, 428);
    t.match(headers['proxy-status'], /^ifmatch; error=http_request_denied; details="/);
    t.match(JSON.parse(body.toString()), { status: 428, decidedBy: 'policy', instance: '/x', next: /ETag/ });
  });

  await t.test('report mode forwards, and says what would have happened (W14)', async (t) => {
    for (const [headers, said] of [
      [stale, '412; if-match'],
      [{}, '428; precondition-required'],
      [{ 'If-Match': 'unquoted' }, '400; if-match'],
      [{ 'If-None-Match': '*' }, '412; if-none-match'],
    ] as const) {
      const before = sentBy(backend, 'PUT').length;
      const answer = await request(`${report.url}/x`, { method: 'PUT', headers, body: 'b' });
      t.equal(answer.status, 204, said);
      t.equal(answer.headers['ifmatch-report'], said);
      t.equal(sentBy(backend, 'PUT').length, before + 1);
    }
    const etag = await tagOf(`${report.url}/x`);
    const held = await request(`${report.url}/x`, { method: 'PUT', headers: { 'If-Match': etag }, body: 'b' });
    t.equal(held.headers['ifmatch-report'], undefined, 'nothing to report');
  });

  await t.test('a 412 carries the current version, and the representation where it is asked for (A2)', async (t) => {
    const etag = await tagOf(`${required.url}/x`);
    const plain = await request(`${required.url}/x`, { method: 'PUT', headers: stale, body: 'b' });
    t.equal(plain.status, 412);
    t.equal(plain.headers.etag, etag);
    t.match(JSON.parse(plain.body.toString()), {
      precondition: 'If-Match',
      received: ['"im-other"'],
      current: { etag },
      decidedBy: 'probe',
    });
    const wanted = { ...stale, Prefer: 'respond-async, return=representation' };
    const whole = await request(`${required.url}/x`, { method: 'PUT', headers: wanted, body: 'b' });
    t.equal(whole.status, 412);
    t.equal(whole.body.toString(), 'one');
    t.equal(whole.headers['content-type'], 'text/plain');
    t.equal(whole.headers['content-location'], '/x');
    t.equal(whole.headers['preference-applied'], 'return=representation');
    t.equal(whole.headers.etag, etag);
    t.match(whole.headers['proxy-status'], /^ifmatch;/);
  });

  await t.test('HTML where it is preferred', async (t) => {
    const browser = { ...stale, Accept: 'text/html,application/xhtml+xml,*/*;q=0.8', 'X-Request-Id': 'mine' };
    const answer = await request(`${required.url}/x`, { method: 'PUT', headers: browser, body: 'b' });
    t.equal(answer.status, 412);
    t.match(answer.headers['content-type'], /^text\/html/);
    t.match(answer.body.toString(), /<!doctype html>[\s\S]*mine/i);
  });

  await t.test('they are as readable for other origins as the backend’s own (R6)', async (t) => {
    const origin = { Origin: 'https://app.example' };
    await request(`${required.url}/x`, { headers: origin });
    const refused = await request(`${required.url}/x`, { method: 'PUT', headers: { ...stale, ...origin }, body: 'b' });
    t.equal(refused.status, 412);
    t.equal(refused.headers['access-control-allow-origin'], 'https://app.example');
    t.equal(refused.headers['access-control-allow-credentials'], 'true');
    t.match(refused.headers['access-control-expose-headers'], /etag/i);
    t.match(refused.headers.vary, /Origin/);
    const other = { Origin: 'https://other.example' };
    const stranger = await request(`${required.url}/x`, { method: 'PUT', headers: other, body: 'b' });
    t.equal(stranger.status, 428);
    t.equal(stranger.headers['access-control-allow-origin'], undefined, 'nothing is made up');
    const probed = await request(`${required.url}/x`, { method: 'PUT', headers: { ...other, ...stale }, body: 'b' });
    t.equal(probed.status, 412);
    t.equal(probed.headers['access-control-allow-origin'], 'https://other.example', 'as the probe was answered');
  });
});

t.test('close() drains (O5)', async (t) => {
  await t.test('what is in flight ends, and nothing new is taken', async (t) => {
    const clock = createVirtualClock(Date.now());
    const answers: (() => void)[] = [];
    const backend = await startBackend(t, (seen, response) => answers.push(() => response.end(seen.url)));
    const gate = await startGate(t, { upstream: backend.url, clock, limits: { drainDelay: 5000, drain: 25_000 } });
    const idle = await rawClient(t, gate.port);
    // Answered by the gate alone.
    const malformed = 'PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: x\r\nContent-Length: 0\r\n\r\n';
    idle.write(malformed);
    await idle.seen('\r\n\r\n');
    const reading = await rawClient(t, gate.port);
    reading.write('GET /read HTTP/1.1\r\nHost: a\r\n\r\n');
    const writing = await rawClient(t, gate.port);
    writing.write('PUT /write HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nb');
    await backend.arrived(2);
    const closed = gate.close();
    await eventually(t, () => clock.pending() >= 3, 'draining begins');

    const during = await rawClient(t, gate.port);
    during.write(malformed);
    const { text } = await during.closed;
    t.match(text, /^HTTP\/1\.1 400 Bad Request\r\n/, 'new ones are served while the delay lasts');
    t.match(text, /\r\nConnection: close\r\n/i);

    clock.advance(5000);
    await idle.closed;
    t.pass('idle connections go first');
    await t.rejects(rawRequest(gate.port, 'GET / HTTP/1.1\r\n\r\n'), { code: 'ECONNREFUSED' });
    for (const answer of answers) answer();
    for (const [client, path] of [
      [reading, '/read'],
      [writing, '/write'],
    ] as const) {
      const { text, reset } = await client.closed;
      t.equal(reset, false);
      t.match(text, /^HTTP\/1\.1 200 OK\r\n/);
      t.match(text, /\r\nConnection: close\r\n/i);
      t.ok(text.endsWith(path));
    }
    await closed;
  });

  await t.test('what takes longer than `drain` is broken off', async (t) => {
    const clock = createVirtualClock(Date.now());
    const backend = await startRawBackend(t);
    const gate = await startGate(t, { upstream: backend.url, clock, limits: { drain: 25_000 } });
    const client = await rawClient(t, gate.port);
    client.write('GET /hangs HTTP/1.1\r\nHost: a\r\n\r\n');
    await (await backend.connection(0)).seen('\r\n\r\n');
    const closed = gate.close();
    for (let turns = 0; turns < 20; turns += 1) await turn();
    t.notOk(client.socket.destroyed);
    clock.advance(25_000);
    await client.closed;
    await closed;
    await backend.connections[0]?.closed;
  });
});

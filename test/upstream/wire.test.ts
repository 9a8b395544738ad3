import t from 'tap';
import { rawRequest } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';
import { rawClient, startRawBackend } from '../helpers/raw.js';

const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const unasked = 'HTTP/1.1 100 Continue\r\n\r\n';
const get = 'GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n';

t.test('a 100 that nobody waits for is skipped (RFC 9110 15.2.1)', async (t) => {
  const rows: [title: string, parts: string[]][] = [
    ['before the answer, in one piece', [unasked + answer]],
    ['on its own', [unasked, answer]],
    ['twice, with fields', [`HTTP/1.0 100 \r\nX: 1\r\n\r\n${unasked}`, answer]],
    ['before early hints', [`${unasked}HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${answer}`]],
    ...[1, 8, 10, 12, 13, 20, 23, 24, 25, 26, 40].map((at): [string, string[]] => [
      `split at ${at}`,
      [(unasked + answer).slice(0, at), (unasked + answer).slice(at)],
    ]),
  ];
  let parts: readonly string[] = [];
  const backend = await startRawBackend(t, async (connection) => {
    for (let requests = 1; !connection.socket.destroyed; requests += 1) {
      await Promise.race([
        connection.closed,
        connection.seen(new RegExp(`(?:GET[\\s\\S]*?\\r\\n\\r\\n){${requests}}`)).catch(() => {}),
      ]);
      for (const part of parts) {
        connection.write(part);
        await new Promise(setImmediate);
      }
    }
  });
  const gate = await startGate(t, { upstream: backend.url, policy: { guard: 'off' } });
  for (const row of rows) {
    parts = row[1];
    t.match(await rawRequest(gate.port, get), /HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\nok$/, row[0]);
  }
  t.equal(backend.connections.length, 1, 'the connection stays good');
  parts = [`HTTP/1.1 200 OK\r\nContent-Length: ${unasked.length + 2}\r\n\r\n`, `${unasked}ok`];
  t.ok((await rawRequest(gate.port, get)).endsWith(`\r\n\r\n${unasked}ok`), 'in a body it is data');
  parts = [answer];
  t.ok((await rawRequest(gate.port, get)).endsWith('\r\n\r\nok'));
  parts = [`HTTP/1.1 100 Continue\r\nX: ${'x'.repeat(100_000)}`];
  t.match(await rawRequest(gate.port, get), /^HTTP\/1\.1 502 /, 'one without an end');
});

t.test('1xx answers and reason phrases come as they were sent, however they are cut', async (t) => {
  const early = 'HTTP/1.1 103 Fr\xfch\r\nLink: </a>\r\n\r\n';
  const final = 'HTTP/1.1 200 All \xe9 well\r\nX-L: \xe9\r\nContent-Length: 2\r\n\r\nok';
  const whole = early + unasked + early + final;
  let cut: readonly string[] = [];
  const backend = await startRawBackend(t, (connection) => {
    connection.socket.on('data', async () => {
      for (const part of cut) {
        connection.write(part);
        await new Promise(setImmediate);
      }
    });
  });
  const gate = await startGate(t, { upstream: backend.url, policy: { guard: 'off' } });
  const wrong: string[] = [];
  for (let at = 0; at <= whole.length; at += 1) {
    cut = [whole.slice(0, at), whole.slice(at)];
    const answered = await rawRequest(gate.port, get);
    const isRight = answered.startsWith(`${early}${unasked}${early}HTTP/1.1 200 All \xe9 well\r\nX-L: \xe9\r\n`);
    if (!isRight || !answered.endsWith('\r\n\r\nok')) wrong.push(`cut at ${at}: ${answered}`);
  }
  cut = [...whole];
  const single = await rawRequest(gate.port, get);
  if (!single.includes('200 All \xe9 well\r\nX-L: \xe9\r\n')) wrong.push(`octet by octet: ${single}`);
  t.same(wrong, []);
  t.equal(backend.connections.length, 1);
});

t.test('a 1xx that could be read in two ways is no answer', async (t) => {
  const evil = 'HTTP/1.1 201 Evil\r\nContent-Length: 4\r\n\r\nEVIL';
  const rows = [
    `HTTP/1.1 100 Continue\n\nHTTP/1.1 200 OK\r\nContent-Length: ${evil.length}\r\n\r\n${evil}`,
    `HTTP/1.1 100 Continue\r\nA: b\n\r\n${answer}`,
    `HTTP/1.1 100 Continue\r\nA: b\nSet-Cookie: evil=1\n\nHTTP/1.1 200 Evil\n\n\r\n\r\n`,
    `HTTP/1.1 103 Early\r\nA: b\r\n c\r\n\r\n${answer}`,
    `HTTP/1.1 103 Early\r\nContent-Length : 5\r\n\r\n${answer}`,
    `HTTP/1.1 103 Early\r\nA: \0\r\n\r\n${answer}`,
    `HTTP/1.1 103 E\x0bvil\r\n\r\n${answer}`,
    `HTTP/1.1 100 Continue\rA: b\r\n\r\n${answer}`,
    `HTTP/1.1 103 Early\r\nX: ${'x'.repeat(100_000)}\r\n\r\n${answer}`,
    'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n',
    'hello',
  ];
  let bytes = '';
  const backend = await startRawBackend(t, (connection) => {
    connection.socket.on('data', () => connection.write(bytes));
  });
  const gate = await startGate(t, { upstream: backend.url, policy: { guard: 'off' } });
  for (const row of rows) {
    bytes = row;
    const answered = await rawRequest(gate.port, get);
    t.match(answered, /^HTTP\/1\.1 502 /, JSON.stringify(row));
    t.notMatch(answered, /evil/i);
  }
});

t.test('a chunked body that has come to its end before it is sent stays chunked', async (t) => {
  const backend = await startRawBackend(t, (connection) => {
    connection.socket.on('data', () => connection.text.endsWith('0\r\n\r\n') && connection.write(answer));
  });
  const smuggled = `GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n${'x'.repeat(3000)}`;
  for (const holdRequest of [0, 1024, 8192]) {
    const gate = await startGate(t, { upstream: backend.url, limits: { holdRequest } });
    for (const length of [1500, smuggled.length]) {
      const body = smuggled.slice(0, length);
      const head = 'PUT /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n';
      const sent = `${head}${length.toString(16)}\r\n${body}\r\n0\r\n\r\n`;
      const before = backend.connections.map(({ length: octets }) => octets);
      t.match(await rawRequest(gate.port, sent), /^HTTP\/1\.1 200 OK\r\n/);
      const received = backend.connections.map(({ text }, index) => text.slice(before[index] ?? 0)).join('');
      t.match(received, /\r\ntransfer-encoding: chunked\r\n\r\n/, `${holdRequest}, ${length}`);
      t.notMatch(received, /content-length/i);
      t.ok(received.endsWith(`${body}\r\n0\r\n\r\n`) || holdRequest === 0, 'and whole');
    }
  }
});

t.test('an empty body is announced as the client announced it', async (t) => {
  const backend = await startRawBackend(t, (connection) => {
    connection.socket.on('data', () => /\r\n\r\n$/.test(connection.text) && connection.write(answer));
  });
  const gate = await startGate(t, { upstream: backend.url });
  // Fields that look like the end of a head.
  const odd = 'X-A: content-length: 0\r\nX-Content-Length: 0\r\n';
  for (const method of ['PUT', 'POST', 'DELETE', 'GET', 'OPTIONS', 'REPORT', 'LOCK']) {
    for (const [framing, arrives] of [
      ['', /^(?![\s\S]*\r\n(?:content-length|transfer-encoding))/i],
      ['Content-Length: 0\r\n', /\r\ncontent-length: 0\r\n\r\n$/],
      ['Transfer-Encoding: chunked\r\n', /\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n$/],
    ] as const) {
      const end = framing.startsWith('T') ? '0\r\n\r\n' : '';
      const before = backend.connections.map(({ length }) => length);
      const head = `${method} /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${framing}${odd}\r\n${end}`;
      t.match(await rawRequest(gate.port, head), /^HTTP\/1\.1 200 OK\r\n/);
      const texts = backend.connections.map(({ text }, index) => text.slice(before[index] ?? 0));
      t.match(texts.find((text) => text.startsWith(`${method} `)) ?? '', arrives, `${method} ${framing}`);
    }
  }
});

t.test('trailers of a request follow its body (RFC 9110 6.5)', async (t) => {
  const backend = await startRawBackend(t, async (connection) => {
    for (let requests = 1; !connection.socket.destroyed; requests += 1) {
      await Promise.race([
        connection.closed,
        connection
          .seen(new RegExp(`(?:POST[\\s\\S]*?\\r\\n0\\r\\n(?:[^\\r]+\\r\\n)*\\r\\n){${requests}}`))
          .catch(() => {}),
      ]);
      connection.write(answer);
    }
  });
  const gate = await startGate(t, { upstream: backend.url });
  const post = (end: string, fields = '') =>
    `POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n${end}`;
  const trailers = 'X-Sum: 1\r\nIf-Match: "x"\r\nx-b: \xe9\r\n';

  const streaming = await rawClient(t, gate.port);
  const [head = '', rest = ''] = post(`0\r\n${trailers}\r\n`, 'Trailer: X-Sum\r\n').split(/(?<=ab\r\n)/);
  streaming.write(head);
  const upstream = await backend.connection(0);
  await upstream.seen('ab');
  streaming.write(rest);
  await streaming.closed;
  t.match(upstream.text, /\r\nTrailer: X-Sum\r\n/);
  t.ok(upstream.text.endsWith('\r\n2\r\nab\r\n0\r\nX-Sum: 1\r\nx-b: \xe9\r\n\r\n'), 'what decisions rest on does not');

  await rawRequest(gate.port, post('0\r\n\r\n'));
  t.ok(upstream.text.endsWith('\r\n2\r\nab\r\n0\r\n\r\n'), 'the next one on the connection has none');
  await rawRequest(gate.port, post('0\r\nX-Sum: 2\r\n\r\n'));
  t.ok(upstream.text.endsWith('\r\n2\r\nab\r\n0\r\nX-Sum: 2\r\n\r\n'));
  t.equal(backend.connections.length, 1);

  // One that is received before its lease is taken.
  const guarded = await startGate(t, { upstream: backend.url, policy: { methods: ['POST'] } });
  await rawRequest(guarded.port, post('0\r\nX-Sum: 3\r\n\r\n'));
  t.ok(backend.connections[1]?.text.endsWith('\r\n2\r\nab\r\n0\r\nX-Sum: 3\r\n\r\n'));
});

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

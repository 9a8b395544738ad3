import type { ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import { type RecordedRequest, startBackend } from '../helpers/backend.js';
import { rawRequest } from '../helpers/client.js';
import { eventually } from '../helpers/eventually.js';
import { type GateSettings, type RunningGate, startGate } from '../helpers/gate.js';
import { answering, type RawBackend, type RawConnection, rawClient, startRawBackend } from '../helpers/raw.js';
import * as rows from './hostile-rows.js';

/** What the process complains of while it is attacked. */
const complaints: unknown[] = [];
for (const event of ['warning', 'unhandledRejection', 'uncaughtExceptionMonitor']) {
  process.on(event, (complaint: unknown) => complaints.push(complaint));
}

/** Where the first request in a text ends, as a server that keeps to RFC 9112 sees it; undefined: not yet. */
function endOfRequest(text: string): number | undefined {
  const headEnd = text.indexOf('\r\n\r\n') + 4;
  if (headEnd < 4) return undefined;
  const head = text.slice(0, headEnd).toLowerCase();
  if (!head.includes('\r\ntransfer-encoding: chunked\r\n')) {
    const end = headEnd + Number(/\r\ncontent-length: (\d+)\r\n/.exec(head)?.[1] ?? 0);
    return end <= text.length ? end : undefined;
  }
  for (let at = headEnd; ; ) {
    const lineEnd = text.indexOf('\r\n', at);
    const size = Number.parseInt(text.slice(at, lineEnd), 16);
    const next = lineEnd + 2 + size + 2;
    if (lineEnd === -1 || next > text.length) return undefined;
    if (size === 0) return next;
    at = next;
  }
}

interface Recorder extends RawBackend {
  /** All bytes of the connections that brought a whole request for this target. */
  whole(target: string): string[];
}

/** A backend that keeps every byte, answers the first whole request of a connection, and closes it then. */
async function startRecorder(t: Test, answerTo: (request: string) => string): Promise<Recorder> {
  const backend = await startRawBackend(t, (connection) => {
    let isAnswered = false;
    connection.socket.on('data', () => {
      if (isAnswered || endOfRequest(connection.text) === undefined) return;
      isAnswered = true;
      connection.end(answerTo(connection.text));
    });
  });
  const whole = (target: string): string[] =>
    backend.connections
      .map(({ text }) => text)
      .filter((text) => text.split(' ', 2)[1] === target && endOfRequest(text) !== undefined);
  return { ...backend, whole };
}

const answerWith = (fields: string): string =>
  `HTTP/1.1 200 OK\r\n${fields}Connection: close\r\nContent-Length: 2\r\n\r\nok`;

/** A gate whose requests each have a connection of their own. */
function gateTo(t: Test, upstream: RawBackend, settings: Partial<GateSettings> = {}): Promise<RunningGate> {
  return startGate(t, { upstream: upstream.url, ...settings, limits: { upstreamKeepAlive: 0, ...settings.limits } });
}

/** A read and a write of somebody who means well. */
async function stillWorks(t: Test, { port }: RunningGate): Promise<void> {
  const head = '/after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n';
  t.match(await rawRequest(port, `GET ${head}\r\n`), /^HTTP\/1\.1 200 OK\r\n/, 'a read works');
  const write = `PUT ${head}If-Match: *\r\nContent-Length: 1\r\n\r\nb`;
  t.match(await rawRequest(port, write), /^HTTP\/1\.1 200 OK\r\n/, 'and so does a write');
}

/** Sends bytes. @returns all that came until the gate closed the connection, in whatever way */
async function attack(t: Test, port: number, bytes: string): Promise<string> {
  const client = await rawClient(t, port);
  client.write(bytes);
  return (await client.closed).text;
}

/** `400 malformed-request` of a problem. */
function problemIn(text: string): string {
  const [, status = '', name = ''] =
    /^HTTP\/1\.1 (\d+) [\s\S]*"type":"urn:problem-type:ifmatch:([\w-]+)"/.exec(text) ?? [];
  return `${status} ${name}`;
}

/** A request without the fields that the gate adds to all of them; what follows its head stays. */
function bare(request: string): string {
  const headEnd = request.indexOf('\r\n\r\n') + 2;
  const head = request.slice(0, headEnd);
  return head.replace(/^(?:host|connection|x-forwarded-\w+|x-request-id): .*\r\n/gim, '') + request.slice(headEnd);
}

function isRefused(expect: string): boolean {
  return expect === '400' || expect === 'cut';
}

t.test('requests whose end could be seen in different places (RFC 9112 6 and 7, I6)', async (t) => {
  const backend = await startRecorder(t, () => answerWith('ETag: "t"\r\n'));
  const gate = await gateTo(t, backend, { policy: { refresh: 'never' } });
  for (const [index, { why, fields, body, expect, version = '1.1', method: only }] of rows.framing.entries()) {
    // The body of a PUT is received before it is forwarded, that of a POST streams.
    for (const method of only === undefined ? ['PUT', 'POST'] : [only]) {
      const what = `${why} (${method})`;
      const target = `/${method}/${index}`;
      const head = `${method} ${target} HTTP/${version}\r\nHost: a\r\n${fields}\r\n`;
      const next = `GET ${target}/next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
      const answer = await attack(t, gate.port, head + body + next);
      const followed = backend.whole(`${target}/next`).length;
      if (isRefused(expect)) {
        const isCut = expect === 'cut' && answer === '';
        t.ok(isCut || problemIn(answer) === '400 malformed-request', what);
        t.equal(followed, 0, `${what}: nothing behind it is carried out`);
        continue;
      }
      t.same(backend.whole(target).map(bare), [`${method} ${target} HTTP/1.1\r\n${expect}`], what);
      // A connection on which an upgrade was refused is not used again.
      t.equal(followed, fields.includes('Upgrade') ? 0 : 1, `${what}: what follows it`);
    }
  }
  for (const [index, { why, expect }] of rows.framing.entries()) {
    if (!isRefused(expect)) continue;
    t.same(backend.whole(`/POST/${index}`), [], `${why}: nothing that is whole was forwarded`);
    const part = backend.connections.some(({ text }) => text.startsWith(`PUT /PUT/${index} `));
    t.notOk(part, `${why}: nor any part of what is received first (W3)`);
  }
  t.same(backend.whole('/smuggled'), [], 'what was smuggled never was a request');
  await stillWorks(t, gate);
});

t.test('answers whose end could be seen in different places', async (t) => {
  let hostile = '';
  let closes = false;
  const backend = await startRawBackend(t, (connection) => {
    let answered = 0;
    connection.socket.on('data', () => {
      for (const heads = connection.text.split('\r\n\r\n').length - 1; answered < heads; answered += 1) {
        connection.write(hostile || 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nreal');
        if (closes) connection.end();
        hostile = '';
      }
    });
  });
  const settings = { policy: { refresh: 'never' as const }, limits: { upstreamConnections: 1 } };
  const gate = await startGate(t, { upstream: backend.url, ...settings });
  for (const [index, row] of rows.backendAnswers.entries()) {
    for (const method of ['GET', 'DELETE']) {
      hostile = row.bytes;
      closes = row.closes === true;
      const head = `/${index} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
      const answer = await attack(t, gate.port, `${method} ${head}`);
      closes = false;
      const expected = method === 'GET' ? row.expect : (row.expectWrite ?? row.expect);
      t.match(answer, expected, `${row.why} (${method})`);
      const others = [await attack(t, gate.port, 'GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')];
      if (!/real$/.test(others[0] ?? '')) others.push(await attack(t, gate.port, `GET ${head}`));
      t.match(others.at(-1), /real$/, `${row.why}: who comes next gets the answer that is meant for it`);
      t.notMatch(answer + others.join(''), /poison/, row.why);
    }
  }
});

t.test('what is pipelined behind a refusal', async (t) => {
  const backend = await startRecorder(t, () => answerWith(''));
  const gate = await gateTo(t, backend);
  for (const [index, [line, fields]] of (
    [
      ['PUT /x#y', ''],
      ['GET /x#y', ''],
      ['GET /x', 'Host: b\r\n'],
      ['GET /x', 'Expect: x\r\n'],
    ] as const
  ).entries()) {
    const behind = `DELETE /behind/${index} HTTP/1.1\r\nHost: a\r\n\r\n`;
    const answer = await attack(t, gate.port, `${line} HTTP/1.1\r\nHost: a\r\n${fields}\r\n${behind}`);
    t.match(answer, /^HTTP\/1\.1 4\d\d [\s\S]*\r\nConnection: close\r\n(?![\s\S]*HTTP\/1\.1)/i, `${line} ${fields}`);
  }
  // Whatever was forwarded has come by then.
  await stillWorks(t, gate);
  const seen = backend.connections.filter(({ text }) => text.startsWith('DELETE'));
  t.same(seen, [], 'is not carried out: nobody would hear of it');
});

/** A backend with one document whatever its name; `hold` holds the answer to the write with this body back. */
async function startOneDocument(t: Test, hold: string) {
  let content = 'original';
  let held: ServerResponse | undefined;
  const backend = await startBackend(t, (seen: RecordedRequest, response) => {
    if (seen.method === 'GET') return response.end(seen.url === '/other' ? 'other' : content);
    if (seen.url === '/other') return response.end();
    if (String(seen.body) !== hold) {
      content = String(seen.body);
      return response.writeHead(204).end();
    }
    held = response;
    return undefined;
  });
  const release = (): void => {
    content = hold;
    held?.writeHead(204).end();
  };
  return { ...backend, isHeld: () => held !== undefined, release, content: () => content };
}

t.test('a write does not get past another one by another spelling (I1 to I6, W3)', async (t) => {
  for (const { why, first, second, method = 'PUT', fields = '', apart } of rows.spellings) {
    await t.test(why, async (t) => {
      const backend = await startOneDocument(t, 'first');
      const gate = await startGate(t, { upstream: backend.url, policy: { refresh: 'never' } });
      const ask = async (line: string, more: string, body: string): Promise<RawConnection> => {
        const client = await rawClient(t, gate.port);
        const length = body === '' ? '' : `Content-Length: ${body.length}\r\n`;
        client.write(`${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${more}${length}\r\n${body}`);
        return client;
      };
      const tagOf = async (target: string): Promise<string> => {
        // With an override it would be no read (I4).
        const { text } = await (await ask(`GET ${target.replace('_method', 'x')}`, '', '')).closed;
        return `If-Match: ${/\r\nETag: (".*")\r\n/i.exec(text)?.[1]}\r\n`;
      };
      const condition = await tagOf(second);
      const winner = await ask(`PUT ${first}`, await tagOf(first), 'first');
      await eventually(t, () => backend.isHeld(), 'the first write is at the backend');
      const before = backend.requests.length;
      const rival = await ask(`${method} ${second}`, fields + condition, 'second');
      // Others are served meanwhile; what the rival sent has long been read then.
      const other = await ask('PUT /other', 'If-Match: *\r\n', 'b');
      t.match((await other.closed).text, /^HTTP\/1\.1 200 /, 'a write of another resource goes on');
      const urls = backend.requests.slice(before).filter(({ url }) => url !== '/other');
      if (apart) {
        t.match((await rival.closed).text, /^HTTP\/1\.1 204 /, 'it is another resource');
        return backend.release();
      }
      t.same(urls, [], 'neither it nor its probe is forwarded');
      backend.release();
      t.match((await winner.closed).text, /^HTTP\/1\.1 204 /, 'the first one succeeds');
      t.match((await rival.closed).text, /^HTTP\/1\.1 412 /, 'the second one is judged after it');
      t.equal(backend.content(), 'first', 'and did not take effect');
      const again = await ask(`${method} ${second}`, fields + (await tagOf(second)), 'third');
      t.match((await again.closed).text, /^HTTP\/1\.1 204 /, 'with the version that is now current it does');
    });
  }
});

t.test('conditions that are made to be misread (W1, W6)', async (t) => {
  let etag = '';
  const backend = await startRecorder(t, () => answerWith(`ETag: ${etag}\r\n`));
  const gate = await gateTo(t, backend);
  for (const [index, { why, fields, expect, tag = '"t"' }] of rows.conditions.entries()) {
    etag = tag;
    const head = `PUT /${index} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n${fields}\r\nb`;
    const answer = await attack(t, gate.port, head);
    const written = backend.whole(`/${index}`).filter((text) => text.startsWith('PUT'));
    if (expect === 'forwarded') {
      t.match(answer, /^HTTP\/1\.1 200 /, why);
      t.equal(written.length, 1);
      const [lines = ''] = written;
      const withoutPadding = (text: string): string => text.replace(/: [ \t]*(.*?)[ \t]*\r\n/g, ': $1\r\n');
      t.ok(lines.includes(withoutPadding(fields)), `${why}: its conditions travel on as they are`);
      continue;
    }
    const names = { 412: 'precondition-failed', 400: 'malformed-precondition', 431: 'request-head-too-large' };
    t.equal(problemIn(answer), `${expect} ${names[expect as unknown as keyof typeof names]}`, why);
    t.same(written, [], `${why}: nothing is forwarded`);
  }
  await stillWorks(t, gate);
});

t.test('requests that wear a mask (I3, I4, I6)', async (t) => {
  const backend = await startRecorder(t, () => answerWith('ETag: "t"\r\n'));
  const gate = await gateTo(t, backend, { policy: { guard: 'required' } });
  for (const { why, method, target = '/x', fields, status, sees = [], never = [] } of rows.masks) {
    const before = backend.connections.length;
    const length = method === 'GET' ? '' : 'Content-Length: 1\r\n\r\nb';
    const head = `${method} ${target} HTTP/1.1\r\nHost: a\r\n${fields}Connection: close\r\n`;
    const answer = await attack(t, gate.port, head + (length || '\r\n'));
    t.ok(answer.startsWith(`HTTP/1.1 ${status} `), `${why}: ${answer.split('\r\n', 1)}`);
    const since = backend.connections.slice(before).map(({ text }) => text);
    const seen = since.findLast((text) => text.startsWith(method)) ?? '';
    t.equal(seen !== '', status === 200, `${why}: ${status === 200 ? 'forwarded' : 'not forwarded'}`);
    const lines = seen.toLowerCase().split('\r\n');
    for (const line of sees) t.ok(lines.includes(line), `${why}: the backend sees ${line}`);
    for (const part of never) t.notOk(seen.toLowerCase().includes(part), `${why}: but never ${part}`);
  }
  await stillWorks(t, gate);
});

const markup = '<script>alert(1)</script>';
const evil = `"'>${markup}\\%0d%0aSet-Cookie: a=b\x85\x9b\xff`;
const sent = (line: string, fields: string): string =>
  `${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nAccept: text/html\r\n${fields}\r\n`;

/** Requests with something in every place that comes back in an answer, a page or a log line. */
const reflected: readonly [why: string, request: string, status: number, settings?: Partial<GateSettings>][] = [
  ['tags', sent('PUT /x', `If-Match: "${evil.slice(1)}"\r\n`), 412],
  ['malformed tags', sent('PUT /x', `If-Match: ${evil}\r\n`), 400],
  ['a malformed second line', sent('PUT /x', `If-None-Match: "a"\r\nIf-None-Match: ${evil}\r\n`), 400],
  ['the path', sent(`PUT //b/"'>${markup}`, 'If-Match: "x"\r\n'), 412],
  ['a path that is refused', sent(`PUT /..;/"'>${markup}`, ''), 400],
  ['absolute-form', sent(`PUT http://b"'>${markup}/`, ''), 400],
  [
    'the query',
    sent(`PUT /x?"'>${markup}%0d%0aSet-Cookie:a`, 'If-Match: "x"\r\nPrefer: return=representation\r\n'),
    412,
  ],
  ['overrides', sent('POST /x', `X-HTTP-Method: ${evil}\r\nX-HTTP-Method: PUT\r\n`), 400],
  ['Origin', sent('PUT /x', `If-Match: "x"\r\nOrigin: ${evil}\r\n`), 412],
  ['the request id', sent('PUT /x', `If-Match: "x"\r\nX-Request-Id: ${evil}\r\n`), 412],
  ['Accept', sent('PUT /x', `If-Match: "x"\r\nAccept: ${evil}, text/html\r\n`), 412],
  ['Host', `PUT /x HTTP/1.1\r\nHost: ${evil}\r\nConnection: close\r\nAccept: text/html\r\n\r\n`, 400],
  ['dates', sent('DELETE /x', `If-Unmodified-Since: ${evil}\r\n`), 428, { policy: { guard: 'required' } }],
  ['a report', sent('PUT /x', `If-Match: ${evil}\r\n`), 200, { policy: { mode: 'report' } }],
  ['an expectation', sent('PUT /x', `Expect: ${evil}\r\n`), 417],
];

t.test('what a client sends comes back as text, nowhere as a field, markup or line', async (t) => {
  const mirror = (request: string): string => {
    const origin = /\r\norigin: (.*)\r\n/i.exec(request)?.[1];
    return answerWith(`ETag: "t"\r\n${origin === undefined ? '' : `Access-Control-Allow-Origin: ${origin}\r\n`}`);
  };
  const backend = await startRecorder(t, mirror);
  for (const [why, request, status, settings] of reflected) {
    const lines: Record<string, unknown>[] = [];
    const onLog = (line: Record<string, unknown>): unknown => lines.push(line);
    const gate = await gateTo(t, backend, { ...settings, onLog, config: { trustProxy: true } });
    const origin = /Origin: .*\r\n/.exec(request)?.[0] ?? '';
    await attack(t, gate.port, `GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${origin}\r\n`);
    const answer = await attack(t, gate.port, request.replace('\r\n\r\n', `\r\nX-Forwarded-For: ${evil}\r\n\r\n`));
    t.ok(answer.startsWith(`HTTP/1.1 ${status} `), `${why}: ${answer.split('\r\n', 1)}`);
    const [head = '', body = ''] = answer.split('\r\n\r\n', 2);
    const [, ...fields] = head.split('\r\n');
    t.same(
      fields.filter((field) => !/^[\w-]+: [\t\x20-\x7e\x80-\xff]*$/.test(field) || /^set-cookie/i.test(field)),
      [],
      `${why}: every line of the head is a field that was meant`,
    );
    t.notMatch(body, /<script/i, `${why}: no markup`);
    const isPage = /^content-type: text\/html/im.test(head);
    t.equal(/^x-content-type-options: nosniff$/im.test(head.replaceAll('\r', '')), isPage, `${why}: a page is one`);
    t.equal(/^content-security-policy: default-src 'none'/im.test(head), isPage, `${why}: and runs nothing`);
    t.ok(/^X-Request-Id: [0-9a-f-]{36}$/m.test(head.replaceAll('\r', '')), `${why}: a harmless id`);
    // `onLog` has parsed each line: a value that broke one would have thrown.
    const line = lines.findLast(({ requestId }) => requestId !== undefined);
    t.equal(line?.status, status, `${why}: one line says so`);
    t.notMatch(JSON.stringify(line), /[\u007f-\u009f]/, `${why}: nothing in it that a terminal obeys`);
  }
});

t.test('heads without end', async (t) => {
  const backend = await startRecorder(t, () => answerWith('ETag: "t"\r\n'));
  const gate = await gateTo(t, backend);
  const megabyte = 'a'.repeat(2 ** 20);
  for (const [why, bytes] of [
    ['a field of 1 MB', `PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: "${megabyte}"\r\n\r\n`],
    ['a field of 1 MB without an end', `PUT /x HTTP/1.1\r\nHost: a\r\nX: ${megabyte}`],
    ['a name of 1 MB', `PUT /x HTTP/1.1\r\nHost: a\r\n${megabyte}: 1\r\n\r\n`],
    ['a target of 1 MB', `PUT /${megabyte} HTTP/1.1\r\nHost: a\r\n\r\n`],
    ['fields of 1 MB in all', `PUT /x HTTP/1.1\r\nHost: a\r\n${'X: 1\r\n'.repeat(2 ** 18)}\r\n`],
    ['empty fields', `PUT /x HTTP/1.1\r\nHost: a\r\n${'X:\r\n'.repeat(10_000)}\r\n`],
  ] as const) {
    t.equal(problemIn(await attack(t, gate.port, bytes)), '431 request-head-too-large', why);
  }
  // Trailers count as well; the write never comes to its end.
  const trailers = `PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ${megabyte}\r\n\r\n`;
  t.match(await attack(t, gate.port, trailers), /^(?:HTTP\/1\.1 431 |$)/, 'trailers of 1 MB');
  t.match(await attack(t, gate.port, `${megabyte} /x HTTP/1.1\r\n\r\n`), /^HTTP\/1\.1 400 /, 'a method of 1 MB');
  t.same(backend.connections, [], 'nothing was forwarded');
  await stillWorks(t, gate);
});

t.test('a method that is made up is nothing to count by (O2)', async (t) => {
  const backend = await startRawBackend(t, answering(answerWith(''), { closes: true }));
  const gate = await gateTo(t, backend);
  for (let index = 0; index < 20; index += 1) {
    const bytes = `GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-HTTP-Method: MADE-UP-${index}\r\n\r\n`;
    t.match(await attack(t, gate.port, bytes), /^HTTP\/1\.1 200 /);
  }
  const text = await (await fetch(`${gate.adminUrl}/metrics`)).text();
  const made = new Set(text.match(/method="MADE-UP-\d+"/g));
  t.ok(made.size <= 1, `${made.size} time series`);
});

t.test('what was reflected stays short', async (t) => {
  const backend = await startRawBackend(t);
  const gate = await gateTo(t, backend);
  const many = Array.from({ length: 8000 }, (_, index) => `m${index}`).join();
  const bytes = `POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-HTTP-Method: ${many}\r\nContent-Length: 0\r\n\r\n`;
  const answer = await attack(t, gate.port, bytes);
  t.equal(problemIn(answer), '400 conflicting-override');
  const { length } = answer.split('\r\n\r\n', 1)[0] ?? '';
  t.ok(length < 8000, `${length} octets of head`);
  const path = `/${'p'.repeat(30_000)}`;
  const long = `PUT ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIf-Match: "${'t'.repeat(30_000)}\r\n\r\n`;
  const other = await attack(t, gate.port, long);
  t.equal(problemIn(other), '400 malformed-precondition');
  t.ok(other.length < 8000, `${other.length} octets for a long path and a long tag`);
});

t.test('the process has not complained', async (t) => {
  t.same(complaints, []);
});

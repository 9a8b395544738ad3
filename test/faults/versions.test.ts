import type { ServerResponse } from 'node:http';
import zlib from 'node:zlib';
import t from 'tap';
import { type Backend, type Handler, startBackend } from '../helpers/backend.js';
import { type Answer, request, roundTrip } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { eventually, turn } from '../helpers/eventually.js';
import { startGate } from '../helpers/gate.js';
import { rawClient } from '../helpers/raw.js';

const megabyte = 2 ** 20;
const always = 0;

function writesTo(backend: Backend): Backend['requests'] {
  return backend.requests.filter(({ method }) => method === 'PUT');
}

function put(url: string, headers: Readonly<Record<string, string>>): Promise<Answer> {
  return request(url, { method: 'PUT', headers, body: 'new' });
}

t.test('the newest of several answers that could be meant decides (W4)', async (t) => {
  for (const recheck of [always, 60_000]) {
    let exists = false;
    const backend = await startBackend(t, (seen, response) => {
      if (seen.method === 'PUT') return response.writeHead(204).end();
      if (!exists) return response.writeHead(404).end();
      return response.writeHead(200, { ETag: '"v1"', Vary: 'Origin' }).end('made elsewhere');
    });
    const gate = await startGate(t, { upstream: backend.url, policy: { recheck } });
    t.equal((await request(`${gate.url}/x`)).status, 404);
    exists = true;
    const { headers } = await request(`${gate.url}/x`);
    t.equal((await put(`${gate.url}/x`, { 'If-None-Match': '*' })).status, 412, `recheck ${recheck}: it exists now`);
    t.equal((await put(`${gate.url}/x`, { 'If-Match': headers.etag ?? '' })).status, 204, 'and has this tag');
  }
});

/** A document in two languages, English by default. */
const bilingual: Handler = (seen, response) => {
  if (seen.method !== 'GET' && seen.method !== 'HEAD') return response.writeHead(204).end();
  const language = seen.headers['accept-language'] === 'de' ? 'de' : 'en';
  response.writeHead(200, { ETag: `"${language}"`, Vary: 'Accept-Language' });
  return response.end(seen.method === 'HEAD' ? undefined : language);
};

const languages: readonly [why: string, reads: readonly string[], names: string, asks: string, status: number][] = [
  ['the own one', ['de'], '"de"', 'de', 204],
  ['one that was read without a preference', [''], '"en"', 'de', 204],
  ['another one than was read last', ['en', 'de'], '"en"', 'de', 204],
  ['another one than was read first', ['de', 'en'], '"de"', 'en', 204],
  ['one that nobody has read', ['de'], '"fr"', 'de', 412],
];

t.test('a tag of another representation of the same URL counts (W4)', async (t) => {
  for (const recheck of [always, 30_000]) {
    const backend = await startBackend(t, bilingual);
    const gate = await startGate(t, { upstream: backend.url, policy: { recheck } });
    for (const [index, [why, reads, tag, asks, status]] of languages.entries()) {
      const url = `${gate.url}/${index}`;
      for (const language of reads) {
        await request(url, { headers: language === '' ? {} : { 'Accept-Language': language } });
      }
      const answer = await put(url, { 'If-Match': tag, 'Accept-Language': asks });
      t.equal(answer.status, status, `recheck ${recheck}: ${why}`);
    }
  }
});

t.test('a second probe that is refused with a large answer holds nothing', async (t) => {
  let isRefusing = false;
  const backend = await startBackend(t, (seen, response, incoming) => {
    if (seen.url === '/ok') return response.end('ok');
    if (!isRefusing || seen.headers['accept-language'] !== 'en') return bilingual(seen, response, incoming);
    return response.writeHead(500).end(Buffer.alloc(16 * megabyte));
  });
  const gate = await startGate(t, { upstream: backend.url, limits: { upstreamConnections: 1 } });
  await request(`${gate.url}/x`, { headers: { 'Accept-Language': 'en' } });
  isRefusing = true;
  t.equal((await put(`${gate.url}/x`, { 'If-Match': '"en"', 'Accept-Language': 'de' })).status, 412);
  t.equal(backend.requests.at(-1)?.headers['accept-language'], 'en', 'there was a second look');
  t.equal((await request(`${gate.url}/ok`)).status, 200, 'the only connection is free');
});

t.test('a probe asks for no coding that cannot be decoded here (V2)', async (t) => {
  const content = '{"a":1}';
  // One raw block, so that no compressor is needed (RFC 8878 3.1.1).
  const zstd = Buffer.concat([Buffer.from('28b52ffd2007390000', 'hex'), Buffer.from(content)]);
  const backend = await startBackend(t, (seen, response) => {
    if (seen.method === 'PUT') return response.writeHead(204).end();
    const asked = seen.headers['accept-encoding'] ?? '';
    response.setHeader('Vary', 'Accept-Encoding');
    if (/exi|\*/.test(asked)) return response.setHeader('Content-Encoding', 'exi').end('?');
    if (/zstd/.test(asked)) return response.setHeader('Content-Encoding', 'zstd').end(zstd);
    if (/gzip/.test(asked)) return response.setHeader('Content-Encoding', 'gzip').end(zlib.gzipSync(content));
    return response.end(content);
  });
  const gate = await startGate(t, { upstream: backend.url });
  const { headers } = await request(`${gate.url}/x`);
  for (const accepted of [
    'gzip, deflate, br, zstd',
    'zstd',
    'zstd, exi;q=0.5',
    'gzip, exi',
    '*',
    'gzip;q=0.5, *;q=0.1',
  ]) {
    const current = { 'If-Match': headers.etag ?? '', 'Accept-Encoding': accepted };
    t.equal((await put(`${gate.url}/x`, current)).status, 204, accepted);
    t.equal((await put(`${gate.url}/x`, { ...current, 'If-Match': '"im-other"' })).status, 412, accepted);
  }
});

t.test('report mode and its probe (W14)', async (t) => {
  for (const leaves of [false, true]) {
    await t.test(`one that is refused with a large answer; the client ${leaves ? 'leaves' : 'stays'}`, async (t) => {
      let probe: ServerResponse | undefined;
      const backend = await startBackend(t, (seen, response) => {
        if (seen.url === '/x' && seen.method === 'GET') probe = response;
        else response.end('ok');
      });
      const policy = { mode: 'report' as const };
      const gate = await startGate(t, { upstream: backend.url, policy, limits: { upstreamConnections: 1 } });
      const client = await rawClient(t, gate.port);
      client.write('PUT /x HTTP/1.1\r\nHost: a\r\nIf-Match: "x"\r\nContent-Length: 1\r\n\r\nb');
      await eventually(t, () => probe, 'the probe arrives');
      if (leaves) {
        client.reset();
        await client.closed;
        await roundTrip(gate.port);
      }
      probe?.writeHead(500).end(Buffer.alloc(16 * megabyte));
      if (!leaves)
        t.match(await client.seen(/\r\n\r\n/), /^HTTP\/1\.1 200 OK\r\n[\s\S]*Ifmatch-Report: 500; probe\r\n/);
      t.equal((await request(`${gate.url}/ok`)).status, 200, 'the only connection is free');
      t.equal(writesTo(backend).length, leaves ? 0 : 1);
    });
  }

  for (const [why, begins, timers] of [
    // Besides the deadline of the probe: the call, and reading its body.
    ['one without an answer', false, 2],
    ['one whose answer stops', true, 3],
  ] as const) {
    await t.test(`${why} delays the write by a second at most`, async (t) => {
      const clock = createVirtualClock(Date.now());
      const backend = await startBackend(t, (seen, response) => {
        if (seen.method === 'PUT') response.writeHead(204).end();
        else if (begins) response.writeHead(200, { 'Content-Length': 10 }).write('abc');
      });
      const gate = await startGate(t, { upstream: backend.url, clock, policy: { mode: 'report' } });
      const writing = put(`${gate.url}/x`, { 'If-Match': '"im-other"' });
      await eventually(t, () => clock.pending() === timers, 'the gate waits');
      clock.advance(999);
      await roundTrip(gate.port);
      t.equal(writesTo(backend).length, 0);
      clock.advance(1);
      const { status, headers } = await writing;
      t.equal(status, 204);
      t.equal(headers['ifmatch-report'], '502; version-unknown');
    });
  }
});

t.test('a GET that may be taken for a POST is no read (I4)', async (t) => {
  let content = 'one';
  const backend = await startBackend(t, (seen, response) => {
    if (seen.headers['x-http-method-override'] === 'POST') content = 'posted';
    response.end(content);
  });
  const gate = await startGate(t, { upstream: backend.url, policy: { recheck: 60_000 } });
  const { headers } = await request(`${gate.url}/x`);
  // Somebody else, so that it is no newer answer to the reader's own question.
  const another = { 'X-HTTP-Method-Override': 'POST', Authorization: 'Basic Ym9i' };
  const posted = await request(`${gate.url}/x`, { headers: another });
  t.equal(posted.body.toString(), 'posted');
  t.equal(posted.headers.etag, undefined, 'nor is its answer a version');
  t.equal((await put(`${gate.url}/x`, { 'If-Match': headers.etag ?? '' })).status, 412);
  t.equal(writesTo(backend).length, 0);
});

/** Measures turns of the event loop. The function that it returns ends that. @returns the longest, in milliseconds */
function watchTurns(): () => Promise<number> {
  let longest = 0;
  let last = performance.now();
  let isOver = false;
  const measure = (): void => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (!isOver) setImmediate(measure);
  };
  measure();
  return async () => {
    await turn();
    isOver = true;
    return longest;
  };
}

t.test('little content that unpacks to much', async (t) => {
  const size = 32 * megabyte;
  const zeros = zlib.gzipSync(Buffer.alloc(size));
  const list = zlib.gzipSync(Buffer.concat([Buffer.from('['), Buffer.alloc(size, '0,'), Buffer.from('0]')]));
  const backend = await startBackend(t, (seen, response) => {
    response.writeHead(200, { 'Content-Encoding': 'gzip', 'Content-Type': 'application/json' });
    response.end(seen.url === '/list' ? list : zeros);
  });
  const gate = await startGate(t, {
    upstream: backend.url,
    routes: [{ path: '/list', policy: { ignore: ['/at'] } }],
  });
  for (const [path, count, tagged, why] of [
    ['/list', 1, false, 'too long to be parsed'],
    ['/zeros', 30, true, 'hashed in passing'],
  ] as const) {
    const before = process.resourceUsage().maxRSS;
    const stop = watchTurns();
    const answers = await Promise.all(Array.from({ length: count }, () => request(gate.url + path)));
    const longest = await stop();
    for (const { status, headers } of answers)
      t.match({ status, tagged: headers.etag !== undefined }, { status: 200, tagged });
    t.ok(longest < 1000, `${why}: others waited ${longest} ms`);
    // Kilobytes. All of it at once would be a gigabyte.
    const growth = process.resourceUsage().maxRSS - before;
    t.ok(growth < 250 * 1024, `${growth} kB more`);
  }
});

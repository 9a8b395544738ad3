import zlib from 'node:zlib';
import t, { type Test } from 'tap';
import { hashContent, syntheticTag } from '../../src/version/tag.js';
import { type Backend, type Handler, type RecordedRequest, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { type GateSettings, startGate } from '../helpers/gate.js';
import { rawClient } from '../helpers/raw.js';

const rechecks = [0, 60_000, Number.POSITIVE_INFINITY];
const stale = '"im-AAAAAAAAAAAAAAAAAAAAAA"';

function tagOf(content: string, coding?: string): string {
  return syntheticTag(hashContent(Buffer.from(content)), coding);
}

interface Scene {
  readonly backend: Backend;
  ask(method: string, path: string, headers?: readonly string[]): Promise<Answer>;
}

async function join(t: Test, handler: Handler, settings: Omit<GateSettings, 'upstream'> = {}): Promise<Scene> {
  const backend = await startBackend(t, handler);
  const gate = await startGate(t, { ...settings, upstream: backend.url });
  const ask: Scene['ask'] = (method, path, headers = []) =>
    request(gate.url + path, { method, headers, ...(method === 'PUT' && { body: 'new' }) });
  return { backend, ask };
}

function isRead({ method }: RecordedRequest): boolean {
  return method === 'GET' || method === 'HEAD';
}

/** Answers with one of several representations; a write makes others of all of them. */
function variants(vary: string, choose: (request: RecordedRequest) => string, native = false): Handler {
  const writes = new Map<string, number>();
  return (seen, response) => {
    const count = writes.get(seen.url) ?? 0;
    if (!isRead(seen)) {
      writes.set(seen.url, count + 1);
      return response.writeHead(204).end();
    }
    const content = `${choose(seen)} ${count}`;
    response.writeHead(200, { Vary: vary, ...(native && { ETag: `"${content}"` }) });
    return response.end(seen.method === 'HEAD' ? undefined : content);
  };
}

const byAccept = ({ headers }: RecordedRequest): string => (/xml/.test(headers.accept ?? '') ? '<a/>' : '{}');
const byLanguage = ({ headers }: RecordedRequest): string => (headers['accept-language'] ?? 'en').slice(0, 2);

/** `reads`: how the version is read; `writes`: with what it is written. */
type VaryRow = { title: string; vary: string; choose: typeof byAccept; reads: string[]; writes: string[] };

const xml = ['Accept', 'application/xml'];
const json = ['Accept', 'application/json'];

// biome-ignore format: a table
const varyRows: readonly VaryRow[] = [
  { title: 'JSON, written with Accept: */*', vary: 'Accept', choose: byAccept, reads: json, writes: ['Accept', '*/*'] },
  { title: 'JSON, written without Accept', vary: 'Accept', choose: byAccept, reads: json, writes: [] },
  { title: 'JSON, written with Accept: XML', vary: 'Accept', choose: byAccept, reads: json, writes: xml },
  { title: 'XML, written with Accept: JSON', vary: 'Accept', choose: byAccept, reads: xml, writes: json },
  { title: 'XML, written without Accept', vary: 'aCCEPT', choose: byAccept, reads: xml, writes: [] },
  { title: 'XML, where Vary does not say so', vary: 'Origin', choose: byAccept, reads: xml, writes: [] },
  { title: 'XML, where everything may count', vary: '*', choose: byAccept, reads: xml, writes: json },
  { title: 'the same under Vary: *', vary: '*', choose: byAccept, reads: json, writes: json },
  { title: 'a language', vary: 'Accept-Language', choose: byLanguage, reads: ['Accept-Language', 'de'], writes: ['Accept-Language', 'fr'] },
  { title: 'a language, written without any', vary: 'Accept, Accept-Language', choose: byLanguage, reads: ['Accept-Language', 'de'], writes: json },
  { title: 'type and language', vary: 'Accept, Accept-Language', choose: (seen) => byAccept(seen) + byLanguage(seen), reads: [...xml, 'Accept-Language', 'de'], writes: [...json, 'Accept-Language', 'fr'] },
  { title: 'a field of its own', vary: 'X-View, Accept', choose: ({ headers }) => String(headers['x-view']), reads: ['X-View', 'a'], writes: ['X-View', 'a', ...xml] },
  { title: 'one content for all cookies', vary: 'Cookie', choose: () => 'one', reads: ['Cookie', 's=1'], writes: ['Cookie', 's=2'] },
];

t.test('a tag counts whatever the write itself would accept, as long as it is current (W4, V2)', async (t) => {
  for (const recheck of rechecks) {
    for (const native of [false, true]) {
      const handlers = varyRows.map(({ vary, choose }) => variants(vary, choose, native));
      const { ask } = await join(t, (seen, ...rest) => handlers[Number(seen.url.slice(1))]?.(seen, ...rest), {
        policy: { recheck },
      });
      for (const [index, { title, reads, writes }] of varyRows.entries()) {
        const path = `/${index}`;
        const name = `recheck ${recheck}, ${native ? 'native' : 'synthetic'}: ${title}`;
        const { etag = '' } = (await ask('GET', path, reads)).headers;
        // What is read last is not all that counts.
        await ask('GET', path, writes);
        t.equal((await ask('PUT', path, [...writes, 'If-Match', stale])).status, 412, `${name}: another tag`);
        t.equal((await ask('PUT', path, [...writes, 'If-Match', etag])).status, 204, name);
        t.equal((await ask('PUT', path, [...writes, 'If-Match', etag])).status, 412, `${name}: once`);
        t.equal((await ask('PUT', path, [...reads, 'If-Match', etag])).status, 412, `${name}: nor as it was read`);
      }
    }
  }
});

t.test('another client’s representation is neither taken for one’s own nor shown (I2, Vary: Cookie)', async (t) => {
  for (const recheck of rechecks) {
    const handler = variants('Cookie', ({ headers }) => headers.cookie ?? 'nobody');
    const { ask } = await join(t, handler, { policy: { recheck } });
    const { etag = '' } = (await ask('GET', '/x', ['Cookie', 'ada'])).headers;
    for (const who of [['Cookie', 'ben'], []]) {
      const refused = await ask('PUT', '/x', [...who, 'If-Match', etag]);
      t.equal(refused.status, 412);
      t.equal(refused.headers.etag, tagOf(`${who[1] ?? 'nobody'} 0`), 'what this one may read');
    }
    t.equal((await ask('PUT', '/x', ['Cookie', 'ada', 'If-Match', etag])).status, 204);
  }
});

const { zstdCompressSync } = zlib as typeof zlib & { zstdCompressSync?: (bytes: string) => Buffer };

const codings: Readonly<Record<string, (content: string) => string | Buffer>> = {
  identity: String,
  gzip: zlib.gzipSync,
  deflate: zlib.deflateSync,
  br: zlib.brotliCompressSync,
  ...(zstdCompressSync && { zstd: zstdCompressSync }),
};

/** A backend that compresses as it is asked to; its own tags are as kinds of servers make them. */
function compressing(content: { now: string }, tag: (coding: string) => string | undefined): Handler {
  return (seen, response) => {
    if (!isRead(seen)) return response.writeHead(204).end();
    const coding = seen.headers['accept-encoding'] ?? 'identity';
    const etag = tag(coding);
    const body = codings[coding]?.(content.now) ?? content.now;
    response.writeHead(200, {
      Vary: 'Accept-Encoding',
      'Content-Length': Buffer.byteLength(body),
      ...(coding !== 'identity' && { 'Content-Encoding': coding }),
      ...(etag !== undefined && { ETag: etag }),
    });
    return response.end(seen.method === 'HEAD' ? undefined : body);
  };
}

t.test('each coding has a tag of its own, and each is good for any write (V2)', async (t) => {
  for (const etag of [undefined, 'W/"n"']) {
    const content = { now: 'some content' };
    const handler = compressing(content, () => etag);
    const { ask } = await join(t, handler);
    const names = Object.keys(codings);
    const tags = new Map<string, string>();
    for (const coding of names) {
      const read = await ask('GET', '/x', ['Accept-Encoding', coding]);
      t.equal(read.headers.etag, tagOf(content.now, coding === 'identity' ? undefined : coding), `${etag}: ${coding}`);
      t.same(read.body, Buffer.from(codings[coding]?.(content.now) ?? ''), 'as the upstream sent it');
      const head = await ask('HEAD', '/x', ['Accept-Encoding', coding]);
      t.equal(head.headers.etag, read.headers.etag, `HEAD: ${coding} (V5)`);
      t.equal(head.headers['content-length'], String(read.body.length), 'the length of this coding');
      tags.set(coding, read.headers.etag ?? '');
    }
    t.equal(new Set(tags.values()).size, names.length, 'no two are alike');
    for (const [coding, tag] of tags) {
      for (const asked of names) {
        const headers = ['Accept-Encoding', asked];
        t.equal((await ask('PUT', '/x', [...headers, 'If-Match', tag])).status, 204, `${tag} on ${asked}`);
        // Which of the stored responses may be used is another question than whether the content is the same.
        const validated = await ask('GET', '/x', [...headers, 'If-None-Match', tag]);
        t.equal(validated.status, asked === coding ? 304 : 200, `${tag} for a reader of ${asked}`);
        t.equal(validated.headers.etag, tags.get(asked));
      }
    }
    content.now += ' and more';
    for (const tag of tags.values()) t.equal((await ask('PUT', '/x', ['If-Match', tag])).status, 412);
  }
});

t.test('native tags that differ by coding are each good for a write (W4)', async (t) => {
  for (const recheck of rechecks) {
    const handler = compressing({ now: 'content' }, (coding) => (coding === 'identity' ? '"v"' : `"v-${coding}"`));
    const { ask } = await join(t, handler, { policy: { recheck } });
    for (const coding of ['gzip', 'br']) {
      // A write that leaves the tag as it is bars it (V7).
      const path = `/${coding}`;
      const { etag = '' } = (await ask('GET', path, ['Accept-Encoding', coding])).headers;
      t.equal(etag, `"v-${coding}"`);
      t.equal((await ask('PUT', path, ['If-Match', '"v-exi"'])).status, 412);
      t.equal((await ask('PUT', path, ['If-Match', etag])).status, 204, `recheck ${recheck}: ${coding}`);
    }
  }
});

t.test('content in a coding that nobody here knows has no tag, and passes as it is (V2)', async (t) => {
  const handler = compressing({ now: 'content' }, () => 'W/"n"');
  const { ask } = await join(t, handler);
  for (const coding of ['exi', 'gzip, exi', 'gzip;q=1', 'x']) {
    for (const method of ['GET', 'HEAD']) {
      const read = await ask(method, '/x', ['Accept-Encoding', coding, 'If-None-Match', tagOf('content')]);
      t.equal(read.status, 200);
      t.equal(read.headers['content-encoding'], coding);
      t.equal(read.headers.etag, undefined, `${method} ${coding}`);
      t.equal(read.body.toString(), method === 'GET' ? 'content' : '');
    }
  }
});

const modified = 'Sun, 06 Nov 1994 08:49:37 GMT';
const whole = '0123456789';

/** A file server without tags of its own that honours a Range, with the date alone as its condition. */
const ranged: Handler = (seen, response) => {
  const fields = { 'Last-Modified': modified, 'Accept-Ranges': 'bytes' };
  const allowed = seen.headers['if-range'] === undefined || seen.headers['if-range'] === modified;
  const isPart = seen.method === 'GET' && seen.headers.range !== undefined && allowed;
  response.writeHead(isPart ? 206 : 200, { ...fields, ...(isPart && { 'Content-Range': 'bytes 2-4/10' }) });
  return response.end(seen.method === 'HEAD' ? undefined : whole.slice(isPart ? 2 : 0, isPart ? 5 : undefined));
};

const part = ['Range', 'bytes=2-4'];

// biome-ignore format: a table
const rangeRows: readonly (readonly [title: string, headers: readonly string[], status: number, travels: readonly string[]])[] = [
  ['no If-Range', part, 206, ['range']],
  ['the date', [...part, 'If-Range', modified], 206, ['range', 'if-range']],
  ['another date', [...part, 'If-Range', 'Sat, 05 Nov 1994 08:49:37 GMT'], 200, ['range', 'if-range']],
  ['the synthetic tag', [...part, 'If-Range', tagOf(whole)], 200, []],
  ['that of a coding', [...part, 'If-Range', tagOf(whole, 'gzip')], 200, []],
  ['the weak form of it', [...part, 'If-Range', `W/${tagOf(whole)}`], 200, []],
  ['a stale one', [...part, 'If-Range', stale], 200, []],
  ['a list of them', [...part, 'If-Range', `${stale}, ${tagOf(whole)}`], 200, []],
  ['a tag without a Range', ['If-Range', tagOf(whole)], 200, []],
  ['the tag, and several ranges', ['Range', 'bytes=0-1,4-5', 'If-Range', tagOf(whole)], 200, []],
  ['the tag in both', [...part, 'If-Range', tagOf(whole), 'If-None-Match', tagOf(whole)], 304, []],
  ['a stale If-Match before it', [...part, 'If-Match', stale], 412, []],
  ['the current If-Match before it', [...part, 'If-Match', tagOf(whole)], 200, []],
];

t.test('Range and If-Range where tags are made here (R1, R2)', async (t) => {
  const { ask, backend } = await join(t, ranged);
  for (const [title, headers, status, travels] of rangeRows) {
    for (const isKnown of [false, true]) {
      const path = `/${title.replaceAll(' ', '-')}`;
      if (isKnown) await ask('GET', path);
      const answer = await ask('GET', path, headers);
      t.equal(answer.status, status, title);
      if (status < 300) t.equal(answer.body.toString(), status === 206 ? '234' : whole, title);
      t.equal(answer.headers['content-range'], status === 206 ? 'bytes 2-4/10' : undefined);
      t.equal(answer.headers.etag, status === 206 ? undefined : tagOf(whole), `${title}: no tag of a part`);
      const sent = backend.requests.at(-1)?.headers ?? {};
      t.same(
        ['range', 'if-range'].filter((name) => name in sent),
        travels,
        `${title}: what travels`,
      );
    }
  }
  const head = await ask('HEAD', '/x', [...part, 'If-Range', tagOf(whole)]);
  t.equal(head.status, 200, 'HEAD knows no ranges (RFC 9110 14.2)');
  t.equal(head.headers.etag, tagOf(whole));
});

t.test('what is too long to hold back gets its tag by HEAD, and the tag is good (V4, V5)', async (t) => {
  const long = 'x'.repeat(4096);
  const { ask, backend } = await join(
    t,
    variants('Accept', () => long),
    { limits: { hashBody: 1024 } },
  );
  t.equal((await ask('GET', '/x')).headers.etag, undefined);
  const head = await ask('HEAD', '/x', ['If-None-Match', stale]);
  t.equal(head.status, 200);
  t.equal(head.headers.etag, tagOf(`${long} 0`));
  t.same(
    backend.requests.map(({ method }) => method),
    ['GET', 'HEAD', 'GET'],
    'HEAD goes upstream as HEAD',
  );
  const { etag = '' } = head.headers;
  t.equal((await ask('HEAD', '/x', ['If-None-Match', etag])).status, 304);
  t.equal((await ask('HEAD', '/x', ['If-Match', stale])).status, 412);
  t.equal((await ask('PUT', '/x', ['If-Match', etag])).status, 204);
  t.equal((await ask('PUT', '/x', ['If-Match', etag])).status, 412);
});

/** What a 304 must have where the 200 would have had it (RFC 9110 15.4.5). */
const kept = [
  ['cache-control', 'private, max-age=60'],
  ['content-location', '/docs/1.en.json'],
  ['date', 'Mon, 07 Nov 1994 08:49:37 GMT'],
  ['expires', 'Tue, 08 Nov 1994 08:49:37 GMT'],
  ['vary', 'Accept, Accept-Language'],
];

t.test('a 304 of the gate’s own has the fields that a cache needs, and no content (RFC 9110 15.4.5)', async (t) => {
  const backend = await startBackend(t, (seen, response) => {
    response.writeHead(200, [...kept.flat(), 'Content-Length', '10']);
    response.end(seen.method === 'HEAD' ? undefined : whole);
  });
  const gate = await startGate(t, { upstream: backend.url });
  const client = await rawClient(t, gate.port);
  for (const [count, method] of ['GET', 'HEAD', 'GET'].entries()) {
    const condition = `If-None-Match: ${stale}, ${tagOf(whole)}`;
    const before = client.length;
    client.write(
      `${method} /docs/1 HTTP/1.1\r\nHost: a\r\n${condition}\r\n\r\nGET /docs/2 HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
    const seen = (await client.seen(new RegExp(`(?:[^]*${whole}){${count + 1}}$`))).slice(before);
    const [head = '', rest = ''] = seen.split(/\r\n\r\n(.*)/s);
    t.match(head, /^HTTP\/1\.1 304 /);
    t.match(rest, /^HTTP\/1\.1 200 OK\r\n/, 'the next answer follows at once');
    const lines = head.split('\r\n').slice(1);
    const fields = new Map(lines.map((line) => [line.split(':')[0]?.toLowerCase(), line.replace(/^.*?: /, '')]));
    for (const [name, value] of [...kept, ['etag', tagOf(whole)]]) {
      t.equal(fields.get(name), value, `${method}: ${name}`);
    }
    t.ok([undefined, '10'].includes(fields.get('content-length')), 'that of the 200, if any (RFC 9110 8.6)');
    t.notOk(fields.has('transfer-encoding'));
  }
});

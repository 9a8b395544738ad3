import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import type { Policy } from '../../src/config/schema.js';
import type { Answer } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';
import { type S3, type S3RequestOptions, signedRequest, startS3 } from '../helpers/s3.js';

/**
 * s3rver gives every object its MD5 as a strong ETag, beside a Last-Modified, and never looks at the conditions of a
 * write. Its clients sign each request for itself (AWS Signature 4), conditions included, so the gate can neither read
 * with what they send nor change it (W4).
 */

/** What such a backend needs: its own tags, and somebody else who may read. */
const realistic: Partial<Policy> = { validator: { kind: 'upstream' }, probe: { headers: { referer: 'the gate' } } };

const stale = '"00000000000000000000000000000000"';
const tagOf = (content: string): string => `"${createHash('md5').update(content).digest('hex')}"`;

interface Bucket {
  readonly s3: S3;
  /** Through the gate. */
  ask(method: string, key: string, headers?: S3RequestOptions['headers'], body?: string): Promise<Answer>;
  /** Past the gate. */
  direct(method: string, key: string, headers?: S3RequestOptions['headers'], body?: string): Promise<Answer>;
  contentOf(key: string): Promise<string>;
  /** Starts another gate, which knows nothing. */
  restart(): Promise<void>;
}

async function startBucket(t: Test, policy: Partial<Policy>): Promise<Bucket> {
  const s3 = await startS3(t);
  let gate = await startGate(t, { upstream: s3.url, policy });
  const through =
    (url: string) =>
    (method: string, key: string, headers = {}, body?: string) =>
      signedRequest(`${url}/bucket/${key}`, { method, headers, ...(body !== undefined && { body }) });
  const direct = through(s3.url);
  return {
    s3,
    direct,
    ask: (...question) => through(gate.url)(...question),
    contentOf: async (key) => (await direct('GET', key)).body.toString(),
    async restart() {
      await gate.close();
      gate = await startGate(t, { upstream: s3.url, policy });
    },
  };
}

function problemOf({ body }: Answer): Record<string, unknown> {
  return JSON.parse(body.toString()) as Record<string, unknown>;
}

/** 412 of the gate's, without what the operator may read, or the gate cannot be sure that this client may (A1). */
function refused(t: Test, answer: Answer, why: string): void {
  t.equal(answer.status, 412, why);
  t.match(answer.headers['proxy-status'], /^ifmatch;/);
  t.same(
    [answer.headers.etag, answer.headers['last-modified'], problemOf(answer).current],
    [undefined, undefined, undefined],
  );
}

/** 502 that says what its operator has to do. */
function unknown(t: Test, answer: Answer, why: string): void {
  t.equal(answer.status, 502, why);
  t.match(problemOf(answer), { type: /version-unknown$/, next: /policy\.probe\.headers/, outcome: 'not-sent' });
}

t.test('s3rver itself takes every write, whatever its conditions', async (t) => {
  const { direct, contentOf } = await startBucket(t, {});
  t.equal((await direct('PUT', 'k', {}, 'one')).status, 200);
  t.equal((await direct('PUT', 'k', { 'If-Match': stale }, 'two')).status, 200);
  t.equal((await direct('PUT', 'k', { 'If-None-Match': '*' }, 'three')).status, 200);
  t.equal(await contentOf('k'), 'three');
});

t.test(
  'objects change only as their writers expect, with the upstream’s tags and a reader of the gate’s own',
  async (t) => {
    const { s3, ask, contentOf, restart } = await startBucket(t, realistic);
    const created = await ask('PUT', 'k', { 'If-None-Match': '*' }, 'one');
    t.match({ status: created.status, etag: created.headers.etag }, { status: 200, etag: tagOf('one') });
    refused(t, await ask('PUT', 'k', { 'If-None-Match': '*' }, 'two'), 'it is created once');

    const read = await ask('GET', 'k');
    t.match({ etag: read.headers.etag, body: read.body.toString() }, { etag: tagOf('one'), body: 'one' });
    t.equal((await ask('HEAD', 'k')).headers.etag, tagOf('one'));
    t.equal((await ask('GET', 'k', { 'If-None-Match': tagOf('one') })).status, 304);
    const asked = s3.requests.length;
    const second = await ask('PUT', 'k', { 'If-Match': tagOf('one') }, 'two');
    t.match({ status: second.status, etag: second.headers.etag }, { status: 200, etag: tagOf('two') });
    refused(t, await ask('PUT', 'k', { 'If-Match': tagOf('one') }, 'lost'), 'within the second of the last write');
    t.equal((await ask('PUT', 'k', { 'If-Match': tagOf('two') }, 'three')).status, 200);
    t.same(
      s3.requests.slice(asked).map(({ method }) => method),
      ['PUT', 'PUT'],
      'what the answers tell is enough',
    );

    const waits = await ask('PUT', 'k', { 'If-Match': tagOf('three'), Expect: '100-continue' }, 'four');
    t.same([waits.status, waits.informational.map(({ status }) => status)], [200, [100]]);
    const told = await ask('PUT', 'k', { 'If-Match': tagOf('three'), Expect: '100-continue' }, 'lost');
    refused(t, told, 'before its body is sent');
    t.same(told.informational, []);

    await restart();
    refused(t, await ask('PUT', 'k', { 'If-Match': tagOf('three') }, 'lost'), 'of what only a probe can tell');
    t.equal((await ask('PUT', 'k', { 'If-Match': tagOf('four') }, 'five')).status, 200);
    await restart();
    refused(t, await ask('DELETE', 'k', { 'If-Match': tagOf('four') }), 'nor is anything newer deleted');
    t.equal(await contentOf('k'), 'five');
    t.equal((await ask('DELETE', 'k', { 'If-Match': tagOf('five') })).status, 204);
    refused(t, await ask('PUT', 'k', { 'If-Match': tagOf('five') }, 'six'), 'what is gone has no tag');
    t.equal((await ask('PUT', 'k', { 'If-None-Match': '*' }, 'seven')).status, 200, 'but may be made again');
    t.notOk(
      s3.requests.some(({ signature }) => signature === 'wrong'),
      'Host, path, content and conditions arrive as they were signed',
    );
    const unsigned = s3.requests.filter(({ signature }) => signature === 'none');
    t.ok(
      unsigned.length > 0 && unsigned.every(({ headers }) => headers.referer === 'the gate'),
      'the gate reads for itself',
    );
  },
);

t.test('a path that has to be encoded arrives as it was signed (I3)', async (t) => {
  const { s3, ask, contentOf } = await startBucket(t, realistic);
  for (const key of ['a%20b', 'a/b/c', 'a%2Bb', '%C3%A4', 'a%3Db']) {
    t.equal((await ask('PUT', key, { 'If-None-Match': '*' }, key)).status, 200, key);
    refused(t, await ask('PUT', key, { 'If-None-Match': '*' }, 'lost'), key);
    t.equal(await contentOf(key), key);
  }
  t.notOk(s3.requests.some(({ signature }) => signature === 'wrong'));
});

t.test('by default what nobody has read is refused, and the answer names the option', async (t) => {
  const { s3, ask, direct } = await startBucket(t, {});
  await direct('PUT', 'k', {}, 'one');
  await s3.age('k');
  const before = s3.requests.length;
  unknown(t, await ask('PUT', 'k', { 'If-Match': tagOf('one') }, 'two'), 'the right tag');
  unknown(t, await ask('PUT', 'k', { 'If-Match': stale }, 'two'), 'a stale tag');
  unknown(t, await ask('PUT', 'new', { 'If-None-Match': '*' }, 'two'), 'create once');
  t.equal(s3.requests.length, before, 'nothing is asked, nothing forwarded');
  t.equal((await ask('GET', 'k')).headers.etag, tagOf('one'), 'its tag can be trusted, for it is old');
  refused(t, await ask('PUT', 'k', { 'If-Match': stale }, 'two'), 'what its writer has read decides');
  t.equal((await ask('PUT', 'k', { 'If-Match': tagOf('one') }, 'two')).headers.etag, tagOf('two'));
  unknown(t, await ask('PUT', 'k', { 'If-Match': tagOf('two') }, 'three'), 'the answer to a write is no read (W9)');
});

t.test(
  'without a reader of the gate’s own s3rver is left to check what nobody has read, and does not (W4)',
  async (t) => {
    const { ask, direct, contentOf } = await startBucket(t, { validator: { kind: 'upstream' } });
    await direct('PUT', 'k', {}, 'one');
    t.equal((await ask('PUT', 'k', { 'If-Match': stale }, 'lost')).status, 200);
    t.equal(await contentOf('k'), 'lost');
    refused(t, await ask('PUT', 'k', { 'If-Match': stale }, 'two'), 'what the first was answered with is known');
  },
);

t.test('a tag that only the gate knows cannot be taken out of a signed request', async (t) => {
  const { s3, ask, direct, contentOf } = await startBucket(t, { validator: { kind: 'body' } });
  await direct('PUT', 'k', {}, 'one');
  const { etag = '' } = (await ask('GET', 'k')).headers;
  const answer = await ask('PUT', 'k', { 'If-Match': etag }, 'two');
  const read = await ask('GET', 'k', { 'If-None-Match': etag });
  t.equal(await contentOf('k'), 'one');
  t.equal(answer.status, 502, answer.body.toString());
  t.not(read.status, 403, read.body.toString());
  t.notOk(
    s3.requests.some(({ signature }) => signature === 'wrong'),
    'nothing goes on with a broken signature',
  );
});

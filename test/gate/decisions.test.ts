import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { hashContent, syntheticTag } from '../../src/version/tag.js';
import { type Backend, type Handler, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { type GateSettings, startGate } from '../helpers/gate.js';
import { simulate } from '../helpers/simulation.js';

/** Dates of one answer whose tag may stand for two contents of one second, and for one only (V7). */
const unsettled = { Date: 'Sun, 06 Nov 1994 08:49:37 GMT', 'Last-Modified': 'Sun, 06 Nov 1994 08:49:37 GMT' };
const settled = { Date: 'Sun, 06 Nov 1994 08:49:37 GMT', 'Last-Modified': 'Sat, 05 Nov 1994 08:49:37 GMT' };

const stale = syntheticTag(hashContent(Buffer.from('what was there before')), undefined);
const never = Number.POSITIVE_INFINITY;

function tagOf(content: string): string {
  return syntheticTag(hashContent(Buffer.from(content)), undefined);
}

/** Reads are answered with these fields and this content, writes with 204; conditions are left to the gate. */
function always(fields: Readonly<Record<string, string>>, content = 'content'): Handler {
  return ({ method }, response) => {
    const isRead = method === 'GET' || method === 'HEAD';
    response.writeHead(isRead ? 200 : 204, isRead ? fields : {});
    response.end(method === 'GET' ? content : undefined);
  };
}

interface Pair {
  readonly backend: Backend;
  ask(method: string, path: string, headers?: readonly string[], body?: string): Promise<Answer>;
  /** Methods that the backend has seen since the last call. */
  seen(): string[];
}

/** A backend and a gate before it; bodies of writes are `new`. */
async function join(t: Test, handler: Handler, settings: Omit<GateSettings, 'upstream'> = {}): Promise<Pair> {
  const backend = await startBackend(t, handler);
  const gate = await startGate(t, { ...settings, upstream: backend.url });
  let counted = 0;
  return {
    backend,
    ask(method, path, headers = [], body = method === 'GET' || method === 'DELETE' ? undefined : 'new') {
      return request(gate.url + path, { method, headers, ...(body !== undefined && { body }) });
    },
    seen() {
      const methods = backend.requests.slice(counted).map(({ method }) => method);
      counted = backend.requests.length;
      return methods;
    },
  };
}

function problemOf({ body }: Answer): Record<string, unknown> {
  return JSON.parse(body.toString()) as Record<string, unknown>;
}

interface VersionRow {
  readonly title: string;
  readonly settings?: Omit<GateSettings, 'upstream'>;
  readonly backend: Handler;
  readonly headers: readonly string[];
  readonly status: number;
  /** Last part of the problem's type, where the gate answers. */
  readonly problem?: string;
}

const tiny = { limits: { hashBody: 500, hashProbe: 1000 } };
const long = always({ ETag: '"n"', ...settled }, 'y'.repeat(5000));
const coded = always({ ETag: '"n"', ...settled, 'Content-Encoding': 'made-up' });
const required = { policy: { guard: 'required' as const } };
const weak = always({ ETag: 'W/"w"' });
const fieldVersion = { policy: { validator: { kind: 'header' as const, name: 'x-revision' } } };

function withAges(...ages: string[]): Handler {
  return ({ method }, response) => {
    response.writeHead(method === 'GET' ? 200 : 204, method === 'GET' ? ages.flatMap((age) => ['Age', age]) : []);
    response.end(method === 'GET' ? 'content' : undefined);
  };
}

/** PUT of something to a resource that nothing is known of yet. */
// biome-ignore format: a table
const versionRows: readonly VersionRow[] = [
  // A hash that nobody could compute is neither equal nor different (W5).
  { title: 'too long to hash, If-None-Match', settings: tiny, backend: long, headers: ['If-None-Match', tagOf('x')], status: 502, problem: 'version-unknown' },
  { title: 'too long to hash, If-Match', settings: tiny, backend: long, headers: ['If-Match', tagOf('x')], status: 502, problem: 'version-unknown' },
  { title: 'too long to hash, but a native tag of the list matches', settings: tiny, backend: long, headers: ['If-Match', `${tagOf('x')}, "n"`], status: 204 },
  { title: 'unknown coding, If-None-Match', backend: coded, headers: ['If-None-Match', tagOf('x')], status: 502, problem: 'version-unknown' },
  { title: 'unknown coding, If-Match', backend: coded, headers: ['If-Match', tagOf('x')], status: 502, problem: 'version-unknown' },
  // If-None-Match compares weakly, with tags of every kind (W6).
  { title: 'the weak tag, weak', backend: weak, headers: ['If-None-Match', 'W/"w"'], status: 412, problem: 'precondition-failed' },
  { title: 'the weak tag, strong', backend: weak, headers: ['If-None-Match', '"w"'], status: 412, problem: 'precondition-failed' },
  { title: 'another weak tag', backend: weak, headers: ['If-None-Match', 'W/"v"'], status: 204 },
  { title: 'a tag that may stand for two contents', backend: always({ ETag: '"n"', ...unsettled }), headers: ['If-None-Match', 'W/"n"'], status: 412, problem: 'precondition-failed' },
  { title: 'a weak tag never satisfies If-Match (V6)', backend: weak, headers: ['If-Match', 'W/"w"'], status: 412, problem: 'precondition-failed' },
  // V8: a date can only be compared with one that can be read.
  { title: 'a Last-Modified that is no date', settings: required, backend: always({ 'Last-Modified': 'yesterday' }), headers: ['If-Unmodified-Since', settled.Date], status: 428, problem: 'precondition-required' },
  { title: 'a Last-Modified that is one', settings: required, backend: always(settled), headers: ['If-Unmodified-Since', settled.Date], status: 204 },
  // V10: an answer out of a cache is none.
  { title: 'two Age lines, the second above 0', backend: withAges('0', '5'), headers: ['If-Match', tagOf('content')], status: 502, problem: 'version-unknown' },
  { title: 'two Age lines, the first above 0', backend: withAges('5', '0'), headers: ['If-Match', tagOf('content')], status: 502, problem: 'version-unknown' },
  { title: 'two Age lines of 0', backend: withAges('0', '0'), headers: ['If-Match', tagOf('content')], status: 204 },
  // V1: where a field is the version, the upstream's tags are none.
  { title: 'the field that is the version is not there', settings: fieldVersion, backend: always({ ETag: '"n"' }), headers: ['If-Match', '"n"'], status: 502, problem: 'version-unknown' },
];

t.test('a write to a resource whose version only a probe can tell', async (t) => {
  for (const { title, settings, backend: handler, headers, status, problem } of versionRows) {
    await t.test(title, async (t) => {
      const { ask, backend } = await join(t, handler, settings);
      const answer = await ask('PUT', '/docs/1', headers);
      t.equal(answer.status, status, answer.body.toString());
      if (problem !== undefined) t.equal(problemOf(answer).type, `urn:problem-type:ifmatch:${problem}`);
      const writes = backend.requests.filter(({ method }) => method === 'PUT');
      t.equal(writes.length, problem === undefined ? 1 : 0, 'forwarded or not');
    });
  }
});

t.test(
  'a herd with a tag of the upstream’s form, though it has none, costs hardly more than one writer (W4)',
  async () => {
    const path = '/docs/1';
    const headers = ['If-Match', '"z"'];
    const kinds = fc.constantFrom('none' as const, 'weak' as const);
    const property = fc.asyncProperty(fc.scheduler(), fc.scheduler(), kinds, async (scheduler, another, kind) => {
      const run = async (scheduler: fc.Scheduler, count: number) => {
        const simulation = simulate(scheduler, { kind, documents: { [path]: 'original' } });
        simulation.send({ id: 'w0', method: 'PUT', path, headers });
        await turn();
        for (let index = 1; index < count; index += 1) {
          simulation.send({ id: `w${index}`, method: 'PUT', path, headers });
        }
        await simulation.finish();
        assert.deepEqual([...new Set(simulation.clients.map(({ status }) => status))], [412], 'statuses');
        assert.deepEqual(simulation.problems(), []);
        return simulation.upstream.requests.length;
      };
      const one = await run(another, 1);
      const many = await run(scheduler, 50);
      assert.ok(many <= one + 3, `${many} requests instead of ${one}`);
    });
    await fc.assert(property, { numRuns: 20 });
  },
);

t.test('a tag that a write came over does not travel beside one that holds (V7, W8)', async (t) => {
  for (const recheck of [0, never]) {
    let etag = '"over"';
    const { ask, backend, seen } = await join(
      t,
      ({ method }, response) => {
        const isRead = method === 'GET' || method === 'HEAD';
        response.writeHead(isRead ? 200 : 204, isRead ? { ...settled, ETag: etag, Vary: 'Accept-Language' } : {});
        response.end(method === 'GET' ? 'content' : undefined);
      },
      { policy: { recheck } },
    );
    t.equal((await ask('GET', '/docs/1', ['Accept-Language', 'de'])).headers.etag, etag);
    await ask('PUT', '/docs/1');
    etag = '"current"';
    t.equal((await ask('GET', '/docs/1', ['Accept-Language', 'en'])).headers.etag, etag);
    seen();
    const condition = ['Accept-Language', 'en', 'If-Match', '"current", "over"'];
    t.equal((await ask('PUT', '/docs/1', condition)).status, 204);
    const write = backend.requests.find(({ method, headers }) => method === 'PUT' && 'if-match' in headers);
    t.equal(write?.headers['if-match'], '"current"', `recheck: ${recheck}`);
    t.equal(seen().indexOf('PUT'), recheck === 0 ? 1 : 0, 'probes before it');
  }
});

t.test('a decision that is made again still knows which variant a tag was issued for (W8, W4)', async (t) => {
  let meanwhile: (() => Promise<unknown>) | undefined;
  const { ask, seen } = await join(t, async ({ method, headers }, response) => {
    const language = headers['accept-language'];
    if (method === 'GET') {
      const run = meanwhile;
      meanwhile = undefined;
      await run?.();
      response.setHeader('Vary', 'Accept-Language');
    }
    response.end(method === 'GET' ? `in ${language}` : undefined);
  });
  const { etag = '' } = (await ask('GET', '/docs/1', ['Accept-Language', 'en'])).headers;
  seen();
  meanwhile = () => ask('POST', '/docs/1');
  const answer = await ask('PUT', '/docs/1', ['Accept-Language', 'de', 'If-Match', etag]);
  t.equal(answer.status, 200, answer.body.toString());
  // Both variants, and both again because of the POST.
  t.same(seen().slice(0, 6), ['GET', 'POST', 'GET', 'GET', 'GET', 'PUT']);
});

// biome-ignore format: a list
const ownNames = [
  // What ends TLS in front of the gate makes it https for its clients.
  'http://a/docs/9', 'http://A:80/docs/9', 'http://a:/docs/9', 'https://a/docs/9', '//a/docs/9', '/docs/9', 'docs/9',
];
const otherNames = ['http://a:81/docs/9', 'http://b/docs/9', '/docs/8'];

t.test('what the answer to a write names as Location is in doubt, however it is spelled (W10)', async (t) => {
  let location = '';
  const { ask, seen } = await join(
    t,
    ({ method }, response) => {
      if (method === 'POST') response.writeHead(201, { Location: location });
      response.end('content');
    },
    { policy: { recheck: never } },
  );
  for (const host of ['a', 'a:80']) {
    for (const [locations, probes] of [
      [ownNames, 1],
      [otherNames, 0],
    ] as const) {
      for (location of locations) {
        await ask('GET', '/docs/9', ['Host', host]);
        seen();
        t.equal((await ask('PUT', '/docs/9', ['Host', host, 'If-Match', stale])).status, 412);
        t.same(seen(), [], 'known at first');
        await ask('POST', '/docs', ['Host', host]);
        seen();
        t.equal((await ask('PUT', '/docs/9', ['Host', host, 'If-Match', stale])).status, 412);
        t.equal(seen().length, probes, `Host ${host}, Location ${location}`);
      }
    }
  }
});

t.test('a body that changes by itself is noticed by the first probe that sees it (V9)', async (t) => {
  let reads = 0;
  const { ask } = await join(t, ({ method }, response) => response.end(method === 'GET' ? `${++reads}` : undefined));
  const { etag = '' } = (await ask('GET', '/docs/1')).headers;
  const refused = await ask('PUT', '/docs/1', ['If-Match', etag]);
  t.equal(refused.status, 412);
  t.match(problemOf(refused).next, /policy\.ignore/);
});

t.test('of the conditions of a read If-Match comes first (RFC 9110 13.2.2)', async (t) => {
  const { ask } = await join(t, ({ headers }, response) => {
    response.setHeader('ETag', '"n"');
    response.writeHead(headers['if-none-match'] === '"n"' ? 304 : 200);
    response.end(headers['if-none-match'] === '"n"' ? undefined : 'content');
  });
  // biome-ignore format: a table
  const rows: readonly (readonly [headers: readonly string[], status: number])[] = [
    [['If-Match', stale, 'If-None-Match', '"n"'], 412],
    [['If-Match', stale], 412],
    [['If-Match', '"n"', 'If-None-Match', '"n"'], 304],
    [['If-None-Match', '"n"'], 304],
    [['If-Match', '"n"'], 200],
  ];
  for (const [headers, status] of rows) t.equal((await ask('GET', '/docs/1', headers)).status, status, headers.join());
});

/** Requests that are signed for themselves alone. */
const signatures: readonly (readonly string[])[] = [
  ['Authorization', 'Hawk id="key", mac="signed"'],
  [
    'Authorization',
    'AWS4-HMAC-SHA256 Credential=key/20260101/r/s3/aws4_request, Signature=signed',
    'X-Amz-Date',
    'now',
  ],
  ['Signature-Input', 'sig=("@method");keyid="key"', 'Signature', 'sig=:signed:'],
];

t.test('probes with the operator’s credentials (W4)', async (t) => {
  const policy = { probe: { headers: { 'x-operator': 'secret' } } };
  let status = 200;
  const { ask, backend, seen } = await join(
    t,
    ({ method }, response) => {
      const isRead = method === 'GET' || method === 'HEAD';
      response.writeHead(isRead ? status : 200, { 'X-From': 'the backend' });
      response.end(method === 'HEAD' ? undefined : 'content');
    },
    { policy },
  );
  for (const [index, signature] of signatures.entries()) {
    const title = signature[1];
    const path = `/docs/${index}`;
    status = 200;
    const refused = await ask('PUT', path, [...signature, 'If-Match', stale]);
    t.equal(refused.status, 412, `with ${title}`);
    t.notOk(problemOf(refused).current, 'what others may read is not shown');
    t.same(seen(), ['GET']);
    const probe = backend.requests.at(-1);
    t.equal(probe?.headers['x-operator'], 'secret');
    for (const name of ['authorization', 'x-amz-date', 'signature', 'signature-input']) {
      t.equal(probe?.headers[name], undefined, `${title}: the probe is not signed with ${name}`);
    }
    for (status of [401, 403, 429, 500]) {
      const answer = await ask('PUT', path, [...signature, 'If-Match', stale]);
      t.equal(answer.status, 502, `the operator’s ${status}`);
      t.equal(problemOf(answer).type, 'urn:problem-type:ifmatch:version-unknown');
      t.equal(answer.headers['x-from'], undefined, 'nothing of it reaches the client');
    }
    t.notOk(seen().includes('PUT'), 'nothing is forwarded');
  }
});

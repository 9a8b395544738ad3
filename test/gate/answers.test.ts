import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { hashContent, syntheticTag } from '../../src/version/tag.js';
import { type Handler, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { type GateSettings, startGate } from '../helpers/gate.js';

const modified = 'Sun, 06 Nov 1994 08:49:37 GMT';

/** Fields of answers with a tag of each kind; `unsettled`: it may stand for two contents of one second (V7). */
const tagged = {
  weak: { ETag: 'W/"n"' },
  unsettled: { ETag: '"n"', Date: modified, 'Last-Modified': modified },
  settled: { ETag: '"n"', Date: 'Sun, 06 Nov 1994 08:50:37 GMT', 'Last-Modified': modified },
  undated: { ETag: '"n"' },
} as const;

type Tagged = keyof typeof tagged;

const content = 'content';
const synthetic = syntheticTag(hashContent(Buffer.from(content)), undefined);

type Ask = (method: string, path: string, headers?: readonly string[]) => Promise<Answer>;

/** A gate before a backend; bodies of requests that have one are `new`. */
async function join(t: Test, handler: Handler, settings: Omit<GateSettings, 'upstream'> = {}): Promise<Ask> {
  const backend = await startBackend(t, handler);
  const gate = await startGate(t, { ...settings, upstream: backend.url });
  return (method, path, headers = []) => {
    const body = method === 'GET' || method === 'HEAD' || method === 'OPTIONS' ? {} : { body: 'new' };
    return request(gate.url + path, { method, headers, ...body });
  };
}

/** Answers with the status that the path ends in and a tag of this kind. */
function withStatus(kind: Tagged): Handler {
  return ({ method, url }, response) => {
    const status = Number(url.split('/').at(-1));
    response.writeHead(status, tagged[kind]);
    response.end(method === 'HEAD' || status === 204 ? undefined : content);
  };
}

const upstream = { policy: { validator: { kind: 'upstream' as const } } };

interface TagRow {
  readonly kind: Tagged;
  readonly methods: readonly string[];
  readonly statuses: readonly number[];
  readonly settings?: Omit<GateSettings, 'upstream'>;
  readonly etag: string | undefined;
}

const ofWrites = [200, 201, 202, 204, 303, 404, 409, 412, 500];
const notHeld = [203, 206, 404, 410, 416];

// biome-ignore format: a table
const tagRows: readonly TagRow[] = [
  // A tag that readers are not given must not reach a writer either (V6, V7).
  { kind: 'weak', methods: ['PUT', 'POST', 'DELETE'], statuses: ofWrites, etag: undefined },
  { kind: 'unsettled', methods: ['PUT', 'POST', 'DELETE'], statuses: ofWrites, etag: undefined },
  { kind: 'settled', methods: ['PUT', 'POST', 'DELETE'], statuses: ofWrites, etag: '"n"' },
  { kind: 'undated', methods: ['PUT', 'POST', 'DELETE'], statuses: ofWrites, etag: '"n"' },
  { kind: 'weak', methods: ['PUT', 'POST'], statuses: ofWrites, settings: upstream, etag: 'W/"n"' },
  { kind: 'unsettled', methods: ['PUT', 'POST'], statuses: ofWrites, settings: upstream, etag: '"n"' },
  // Nor may what is not held back for a better one tell readers such a tag.
  { kind: 'weak', methods: ['GET', 'HEAD'], statuses: notHeld, etag: undefined },
  { kind: 'unsettled', methods: ['GET', 'HEAD'], statuses: notHeld, etag: undefined },
  { kind: 'settled', methods: ['GET', 'HEAD'], statuses: [...notHeld, 200], etag: '"n"' },
  { kind: 'unsettled', methods: ['GET', 'HEAD'], statuses: [...notHeld, 200], settings: upstream, etag: '"n"' },
  { kind: 'weak', methods: ['GET', 'HEAD'], statuses: [...notHeld, 200], settings: upstream, etag: 'W/"n"' },
  // What a writer would need, readers get.
  { kind: 'weak', methods: ['GET', 'HEAD'], statuses: [200], etag: synthetic },
  { kind: 'unsettled', methods: ['GET', 'HEAD'], statuses: [200], etag: synthetic },
  // Where a field is the version and it is not there, there is none (V1).
  { kind: 'settled', methods: ['GET', 'HEAD'], statuses: [200], settings: { policy: { validator: { kind: 'header', name: 'x-revision' } } }, etag: undefined },
];

t.test('whose tags reach the client (V1, V6, V7)', async (t) => {
  for (const { kind, methods, statuses, settings, etag } of tagRows) {
    const validator = settings?.policy?.validator?.kind ?? 'auto';
    await t.test(`${methods} under ${validator}: a ${kind} tag becomes ${etag ?? 'none'}`, async (t) => {
      const ask = await join(t, withStatus(kind), settings);
      for (const method of methods) {
        for (const status of statuses) {
          // Of one resource it would be the same tag over a write.
          const answer = await ask(method, `/${method}/${status}`);
          t.equal(answer.status, status);
          t.equal(answer.headers.etag, etag, `${method} ${status}`);
        }
      }
    });
  }
});

/** A backend that trusts its tag and its dates, as a file server does. */
function fileServer(kind: Tagged): Handler {
  return ({ headers, method }, response) => {
    const revalidates = headers['if-none-match'] === tagged[kind].ETag || headers['if-modified-since'] === modified;
    const ranged = headers.range !== undefined && (headers['if-range'] ?? tagged[kind].ETag) === tagged[kind].ETag;
    const status = revalidates ? 304 : ranged ? 206 : 200;
    response.writeHead(status, { ...tagged[kind], ...(status === 206 && { 'Content-Range': 'bytes 0-2/7' }) });
    response.end(status === 304 || method === 'HEAD' ? undefined : content.slice(0, ranged ? 3 : 7));
  };
}

interface ReadRow {
  readonly title: string;
  readonly kind: Tagged;
  readonly headers: readonly string[];
  readonly status: number;
  readonly etag: string;
}

// biome-ignore format: a table
const readRows: readonly ReadRow[] = [
  { title: 'a date alone', kind: 'unsettled', headers: ['If-Modified-Since', modified], status: 200, etag: synthetic },
  { title: 'a tag', kind: 'unsettled', headers: ['If-None-Match', '"n"'], status: 200, etag: synthetic },
  { title: 'a tag and a date', kind: 'unsettled', headers: ['If-None-Match', '"n"', 'If-Modified-Since', modified], status: 200, etag: synthetic },
  { title: 'If-Range', kind: 'unsettled', headers: ['Range', 'bytes=0-2', 'If-Range', '"n"'], status: 200, etag: synthetic },
  { title: 'the synthetic tag', kind: 'unsettled', headers: ['If-None-Match', synthetic], status: 304, etag: synthetic },
  { title: 'a date alone', kind: 'settled', headers: ['If-Modified-Since', modified], status: 304, etag: '"n"' },
  { title: 'a tag', kind: 'settled', headers: ['If-None-Match', '"n"'], status: 304, etag: '"n"' },
  { title: 'If-Range', kind: 'settled', headers: ['Range', 'bytes=0-2', 'If-Range', '"n"'], status: 206, etag: '"n"' },
];

t.test('a tag that may stand for two contents keeps no stale copy alive (R1, R2, V7)', async (t) => {
  for (const { title, kind, headers, status, etag } of readRows) {
    await t.test(`${title}, ${kind}`, async (t) => {
      const ask = await join(t, fileServer(kind));
      const answer = await ask('GET', '/docs/1', headers);
      t.equal(answer.status, status);
      t.equal(answer.headers.etag, etag);
      t.equal(answer.body.toString(), { 200: content, 206: 'con', 304: '' }[status]);
    });
  }
});

interface CorsRow {
  readonly title: string;
  readonly method?: string;
  readonly request: readonly string[];
  readonly answer: Readonly<Record<string, string>>;
  readonly exposed: string | undefined;
}

const anyone = { 'Access-Control-Allow-Origin': '*' };

// biome-ignore format: a table
const corsRows: readonly CorsRow[] = [
  // A shared cache may give it to somebody with an Origin.
  { title: 'a read without Origin', request: [], answer: anyone, exposed: 'ETag' },
  { title: 'a read with Origin', request: ['Origin', 'http://o'], answer: anyone, exposed: 'ETag' },
  { title: 'a write without Origin', method: 'PUT', request: [], answer: anyone, exposed: 'ETag' },
  { title: 'beside others', request: [], answer: { ...anyone, 'Access-Control-Expose-Headers': 'Link' }, exposed: 'Link, ETag' },
  { title: 'there already', request: [], answer: { ...anyone, 'Access-Control-Expose-Headers': 'etag' }, exposed: 'etag' },
  { title: 'an answer that allows nobody', request: ['Origin', 'http://o'], answer: {}, exposed: undefined },
];

t.test('browsers may see the tag wherever an answer allows an origin (R6)', async (t) => {
  for (const { title, method = 'GET', request, answer: fields, exposed } of corsRows) {
    const ask = await join(t, (_request, response) => response.writeHead(200, fields).end(content));
    const answer = await ask(method, '/docs/1', request);
    t.equal(answer.headers['access-control-expose-headers'], exposed, title);
  }
});

t.test('Prefer: return=representation is for those who have to merge (A2)', async (t) => {
  const ask = await join(t, (_request, response) => response.end(content), { policy: { guard: 'required' } });
  const prefer = ['Prefer', 'return=representation'];
  // Without a Last-Modified the date is none (V8), which only shows when the resource has been read.
  for (const headers of [prefer, [...prefer, 'If-Unmodified-Since', modified]]) {
    const required = await ask('PUT', '/docs/1', headers);
    t.equal(required.status, 428);
    t.equal(required.headers['content-type'], 'application/problem+json');
    t.match(JSON.parse(required.body.toString()), { status: 428, title: 'Precondition Required' });
    t.equal(required.headers['preference-applied'], undefined);
  }
  const failed = await ask('PUT', '/docs/1', [...prefer, 'If-Match', '"z"']);
  t.equal(failed.status, 412);
  t.equal(failed.body.toString(), content);
  t.equal(failed.headers.etag, synthetic);
  t.equal(failed.headers['preference-applied'], 'return=representation');
});

t.test('octets above 0x7F of a tag come back as they are, also beside a text that has none (A2)', async (t) => {
  const tag = '"caf\xe9"';
  const handler: Handler = (_request, response) => response.writeHead(200, { ETag: tag }).end(Buffer.from(content));
  const ask = await join(t, handler, upstream);
  // With its own credentials the client is shown the tag; its Accept chooses between two kinds of text.
  for (const accept of ['application/json', 'text/html']) {
    const refused = await ask('PUT', '/docs/1', ['If-Match', '"other"', 'Accept', accept]);
    t.equal(refused.status, 412);
    t.equal(refused.headers.etag, tag, accept);
    t.equal(Number(refused.headers['content-length']), refused.body.length);
    t.match(refused.body.toString(), 'caf\u00e9');
  }
});

t.test('a refresh delays the writer for two seconds in all (W10)', { timeout: 30_000 }, async (t) => {
  const clock = createVirtualClock();
  let reads = 0;
  let begin = (): void => {};
  const handler: Handler = ({ method }, response) => {
    if (method === 'PUT') return response.writeHead(204).end();
    reads += 1;
    if (reads === 1) return response.end(content);
    begin = () => response.writeHead(200).write('the first bytes of many');
  };
  const backend = await startBackend(t, handler);
  const gate = await startGate(t, { upstream: backend.url, clock });
  let status: number | undefined;
  const writing = request(`${gate.url}/docs/1`, { method: 'PUT', headers: ['If-Match', '*'], body: 'new' }).then(
    (answer) => {
      status = answer.status;
    },
  );
  await backend.arrived(3);
  t.same(
    backend.requests.map(({ method }) => method),
    ['GET', 'PUT', 'GET'],
    'probe, write, refresh',
  );
  clock.advance(1900);
  begin();
  await turns();
  t.equal(status, undefined, 'the writer waits for the refresh');
  clock.advance(100);
  await writing;
  t.equal(status, 204);
});

/** Long enough for a few bytes to come through two sockets of this process. */
async function turns(): Promise<void> {
  for (let count = 0; count < 50; count += 1) await turn();
}

import type { IncomingHttpHeaders, ServerResponse } from 'node:http';
import t, { type Test } from 'tap';
import type { Config, Policy } from '../../src/config/schema.js';
import { type Backend, type RecordedRequest, startBackend } from '../helpers/backend.js';
import { type Answer, request, roundTrip } from '../helpers/client.js';
import { createVirtualClock, type VirtualClock } from '../helpers/clock.js';
import { eventually } from '../helpers/eventually.js';
import { type RunningGate, startGate } from '../helpers/gate.js';
import { rawClient } from '../helpers/raw.js';

/** W12, RFC 9110 13.1.1: a write that comes again because its answer was lost. */

const synthetic = /^"im-/;

type Fields = Readonly<Record<string, string>>;

/** A write that can be sent more than once, the same each time. */
interface Write {
  readonly method: string;
  readonly path: string;
  readonly headers: Fields;
  readonly body?: string;
}

/** What a backend stores, and what it says about that. `revision`: of the resource, counted from 1. */
interface Kind {
  readonly stores: (body: string, revision: number) => string;
  readonly read: (content: string, revision: number) => Fields;
  readonly written: (content: string, revision: number) => Fields;
}

const none = (): Fields => ({});
const plain: Kind = { stores: (body) => body, read: none, written: none };
const own = (_: string, revision: number): Fields => ({ ETag: `"r${revision}"` });
const shouting: Kind = { ...plain, stores: (body) => body.toUpperCase() };

/** What becomes of a write at the backend. */
interface Way {
  readonly why: string;
  readonly applies: boolean;
  /** A status; within the body of a 200; a hold until told: before the answer, or within the body of a 200. */
  readonly ends: number | 'reset' | 'breaks off' | 'held' | 'held within';
  /** Whether the client leaves; `ends` is held until it has. */
  readonly leaves?: true;
  /** What the backend answers where it was held; 200 where nothing is said. */
  readonly answers?: number;
  /** What its client is told, where it stays and gets an answer. */
  readonly told?: number;
}

interface World {
  readonly gate: RunningGate;
  readonly backend: Backend;
  readonly clock: VirtualClock;
  readonly policy: Partial<Policy>;
  /** By path, as the backend knows it. */
  readonly contents: Map<string, string>;
  /** What becomes of the next writes and reads; all others are served. */
  readonly writes: Way[];
  readonly reads: ((response: ServerResponse, serve: () => void) => unknown)[];
  /** What the backend holds. */
  readonly held: { response: ServerResponse; goOn: () => void }[];
  /** Decisions by request id. */
  readonly decisions: Map<string, string>;
  readonly nextId: () => string;
  readonly nextPath: () => string;
}

/** The backend does not tell spellings of a URL apart, nor queries. */
const pathOf = (url: string): string => url.split('?', 1)[0]?.toLowerCase().replace(/\/$/, '') ?? '';

async function world(
  t: Test,
  policy: Partial<Policy> = {},
  { kind = plain, limits = {} }: { kind?: Kind; limits?: Partial<Config['limits']> } = {},
): Promise<World> {
  const contents: World['contents'] = new Map();
  const revisions = new Map<string, number>();
  const writes: World['writes'] = [];
  const reads: World['reads'] = [];
  const held: World['held'] = [];
  const backend = await startBackend(t, (seen, response) => {
    const path = pathOf(seen.url);
    const cors = corsOf(seen.headers);
    if (seen.method === 'GET' || seen.method === 'HEAD') {
      const serve = () => {
        const content = contents.get(path);
        if (content === undefined) return response.writeHead(404).end();
        return response.writeHead(200, { ...kind.read(content, revisions.get(path) ?? 1), ...cors }).end(content);
      };
      return (reads.shift() ?? serve)(response, serve);
    }
    const way = writes.shift() ?? served(contents.has(path));
    if (way.applies) take(seen, path, kind, contents, revisions);
    return perform(
      way,
      response,
      { ...kind.written(contents.get(path) ?? '', revisions.get(path) ?? 1), ...cors },
      held,
    );
  });
  const clock = createVirtualClock(Date.now());
  const decisions: World['decisions'] = new Map();
  const settings = { upstream: backend.url, clock, limits };
  const onLog = (line: Fields) => line.requestId !== undefined && decisions.set(line.requestId, String(line.decision));
  const gate = await startGate(t, {
    ...settings,
    policy: { alreadyApplied: true, ...policy },
    onLog: (line) => onLog(line as Fields),
  });
  let count = 0;
  const [nextId, nextPath] = ['request-', '/docs/'].map((prefix) => () => `${prefix}${++count}`);
  if (nextId === undefined || nextPath === undefined) throw new Error('two of them');
  return { gate, backend, clock, policy, contents, writes, reads, held, decisions, nextId, nextPath };
}

const corsOf = ({ origin }: IncomingHttpHeaders): Fields =>
  origin === undefined ? {} : { 'Access-Control-Allow-Origin': origin };

const served = (exists: boolean): Way => ({ why: 'served', applies: true, ends: exists ? 200 : 201 });

function take(
  { method, body }: RecordedRequest,
  path: string,
  kind: Kind,
  contents: World['contents'],
  revisions: Map<string, number>,
): void {
  const revision = contents.has(path) ? (revisions.get(path) ?? 1) + 1 : 1;
  revisions.set(path, revision);
  if (method === 'DELETE') contents.delete(path);
  else contents.set(path, kind.stores(body.toString(), revision));
}

function perform({ ends, answers = 200 }: Way, response: ServerResponse, fields: Fields, held: World['held']): unknown {
  if (typeof ends === 'number') return response.writeHead(ends, fields).end();
  if (ends === 'reset') return response.socket?.resetAndDestroy();
  if (ends === 'held') return held.push({ response, goOn: () => response.writeHead(answers, fields).end() });
  response.writeHead(200, { ...fields, 'Content-Length': 6 }).write('abc');
  const goOn = () => (ends === 'breaks off' ? response.socket?.resetAndDestroy() : response.end('def'));
  return held.push({ response, goOn });
}

function send({ gate }: World, { method, path, headers, body }: Write, id = ''): Promise<Answer> {
  const fields = { ...headers, ...(id !== '' && { 'X-Request-Id': id }) };
  return request(gate.url, { method, path, headers: fields, ...(body !== undefined && { body }) });
}

async function tagAt(world: World, path: string, headers: Fields = {}): Promise<string> {
  return (await request(world.gate.url + path, { headers })).headers.etag ?? '';
}

/** How many writes the backend has got for a path. */
const writesAt = ({ backend }: World, path: string): number =>
  backend.requests.filter(({ method, url }) => method !== 'GET' && method !== 'HEAD' && pathOf(url) === path).length;

/** A write whose client stays or goes, as it is on the wire. */
function onTheWire({ gate }: World, { method, path, headers, body = '' }: Write, id: string): string {
  const fields = { Host: new URL(gate.url).host, ...headers, 'X-Request-Id': id, 'Content-Length': `${body.length}` };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`;
}

/** Longer than `limits.upstreamTimeout`, and than the rest after an unknown outcome (W11), in milliseconds. */
const longEnough = 60_001;

/** Sends a write whose answer does not come to its client, until its outcome is on record and its rest is over. */
async function lose(t: Test, world: World, way: Way, write: Write): Promise<void> {
  const { clock, held, decisions } = world;
  const id = world.nextId();
  world.writes.push(way);
  const count = held.length;
  if (way.leaves === true) {
    const client = await rawClient(t, world.gate.port);
    client.write(onTheWire(world, write, id));
    if (way.ends === 'held within') await client.seen('abc');
    else await eventually(t, () => held.length > count, 'the write arrives');
    client.reset();
    await client.closed;
    await roundTrip(world.gate.port);
    held.at(-1)?.goOn();
  } else {
    const answered = send(world, write, id).then(
      ({ status }) => status,
      () => undefined,
    );
    if (typeof way.ends === 'string' && way.ends !== 'reset') {
      await eventually(t, () => held.length > count, 'the write arrives');
      if (way.ends === 'held') clock.advance(longEnough);
      else held.at(-1)?.goOn();
    }
    t.equal(await answered, way.told, `${way.why}: what its client is told`);
  }
  await eventually(t, () => decisions.has(id), 'its outcome is on record');
  clock.advance(longEnough);
}

const appliedAndReset: Way = { why: 'applied, then reset', applies: true, ends: 'reset', told: 502 };
const leftBefore: Way = { why: 'the client leaves before its answer', applies: true, ends: 'held', leaves: true };

const lostAnswers: readonly Way[] = [
  appliedAndReset,
  leftBefore,
  { why: 'applied, then silence', applies: true, ends: 'held', told: 504 },
  { why: 'the client leaves within its answer', applies: true, ends: 'held within', leaves: true },
  { why: 'the upstream breaks off within its answer', applies: true, ends: 'breaks off' },
  ...[202, 408, 502, 504].map((status) => ({
    ...{ why: `applied, and answered with ${status}`, applies: true },
    ...{ ends: status, told: status },
  })),
];

const notApplied: readonly Way[] = [
  { why: 'reset', applies: false, ends: 'reset', told: 502 },
  { why: 'silence', applies: false, ends: 'held', told: 504 },
  ...[202, 408, 502, 504].map((status) => ({ why: `${status} alone`, applies: false, ends: status, told: status })),
];

/** The three writes that a condition of RFC 9110 13.1 makes safe to repeat. */
const sorts = ['PUT', 'create', 'DELETE'] as const;

/** A new resource, and a write to it that is about to be sent for the first time. */
async function begin(w: World, sort: (typeof sorts)[number] = 'PUT', headers: Fields = {}): Promise<Write> {
  const path = w.nextPath();
  if (sort === 'create') return { method: 'PUT', path, headers: { ...headers, 'If-None-Match': '*' }, body: 'new' };
  w.contents.set(path, 'old');
  const condition = { ...headers, 'If-Match': await tagAt(w, path, headers) };
  return sort === 'PUT'
    ? { method: 'PUT', path, headers: condition, body: 'new' }
    : { method: 'DELETE', path, headers: condition };
}

t.test('a write whose answer was lost and that comes again is told that it succeeded, once', async (t) => {
  const w = await world(t);
  for (const way of lostAnswers) {
    for (const sort of sorts) {
      const write = await begin(w, sort);
      await lose(t, w, way, write);
      const title = `${way.why}: ${sort}`;
      const again = await send(w, write);
      t.equal(again.status, 204, title);
      t.equal(again.headers.etag, sort === 'DELETE' ? undefined : await tagAt(w, write.path), `${title}: its tag`);
      t.equal((await send(w, write)).status, 412, `${title}: the success was delivered`);
      t.equal(writesAt(w, write.path), 1, `${title}: the backend saw it once`);
      t.equal(w.contents.get(write.path), write.body, `${title}: what is there`);
    }
  }
});

t.test('a write that was lost before it took effect is carried out when it comes again', async (t) => {
  const w = await world(t);
  for (const way of notApplied) {
    for (const sort of sorts) {
      const write = await begin(w, sort);
      await lose(t, w, way, write);
      const title = `${way.why}: ${sort}`;
      t.equal((await send(w, write)).status, sort === 'create' ? 201 : 200, title);
      t.equal(w.contents.get(write.path), write.body, `${title}: what is there`);
      t.equal((await send(w, write)).status, 412, `${title}: that answer was delivered`);
      t.equal(writesAt(w, write.path), 2, `${title}: the backend saw it twice`);
    }
  }
  const late = await begin(w);
  await lose(t, w, { why: 'silence', applies: false, ends: 'held', told: 504 }, late);
  w.contents.set(late.path, 'new');
  t.match(await send(w, late), { status: 204, headers: { etag: synthetic } }, 'one that takes effect late');
});

/** What may lie between a write that took effect and its repetition, so that what it made is not there. */
const between: readonly (readonly [string, (w: World, path: string) => unknown])[] = [
  ['a guarded write', async (w, path) => put(w, path, { 'If-Match': await tagAt(w, path) }, 'third')],
  ['an unconditional write', (w, path) => put(w, path, {}, 'third')],
  ['a POST', (w, path) => send(w, { method: 'POST', path, headers: {}, body: 'third' })],
  ['a write around the gate', (w, path) => w.contents.set(path, 'third')],
];

const put = (w: World, path: string, headers: Fields, body: string): Promise<Answer> =>
  send(w, { method: 'PUT', path, headers, body });

t.test('where somebody else has written since, the repetition is refused and nothing is overwritten', async (t) => {
  const w = await world(t);
  for (const way of [appliedAndReset, leftBefore]) {
    for (const sort of sorts) {
      for (const [what, act] of between) {
        const write = await begin(w, sort);
        await lose(t, w, way, write);
        if (sort === 'DELETE') w.contents.set(write.path, 'again');
        await act(w, write.path);
        const seen = writesAt(w, write.path);
        t.equal((await send(w, write)).status, 412, `${way.why}: ${sort}, then ${what}`);
        t.equal(w.contents.get(write.path), 'third');
        t.equal(writesAt(w, write.path), seen);
      }
    }
    const deleted = await begin(w);
    await lose(t, w, way, deleted);
    await send(w, { method: 'DELETE', path: deleted.path, headers: {} });
    t.equal((await send(w, deleted)).status, 412, `${way.why}: PUT, then DELETE`);
    t.equal(w.contents.has(deleted.path), false);
  }
});

/** Writes that are not the one that was lost, although what that one made would satisfy them too. */
const others: readonly (readonly [string, (write: Write) => Write])[] = [
  ['another body', (write) => ({ ...write, body: 'newer' })],
  ['no body', ({ body, ...write }) => write],
  ['another method', (write) => ({ ...write, method: 'DELETE' })],
  ['another condition', (write) => withFields(write, { 'If-Match': '"other"' })],
  ['one condition more', (write) => withFields(write, { 'If-None-Match': '"other"' })],
  ['a date', (write) => withFields(write, { 'If-Unmodified-Since': 'Thu, 01 Jan 2026 00:00:00 GMT' })],
  ['another user', (write) => withFields(write, { Authorization: 'Bearer b' })],
  ['one more credential', (write) => withFields(write, { Cookie: 'session=b' })],
  ['a trailing slash', (write) => ({ ...write, path: `${write.path}/` })],
  ['another case', (write) => ({ ...write, path: write.path.toUpperCase() })],
  ['a query', (write) => ({ ...write, path: `${write.path}?to=b` })],
  ['another type', (write) => withFields(write, { 'Content-Type': 'text/markdown' })],
  ['a coding', (write) => withFields(write, { 'Content-Encoding': 'identity' })],
];

const withFields = (write: Write, fields: Fields): Write => ({ ...write, headers: { ...write.headers, ...fields } });

t.test('another write is not taken for the one that was lost', async (t) => {
  const w = await world(t);
  for (const [what, change] of others) {
    const write = await begin(w, 'PUT', { Authorization: 'Bearer a', 'Content-Type': 'text/plain' });
    await lose(t, w, appliedAndReset, write);
    t.equal((await send(w, change(write))).status, 412, what);
    t.equal(w.contents.get(write.path), 'new');
    t.equal((await send(w, write)).status, 204, `${what}: the one that was lost is recognised afterwards`);
    t.equal(writesAt(w, write.path), 1);
  }
});

t.test('what does not make it another write', async (t) => {
  const w = await world(t);
  const write = await begin(w, 'PUT', { 'User-Agent': 'first', 'X-Request-Id': 'first', Traceparent: '00-1-1-00' });
  await lose(t, w, appliedAndReset, write);
  const again = withFields(write, { 'User-Agent': 'second', 'X-Request-Id': 'second', Traceparent: '00-2-2-00' });
  t.equal((await send(w, again)).status, 204);
});

const json: Kind = { ...plain, stores: (body, revision) => JSON.stringify({ revision, text: body }) };
const byField: Kind = { ...shouting, read: (_, revision) => ({ 'X-Revision': `${revision}` }) };
const ownTags: Kind = { ...plain, read: own, written: own };

interface VersionRow {
  readonly why: string;
  readonly kind: Kind;
  readonly policy: Partial<Policy>;
  /** Whether it is recognised where its outcome was unknown, and where only its client was gone. */
  readonly unknown: boolean;
  readonly gone: boolean;
  /** Whether what is stored is what was sent, so that the ETag may be told (RFC 9110 9.3.4). */
  readonly isStored: boolean;
}

const same = { unknown: true, gone: true, isStored: true };
const transformed = { unknown: false, gone: true, isStored: false };

const versions: readonly VersionRow[] = [
  { why: 'validator: body', kind: ownTags, policy: { validator: { kind: 'body' } }, ...same },
  { why: 'tags of its own', kind: ownTags, policy: {}, ...same },
  { why: 'tags of its own, on reads alone', kind: { ...ownTags, written: none }, policy: {}, ...same },
  { why: 'tags of its own, never refreshed', kind: ownTags, policy: { refresh: 'never' }, ...same },
  { why: 'weak tags', kind: { ...plain, read: () => ({ ETag: 'W/"weak"' }) }, policy: {}, ...same },
  { why: 'validator: upstream', kind: ownTags, policy: { validator: { kind: 'upstream' } }, ...same },
  { why: 'never refreshed', kind: plain, policy: { refresh: 'never' }, ...same },
  { why: 'recheck: never', kind: plain, policy: { recheck: Number.POSITIVE_INFINITY }, ...same },
  { why: 'ignored members', kind: plain, policy: { ignore: ['/at'] }, ...same },
  { why: 'other content than was sent', kind: shouting, policy: {}, ...transformed },
  { why: 'that, with a tag in the answer', kind: { ...shouting, read: own, written: own }, policy: {}, ...transformed },
  { why: 'that, never refreshed', kind: shouting, policy: { refresh: 'never' }, ...transformed, gone: false },
  {
    ...{ why: 'that, never refreshed, with a tag in the answer', policy: { refresh: 'never' }, ...transformed },
    kind: { ...shouting, read: own, written: own },
  },
  {
    ...{ why: 'that, with validator: upstream', policy: { validator: { kind: 'upstream' } }, ...transformed },
    kind: { ...shouting, read: own, written: own },
  },
  { why: 'a member', kind: json, policy: { validator: { kind: 'json', pointer: '/revision' } }, ...transformed },
  { why: 'a field', kind: byField, policy: { validator: { kind: 'header', name: 'x-revision' } }, ...transformed },
];

t.test('whatever the versions are made of', async (t) => {
  for (const { why, kind, policy, unknown, gone, isStored } of versions) {
    const w = await world(t, policy, { kind });
    for (const way of [appliedAndReset, leftBefore]) {
      const isRecognised = way === leftBefore ? gone : unknown;
      const write = await start(w);
      await lose(t, w, way, write);
      const title = `${why}: ${way.why}`;
      const again = await send(w, write);
      t.equal(again.status, isRecognised ? 204 : 412, title);
      const tag = await tagAt(w, write.path);
      if (isRecognised) t.equal(again.headers.etag, isStored ? tag : undefined, `${title}: its tag`);
      t.equal((await send(w, write)).status, 412, `${title}: once`);
      t.equal(writesAt(w, write.path), 2, `${title}: the backend saw it once`);
      const third = await start(w);
      await lose(t, w, way, third);
      t.ok((await put(w, third.path, { 'If-Match': await tagAt(w, third.path) }, 'third')).status < 300);
      t.equal((await send(w, third)).status, 412, `${title}: somebody else has written since`);
    }
  }
});

/** Like `begin`, but what is there at first was written too. */
async function start(w: World): Promise<Write> {
  const path = w.nextPath();
  await put(w, path, {}, '{"text":"old"}');
  return { method: 'PUT', path, headers: { 'If-Match': await tagAt(w, path) }, body: '{"text":"new"}' };
}

const digest = 'Digest username="a", realm="r", nonce="n", uri="/", response="0"';

/** What is never recognised, and what its repetition is answered. */
const never: readonly (readonly [
  string,
  { readonly policy?: Partial<Policy>; readonly change?: Partial<Write> },
  number,
])[] = [
  ['off', { policy: { alreadyApplied: false } }, 412],
  ['PATCH', { change: { method: 'PATCH' } }, 412],
  ['POST', { change: { method: 'POST' } }, 412],
  ['a body longer than holdRequest', { change: { body: 'n'.repeat(1025) } }, 412],
  ['a body that waits for the decision', { change: { headers: { Expect: '100-continue' } } }, 412],
  ['credentials that are good for one request', { change: { headers: { Authorization: digest } } }, 502],
];

t.test('what is never recognised', async (t) => {
  for (const [why, { policy = {}, change = {} }, status] of never) {
    const w = await world(t, policy, { limits: { holdRequest: 1024 } });
    for (const way of [appliedAndReset, leftBefore]) {
      const first = await begin(w, 'PUT', change.headers);
      const write = { ...first, ...change, headers: first.headers };
      await lose(t, w, way, write);
      t.equal(writesAt(w, write.path), 1, `${why}: it was forwarded`);
      const again = await send(w, write);
      t.equal(again.status, status, `${why}: ${way.why}`);
      t.equal(writesAt(w, write.path), 1);
    }
  }
});

t.test('an answer that came is not repeated', async (t) => {
  const w = await world(t);
  for (const sort of sorts) {
    const write = await begin(w, sort);
    t.ok((await send(w, write)).status < 300);
    t.equal((await send(w, write)).status, 412, sort);
    const refused = await begin(w, sort);
    w.writes.push({ why: 'refused', applies: false, ends: 409 });
    t.equal((await send(w, refused)).status, 409);
    if (sort === 'DELETE') w.contents.delete(refused.path);
    else w.contents.set(refused.path, 'new');
    t.equal((await send(w, refused)).status, 412, `${sort} that was refused, and that somebody else has done since`);
  }
});

t.test('a gate that only reports forwards it again', async (t) => {
  const w = await world(t, { mode: 'report' });
  const write = await begin(w);
  await lose(t, w, appliedAndReset, write);
  t.match(await send(w, write), { status: 200, headers: { 'ifmatch-report': '412; if-match' } });
  t.equal(writesAt(w, write.path), 2);
});

t.test('a repetition that cannot be decided is not the one that counts', async (t) => {
  const w = await world(t);
  for (const [what, status, read] of [
    ['refused', 503, (response: ServerResponse) => response.writeHead(503).end()],
    ['broken off', 502, (response: ServerResponse) => response.socket?.resetAndDestroy()],
  ] as const) {
    const write = await begin(w);
    await lose(t, w, leftBefore, write);
    w.reads.push(read);
    t.equal((await send(w, write)).status, status, `its probe is ${what}`);
    t.equal((await send(w, write)).status, 204, 'the next one is');
    t.equal(writesAt(w, write.path), 1);
  }
  const write = await begin(w);
  await lose(t, w, leftBefore, write);
  await loseDuringProbe(t, w, write, () => {});
  t.equal((await send(w, write)).status, 204, 'its client leaves during the probe');
});

/** Sends a repetition whose client leaves at its probe. `first`: what the backend does just before. */
async function loseDuringProbe(
  t: Test,
  w: World,
  write: Write,
  first: (serve: () => void) => void,
): Promise<string | undefined> {
  const id = w.nextId();
  const client = await rawClient(t, w.gate.port);
  const probed = new Promise<void>((resolve) => {
    w.reads.push((_, serve) => {
      first(serve);
      client.reset();
      resolve();
    });
  });
  client.write(onTheWire(w, write, id));
  await probed;
  await eventually(t, () => w.decisions.has(id), 'it is on record');
  return w.decisions.get(id);
}

t.test('a client that leaves during the probe of its repetition is told nothing, and the next one is', async (t) => {
  const w = await world(t);
  const write = await begin(w);
  await lose(t, w, appliedAndReset, write);
  for (let times = 0; times < 3; times += 1) await loseDuringProbe(t, w, write, () => {});
  t.equal((await send(w, write)).status, 204);
  t.equal((await send(w, write)).status, 412);
  t.equal(writesAt(w, write.path), 1);
});

t.test('two repetitions at once', async (t) => {
  const w = await world(t);
  for (const sort of sorts) {
    const write = await begin(w, sort);
    await lose(t, w, appliedAndReset, write);
    const statuses = (await Promise.all([send(w, write), send(w, write)])).map(({ status }) => status);
    t.same(statuses.sort(), [204, 412], `${sort}, which took effect`);
    t.equal(writesAt(w, write.path), 1);

    const undone = await begin(w, sort);
    await lose(t, w, { why: 'reset', applies: false, ends: 'reset', told: 502 }, undone);
    const answers = (await Promise.all([send(w, undone), send(w, undone)])).map(({ status }) => status);
    t.same(answers.sort(), [sort === 'create' ? 201 : 200, 412], `${sort}, which did not`);
    t.equal(writesAt(w, undone.path), 2);
  }
});

t.test('a repetition that comes while the write is still under way waits for it', async (t) => {
  const w = await world(t);
  for (const sort of sorts) {
    const write = await begin(w, sort);
    w.writes.push(leftBefore);
    const client = await rawClient(t, w.gate.port);
    client.write(onTheWire(w, write, w.nextId()));
    await eventually(t, () => w.held.at(-1)?.response.closed === false, 'the write arrives');
    client.reset();
    await client.closed;
    await roundTrip(w.gate.port);
    const again = send(w, write);
    await eventually(t, () => w.clock.pending() > 1, 'it waits');
    await roundTrip(w.gate.port);
    w.held.at(-1)?.goOn();
    t.equal((await again).status, 204, sort);
    t.equal(writesAt(w, write.path), 1);
  }
});

t.test('another process of the gate knows nothing of it', async (t) => {
  const w = await world(t);
  const write = await begin(w);
  await lose(t, w, appliedAndReset, write);
  await w.gate.close();
  const gate = await startGate(t, { upstream: w.backend.url, policy: { alreadyApplied: true } });
  t.equal((await send({ ...w, gate }, write)).status, 412);
});

t.test('the last thousand are known', async (t) => {
  const w = await world(t);
  const headers = { 'If-None-Match': '*' };
  const lost = Array.from({ length: 1001 }, () => ({ method: 'PUT', path: w.nextPath(), headers, body: 'new' }));
  const [first, second] = lost;
  const last = lost.at(-1);
  if (first === undefined || second === undefined || last === undefined) throw new Error('there are more');
  w.writes.push(...lost.map((): Way => ({ why: 'accepted', applies: true, ends: 202 })));
  const client = await rawClient(t, w.gate.port);
  for (const write of lost) {
    client.write(onTheWire(w, write === last ? withFields(write, { Connection: 'close' }) : write, w.nextId()));
  }
  t.equal((await client.closed).text.split('HTTP/1.1 202 ').length, 1 + lost.length);
  w.clock.advance(longEnough);
  t.equal((await send(w, first)).status, 412);
  t.equal((await send(w, second)).status, 204);
});

t.test('writers that count, and repeat what got no answer: nobody is told of a count that is not there', async (t) => {
  const contents = new Map([['/count', '0']]);
  let writes = 0;
  const backend = await startBackend(t, ({ method, url, body }, response) => {
    if (method === 'GET') return response.end(contents.get(url));
    writes += 1;
    if (writes % 3 !== 0) contents.set(url, body.toString());
    return writes % 5 < 2 ? response.socket?.resetAndDestroy() : response.writeHead(writes % 3 === 0 ? 502 : 204).end();
  });
  const policy = { alreadyApplied: true };
  const gate = await startGate(t, { upstream: backend.url, policy, limits: { quarantine: 0 } });
  const url = `${gate.url}/count`;
  let told = 0;
  const count = async (user: number): Promise<void> => {
    const headers = { Authorization: `Bearer ${user}` };
    for (let counted = 0; counted < 8; ) {
      const { body, headers: read } = await request(url, { headers });
      const next = String(Number(body.toString()) + 1);
      const again = { method: 'PUT', headers: { ...headers, 'If-Match': read.etag ?? '' }, body: next };
      let { status } = await request(url, again);
      while (status === 502) status = (await request(url, again)).status;
      if (status === 204) {
        counted += 1;
        told += 1;
      }
    }
  };
  await Promise.all([1, 2, 3, 4, 5, 6].map(count));
  t.equal(told, 48);
  t.ok(Number(contents.get('/count')) >= told, `${contents.get('/count')} of ${told}`);
});

/** Fields by which two writes with the same content are different writes. */
const furtherFields: readonly Fields[] = [
  { 'Content-Range': 'bytes 3-5/6' },
  { 'Content-Language': 'de' },
  { 'Content-Disposition': 'attachment' },
  { 'Idempotency-Key': '"b"' },
  { If: '(["a"])' },
];

t.test('all that a write says about its content is part of it', async (t) => {
  const w = await world(t);
  for (const fields of furtherFields) {
    const write = await begin(w);
    await lose(t, w, appliedAndReset, write);
    const [name = ''] = Object.keys(fields);
    t.equal((await send(w, withFields(write, fields))).status, 412, name);
  }
});

t.test('what somebody else has made is not what a write made that never took effect', async (t) => {
  const w = await world(t);
  const reset: Way = { why: 'reset', applies: false, ends: 'reset', told: 502 };
  const lock = await begin(w, 'create', { Authorization: 'Bearer a' });
  await lose(t, w, reset, lock);
  t.equal((await send(w, withFields(lock, { Authorization: 'Bearer b' }))).status, 201, 'another one holds the lock');
  t.equal((await send(w, lock)).status, 412, 'who never got it is not told so');
  t.equal(writesAt(w, lock.path), 2);

  const count = withFields(await begin(w, 'PUT'), { Authorization: 'Bearer a' });
  await lose(t, w, reset, count);
  t.equal((await send(w, withFields(count, { Authorization: 'Bearer b' }))).status, 200, 'another one has counted');
  t.equal((await send(w, count)).status, 412, 'who has not counts again');
});

t.test('what a POST has made is not either', async (t) => {
  const w = await world(t);
  const lock = await begin(w, 'create', { Authorization: 'Bearer a' });
  await lose(t, w, { why: 'reset', applies: false, ends: 'reset', told: 502 }, lock);
  t.equal((await send(w, { method: 'POST', path: lock.path, headers: {}, body: 'new' })).status, 201);
  t.equal((await send(w, lock)).status, 412, 'who never got it is not told so');
});

t.test('a POST that was under way before the write and ends after it', async (t) => {
  const w = await world(t);
  const write = await begin(w);
  w.writes.push({ why: 'a POST', applies: false, ends: 'held' }, leftBefore);
  const posted = send(w, { method: 'POST', path: write.path, headers: {}, body: 'third' });
  await eventually(t, () => w.held.length === 1, 'the POST is under way');
  w.reads.push(
    (_, serve) => serve(),
    (_, serve) => {
      // It takes effect between the write and its refresh (W16).
      w.contents.set(write.path, 'third');
      serve();
    },
  );
  const id = w.nextId();
  const client = await rawClient(t, w.gate.port);
  client.write(onTheWire(w, write, id));
  await eventually(t, () => w.held.length === 2, 'the write arrives');
  client.reset();
  await client.closed;
  await roundTrip(w.gate.port);
  for (const { goOn } of w.held.toReversed()) {
    goOn();
    await eventually(t, () => w.decisions.has(id), 'the write is on record');
  }
  t.equal((await posted).status, 200);
  t.equal(w.contents.get(write.path), 'third');
  t.equal((await send(w, write)).status, 412, 'a lost update is no success');
});

t.test('what the refresh has read may be what a POST made meanwhile', async (t) => {
  const w = await world(t);
  const write = await begin(w);
  const posted = new Promise<Answer>((resolve) => {
    w.reads.push(
      (_, serve) => serve(),
      async (_, serve) => {
        resolve(await send(w, { method: 'POST', path: write.path, headers: {}, body: 'third' }));
        serve();
      },
    );
  });
  await Promise.all([lose(t, w, leftBefore, write), posted]);
  t.equal(w.contents.get(write.path), 'third');
  t.equal((await send(w, write)).status, 412, 'a lost update is no success');
});

t.test('a version that comes again after a new beginning', async (t) => {
  for (const [what, kind, policy] of [
    ['a member', json, { validator: { kind: 'json', pointer: '/revision' } }],
    ['a field', byField, { validator: { kind: 'header', name: 'x-revision' } }],
    ['a tag', ownTags, {}],
  ] as const) {
    const w = await world(t, policy, { kind });
    const write = await start(w);
    await lose(t, w, leftBefore, write);
    await send(w, { method: 'DELETE', path: write.path, headers: {} });
    await put(w, write.path, {}, 'another one');
    await put(w, write.path, { 'If-Match': await tagAt(w, write.path) }, 'the third');
    t.equal((await send(w, write)).status, 412, what);
  }
});

t.test('a success that scripts on other origins may read (R6)', async (t) => {
  const w = await world(t);
  const write = await begin(w, 'PUT', { Origin: 'http://app.test' });
  await lose(t, w, appliedAndReset, write);
  const { status, headers } = await send(w, write);
  t.equal(status, 204);
  t.equal(headers['access-control-allow-origin'], 'http://app.test');
  t.match(headers['access-control-expose-headers'], /etag/i);
});

t.test('an empty content is one too', async (t) => {
  const w = await world(t);
  const write = { ...(await begin(w)), body: '' };
  await lose(t, w, appliedAndReset, write);
  t.equal(w.contents.get(write.path), '');
  t.match(await send(w, write), { status: 204, headers: { etag: synthetic } });
});

t.test('a client that left before an answer which leaves it open what happened', async (t) => {
  const w = await world(t);
  for (const status of [303, 404, 500]) {
    const write = await begin(w);
    await lose(t, w, { ...leftBefore, answers: status }, write);
    t.equal((await send(w, write)).status, 204, String(status));
  }
});

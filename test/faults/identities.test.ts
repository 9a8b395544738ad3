import { createHmac } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { isDeepStrictEqual } from 'node:util';
import t, { type Test } from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { type Handler, type RecordedRequest, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { eventually } from '../helpers/eventually.js';
import { type RunningGate, startGate } from '../helpers/gate.js';

const never = Number.POSITIVE_INFINITY;
const stale = '"im-0000000000000000000000"';

function problemOf({ body }: Answer): Record<string, unknown> {
  return JSON.parse(body.toString()) as Record<string, unknown>;
}

const isRead = (method: string): boolean => method === 'GET' || method === 'HEAD';

// What the gate knows of alice, and those who are not alice (I2, W4, A1).

/** What the backend says beside alice's representations, by their number. */
const aliceSends = {
  strong: (version: number) => ({ ETag: `"alice-${version}"`, ...alicesDate(version) }),
  weak: (version: number) => ({ ETag: `W/"alice-${version}"`, ...alicesDate(version) }),
  dates: (version: number) => alicesDate(version),
};

const alicesDate = (version: number): Record<string, string> => ({
  'Last-Modified': new Date(Date.UTC(2025, 0, 1, version)).toUTCString(),
});

/** How a backend says that it is not alice who asks, by the user that it says it to. */
const strangers: Readonly<Record<string, (response: ServerResponse, method: string) => void>> = {
  '': (response) => response.writeHead(401, { 'WWW-Authenticate': 'Bearer' }).end('who are you?'),
  forbidden: (response) => response.writeHead(403).end('not for you'),
  hidden: (response) => response.writeHead(404).end('nothing here'),
  redirected: (response) => response.writeHead(302, { Location: '/login' }).end(),
  limited: (response, method) => {
    if (isRead(method)) response.writeHead(200, { ETag: '"public"', Vary: 'Authorization' }).end('for everybody');
    else response.writeHead(403).end('not for you');
  },
};

interface Premises {
  readonly handler: Handler;
  /** The writes with the body `held` that wait for `release`. */
  readonly held: readonly (() => void)[];
  release(): void;
}

/** Documents that alice alone may see and write. */
function premises(sends: keyof typeof aliceSends): Premises {
  const versions = new Map<string, number>();
  const held: (() => void)[] = [];
  const handler: Handler = ({ method, url, headers, body }, response) => {
    response.setHeader('Date', 'Thu, 01 Jan 2026 00:00:00 GMT');
    const user = headers.authorization?.slice('Bearer '.length) ?? '';
    if (user !== 'alice') return strangers[user]?.(response, method);
    const version = versions.get(url) ?? 0;
    if (isRead(method)) return response.writeHead(200, aliceSends[sends](version)).end(`alice’s ${url}, ${version}`);
    const write = (): void => {
      versions.set(url, version + 1);
      response.writeHead(204).end();
    };
    return body.toString() === 'held' ? held.push(write) : write();
  };
  return {
    handler,
    held,
    release: () => {
      for (const write of held.splice(0)) write();
    },
  };
}

/** All that a client is told. One request id goes with every request, so only the time of the answer may differ. */
function told(answer: Answer | undefined): unknown {
  if (answer === undefined) return undefined;
  const { status, statusMessage, rawHeaders, body, trailers, informational } = answer;
  const fields = rawHeaders.flatMap((name, index) => {
    return index % 2 === 0 && name !== 'Date' ? [`${name}: ${rawHeaders[index + 1]}`] : [];
  });
  return { status, statusMessage, fields, body: body.toString('latin1'), trailers, informational };
}

interface Known {
  readonly tag: string;
  readonly date: string;
}

// biome-ignore format: a table
const readsFor = ({ tag, date }: Known): readonly (readonly string[])[] => [
  [],
  ['If-None-Match', tag], ['If-None-Match', stale], ['If-None-Match', `W/${tag}`], ['If-None-Match', '*'],
  ['If-Match', tag], ['If-Match', stale], ['If-Match', '*'],
  ['If-Range', tag, 'Range', 'bytes=0-3'], ['If-Range', stale, 'Range', 'bytes=0-3'], ['If-Range', date, 'Range', 'bytes=0-3'],
  ['If-Modified-Since', date], ['If-Unmodified-Since', date],
];

const longAgo = 'Sun, 06 Nov 1994 08:49:37 GMT';

// biome-ignore format: a table
const writesFor = ({ tag, date }: Known): readonly (readonly string[])[] => [
  [],
  ['If-Match', tag], ['If-Match', stale], ['If-Match', `${stale}, ${tag}`], ['If-Match', '*'], ['If-Match', 'mangled'],
  ['If-None-Match', '*'], ['If-None-Match', tag], ['If-None-Match', stale],
  ['If-Unmodified-Since', date], ['If-Unmodified-Since', longAgo],
  ['If-Match', tag, 'If-None-Match', '"other"'],
  ['If-Match', tag, 'Prefer', 'return=representation'], ['If-Match', stale, 'Prefer', 'return=representation'],
  ['If-Match', stale, 'Accept', 'text/html'], ['If-None-Match', '*', 'Accept', 'text/html'],
  ['If-Match', stale, 'Expect', '100-continue'], ['If-Match', stale, 'Accept-Language', 'de'],
];

/** Every way to ask for something that one is not to know. */
function questionsFor(known: Known): Question[] {
  const [reads, writes] = [readsFor(known), writesFor(known)];
  const put = ['X-HTTP-Method-Override', 'PUT'];
  const by = (method: string, rows: readonly (readonly string[])[]): Question[] => rows.map((row) => [method, row]);
  return [
    ...by('GET', reads),
    ...by('HEAD', reads.slice(0, 6)),
    ...by('PUT', writes),
    ...by('PATCH', writes.slice(0, 4)),
    ...by('DELETE', writes.slice(0, 8)),
    ...by('POST', [...writes.slice(0, 3), ...writes.slice(1, 3).map((row) => [...row, ...put])]),
  ];
}

type Question = readonly [method: string, headers: readonly string[]];

function ask(
  gate: RunningGate,
  user: string,
  path: string,
  method: string,
  headers: readonly string[] = [],
  body = 'new',
): Promise<Answer> {
  const credential = user === '' ? [] : ['Authorization', `Bearer ${user}`];
  const fields = ['X-Request-Id', 'the-same', ...credential, ...headers];
  return request(gate.url + path, { method, headers: fields, ...(!isRead(method) && method !== 'DELETE' && { body }) });
}

/** Those who get from a read what a decision can be made of; the others are told what the backend tells the probe. */
const few = ['hidden', 'limited'];

interface Regime {
  readonly name: string;
  readonly sends: keyof typeof aliceSends;
  readonly policy: Partial<Policy>;
  readonly users?: readonly string[];
}

// biome-ignore format: a table
const regimes: readonly Regime[] = [
  { name: 'probed, strong tags', sends: 'strong', policy: {}, users: Object.keys(strangers) },
  { name: 'remembered, strong tags', sends: 'strong', policy: { recheck: never } },
  { name: 'remembered for a while, weak tags', sends: 'weak', policy: { recheck: 5000 } },
  { name: 'required, remembered, no tags', sends: 'dates', policy: { recheck: never, refresh: 'always', guard: 'required' } },
  { name: 'the upstream’s alone', sends: 'strong', policy: { recheck: never, validator: { kind: 'upstream' } } },
  { name: 'hashes alone, read for signers by the operator', sends: 'strong', policy: { recheck: never, validator: { kind: 'body' }, probe: { headers: { authorization: 'Bearer alice' } } } },
  { name: 'a mere report', sends: 'weak', policy: { recheck: 5000, mode: 'report' } },
];

for (const { name, sends, policy, users = few } of regimes) {
  t.test(`who is not alice is told what a gate tells that never saw her: ${name}`, async (t) => {
    const { handler } = premises(sends);
    const backend = await startBackend(t, handler);
    const settings = { upstream: backend.url, policy, clock: createVirtualClock() };
    const [gate, naive] = [await startGate(t, settings), await startGate(t, settings)];
    const statuses = new Set<number>();
    const differing = async (user: string): Promise<unknown[]> => {
      const path = `/docs/of-${user}`;
      const read = (): Promise<Answer> => ask(gate, 'alice', path, 'GET');
      const { etag = '' } = (await read()).headers;
      t.equal((await ask(gate, 'alice', path, 'PUT', ['If-Match', etag])).status, 204, 'alice may write');
      const { headers } = await read();
      const differences: unknown[] = [];
      for (const question of questionsFor({ tag: headers.etag ?? stale, date: headers['last-modified'] ?? longAgo })) {
        // A write may have brought doubt: alice is the last whom the gate has heard of before it is asked.
        if (!isRead(question[0])) await read();
        const [answer, expected] = await Promise.all([gate, naive].map((to) => ask(to, user, path, ...question)));
        if (answer !== undefined) statuses.add(answer.status);
        if (!isDeepStrictEqual(told(answer), told(expected))) differences.push({ user, question, answer, expected });
      }
      return differences;
    };
    const differences = await Promise.all(users.map(differing));
    t.same(differences.flat(), []);
    for (const status of [200, 404, 412]) t.ok(statuses.has(status), `some are answered with ${status}`);
  });
}

/**
 * Whether what they had read themselves still counts shows in `decidedBy`: any write to the resource makes it doubtful,
 * hers too (W8).
 */
const whoeverDecided = (answer: Answer | undefined): unknown =>
  JSON.parse(JSON.stringify(told(answer)).replace('decidedBy\\":\\"store', 'decidedBy\\":\\"probe'));

t.test('nor is who comes while a write of hers holds the lease told more (R4, W3)', async (t) => {
  for (const recheck of [0, never]) {
    const clock = createVirtualClock();
    const { handler, held, release } = premises('weak');
    const backend = await startBackend(t, handler);
    const settings = { upstream: backend.url, policy: { recheck } };
    const gate = await startGate(t, { ...settings, clock });
    const naive = await startGate(t, { ...settings, clock: createVirtualClock() });
    const writes: Promise<Answer>[] = [];
    const waiting: { user: string; path: string; question: Question; answer: Promise<Answer> }[] = [];
    const differences: unknown[] = [];
    const compare = (user: string, question: Question, answer: Answer, expected: Answer): void => {
      if (isDeepStrictEqual(whoeverDecided(answer), whoeverDecided(expected))) return;
      differences.push({ user, question, answer: told(answer), expected: told(expected) });
    };
    const begin = async (user: string, index: number): Promise<void> => {
      const path = `/docs/${user}/${index}`;
      const { headers } = await ask(gate, 'alice', path, 'GET');
      const [etag = '', date = ''] = [headers.etag, headers['last-modified']];
      writes.push(ask(gate, 'alice', path, 'PUT', ['If-Match', etag], 'held'));
      await eventually(t, () => held.length === writes.length, 'it is under way');
      const read: Question = ['GET', ['If-None-Match', etag]];
      // It does not wait: nothing would end that here.
      compare(user, read, await ask(gate, user, path, ...read), await ask(naive, user, path, ...read));
      const question: Question = ['PUT', writesFor({ tag: etag, date })[index] ?? []];
      waiting.push({ user, path, question, answer: ask(gate, user, path, ...question) });
    };
    const users = few;
    const rows = writesFor({ tag: '', date: '' });
    for (const user of users) for (const index of rows.keys()) await begin(user, index);
    // Hers wait for the upstream, the others for their turn: all but one each, whose condition cannot be read (W1).
    await eventually(t, () => clock.pending() === writes.length + waiting.length - users.length, 'they are in line');
    release();
    for (const write of writes) t.equal((await write).status, 204);
    for (const { user, path, question, answer } of waiting) {
      compare(user, question, await answer, await ask(naive, user, path, ...question));
    }
    t.same(differences, []);
  }
});

// Representations that depend on who reads them (I2).

interface Carrier {
  readonly name: string;
  readonly fields?: (user: string) => readonly string[];
  readonly query?: (user: string) => string;
  readonly policy?: Partial<Policy>;
}

const carriers: readonly Carrier[] = [
  { name: 'Basic', fields: (user) => ['Authorization', `Basic ${user}`] },
  { name: 'Bearer, in another spelling of the name', fields: (user) => ['AUTHORIZATION', `Bearer ${user}`] },
  { name: 'one of many cookies', fields: (user) => ['Cookie', 'theme=dark', 'Cookie', `session=${user}`] },
  { name: 'X-Api-Key', fields: (user) => ['X-Api-Key', user] },
  { name: 'a field that nobody has heard of', fields: (user) => ['X-Custom-Token', user] },
  { name: 'an authenticating proxy', fields: (user) => ['X-Forwarded-User', user] },
  { name: 'a key in the query', query: (user) => `?api_key=${user}` },
  {
    name: 'the one that `credentials` names',
    fields: (user) => ['X-Tenant', user, 'Authorization', 'Bearer the-same'],
    policy: { credentials: ['x-tenant'] },
  },
];

/** One URL with a document for each user, who is found in whatever carries the name. */
function personal(initial: Readonly<Record<string, string>>, native: boolean) {
  const stored = new Map(Object.entries(initial));
  const userOf = ({ url, rawHeaders }: RecordedRequest): string =>
    /alice|bob/.exec([url, ...rawHeaders].join(' '))?.[0] ?? 'nobody';
  const handler: Handler = (seen, response) => {
    const user = userOf(seen);
    const content = stored.get(user) ?? '';
    if (isRead(seen.method)) return response.writeHead(200, native ? { ETag: `"${content}"` } : {}).end(content);
    stored.set(user, seen.body.toString());
    return response.writeHead(204).end();
  };
  return { handler, stored, userOf };
}

for (const carrier of carriers) {
  t.test(`each user’s own tags count for each user: ${carrier.name}`, async (t) => {
    const starts = [
      { alice: 'for alice', bob: 'for bob' },
      { alice: 'for both', bob: 'for both' },
    ];
    for (const recheck of [0, never]) {
      for (const [index, initial] of starts.entries()) {
        await story(t, carrier, { recheck, ...carrier.policy }, personal(initial, (recheck === 0) === (index === 0)));
      }
    }
  });
}

async function story(
  t: Test,
  carrier: Carrier,
  policy: Partial<Policy>,
  { handler, stored, userOf }: ReturnType<typeof personal>,
): Promise<void> {
  const backend = await startBackend(t, handler);
  const gate = await startGate(t, { upstream: backend.url, policy });
  const { fields = () => [], query = () => '' } = carrier;
  const send = async (user: string, method: string, headers: readonly string[] = [], body = ''): Promise<Answer> => {
    const before = backend.requests.length;
    const all = [...fields(user), ...headers];
    const answer = await request(`${gate.url}/me${query(user)}`, {
      method,
      headers: all,
      ...(method === 'PUT' && { body }),
    });
    const others = backend.requests.slice(before).filter((seen) => userOf(seen) !== user);
    t.equal(others.length, 0, 'nothing is asked as somebody else');
    return answer;
  };
  const tagOf = async (user: string): Promise<string> => (await send(user, 'GET')).headers.etag ?? '';
  const refused = async (user: string, tag: string, current: string): Promise<void> => {
    const before = stored.get(user);
    const answer = await send(user, 'PUT', ['If-Match', tag], `overwritten by ${user}`);
    t.match(
      { status: answer.status, etag: answer.headers.etag, ...problemOf(answer) },
      { status: 412, etag: current, current: { etag: current } },
    );
    t.equal(stored.get(user), before);
  };
  const written = async (user: string, tag: string, body: string): Promise<void> => {
    t.equal((await send(user, 'PUT', ['If-Match', tag], body)).status, 204);
    t.equal(stored.get(user), body);
  };

  const tags = { alice: await tagOf('alice'), bob: await tagOf('bob') };
  t.equal(tags.alice === tags.bob, stored.get('alice') === stored.get('bob'));
  if (tags.alice !== tags.bob) {
    await refused('bob', tags.alice, tags.bob);
    await refused('alice', tags.bob, tags.alice);
  }
  await written('alice', tags.alice, 'second of alice');
  const second = await tagOf('alice');
  await refused('bob', second, tags.bob);
  await written('bob', tags.bob, 'second of bob');
  await refused('alice', tags.alice, second);
  await refused('bob', tags.bob, await tagOf('bob'));
  await written('alice', second, 'third of alice');
  await gate.close();
}

const sameOrNot: readonly [
  credentials: Policy['credentials'],
  one: readonly string[],
  other: readonly string[],
  same: boolean,
][] = [
  ['auto', ['X-Api-Key', 'k', 'Cookie', 'a'], ['X-Api-Key', 'k', 'Cookie', 'b'], false],
  [['x-api-key'], ['X-Api-Key', 'k', 'Cookie', 'a'], ['X-API-KEY', 'k', 'Cookie', 'b'], true],
  [['x-api-key'], ['X-Api-Key', 'k', 'Cookie', 'a'], ['X-Api-Key', 'l', 'Cookie', 'a'], false],
  [['x-api-key'], ['X-Api-Key', 'k'], [], false],
  [['user-agent'], ['User-Agent', 'a'], ['User-Agent', 'b'], false],
  [
    'auto',
    ['User-Agent', 'a', 'X-Forwarded-For', '10.0.0.1'],
    ['User-Agent', 'b', 'X-Forwarded-For', '10.0.0.2'],
    true,
  ],
  ['auto', ['X-Forwarded-Email', 'a'], ['X-Forwarded-Email', 'b'], false],
  ['auto', ['X-Api-Key', 'k'], ['X-Api-Key', 'k', 'X-Api-Key', 'k'], false],
  ['auto', ['Cookie', 'a'], [], false],
];

t.test('knowledge is shared by those whom `credentials` takes for one (I2)', async (t) => {
  for (const [credentials, one, other, same] of sameOrNot) {
    const backend = await startBackend(t, (_, response) => response.end('content'));
    const gate = await startGate(t, { upstream: backend.url, policy: { credentials, recheck: never } });
    await request(`${gate.url}/x`, { headers: one });
    const before = backend.requests.length;
    const { status } = await request(`${gate.url}/x`, {
      method: 'PUT',
      headers: [...other, 'If-Match', stale],
      body: '',
    });
    t.same([status, backend.requests.length - before], [412, same ? 0 : 1], `${credentials}: ${one} and ${other}`);
  }
});

t.test('languages of one user are not mixed up, nor with those of another (I2, W4)', async (t) => {
  const backend = await startBackend(t, ({ method, headers }, response) => {
    if (method !== 'GET') return response.writeHead(204).end();
    response.setHeader('Vary', 'Accept-Language');
    return response.end(`${headers['x-api-key']}, ${headers['accept-language']}`);
  });
  for (const recheck of [0, never]) {
    const gate = await startGate(t, { upstream: backend.url, policy: { recheck, refresh: 'never' } });
    const send = (user: string, language: string, method: string, tag?: string): Promise<Answer> => {
      const condition = tag === undefined ? [] : ['If-Match', tag];
      const headers = ['X-Api-Key', user, 'Accept-Language', language, ...condition];
      return request(`${gate.url}/x`, { method, headers, ...(tag !== undefined && { body: '' }) });
    };
    const tags = new Map<string, string>();
    const learn = async (): Promise<void> => {
      for (const user of ['alice', 'bob']) {
        for (const language of ['en', 'de']) {
          tags.set(`${user}, ${language}`, (await send(user, language, 'GET')).headers.etag ?? '');
        }
      }
    };
    for (const [owner, tagged] of [
      ['alice', 'en'],
      ['alice', 'de'],
      ['bob', 'en'],
      ['bob', 'de'],
    ]) {
      for (const [user, language] of [
        ['alice', 'de'],
        ['alice', 'fr'],
        ['bob', 'en'],
      ] as const) {
        await learn();
        const before = backend.requests.length;
        const { status } = await send(user, language, 'PUT', tags.get(`${owner}, ${tagged}`));
        t.equal(status, owner === user ? 204 : 412, `${user} in ${language} with what ${owner} read in ${tagged}`);
        const probes = backend.requests.slice(before).filter(({ method }) => method === 'GET').length;
        t.ok(owner === user || probes <= 1, 'the languages of others are not asked for');
      }
    }
  }
});

// Credentials that are good for one request (W4).

const keys: Readonly<Record<string, string>> = { 'key-alice': 'secret of alice', 'key-bob': 'secret of bob' };

/** What signs a request: its number, so that it counts once, and a keyed hash over that, method and path. */
function signatureOf(key: string, method: string, path: string, number: number): string {
  const hash = createHmac('sha256', keys[key] ?? '').update(`${method} ${path} ${number}`);
  return `${number}.${hash.digest('hex')}`;
}

interface Scheme {
  readonly name: string;
  readonly fields?: (key: string, signature: string) => readonly string[];
  readonly query?: (key: string, signature: string) => string;
}

const presigned = (key: string, signature: string): string =>
  `?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${key}%2F20260101%2Fr%2Fs3%2Faws4_request&X-Amz-Signature=${signature}`;

// biome-ignore format: a table
const schemes: readonly Scheme[] = [
  { name: 'AWS4-HMAC-SHA256', fields: (key, signature) => ['Authorization', `AWS4-HMAC-SHA256 Credential=${key}/20260101/r/s3/aws4_request, SignedHeaders=host, Signature=${signature}`, 'X-Amz-Date', signature.slice(0, 9)] },
  { name: 'HTTP Message Signatures', fields: (key, signature) => ['Signature-Input', `sig1=("@method" "@path");keyid="${key}"`, 'Signature', `sig1=:${signature}:`] },
  { name: 'Digest', fields: (key, signature) => ['Authorization', `Digest username="${key}", realm="r", nonce="n", uri="/", response="${signature}"`] },
  { name: 'OAuth 1', fields: (key, signature) => ['Authorization', `OAuth oauth_consumer_key="${key}", oauth_token="t", oauth_signature="${signature}"`] },
  { name: 'Hawk', fields: (key, signature) => ['Authorization', `Hawk id="${key}", mac="${signature}"`] },
  { name: 'a presigned URL', query: presigned },
];

interface Signed {
  readonly url: string;
  /** What reached the backend since the last call: methods, `misused` before them where the signature is not theirs. */
  seen(): string[];
}

/**
 * A backend that takes every signature once, from whoever holds the key, and from the operator anything but writes.
 *
 * @param fields of its answers
 * @param refusal status of its answer to everybody else
 */
async function startSigned(t: Test, fields: Readonly<Record<string, string>>, refusal = 403): Promise<Signed> {
  const used = new Set<string>();
  const seen: string[] = [];
  const isValid = (method: string, path: string, text: string): boolean => {
    const [signature = '', number] = /(\d+)\.[0-9a-f]{64}/.exec(text) ?? [];
    const isNew = !used.has(signature);
    used.add(signature);
    return isNew && signature === signatureOf(/key-\w+/.exec(text)?.[0] ?? '', method, path, Number(number));
  };
  const backend = await startBackend(t, ({ method, url, rawHeaders, headers }, response) => {
    const text = [url, ...rawHeaders].join(' ');
    const isSigned = text.includes('key-');
    const accepted = isSigned ? isValid(method, url.split('?', 1)[0] ?? '', text) : headers['x-operator'] === 'secret';
    seen.push(isSigned && !accepted ? `misused ${method}` : method);
    if (!accepted || (!isSigned && !isRead(method))) return response.writeHead(refusal).end('who signed this?');
    const isKnown = fields.ETag !== undefined && headers['if-none-match'] === fields.ETag;
    if (isKnown && isRead(method)) return response.writeHead(304, fields).end();
    return response.writeHead(200, fields).end(isRead(method) ? 'content' : undefined);
  });
  return { url: backend.url, seen: () => seen.splice(0) };
}

let signatures = 0;

/** Sends a request that a key signs for this time alone. */
function sign(
  gate: RunningGate,
  { fields, query }: Scheme,
  key: string,
  method: string,
  path: string,
  headers: readonly string[] = [],
): Promise<Answer> {
  signatures += 1;
  const signature = signatureOf(key, method, path, signatures);
  const all = [...(fields?.(key, signature) ?? []), ...headers];
  const url = `${gate.url}${path}${query?.(key, signature) ?? ''}`;
  return request(url, { method, headers: all, ...(!isRead(method) && { body: 'new' }) });
}

const current = '"current"';
const native = { ETag: current };
const operator = { probe: { headers: { 'x-operator': 'secret' } } };

function untold(t: Test, answer: Answer, why: string): void {
  t.match({ status: answer.status, ...problemOf(answer) }, { status: 502, type: /version-unknown$/ }, why);
  t.match(problemOf(answer).next, /policy\.probe\.headers/, 'the operator is told what helps');
}

/** A 412 that says nothing about what is there. */
function unshown(t: Test, answer: Answer): void {
  t.equal(answer.status, 412, answer.body.toString());
  const { etag, 'last-modified': date } = answer.headers;
  t.same({ etag, date, current: problemOf(answer).current }, { etag: undefined, date: undefined, current: undefined });
}

for (const scheme of schemes) {
  t.test(`signed for one request: ${scheme.name}`, async (t) => {
    const backend = await startSigned(t, native);
    const clock = createVirtualClock();
    const gate = await startGate(t, { upstream: backend.url, clock });
    untold(t, await sign(gate, scheme, 'key-alice', 'PUT', '/1', ['If-Match', current]), 'nobody has read it');
    untold(t, await sign(gate, scheme, 'key-alice', 'PUT', '/1', ['If-None-Match', '*']), 'nor is its absence known');
    t.same(backend.seen(), [], 'nothing is asked, nothing forwarded');
    t.equal((await sign(gate, scheme, 'key-alice', 'GET', '/1')).headers.etag, current);
    clock.advance(86_400_000);
    t.same(backend.seen(), ['GET']);
    for (const headers of [
      ['If-Match', '"older"'],
      ['If-None-Match', '*'],
      ['If-Match', '"older"', 'Prefer', 'return=representation'],
    ]) {
      unshown(t, await sign(gate, scheme, 'key-alice', 'PUT', '/1', headers));
    }
    untold(t, await sign(gate, scheme, 'key-bob', 'PUT', '/1', ['If-Match', current]), 'what alice knows is not bob’s');
    t.same(backend.seen(), [], 'knowledge of any age decides, of one’s own');
    t.equal((await sign(gate, scheme, 'key-alice', 'PUT', '/1', ['If-Match', current])).status, 200);
    t.same(backend.seen(), ['PUT']);

    const upstream = await startGate(t, { upstream: backend.url, policy: { validator: { kind: 'upstream' } } });
    for (const headers of [
      ['If-Match', current],
      ['If-None-Match', '*'],
      ['If-Unmodified-Since', longAgo],
    ]) {
      t.equal((await sign(upstream, scheme, 'key-alice', 'PUT', `/2/${headers[0]}`, headers)).status, 200);
    }
    untold(t, await sign(upstream, scheme, 'key-alice', 'PUT', '/2', ['If-Match', stale]), 'a tag of the gate’s form');
    t.same(backend.seen(), ['PUT', 'PUT', 'PUT'], 'the upstream is left to judge its own');

    // A presigned URL: below.
    if (scheme.fields === undefined) return;
    const asked = await startGate(t, { upstream: backend.url, policy: operator });
    for (const _ of [1, 2]) unshown(t, await sign(asked, scheme, 'key-alice', 'PUT', '/3', ['If-Match', '"older"']));
    t.equal((await sign(asked, scheme, 'key-alice', 'PUT', '/3', ['If-Match', current])).status, 200);
    t.same(backend.seen(), ['GET', 'GET', 'GET', 'PUT'], 'what the operator may read is not kept');
  });
}

const unsettled = { ETag: current, Date: longAgo, 'Last-Modified': longAgo };

interface SecondRead {
  readonly why: string;
  readonly policy?: Partial<Policy>;
  readonly sends?: Readonly<Record<string, string>>;
  readonly method: string;
  /** `as read`: the tag that a GET before it is answered with. */
  readonly headers?: readonly string[];
  readonly status: number;
}

/** Where the gate reads a second time for others (W4, W10, V5, V7). */
// biome-ignore format: a table
const secondReads: readonly SecondRead[] = [
  { why: 'a refresh (W10)', method: 'PUT', headers: ['If-Match', 'as read'], status: 200 },
  { why: 'a refresh after every write (W10)', policy: { refresh: 'always' }, method: 'PUT', status: 200 },
  { why: 'the tag for a HEAD (V5)', method: 'HEAD', status: 200 },
  { why: 'a 304 that proves nothing (V7)', sends: unsettled, method: 'GET', headers: ['If-None-Match', current], status: 304 },
  { why: 'a probe by the operator (W4)', policy: operator, method: 'PUT', headers: ['If-Match', stale], status: 412 },
  { why: 'the same for native tags (W4)', policy: { ...operator, validator: { kind: 'upstream' } }, sends: native, method: 'PUT', headers: ['If-Match', current], status: 200 },
];

for (const { why, policy = {}, sends = {}, method, headers = [], status } of secondReads) {
  t.test(`no signature goes upstream for another request: ${why}`, async (t) => {
    for (const scheme of schemes) {
      const backend = await startSigned(t, sends);
      const gate = await startGate(t, { upstream: backend.url, policy });
      const readsFirst = headers.includes('as read');
      const { etag = '' } = readsFirst ? (await sign(gate, scheme, 'key-alice', 'GET', '/1')).headers : {};
      const fields = headers.map((text) => (text === 'as read' ? etag : text));
      const answer = await sign(gate, scheme, 'key-alice', method, '/1', fields);
      const misused = backend.seen().filter((seen) => seen.startsWith('misused'));
      t.same({ misused, status: answer.status }, { misused: [], status }, scheme.name);
    }
  });
}

const hawk: Scheme = {
  name: 'forged',
  fields: (key) => ['Authorization', `Hawk id="${key}", mac="1.${'0'.repeat(64)}"`],
};

t.test(
  'a key id is no proof: who forges a signature is told no version, only whether a guess is wrong (W4)',
  async (t) => {
    const backend = await startSigned(t, { ...native, 'Last-Modified': longAgo });
    const gate = await startGate(t, { upstream: backend.url });
    const [scheme = hawk] = schemes.filter(({ name }) => name === 'Hawk');
    const forge = (method: string, headers: readonly string[]) => sign(gate, hawk, 'key-alice', method, '/1', headers);
    untold(t, await forge('PUT', ['If-None-Match', '*']), 'as long as nothing is known');
    await sign(gate, scheme, 'key-alice', 'GET', '/1');
    for (const more of [[], ['Prefer', 'return=representation']]) {
      unshown(t, await forge('PUT', ['If-Match', '"a guess"', ...more]));
      unshown(t, await forge('PUT', ['If-None-Match', '*', ...more]));
    }
    t.equal((await forge('PUT', ['If-Match', current])).status, 403, 'what it would change is the backend’s to refuse');
    t.equal((await forge('GET', ['If-None-Match', current])).status, 403);
    t.equal((await sign(gate, scheme, 'key-alice', 'PUT', '/1', ['If-Match', current])).status, 200, 'alice still may');
  },
);

t.test('what a forged signature is answered with is no knowledge of hers whose key it names (W4, I2)', async (t) => {
  const backend = await startSigned(t, native, 404);
  const gate = await startGate(t, { upstream: backend.url });
  const [scheme = hawk] = schemes.filter(({ name }) => name === 'Hawk');
  await sign(gate, scheme, 'key-alice', 'GET', '/1');
  t.equal((await sign(gate, hawk, 'key-alice', 'GET', '/1')).status, 404, 'this backend hides what it has');
  backend.seen();
  t.not((await sign(gate, scheme, 'key-alice', 'PUT', '/1', ['If-None-Match', '*'])).status, 200);
  t.same(backend.seen(), [], 'nothing is overwritten');
});

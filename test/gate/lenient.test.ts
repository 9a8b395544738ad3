import t, { type Test } from 'tap';
import { hashContent, syntheticTag } from '../../src/version/tag.js';
import { type Backend, type Handler, startBackend } from '../helpers/backend.js';
import { type Answer, rawRequest, request } from '../helpers/client.js';
import { type RunningGate, startGate } from '../helpers/gate.js';

const content = 'content';
const hash = hashContent(Buffer.from(content));
const synthetic = syntheticTag(hash, undefined);
const old = 'im-AAAAAAAAAAAAAAAAAAAAAA';
const modified = 'Sun, 06 Nov 1994 08:49:37 GMT';

/** Policies by the first segment of a path, so that one gate has them all; `none` overrides what holds for the rest. */
const modes = {
  none: [],
  weakened: ['weakened'],
  suffix: ['gzip-suffix'],
  unquoted: ['unquoted'],
  all: ['weakened', 'gzip-suffix', 'unquoted'],
} as const;

type Mode = keyof typeof modes;

/** What the backend has, by the second segment of a path. */
const kinds: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  plain: {},
  native: { ETag: '"v2"' },
  // A name that looks like a coding is still a part of the tag.
  coded: { ETag: '"v2-gzip"' },
  dashed: { ETag: '"v2-"' },
  comma: { ETag: '"v1,v2"' },
  prefixed: { ETag: '"W/v2"' },
  weak: { ETag: 'W/"v2"' },
  unsettled: { ETag: '"v2"', Date: modified, 'Last-Modified': modified },
};

type Kind = keyof typeof kinds;

/** A backend that checks what reaches it, by the strong comparison and to the letter. */
const handler: Handler = ({ method, url, headers }, response) => {
  const fields = kinds[url.split('/')[2] ?? ''] ?? {};
  const tag = fields.ETag ?? '';
  const listed = (value: string | undefined): boolean => value?.split(', ').includes(tag) ?? false;
  const match = headers['if-match'];
  if (match !== undefined && match !== '*' && (tag.startsWith('W/') || !listed(match))) {
    return response.writeHead(412, { 'X-From': 'the backend' }).end();
  }
  if (method !== 'GET' && method !== 'HEAD') return response.writeHead(204).end();
  if (listed(headers['if-none-match'])) return response.writeHead(304, fields).end();
  const ranged = headers.range !== undefined && (headers['if-range'] ?? tag) === tag;
  const part = { 'Content-Range': `bytes 0-2/${content.length}` };
  response.writeHead(ranged ? 206 : 200, { ...fields, ...(ranged && part) });
  return response.end(method === 'HEAD' ? undefined : content.slice(0, ranged ? 3 : undefined));
};

interface Scene {
  readonly backend: Backend;
  readonly gate: RunningGate;
  /** Asks for a resource of its own, because a write that leaves a tag as it is bars it (V7). */
  ask(mode: Mode, kind: Kind, method: string, headers: readonly string[]): Promise<Answer>;
}

async function join(t: Test): Promise<Scene> {
  const backend = await startBackend(t, handler);
  const gate = await startGate(t, {
    upstream: backend.url,
    policy: { lenient: [...modes.all] },
    routes: Object.entries(modes).map(([mode, lenient]) => ({ path: `/${mode}/*`, policy: { lenient: [...lenient] } })),
  });
  let count = 0;
  const ask: Scene['ask'] = (mode, kind, method, headers) => {
    const path = `/${mode}/${kind}/${++count}`;
    return request(gate.url + path, { method, headers, ...(method === 'PUT' && { body: 'new' }) });
  };
  return { backend, gate, ask };
}

/** A value of If-Match and of If-None-Match, and what becomes of a PUT with it. `204` stands for forwarded. */
type Row = readonly [mode: Mode, kind: Kind, value: string, match: number, noneMatch: number];

const im = (rest = ''): string => `im-${hash}${rest}`;

// biome-ignore format: a table
const writes: readonly Row[] = [
  // Without a mode RFC 9110 holds: strong comparison for If-Match, weak for If-None-Match, quotes in both (W1, W6).
  ['none', 'plain', `W/"${im()}"`, 412, 412], ['none', 'native', 'W/"v2"', 412, 412],
  ['none', 'native', '"v2-gzip"', 412, 204], ['none', 'native', 'v2', 400, 400], ['none', 'plain', im(), 400, 400],
  // The gate's own suffix for a coding is none of this (V2).
  ['none', 'plain', `"${im('-gzip')}"`, 204, 412], ['none', 'plain', `"${im(';gzip')}"`, 412, 204],

  ['weakened', 'plain', `W/"${im()}"`, 204, 412], ['weakened', 'plain', `W/"${im('-gzip')}"`, 204, 412],
  ['weakened', 'native', 'W/"v2"', 204, 412], ['weakened', 'native', '"v2"', 204, 412],
  ['weakened', 'native', 'W/"v1", W/"v2"', 204, 412], ['weakened', 'native', `W/"${old}",W/"v2" , "v0"`, 204, 412],
  ['weakened', 'native', 'W/"v1"', 412, 204], ['weakened', 'plain', `W/"${old}"`, 412, 204],
  ['weakened', 'native', 'W/"v1", W/"v0", "v3"', 412, 204], ['weakened', 'native', 'W/"V2"', 412, 204],
  // It is about the prefix alone, and only as the RFC writes it.
  ['weakened', 'native', 'w/"v2"', 400, 400], ['weakened', 'native', 'W/v2', 400, 400], ['weakened', 'native', 'W/ "v2"', 400, 400],
  ['weakened', 'native', 'W/W/"v2"', 400, 400], ['weakened', 'native', '"W/v2"', 412, 204], ['weakened', 'native', 'W/"v2-gzip"', 412, 204],
  ['weakened', 'native', 'v2', 400, 400], ['weakened', 'native', 'W/*', 400, 400], ['weakened', 'native', 'W/"*"', 412, 204],
  // What the backend itself calls weak, or what may stand for two contents, is no strong tag of anybody's (V6, V7).
  ['weakened', 'weak', 'W/"v2"', 412, 412], ['weakened', 'weak', '"v2"', 412, 412], ['weakened', 'weak', `W/"${im()}"`, 204, 412],
  ['weakened', 'unsettled', 'W/"v2"', 412, 412], ['weakened', 'unsettled', `W/"${im()}"`, 204, 412],

  ['suffix', 'native', '"v2-gzip"', 204, 412], ['suffix', 'native', '"v2-br"', 204, 412], ['suffix', 'native', '"v2;gzip"', 204, 412],
  ['suffix', 'native', '"v2--gzip"', 204, 412], ['suffix', 'native', '"v2--br"', 204, 412], ['suffix', 'native', '"v2-deflate"', 204, 412],
  ['suffix', 'native', '"v2-zstd"', 204, 412], ['suffix', 'native', '"v2"', 204, 412], ['suffix', 'native', '"v1-gzip", "v2-gzip"', 204, 412],
  ['suffix', 'plain', `"${im('-gzip')}"`, 204, 412], ['suffix', 'plain', `"${im(';gzip')}"`, 204, 412], ['suffix', 'plain', `"${im('--gzip')}"`, 204, 412],
  // What the gate took for a coding, coded once more on the way.
  ['suffix', 'plain', `"${im('-br-gzip')}"`, 204, 412],
  ['suffix', 'native', '"v1-gzip"', 412, 204], ['suffix', 'plain', `"${old}-gzip"`, 412, 204], ['suffix', 'plain', `"${old};gzip"`, 412, 204],
  ['suffix', 'native', 'W/"v2-gzip"', 412, 412], ['suffix', 'native', 'W/"v2"', 412, 412], ['suffix', 'native', 'v2-gzip', 400, 400],
  ['suffix', 'native', '"v2-identity"', 412, 204], ['suffix', 'native', '"v2-GZIP"', 412, 204], ['suffix', 'native', '"v2gzip"', 412, 204],
  ['suffix', 'native', '"v2.gzip"', 412, 204], ['suffix', 'native', '"v2-gzip "', 412, 204], ['suffix', 'native', '"gzip-v2"', 412, 204],
  ['suffix', 'native', '"-gzip"', 412, 204], ['suffix', 'native', '"v2-gzip-x"', 412, 204],
  // The upstream's own tag may end like that: then it is what it is, and its beginning is another version.
  ['suffix', 'coded', '"v2-gzip"', 204, 412], ['suffix', 'coded', '"v2"', 412, 204], ['suffix', 'coded', '"v2-br"', 412, 204],
  ['suffix', 'dashed', '"v2--gzip"', 204, 412], ['suffix', 'dashed', '"v2---gzip"', 204, 412],
  ['suffix', 'coded', '"v2-gzip-gzip"', 204, 412], ['suffix', 'unsettled', '"v2-gzip"', 412, 412], ['suffix', 'weak', '"v2-gzip"', 412, 412],

  ['unquoted', 'plain', im(), 204, 412], ['unquoted', 'plain', im('-gzip'), 204, 412], ['unquoted', 'native', 'v2', 204, 412],
  ['unquoted', 'native', '"v2"', 204, 412], ['unquoted', 'plain', `${old}, ${im()}`, 204, 412], ['unquoted', 'native', '"v1", v2', 204, 412],
  ['unquoted', 'plain', old, 412, 204], ['unquoted', 'native', 'v1', 412, 204], ['unquoted', 'native', 'V2', 412, 204],
  ['unquoted', 'native', "'v2'", 412, 204], ['unquoted', 'native', 'null', 412, 204], ['unquoted', 'native', 'v2;gzip', 412, 204],
  ['unquoted', 'weak', 'v2', 412, 412], ['unquoted', 'unsettled', 'v2', 412, 412],
  // Two thirds of quotes, white space, commas: whatever it was, nobody can say which tag it is.
  ['unquoted', 'native', '"v2', 400, 400], ['unquoted', 'native', 'v2"', 400, 400], ['unquoted', 'native', 'v"2', 400, 400],
  ['unquoted', 'native', '"v2"x', 400, 400], ['unquoted', 'native', 'v2 x', 400, 400], ['unquoted', 'native', 'v2\tx', 400, 400],
  ['unquoted', 'native', '\\"v2\\"', 400, 400], ['unquoted', 'native', '', 400, 400], ['unquoted', 'native', ',', 400, 400],
  ['unquoted', 'native', 'w/"v2"', 400, 400], ['unquoted', 'native', 'W/"v2', 400, 400], ['unquoted', 'native', 'W/', 400, 400],
  ['unquoted', 'native', '*, v2', 400, 400], ['unquoted', 'native', 'v2, *', 400, 400], ['unquoted', 'native', '* v2', 400, 400],
  // Quotes that were stripped from a weak tag leave a weak one.
  ['unquoted', 'native', 'W/v2', 412, 412], ['unquoted', 'prefixed', 'W/v2', 412, 204], ['unquoted', 'plain', `W/${im()}`, 412, 412],
  // The comma ends it, so that a tag with one cannot be meant.
  ['unquoted', 'comma', 'v1,v2', 412, 204], ['unquoted', 'comma', '"v1,v2"', 204, 412],
  // The star is a star.
  ['unquoted', 'native', '*', 204, 412], ['unquoted', 'native', '"*"', 412, 204],

  ['all', 'native', 'W/"v2-gzip"', 204, 412], ['all', 'plain', `W/"${im(';gzip')}"`, 204, 412], ['all', 'native', 'v2-gzip', 204, 412],
  ['all', 'native', 'W/v2', 204, 412], ['all', 'native', 'W/v2--br, "v0"', 204, 412],
  ['all', 'native', 'W/"v1-gzip"', 412, 204], ['all', 'native', 'v1-gzip, W/v1, "v1"', 412, 204], ['all', 'native', 'W/"v2', 400, 400],
  ['all', 'weak', 'W/"v2-gzip"', 412, 412], ['all', 'weak', 'W/v2', 412, 412], ['all', 'weak', 'v2', 412, 412],
];

t.test('which writes pass', async (t) => {
  const { ask, backend } = await join(t);
  for (const [mode, kind, value, match, noneMatch] of writes) {
    for (const [name, status] of [
      ['If-Match', match],
      ['If-None-Match', noneMatch],
    ] as const) {
      const title = `${mode}, ${kind}: ${name}: ${value}`;
      const before = backend.requests.length;
      const answer = await ask(mode, kind, 'PUT', [name, value]);
      t.equal(answer.status, status, title);
      t.equal(answer.headers['x-from'], undefined, `${title}: what reaches the backend is true there`);
      const seen = backend.requests.slice(before).filter(({ method }) => method === 'PUT');
      t.equal(seen.length, status === 204 ? 1 : 0, `${title}: forwarded or not`);
      if (status !== 204 || kind !== 'native' || name === 'If-None-Match' || value === '*') continue;
      t.match(seen[0]?.headers['if-match'], /"v2"(?:,|$)/, `${title}: the tag as the backend knows it`);
    }
  }
});

t.test('several lines are one list', async (t) => {
  const { ask } = await join(t);
  // biome-ignore format: a table
  const rows: readonly (readonly [mode: Mode, kind: Kind, values: readonly string[], status: number])[] = [
    ['weakened', 'native', ['W/"v1"', 'W/"v2"'], 204], ['weakened', 'native', ['"v1"', 'W/"v0"'], 412],
    ['suffix', 'native', ['"v1-gzip"', '"v2-gzip"'], 204], ['unquoted', 'plain', [old, im()], 204],
    ['unquoted', 'native', ['v1', '', '"v2"'], 204], ['unquoted', 'native', ['*', 'v2'], 400],
    // Each line by itself is malformed, and so is what they are together.
    ['unquoted', 'native', ['"v2', 'x"'], 412], ['all', 'native', ['"v1"', 'W/v2-gzip'], 204],
  ];
  for (const [mode, kind, values, status] of rows) {
    const answer = await ask(
      mode,
      kind,
      'PUT',
      values.flatMap((value) => ['If-Match', value]),
    );
    t.equal(answer.status, status, `${mode}, ${kind}: ${values.join(' | ')}`);
  }
});

t.test('octets that no tag may have stay malformed', async (t) => {
  const { gate, backend } = await join(t);
  for (const octet of ['\x01', '\x0b', '\x1f', '\x7f', '\0']) {
    for (const value of [`v2${octet}`, `${octet}v2`, `v${octet}2`]) {
      const head = `PUT /all/native/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIf-Match: ${value}\r\n`;
      t.match(await rawRequest(gate.port, `${head}Content-Length: 0\r\n\r\n`), /^HTTP\/1\.1 400 /, escape(value));
    }
  }
  t.notOk(backend.requests.some(({ method }) => method === 'PUT'));
});

/** `206` stands for what the backend answers to a Range that it may honour. */
type ReadRow = readonly [mode: Mode, kind: Kind, headers: readonly string[], status: number];

const range = ['Range', 'bytes=0-2'] as const;

// biome-ignore format: a table
const reads: readonly ReadRow[] = [
  ['none', 'plain', ['If-None-Match', `W/"${im()}"`], 304], ['none', 'plain', ['If-None-Match', im()], 200],
  ['none', 'native', ['If-None-Match', '"v2-gzip"'], 200], ['none', 'native', ['If-None-Match', 'v2'], 200],
  ['none', 'native', ['If-Match', 'W/"v2"'], 412], ['none', 'plain', ['If-Match', `W/"${im()}"`], 412],

  ['weakened', 'plain', ['If-None-Match', `W/"${im()}"`], 304], ['weakened', 'plain', ['If-None-Match', `W/"${old}"`], 200],
  ['weakened', 'native', ['If-None-Match', 'W/"v2"'], 304], ['weakened', 'native', ['If-None-Match', 'W/"v1", W/"v2"'], 304],
  ['weakened', 'native', ['If-None-Match', 'W/"v1"'], 200], ['weakened', 'native', ['If-Match', 'W/"v2"'], 200],
  ['weakened', 'native', ['If-Match', 'W/"v1"'], 412], ['weakened', 'plain', ['If-Match', `W/"${im()}"`], 200],
  ['weakened', 'plain', ['If-Match', `W/"${old}"`], 412],
  // A weak tag of the backend's keeps no copy alive that no write could name (R1).
  ['weakened', 'weak', ['If-None-Match', 'W/"v2"'], 200], ['weakened', 'weak', ['If-Match', 'W/"v2"'], 412],

  ['suffix', 'native', ['If-None-Match', '"v2-gzip"'], 304], ['suffix', 'native', ['If-None-Match', '"v1-gzip", "v2--br"'], 304],
  ['suffix', 'native', ['If-None-Match', '"v1-gzip"'], 200], ['suffix', 'coded', ['If-None-Match', '"v2-gzip"'], 304],
  ['suffix', 'coded', ['If-None-Match', '"v2"'], 200], ['suffix', 'native', ['If-Match', '"v2-gzip"'], 200],
  ['suffix', 'native', ['If-Match', '"v1-gzip"'], 412], ['suffix', 'plain', ['If-None-Match', `"${im(';gzip')}"`], 304], ['suffix', 'plain', ['If-None-Match', `"${im('-gzip')}"`], 304],
  ['suffix', 'weak', ['If-None-Match', '"v2-gzip"'], 200],

  ['unquoted', 'plain', ['If-None-Match', im()], 304], ['unquoted', 'plain', ['If-None-Match', old], 200],
  ['unquoted', 'native', ['If-None-Match', 'v2'], 304], ['unquoted', 'native', ['If-None-Match', 'v1'], 200],
  ['unquoted', 'native', ['If-Match', 'v2'], 200], ['unquoted', 'native', ['If-Match', 'v1'], 412],
  ['unquoted', 'weak', ['If-None-Match', 'v2'], 200],

  ['all', 'native', ['If-None-Match', 'W/"v2-gzip"'], 304], ['all', 'native', ['If-Match', 'v2-gzip'], 200],
  ['all', 'native', ['If-None-Match', 'W/v1-gzip'], 200],

  // Part of one version beside part of another is worse than the whole again: nothing is forgiven that was not exact.
  ['all', 'native', [...range, 'If-Range', '"v2"'], 206], ['all', 'native', [...range, 'If-Range', '"v1"'], 200],
  ['all', 'native', [...range, 'If-Range', '"v1-gzip"'], 200], ['all', 'native', [...range, 'If-Range', 'W/"v1"'], 200],
  ['all', 'native', [...range, 'If-Range', 'v1'], 200], ['all', 'weak', [...range, 'If-Range', 'W/"v2"'], 200],
  ['all', 'plain', [...range, 'If-Range', `W/"${im()}"`], 200], ['all', 'plain', [...range, 'If-Range', `W/"${old}"`], 200],
  // Offsets count octets of one coding: those of a compressed representation are none of the plain one (RFC 9110 14.2).
  ['all', 'native', [...range, 'If-Range', '"v2-gzip"'], 200], ['all', 'native', [...range, 'If-Range', 'W/"v2"'], 200],
];

t.test('what reads are answered with', async (t) => {
  const { ask } = await join(t);
  for (const [mode, kind, headers, status] of reads) {
    for (const method of status === 206 || headers.includes('Range') ? ['GET'] : ['GET', 'HEAD']) {
      const answer = await ask(mode, kind, method, headers);
      const title = `${mode}, ${kind}: ${method} with ${headers.join(': ')}`;
      t.equal(answer.status, status, title);
      const isWhole = status === 200 && method === 'GET';
      if (isWhole) t.equal(answer.body.toString(), content, `${title}: the whole`);
      const tag = { plain: synthetic, weak: synthetic, unsettled: synthetic }[kind] ?? kinds[kind]?.ETag;
      if (status !== 412) t.equal(answer.headers.etag, tag, `${title}: nothing of it comes back`);
    }
  }
});

t.test('a tag that stood still over a write stays barred, mangled or not (V7)', async (t) => {
  const { gate } = await join(t);
  const mangled = { weakened: 'W/"v2"', suffix: '"v2-gzip"', unquoted: 'v2', all: 'W/v2-gzip' } as const;
  for (const [mode, value] of Object.entries(mangled)) {
    const url = `${gate.url}/${mode}/native/barred`;
    const put = (headers: readonly string[]): Promise<Answer> => request(url, { method: 'PUT', headers, body: 'x' });
    await request(url);
    t.equal((await put(['If-Match', '*'])).status, 204);
    t.equal((await put([])).status, 204);
    const exact = await put(['If-Match', '"v2"']);
    t.equal((await put(['If-Match', value])).status, exact.status, `${mode}: as the exact one`);
  }
});

t.test('a mangled tag is a condition where one is required (W2)', async (t) => {
  const backend = await startBackend(t, handler);
  const policy = { guard: 'required', lenient: [...modes.all] } as const;
  const gate = await startGate(t, { upstream: backend.url, policy });
  const put = async (path: string, ...headers: string[]): Promise<number> =>
    (await request(gate.url + path, { method: 'PUT', headers, body: 'x' })).status;
  t.equal(await put('/a/native/1', 'If-Match', 'W/v2-gzip'), 204);
  t.equal(await put('/a/native/2', 'If-Match', 'W/v1-gzip'), 412);
  t.equal(await put('/a/native/3', 'If-None-Match', 'v1'), 428, 'does not say which version is to be replaced');
});

const signed = 'AWS4-HMAC-SHA256 Credential=k/20260101/r/s3/aws4_request, SignedHeaders=host;if-match, Signature=s';

// biome-ignore format: a table
const untouched: readonly (readonly [method: string, path: string, headers: readonly string[]])[] = [
  ['PUT', '/off/x', ['if-MATCH', 'W/v2-gzip', 'X-Other', '1', 'If-Match', '"v1"']],
  ['GET', '/off/x', ['If-None-Match', 'W/"v2-gzip"']],
  ['GET', '/x', ['If-None-Match', '"v2']],
  ['GET', '/x', ['if-none-match', '"v1"', 'If-None-Match', ' "v2"']],
  // A signature does not cover what the field would be changed into.
  ['PUT', '/signed', ['Authorization', signed, 'If-Match', 'v2']],
];

t.test('what is no business of the gate’s goes upstream as it came', async (t) => {
  const backend = await startBackend(t, ({ method }, response) => {
    const isRead = method === 'GET' || method === 'HEAD';
    response.writeHead(isRead ? 200 : 204, { ETag: '"v2"' }).end();
  });
  const policy = { lenient: [...modes.all], validator: { kind: 'upstream' as const } };
  const routes = [{ path: '/off/*', policy: { guard: 'off' as const } }];
  const gate = await startGate(t, { upstream: backend.url, policy, routes });
  for (const [method, path, headers] of untouched) {
    const answer = await request(gate.url + path, { method, headers, ...(method === 'PUT' && { body: 'x' }) });
    t.equal(answer.status, method === 'PUT' ? 204 : 200);
    const sent = backend.requests.at(-1)?.rawHeaders;
    t.same(conditionsOf(sent), conditionsOf(headers), `${method} ${path}: ${headers.join()}`);
  }
  await request(`${gate.url}/known`, { headers: ['Authorization', signed] });
  const headers = ['Authorization', signed, 'If-Match', 'v1'];
  const answer = await request(`${gate.url}/known`, { method: 'PUT', headers, body: 'x' });
  t.equal(answer.status, 412, 'signed or not, a stale write is refused');
  t.equal(backend.requests.at(-1)?.method, 'GET');
});

function conditionsOf(raw: readonly string[] = []): (string | undefined)[] {
  return raw.flatMap((name, index) => (index % 2 === 0 && /^if-/i.test(name) ? [name, raw[index + 1]?.trim()] : []));
}

import t from 'tap';
import {
  ask,
  hasApache,
  lock,
  lockInfo,
  makeFile,
  type Origin,
  propertyUpdate,
  startApache,
  type TagKind,
  type VersionedFile,
} from '../helpers/apache.js';
import { startGate } from '../helpers/gate.js';
import { hasLighttpd, startLighttpd } from '../helpers/lighttpd.js';
import { figures, hasLitmus, lines, runLitmus } from '../helpers/litmus.js';
import { hasNginx, startNginx } from '../helpers/nginx.js';

/**
 * WebDAV servers judge If-Match and `If` by their own tags, and compare the Destination of MOVE and COPY with Host. What
 * they can do alone they must still do behind the gate (R5, I7).
 */

t.test('litmus before Apache', async (t) => {
  if (!hasLitmus(t) || !hasApache(t)) return;
  const backend = await startApache(t);
  const gate = await startGate(t, { upstream: backend.url });
  const alone = await runLitmus(`${backend.url}/`);
  t.comment(figures('Apache alone', alone));
  t.same([alone.length, alone.filter(({ result }) => result !== 'pass')], [104, []], 'Apache passes all tests');
  const gated = await runLitmus(`${gate.url}/`);
  t.comment(figures('Apache through the gate', gated));
  t.same(lines(gated), lines(alone));
});

t.test('litmus before lighttpd', async (t) => {
  if (!hasLitmus(t) || !hasLighttpd(t) || !hasNginx(t)) return;
  const backend = await startLighttpd(t);
  const gate = await startGate(t, { upstream: backend.url });
  const nginx = await startNginx(t, () => ({
    server: `location / {
      proxy_pass ${backend.url};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
    }`,
  }));
  const proxied = await runLitmus(`${nginx.url}/`);
  t.comment(figures('lighttpd through nginx', proxied));
  t.equal(proxied.length, 104);
  const gated = await runLitmus(`${gate.url}/`);
  t.comment(figures('lighttpd through the gate', gated));
  t.same(lines(gated), lines(proxied));
});

/**
 * `If` fields and what becomes of a PUT with them (RFC 4918 10.4). HERE, PATH and OTHER are URLs, OTHERS the other one's
 * current tag. TOKEN is that of a lock on the file, which there is only where the row names it or says so.
 */
const conditions: readonly (readonly [field: string, status: number, locked?: 'locked'])[] = [
  ['([CURRENT])', 204],
  ['([STALE])', 412],
  ['(Not [STALE])', 204],
  ['(Not [CURRENT])', 412],
  ['(Not[STALE])', 204],
  ['([STALE]) ([CURRENT])', 204],
  ['([STALE])([STALE])', 412],
  ['([CURRENT][CURRENT])', 204],
  ['([CURRENT] [STALE])', 412],
  ['([CURRENT] Not [STALE])', 204],
  ['([STALE]) (Not <DAV:no-lock>)', 204],
  ['([STALE] Not <DAV:no-lock>)', 412],
  ['([CURRENT] <DAV:no-lock>)', 412],
  ['(<DAV:no-lock>) ([CURRENT])', 204],
  ['(Not <DAV:no-lock> [STALE])', 412],
  ['(Not <urn:x:[CURRENT]>)', 204],
  ['(["never seen"])', 412],
  ['([STALE] ["never seen"]) (Not ["never seen"])', 204],
  ['<HERE> ([CURRENT])', 204],
  ['<HERE> ([STALE])', 412],
  ['<HERE> (Not [STALE])', 204],
  ['<PATH> ([CURRENT])', 204],
  ['<PATH> ([STALE])', 412],
  ['<HERE> ([STALE]) ([CURRENT])', 204],
  ['<OTHER> ([OTHERS])', 204],
  ['<OTHER> ([CURRENT])', 204],
  ['<OTHER> (["never seen"]) <HERE> ([CURRENT])', 204],
  ['<OTHER> ([OTHERS]) <HERE> ([STALE])', 412],
  ['<OTHER> ([OTHERS]) <HERE> ([CURRENT])', 204],
  ['(<TOKEN>)', 204],
  ['(<TOKEN> [CURRENT])', 204],
  ['(<TOKEN> [STALE])', 412],
  ['([CURRENT] <TOKEN>)', 204],
  ['(<TOKEN> Not [STALE])', 204],
  ['(<TOKEN> Not [CURRENT])', 412],
  ['(Not <TOKEN> [CURRENT])', 412],
  ['(<TOKEN> [STALE]) (<TOKEN> [CURRENT])', 204],
  ['(<TOKEN> [STALE]) (Not <DAV:no-lock> [CURRENT])', 204],
  ['(<TOKEN> [STALE]) (Not <DAV:no-lock> [STALE])', 412],
  ['<HERE> (<TOKEN> [CURRENT])', 204],
  ['<HERE> (<TOKEN> [STALE])', 412],
  ['([CURRENT])', 423, 'locked'],
  ['([STALE])', 412, 'locked'],
];

/** Other methods, and what becomes of them where their `If` is true. */
const methods: readonly (readonly [method: string, status: number, body?: string])[] = [
  ['DELETE', 204],
  ['PROPPATCH', 207, propertyUpdate],
  ['LOCK', 200, lockInfo],
  ['MOVE', 204],
];

t.test('WebDAV before Apache', async (t) => {
  if (!hasApache(t)) return;
  const apache = await startApache(t);
  const gate = await startGate(t, { upstream: apache.url });
  const remembering = await startGate(t, { upstream: apache.url, policy: { recheck: Number.POSITIVE_INFINITY } });
  const settings = [
    ['Apache alone', apache, 'native'],
    ['its own tags through the gate', gate, 'native'],
    ["the gate's tags", gate, 'synthetic'],
  ] as const;
  const file = (origin: Origin, kind: TagKind) => makeFile(apache, origin, kind);
  const stored = async (path: string): Promise<string> => String((await ask(apache, 'GET', path)).body);

  t.test('the methods of WebDAV pass', async (t) => {
    const steps: readonly [method: string, path: string, headers: Record<string, string>, body?: string][] = [
      ['MKCOL', '/', {}],
      ['MKCOL', '/', {}],
      ['PUT', '/a', {}, 'content'],
      ['OPTIONS', '/a', {}],
      ['PROPPATCH', '/a', {}, propertyUpdate],
      ['PROPFIND', '/a', { Depth: '0' }, '<?xml version="1.0"?><propfind xmlns="DAV:"><propname/></propfind>'],
      ['PROPFIND', '/', { Depth: '1' }],
      ['COPY', '/a', { Destination: 'HERE/b' }],
      ['COPY', '/a', { Destination: 'PATH/c' }],
      ['COPY', '/a', { Destination: 'HERE/b', Overwrite: 'F' }],
      ['COPY', '/a', { Destination: 'http://elsewhere.examplePATH/d' }],
      ['COPY', '/a', {}],
      ['MOVE', '/b', { Destination: 'HERE/a' }],
      ['MOVE', '/b', { Destination: 'HERE/a' }],
      ['LOCK', '/a', { Timeout: 'Second-60' }, lockInfo],
      ['PUT', '/a', {}, 'without the token'],
      ['UNLOCK', '/a', { 'Lock-Token': '<TOKEN>' }],
      ['UNLOCK', '/a', { 'Lock-Token': '<TOKEN>' }],
      ['PUT', '/a', {}, 'with no lock'],
      ['REPORT', '/a', {}, '<?xml version="1.0"?><version-tree xmlns="DAV:"/>'],
      ['SEARCH', '/a', {}, '<?xml version="1.0"?><searchrequest xmlns="DAV:"/>'],
      ['DELETE', '/', {}],
    ];
    const answers = async (origin: Origin, folder: string): Promise<unknown[][]> => {
      const found: unknown[][] = [];
      let token = '';
      for (const [method, path, headers, body] of steps) {
        const words: Record<string, string> = { HERE: origin.url + folder, PATH: folder, TOKEN: token };
        const sent = Object.entries(headers).map(([name, value]) => [name, filled(value, words)]);
        const answer = await ask(origin, method, folder + path, Object.fromEntries(sent), body);
        token = String(answer.headers['lock-token'] ?? `<${token}>`).slice(1, -1);
        const { allow, dav, location, 'content-type': type } = answer.headers;
        const told = [method, path, answer.status, allow, dav, location, type, String(answer.body)];
        found.push(told.map((item) => (typeof item === 'string' ? steady(item, origin, folder, token) : item)));
      }
      return found;
    };
    const alone = await answers(apache, '/alone');
    t.same(await answers(gate, '/gated'), alone);
    t.same(
      alone.map(([, , status]) => status),
      [201, 405, 201, 200, 207, 207, 207, 201, 400, 412, 201, 400, 204, 404, 200, 423, 204, 400, 204, 501, 405, 204],
    );
  });

  for (const kind of ['synthetic', 'native'] as const) {
    t.test(`If-Match with ${kind} tags`, async (t) => {
      const { path, content, stale, current } = await file(gate, kind);
      t.same(
        [stale, current].map((tag) => tag.startsWith('"im-')),
        Array(2).fill(kind === 'synthetic'),
      );
      t.equal((await ask(gate, 'PUT', path, { 'If-Match': stale }, 'lost')).status, 412);
      t.equal(await stored(path), content, 'the stale PUT was not carried out');
      t.equal((await ask(gate, 'PUT', path, { 'If-Match': current }, 'new')).status, 204);
      t.equal(await stored(path), 'new');
      for (const method of ['COPY', 'MOVE']) {
        const { path, content, stale, current } = await file(gate, kind);
        const to = (tag: string) => ({ Destination: `${gate.url}${path}-to`, 'If-Match': tag });
        t.equal((await ask(gate, method, path, to(stale))).status, 412, `${method} with a stale tag`);
        t.equal((await ask(apache, 'GET', `${path}-to`)).status, 404, 'was not carried out');
        t.equal((await ask(gate, method, path, to(current))).status, 201, `${method} with the current tag`);
        t.equal(await stored(`${path}-to`), content);
        t.equal((await ask(apache, 'GET', path)).status, method === 'COPY' ? 200 : 404);
      }
    });

    t.test(`what was moved or copied over is stale, ${kind} tags`, async (t) => {
      for (const [name, origin] of [
        ['probed', gate],
        ['remembered', remembering],
      ] as const) {
        for (const method of ['COPY', 'MOVE']) {
          const [from, to] = [await file(origin, kind), await file(origin, kind)];
          const { status } = await ask(origin, method, from.path, { Destination: origin.url + to.path });
          t.equal(status, 204);
          const late = await ask(origin, 'PUT', to.path, { 'If-Match': to.current }, 'lost');
          t.equal(late.status, 412, `PUT to the destination after ${method}, ${name}`);
          t.equal(await stored(to.path), from.content);
          const { headers } = await ask(origin, 'GET', to.path);
          const next = await ask(origin, 'PUT', to.path, { 'If-Match': headers.etag ?? '' }, 'new');
          t.equal(next.status, 204, 'PUT with what was read there since');
          const gone = await ask(origin, 'PUT', from.path, { 'If-Match': from.current }, 'new');
          if (method === 'MOVE') t.equal(gone.status, 412, `PUT to the source after MOVE, ${name}`);
        }
      }
    });
  }

  t.test('writes to both ends of a MOVE at once', async (t) => {
    const move = (from: VersionedFile, to: VersionedFile, headers: Record<string, string> = {}) =>
      ask(gate, 'MOVE', from.path, { Destination: gate.url + to.path, ...headers });
    for (let pair = 0; pair < 20; pair += 1) {
      const [from, to] = [await file(gate, 'synthetic'), await file(gate, 'synthetic')];
      const update = ask(gate, 'PUT', to.path, { 'If-Match': to.current }, 'new');
      const [put, moved] = await Promise.all([update, move(from, to)]);
      t.equal(moved.status, 204);
      t.ok([204, 412].includes(put.status), `PUT: ${put.status}`);
      t.equal(await stored(to.path), from.content, 'the PUT came before the MOVE, or not at all');
    }
    const crossings = Array.from({ length: 10 }, async () => {
      const [a, b] = [await file(gate, 'synthetic'), await file(gate, 'synthetic')];
      const answers = [move(a, b, { 'If-Match': a.current }), move(b, a, { 'If-Match': b.current })];
      return (await Promise.all(answers)).map(({ status }) => status).sort();
    });
    for (const statuses of await Promise.all(crossings)) t.same(statuses, [204, 412], 'two that cross: one goes');
  });

  /** What becomes of a PUT with this `If`. */
  async function put(origin: Origin, kind: TagKind, [field, , locked]: (typeof conditions)[number]) {
    const here = await file(origin, kind);
    const other = field.includes('OTHER') ? await file(origin, kind) : here;
    const words: Record<string, string> = {
      HERE: origin.url + here.path,
      PATH: here.path,
      CURRENT: here.current,
      STALE: here.stale,
      OTHER: origin.url + other.path,
      OTHERS: other.current,
      TOKEN: locked || field.includes('TOKEN') ? await lock(origin, here.path) : '',
    };
    const { status } = await ask(origin, 'PUT', here.path, { If: filled(field, words) }, 'new');
    return { status, isCarriedOut: (await stored(here.path)) === 'new' };
  }

  for (const [name, origin, kind] of settings) {
    t.test(`If on PUT, ${name}`, async (t) => {
      for (const row of conditions) {
        const [field, status] = row;
        t.same(await put(origin, kind, row), { status, isCarriedOut: status === 204 }, field);
      }
    });
  }

  t.test('If on other methods', async (t) => {
    for (const [name, origin, kind] of settings) {
      for (const [method, status, body] of methods) {
        const [here, other] = [await file(origin, kind), await file(origin, kind)];
        const send = (tag: string) => {
          const If = `<${origin.url}${here.path}> ([${tag}])`;
          return ask(origin, method, here.path, { If, Destination: origin.url + other.path }, body);
        };
        t.equal((await send(here.stale)).status, 412, `${method}, stale, ${name}`);
        t.equal((await send(here.current)).status, status, `${method}, current, ${name}`);
      }
      const [from, to] = [await file(origin, kind), await file(origin, kind)];
      const onto = (tag: string) => ({ Destination: origin.url + to.path, If: `<${origin.url + to.path}> ([${tag}])` });
      t.equal((await ask(origin, 'MOVE', from.path, onto(to.stale))).status, 412, `the destination is stale, ${name}`);
      t.equal(await stored(to.path), to.content);
      t.equal((await ask(origin, 'MOVE', from.path, onto(to.current))).status, 204, `it is current, ${name}`);
    }
  });

  t.test('If with weak tags', async (t) => {
    for (const [name, origin] of [
      ['Apache alone', apache],
      ['through the gate', gate],
    ] as const) {
      const { path, current } = await file(apache, 'synthetic');
      t.match(current, /^W\//, 'Apache has a weak one for what is young');
      const put = async (If: string) => (await ask(origin, 'PUT', path, { If }, 'new')).status;
      t.equal(await put(`([${current.replace('"', '"1')}])`), 412, `another, ${name}`);
      t.equal(await put(`([${current}])`), 204, `the current one, ${name}`);
    }
    const { path, current } = await file(gate, 'synthetic');
    const { status } = await ask(gate, 'PUT', path, { If: `([W/${current}])` }, 'lost');
    t.equal(status, 412, "the gate's tags are strong");
  });

  t.test('writers with one tag at once', async (t) => {
    const { path, current } = await file(gate, 'synthetic');
    const token = await lock(gate, path);
    const If = `(<${token}> [${current}])`;
    const writers = Array.from({ length: 8 }, (_, index) => ask(gate, 'PUT', path, { If }, `by writer ${index}`));
    const statuses = (await Promise.all(writers)).map(({ status }) => status).sort();
    t.same(statuses, [204, ...Array(7).fill(412)], 'one of them writes');
  });

  for (const method of ['PROPFIND', 'REPORT', 'SEARCH', 'COPY', 'LOCK', 'UNLOCK']) {
    t.test(`${method} leaves the tag of what it does not change good`, async (t) => {
      for (const kind of ['synthetic', 'native'] as const) {
        const { path, current } = await file(gate, kind);
        const token = method === 'UNLOCK' ? await lock(apache, path) : '';
        const fields = { Destination: `${gate.url}${path}-copy`, Depth: '0', 'Lock-Token': `<${token}>` };
        const { headers } = await ask(gate, method, path, fields, method === 'LOCK' ? lockInfo : undefined);
        const given = headers['lock-token'];
        const condition = { 'If-Match': current, ...(typeof given === 'string' && { If: `(${given})` }) };
        t.equal((await ask(gate, 'PUT', path, condition, 'new')).status, 204, `PUT afterwards, ${kind} tags`);
      }
    });
  }
});

/** A field of a table, with what its words in capitals stand for. */
function filled(field: string, words: Readonly<Record<string, string>>): string {
  return field.replaceAll(/[A-Z]{4,}/g, (word) => words[word] ?? word);
}

/** Without what differs between two runs: tags and times, namespaces (in no order), lock tokens, addresses, folders. */
function steady(text: string, origin: Origin, folder: string, token: string): string {
  return text
    .replaceAll(/(getetag|getlastmodified|creationdate)>[^<]*</g, '$1>…<')
    .replaceAll(/ xmlns:\w+="[^"]*"/g, '')
    .replaceAll(/\bns\d:/g, 'ns:')
    .replaceAll(token === '' ? '(none)' : token, 'TOKEN')
    .replaceAll(origin.url, 'ORIGIN')
    .replaceAll(folder, '/FOLDER')
    .replaceAll(new URL(origin.url).port, 'PORT');
}

import t from 'tap';
import { begun, type DavScene, type DavSettings, startDavScene } from '../helpers/dav-scene.js';

/** What a review found that tried to write past the gate by way of Destination and `If` (I4, I6, I7, R5). */

const never: DavSettings['policy'] = { recheck: Number.POSITIVE_INFINITY };
const old = '"im-AAAAAAAAAAAAAAAAAAAAAA"';

const seen = ({ backend }: DavScene): string[] => backend.requests.map(({ method, url }) => `${method} ${url}`);

t.test('I6: what `If` names is read only where it could be written', async (t) => {
  const scene = await startDavScene(t, { base: '/api' });
  for (const url of [
    '/b?_method=DELETE',
    '/api/../admin',
    '/%61pi/b',
    '/API/b',
    '/api/../api/b',
    '/api;x=1/b',
    '//b',
  ]) {
    const answer = await scene.ask('PUT', '/a', { If: `<${url}> ([${old}])` }, 'a2');
    t.equal(answer.status, 400, url);
  }
  t.same(seen(scene), [], 'nothing was asked for');
  t.equal((await scene.ask('LOCK', '/a', { If: `</api/b> (Not [${old}])` })).status, 200);
  t.same(seen(scene), ['GET /api/b', 'GET /api/b', 'LOCK /api/a']);
});

t.test('I7: a Destination below the base path counts as the target would, or is refused', async (t) => {
  const rows: [destination: string, status: number][] = [
    ['/b', 204],
    ['/api/b', 204],
    ['/api//b', 204],
    ['/%61pi/b', 400],
    ['/api/../api/b', 400],
    ['/x/../api/b', 400],
    ['/./api/b', 400],
    ['/API/b', 400],
    ['/api;x=1/b', 400],
    ['/api%2Fb', 400],
    ['/api/../../b', 400],
  ];
  for (const [destination, status] of rows) {
    const scene = await startDavScene(t, { base: '/api', policy: never, answers: { 'MOVE /a': { status: 204 } } });
    const tag = await scene.tagOf('/b');
    t.equal((await scene.ask('MOVE', '/a', { Destination: destination })).status, status, destination);
    scene.stored.set('/b', 'moved');
    if (status !== 204) t.same(scene.writes(), [], 'nothing is forwarded');
    else t.equal((await scene.ask('PUT', '/b', { 'If-Match': tag }, 'b2')).status, 412, 'what was known is void');
  }
});

t.test('I7: no octet of a Destination is lost', async (t) => {
  const scene = await startDavScene(t, { policy: never });
  scene.stored.set('/%C3%A0', 'old');
  const tag = await scene.tagOf('/%C3%A0');
  t.equal((await scene.ask('MOVE', '/a', { Destination: '/\xc3\xa0' })).status, 201);
  scene.stored.set('/%C3%A0', 'moved');
  t.equal((await scene.ask('PUT', '/%C3%A0', { 'If-Match': tag }, 'x')).status, 412);
  for (const odd of ['\xa0//b', '/b\xa0/../c d', 'http://h/b, http://h/c']) {
    t.equal((await scene.ask('MOVE', '/b', { Destination: odd })).status, 400, odd);
  }
});

t.test('R5: a stale tag of Destination is refused, whatever the upstream makes of it', async (t) => {
  for (const method of ['MOVE', 'COPY']) {
    const scene = await startDavScene(t);
    const b = await scene.tagOf('/b');
    scene.stored.set('/b', 'somebody else was here');
    const answer = await scene.ask(method, '/a', { Destination: '/b', If: `</b> ([${b}])` });
    t.equal(answer.status, 412);
    t.equal(scene.stored.get('/b'), 'somebody else was here');
  }
});

t.test('W8: a write without a lease between check and forwarding is noticed at each resource', async (t) => {
  const scene = await startDavScene(t);
  const [a, b] = [await scene.tagOf('/a'), await scene.tagOf('/b')];
  // The tag of the destination is checked first.
  const release = scene.hold('GET');
  const headers = { Destination: '/b', If: `</b> ([${b}]) </a> ([${old}])` };
  const copying = scene.ask('COPY', '/a', headers);
  const count = scene.backend.requests.length;
  await scene.backend.arrived(count + 1);
  await scene.ask('POST', '/b');
  scene.stored.set('/b', 'posted');
  release();
  t.equal((await copying).status, 412, 'and decided again');
  t.equal(scene.stored.get('/b'), 'posted');
  t.ok(a);
});

t.test('I4, I7: with a method override nobody knows which of the two it is', async (t) => {
  const rows: [method: string, override: string][] = [
    ['MOVE', 'PUT'],
    ['MOVE', 'DELETE'],
    ['MOVE', 'COPY'],
    ['PUT', 'COPY'],
    ['POST', 'MOVE'],
    ['COPY', 'PATCH'],
  ];
  for (const [method, override] of rows) {
    const scene = await startDavScene(t, { policy: never, answers: { [`${method} /a`]: { status: 204 } } });
    const [a, b] = [await scene.tagOf('/a'), await scene.tagOf('/b')];
    await scene.ask(method, '/a', { Destination: '/b', 'X-HTTP-Method-Override': override }, 'a2');
    for (const path of ['/a', '/b']) scene.stored.set(path, 'changed');
    for (const [path, tag] of [
      ['/a', a],
      ['/b', b],
    ] as const) {
      t.equal(
        (await scene.ask('PUT', path, { 'If-Match': tag }, 'x')).status,
        412,
        `${method} as ${override}: ${path}`,
      );
    }
  }
});

t.test(
  'W10: what an answer names is in doubt after COPY, and after a write with tags of another resource',
  async (t) => {
    const answers = {
      'COPY /a': { status: 201, fields: { Location: '/c' } },
      'PUT /a': { status: 201, fields: { 'Content-Location': '/c' } },
    };
    for (const [method, headers] of [
      ['COPY', { Destination: '/b' }],
      ['PUT', { If: `</b> (Not [${old}])` }],
    ] as const) {
      const scene = await startDavScene(t, { policy: never, answers });
      scene.stored.set('/c', 'c1');
      const c = await scene.tagOf('/c');
      t.equal((await scene.ask(method, '/a', headers, 'x')).status, 201);
      scene.stored.set('/c', 'c2');
      t.equal((await scene.ask('PUT', '/c', { 'If-Match': c }, 'x')).status, 412, method);
    }
  },
);

t.test('R5: a write with tags of another resource is decided again behind its own mark, and no more', async (t) => {
  const scene = await startDavScene(t);
  const b = await scene.tagOf('/b');
  const before = scene.backend.requests.length;
  t.equal((await scene.ask('PUT', '/a', { If: `</b> ([${b}])` }, 'a2')).status, 204);
  t.same(seen(scene).slice(before, before + 3), ['GET /b', 'GET /b', 'PUT /a']);
});

t.test('R5: what cannot be told of another resource is false, and nothing of it is shown', async (t) => {
  const answers = {
    'GET /secret': { status: 403, fields: { 'Set-Cookie': 'secret=1' } },
    'GET /odd': { status: 302, fields: { Location: '/elsewhere' } },
  };
  const scene = await startDavScene(t, { answers });
  const a = await scene.tagOf('/a');
  for (const path of ['/secret', '/odd']) {
    const answer = await scene.ask(
      'PUT',
      '/a',
      { If: `</a> ([${a}]) <${path}> ([${old}]) <${path}> (Not [${old}])` },
      'a1',
    );
    t.equal(answer.status, 204, path);
    t.equal(answer.headers['set-cookie'], undefined);
    const put = scene.backend.requests.filter(({ method }) => method === 'PUT').at(-1);
    t.equal(put?.headers.if, `</a> (Not <DAV:no-lock>) <${path}> (<DAV:no-lock>) <${path}> (<DAV:no-lock>)`);
  }
  const unquoted = await scene.ask('PUT', '/a', { If: `([${old.slice(1, -1)}])` }, 'x');
  t.equal(unquoted.status, 400, 'a tag that lost its quotes');
  // Where it decides, a 412 would be a loop that the client cannot win (W5).
  const moving = await scene.ask('MOVE', '/a', { Destination: '/secret', If: `</secret> ([${old}])` });
  t.equal(moving.status, 502);
  t.match(JSON.parse(moving.body.toString()), { type: /version-unknown$/, precondition: 'If' });
  // Of its own resource the client is told.
  t.equal((await scene.ask('PUT', '/secret', { If: `([${old}])` }, 'x')).status, 403);
  t.equal((await scene.ask('PUT', '/odd', { If: `([${old}])` }, 'x')).status, 502);
});

t.test('W7: a refusal leaves what is known', async (t) => {
  const scene = await startDavScene(t, { policy: never });
  const b = await scene.tagOf('/b');
  const stale = { 'If-Match': '"stale"' };
  t.equal((await scene.ask('COPY', '/a', { Destination: '/b', ...stale })).status, 412);
  t.equal((await scene.ask('PUT', '/b', { If: `</c> (Not [${old}])`, ...stale }, 'x')).status, 412);
  const before = scene.backend.requests.length;
  t.equal((await scene.ask('PUT', '/b', { 'If-Match': b }, 'b2')).status, 204);
  t.same(seen(scene).slice(before, before + 1), ['PUT /b'], 'no probe');
});

t.test('R5: what hangs is not asked for again and again', async (t) => {
  const scene = await startDavScene(t, { policy: { timeouts: { upstreamTimeout: 100 }, refresh: 'never' } });
  const release = scene.hold('GET');
  const named = ['/c', '/d', '/e', '/f'].map((path) => `<${path}> ([${old}])`).join(' ');
  t.equal((await scene.ask('PUT', '/a', { If: `${named} </g> (<urn:x>)` }, 'x')).status, 204);
  t.same(seen(scene), ['GET /c', 'GET /c', 'PUT /a'], 'once for each decision');
  release();
});

t.test('R5: what one `If` may cost', async (t) => {
  const scene = await startDavScene(t);
  const tags = (count: number) =>
    Array.from({ length: count }, (_, index) => `["im-${String(index).padStart(22, 'A')}"]`);
  t.equal((await scene.ask('PUT', '/a', { If: `(${tags(17).join(' ')})` }, 'x')).status, 400);
  t.same(seen(scene), []);
  t.equal((await scene.ask('PUT', '/a', { If: `(${tags(16).join(' ')})` }, 'x')).status, 412);
  t.same(seen(scene), ['GET /a'], 'one read serves for all');
  t.equal((await scene.ask('PUT', '/a', { If: '(Not ["im-none"])' }, 'a2')).status, 204);
  t.same(seen(scene).slice(1, 2), ['PUT /a'], 'what is no tag of the gate’s needs none');
});

t.test('R5: signatures, routes that are not guarded, mangled tags, other URLs', async (t) => {
  const scene = await startDavScene(t, { policy: { lenient: ['gzip-suffix'] } });
  const a = await scene.tagOf('/a');
  const signed = 'AWS4-HMAC-SHA256 Credential=K/20260102/r/s/aws4_request, SignedHeaders=host;if, Signature=x';
  const knows = { Authorization: signed, If: `([${a}] <urn:l>)` };
  t.equal((await scene.ask('PUT', '/a', knows, 'x')).status, 502, 'the signature would break');
  t.equal((await scene.ask('PUT', '/a', { If: `([${a.slice(0, -1)};gzip"])` }, 'a1')).status, 204);
  scene.stored.set('/a?lang=de', 'deutsch');
  const german = await scene.tagOf('/a?lang=de');
  t.equal(
    (await scene.ask('PUT', '/a', { If: `</a?lang=de> ([${german}])` }, 'a1')).status,
    204,
    'read where it was issued',
  );
  t.equal((await scene.ask('PUT', '/a', { If: `</a?lang=de> ([${a}])` }, 'a1')).status, 412);

  const routes = [{ path: '/a', policy: { guard: 'off' as const } }];
  const half = await startDavScene(t, { routes });
  const b = await half.tagOf('/b');
  half.stored.set('/b', 'b2');
  t.equal((await half.ask('MOVE', '/a', { Destination: '/b', If: `</b> ([${b}])` })).status, 412);
  t.equal((await half.ask('MOVE', '/a', { Destination: '/b', If: `</b> (Not [${b}])` })).status, 204);
});

t.test('W14: weakened tags of the gate go no further either', async (t) => {
  const scene = await startDavScene(t, { policy: { mode: 'report' } });
  t.equal((await scene.ask('PUT', '/a', { 'If-Match': `W/${old}` }, 'x')).status, 204);
  t.equal(scene.backend.requests.at(-1)?.headers['if-match'], undefined);
});

t.test('I5: where hosts tell resources apart, a tag is read at its own', async (t) => {
  const scene = await startDavScene(t, {
    config: {
      identity: {
        ...{ caseSensitive: false, trailingSlash: false, duplicateSlashes: false, pathParams: false },
        ...{ host: true, pathHeaders: 'drop' },
      },
    },
  });
  await scene.ask('PUT', '/a', { Host: 'a.example', If: `<http://b.example/b> (Not [${old}])` }, 'x');
  t.same(scene.backend.requests.map(({ method, headers }) => `${method} ${headers.host}`).slice(0, 3), [
    'GET b.example',
    'GET b.example',
    'PUT a.example',
  ]);
});

t.test('W3: nobody waits for a lease that was not given back', async (t) => {
  const scene = await startDavScene(t, { answers: { 'COPY /a': { status: 500 } } });
  const copying = scene.ask('COPY', '/a', { Destination: '/b' });
  await begun(scene, 'COPY');
  await copying;
  t.equal((await scene.ask('PUT', '/b', {}, 'x')).status, 204);
  t.equal((await scene.ask('PUT', '/a', {}, 'x')).status, 204);
});

import t from 'tap';
import { request } from '../helpers/client.js';
import { begun, startDavScene } from '../helpers/dav-scene.js';

/** What MOVE, COPY and the `If` field mean for the gate (I7, R5). */

t.test('I7: what MOVE and COPY write waits for them', async (t) => {
  for (const method of ['MOVE', 'COPY']) {
    const scene = await startDavScene(t);
    const tag = await scene.tagOf('/b');
    const release = scene.hold(method);
    const moving = scene.ask(method, '/a', { Destination: `${scene.url}/%62` });
    await begun(scene, method);
    const writing = scene.ask('PUT', '/b', { 'If-Match': tag }, 'b2');
    // Another resource is nobody's business: its write is through before the one that waits.
    await scene.ask('PUT', '/c', {}, 'c1');
    t.same(scene.writes(), [`${method} /a`, 'PUT /c'], 'the write of the destination waits');
    release();
    t.equal((await moving).status, 204);
    t.equal((await writing).status, 412, `and ${method} was faster`);
    t.same(scene.writes(), [`${method} /a`, 'PUT /c']);
  }
});

t.test('I7: MOVE and COPY wait for what is written', async (t) => {
  for (const [method, busy] of [
    ['MOVE', '/a'],
    ['MOVE', '/b'],
    ['COPY', '/b'],
  ] as const) {
    const scene = await startDavScene(t);
    const tag = await scene.tagOf(busy);
    const release = scene.hold('PUT');
    const writing = scene.ask('PUT', busy, { 'If-Match': tag }, 'new');
    await begun(scene, 'PUT');
    const moving = scene.ask(method, '/a', { Destination: '/b' });
    await scene.ask('POST', '/c');
    t.same(scene.writes(), [`PUT ${busy}`, 'POST /c'], `${method} waits`);
    release();
    t.equal((await writing).status, 204);
    t.equal((await moving).status, 204);
    t.same(scene.writes(), [`PUT ${busy}`, 'POST /c', `${method} /a`]);
  }
});

t.test('I7: two MOVEs into each other do not wait for each other for ever', async (t) => {
  const scene = await startDavScene(t);
  const tags = await Promise.all(['/a', '/b'].map((path) => scene.tagOf(path)));
  const answers = await Promise.all([
    scene.ask('MOVE', '/a', { Destination: '/b', 'If-Match': tags[0] ?? '' }),
    scene.ask('MOVE', '/b', { Destination: '/a', 'If-Match': tags[1] ?? '' }),
  ]);
  t.same(answers.map(({ status }) => status).sort(), [204, 412], 'one of them was faster');
  t.equal(scene.stored.size, 1);
});

t.test('I7: both are in doubt after MOVE, the destination alone after COPY', async (t) => {
  for (const native of [false, true]) {
    const policy = { recheck: Number.POSITIVE_INFINITY };
    const scene = await startDavScene(t, { native, policy });
    const [a, b] = [await scene.tagOf('/a'), await scene.tagOf('/b')];
    t.equal((await scene.ask('COPY', '/a', { Destination: '/b' })).status, 204);
    t.equal((await scene.ask('PUT', '/b', { 'If-Match': b }, 'b2')).status, 412, 'what was known of b is void');
    t.equal((await scene.ask('PUT', '/a', { 'If-Match': a }, 'a1')).status, 204, 'a is as it was');
    const again = await startDavScene(t, { native, policy });
    const before = [await again.tagOf('/a'), await again.tagOf('/b')] as const;
    t.equal((await again.ask('MOVE', '/a', { Destination: '/b' })).status, 204);
    t.equal((await again.ask('PUT', '/a', { 'If-Match': before[0] }, 'a2')).status, 412, 'there is no a any more');
    t.equal((await again.ask('PUT', '/b', { 'If-Match': before[1] }, 'b2')).status, 412, 'b is another');
  }
});

t.test('I7: its conditions are about what is moved', async (t) => {
  const scene = await startDavScene(t);
  const [a, b] = [await scene.tagOf('/a'), await scene.tagOf('/b')];
  t.equal((await scene.ask('MOVE', '/a', { Destination: '/b', 'If-Match': b })).status, 412);
  t.same(scene.writes(), []);
  t.equal((await scene.ask('MOVE', '/a', { Destination: '/b', 'If-Match': a })).status, 204);
  t.equal(scene.stored.get('/b'), 'a1');
});

t.test('I7: under guard required MOVE needs a condition where `methods` names it', async (t) => {
  const plain = await startDavScene(t, { policy: { guard: 'required' } });
  t.equal((await plain.ask('MOVE', '/a', { Destination: '/b' })).status, 204);
  const named = await startDavScene(t, { policy: { guard: 'required', methods: ['MOVE'] } });
  t.equal((await named.ask('MOVE', '/a', { Destination: '/b' })).status, 428);
});

t.test('I7: a destination that is guarded is, wherever the rest comes from', async (t) => {
  const routes = [{ path: '/a', policy: { guard: 'off' as const } }];
  const scene = await startDavScene(t, { routes, policy: { recheck: Number.POSITIVE_INFINITY } });
  const tag = await scene.tagOf('/b');
  t.equal((await scene.ask('MOVE', '/a', { Destination: '/b', 'If-Match': '"of the backend"' })).status, 204);
  t.equal(scene.backend.requests.at(-1)?.headers['if-match'], '"of the backend"', 'not the gate’s to judge');
  t.equal((await scene.ask('PUT', '/b', { 'If-Match': tag }, 'b2')).status, 412);
});

t.test('I6, I7: a Destination that could be read in two ways is refused', async (t) => {
  const scene = await startDavScene(t);
  const rows: [destination: string, reason: RegExp][] = [
    ['//b', /begins with/],
    ['b', /begins with neither/],
    ['*', /neither a URL/],
    ['http://h/b#c', /fragment/],
    ['/x/../../b', /climbs/],
    ['/x/..;/b', /parameters/],
    ['/x\\b', /backslash/],
    ['ftp://h/b', /begins with neither/],
    ['http://me:secret@h/b', /user information/],
  ];
  for (const [destination, reason] of rows) {
    const answer = await scene.ask('MOVE', '/a', { Destination: destination });
    t.equal(answer.status, 400, destination);
    const problem = JSON.parse(answer.body.toString()) as { type: string; detail: string };
    t.match(problem.type, /ambiguous-target$/);
    t.match(problem.detail, reason, destination);
  }
  const twice = await request(`${scene.url}/a`, {
    method: 'COPY',
    headers: ['Destination', '/b', 'destination', '/c'],
  });
  t.equal(twice.status, 400);
  t.same(scene.writes(), [], 'nothing was forwarded');
  t.equal((await scene.ask('MOVE', '/a')).status, 201, 'to refuse one without Destination is for the upstream');
  t.equal((await scene.ask('PUT', '/a', { Destination: 'what nobody reads' }, 'a')).status, 201);
});

t.test('R5: tags of the gate in `If` are told to the upstream as true or false', async (t) => {
  const scene = await startDavScene(t);
  const [a, b] = [await scene.tagOf('/a'), await scene.tagOf('/b')];
  const old = '"im-AAAAAAAAAAAAAAAAAAAAAA"';
  const yes = 'Not <DAV:no-lock>';
  const no = '<DAV:no-lock>';
  const rows: [sent: string, told: string][] = [
    [`([${a}])`, `(${yes})`],
    [`([${old}] <urn:l>) (<urn:l>)`, `(${no} <urn:l>) (<urn:l>)`],
    [`(Not [${a}]) (<urn:l>)`, `(${no}) (<urn:l>)`],
    [`(Not [${old}])`, `(${yes})`],
    [`(<urn:l> [${a}])`, '(<urn:l> )'],
    [`(<urn:l> [${old}]) (Not <DAV:no-lock> [${a}])`, `(<urn:l> ${no}) (Not <DAV:no-lock> )`],
    [`([W/${a}]) (<urn:l>)`, `(${no}) (<urn:l>)`],
    [`([${a.slice(0, -1)}-gzip"])`, `(${yes})`],
    [`(["native"] [${a}])`, '(["native"] )'],
    [`</a> ([${a}]) </b> ([${b}])`, `</a> (${yes}) </b> (${yes})`],
    [`<${scene.url}/b> (<urn:l> [${a}]) (<urn:l>)`, `<${scene.url}/b> (<urn:l> ${no}) (<urn:l>)`],
    [`</nowhere> ([${a}]) (Not [${a}])`, `</nowhere> (${no}) (${yes})`],
    // What has no tag of the gate's is the upstream's to judge, readable or not.
    ['(["native"])', '(["native"])'],
    ['(<urn:l>', '(<urn:l>'],
  ];
  for (const [sent, told] of rows) {
    const answer = await scene.ask('PUT', '/a', { If: sent }, 'a1');
    t.equal(answer.status, 204, sent);
    t.equal(scene.backend.requests.filter(({ method }) => method === 'PUT').at(-1)?.headers.if, told, sent);
  }
  for (const stale of [
    `([${old}])`,
    `(Not [${a}])`,
    `([W/${a}])`,
    `([${a}] [${old}])`,
    `(<urn:l> [${old}]) (Not <DAV:no-lock> Not [${a}])`,
    `</b> ([${a}]) </a> ([${b}])`,
  ]) {
    const answer = await scene.ask('PUT', '/a', { If: stale }, 'a2');
    t.equal(answer.status, 412, `not every upstream looks at If: ${stale}`);
    t.match(JSON.parse(answer.body.toString()), { precondition: 'If', received: [stale], detail: /No list in If/ });
  }
  const unread = await scene.ask('PUT', '/a', { If: `([${a}]` }, 'a2');
  t.equal(unread.status, 400);
  t.match(JSON.parse(unread.body.toString()), { precondition: 'If', detail: /position \d+/ });
  t.equal((await scene.ask('PUT', '/a', { If: `<//b> ([${a}])` }, 'a2')).status, 400);
  t.equal(scene.stored.get('/a'), 'a1');
});

t.test('R5: any method is guarded by such a tag, and waits in line', async (t) => {
  const scene = await startDavScene(t);
  const tag = await scene.tagOf('/a');
  const release = scene.hold('PUT');
  const writing = scene.ask('PUT', '/a', { 'If-Match': tag }, 'a2');
  await begun(scene, 'PUT');
  const locking = scene.ask('LOCK', '/a', { If: `([${tag}]) (<urn:l>)` });
  await scene.ask('POST', '/c');
  t.same(scene.writes(), ['PUT /a', 'POST /c']);
  release();
  t.equal((await writing).status, 204);
  await locking;
  const lock = scene.backend.requests.find(({ method }) => method === 'LOCK');
  t.equal(lock?.headers.if, '(<DAV:no-lock>) (<urn:l>)', 'stale by the time that it was decided');
});

t.test('R5: `If` beside other conditions, weakened tags, report mode', async (t) => {
  const scene = await startDavScene(t, { policy: { lenient: ['weakened'] } });
  const tag = await scene.tagOf('/a');
  const ifOfLast = () => scene.backend.requests.filter(({ method }) => method === 'PUT').at(-1)?.headers.if;
  t.equal((await scene.ask('PUT', '/a', { If: `([W/${tag}])`, 'If-Match': tag }, 'a1')).status, 204);
  t.equal(ifOfLast(), '(Not <DAV:no-lock>)');
  t.equal((await scene.ask('PUT', '/a', { If: `([${tag}])`, 'If-Match': '"x"' }, 'a2')).status, 412);
  const reports = await startDavScene(t, { policy: { mode: 'report' } });
  const reported = await reports.ask('PUT', '/a', { If: '(["im-AAAAAAAAAAAAAAAAAAAAAA"] <urn:l>)' }, 'a2');
  t.equal(reported.status, 204);
  t.equal(reported.headers['ifmatch-report'], '412; if');
  t.equal(reports.backend.requests.at(-1)?.headers.if, '(<urn:l>)', 'refuses nothing');
});

t.test('R5: what is tagged is leased, but not written', async (t) => {
  const scene = await startDavScene(t, { native: true, policy: { recheck: Number.POSITIVE_INFINITY } });
  const b = await scene.tagOf('/b');
  const foreign = '"im-AAAAAAAAAAAAAAAAAAAAAA"';
  const release = scene.hold('PUT');
  const writing = scene.ask('PUT', '/a', { If: `</b> (Not [${foreign}])` }, 'a2');
  await begun(scene, 'PUT');
  const other = scene.ask('PUT', '/b', { 'If-Match': b }, 'b1');
  await scene.ask('POST', '/c');
  t.same(scene.writes(), ['PUT /a', 'POST /c'], 'the write of the tagged resource waits');
  release();
  t.equal((await writing).status, 204);
  t.equal((await other).status, 204, 'and its tag is as good as it was');
});

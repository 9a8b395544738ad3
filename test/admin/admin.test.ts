import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { type Handler, startBackend } from '../helpers/backend.js';
import { type RequestOptions, rawRequest, request } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { eventually } from '../helpers/eventually.js';
import { type GateSettings, type RunningGate, startGate } from '../helpers/gate.js';
import { rawClient } from '../helpers/raw.js';

type Line = Readonly<Record<string, unknown>>;

/** Reads have the version `"n"`, writes give another representation nobody asks for. */
const native: Handler = ({ method }, response) => {
  response.writeHead(method === 'GET' || method === 'HEAD' ? 200 : 204, { ETag: '"n"' });
  response.end(method === 'GET' ? 'content' : undefined);
};

/** What an operator gets to see of a gate. */
interface Watched extends RunningGate {
  /** Log lines about requests so far. */
  readonly decisions: readonly Line[];
  readonly lines: readonly Line[];
  ask(method: string, path: string, options?: Omit<RequestOptions, 'method'>): Promise<number>;
  metrics(): Promise<string>;
}

async function watch(t: Test, handler: Handler, settings: Omit<GateSettings, 'upstream'> = {}): Promise<Watched> {
  const backend = await startBackend(t, handler);
  return watchBefore(t, { ...settings, upstream: backend.url });
}

async function watchBefore(t: Test, settings: GateSettings): Promise<Watched> {
  const lines: Line[] = [];
  const gate = await startGate(t, { ...settings, onLog: (line) => lines.push(line) });
  return {
    ...gate,
    lines,
    get decisions() {
      return lines.filter(({ requestId }) => requestId !== undefined);
    },
    ask: async (method, path, options) => (await request(gate.url + path, { ...options, method })).status,
    metrics: async () => (await request(`${gate.adminUrl}/metrics`)).body.toString(),
  };
}

/** What comes at an answer's end is there soon after its client has it. */
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let count = 0; count < 2000; count += 1) {
    if (await holds()) return;
    await turn();
  }
  throw new Error('it did not come');
}

t.test('/healthz and /readyz (O1)', async (t) => {
  const upstream = createServer((socket) => socket.destroy()).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const { port } = upstream.address() as AddressInfo;
  const clock = createVirtualClock();
  const { adminUrl } = await watchBefore(t, { upstream: `http://127.0.0.1:${port}`, clock });
  const ready = async () => {
    const answer = await request(`${adminUrl}/readyz`);
    t.equal(answer.headers['cache-control'], 'no-store');
    return [answer.status, JSON.parse(answer.body.toString()).status];
  };
  t.same(await ready(), [200, 'ready']);
  upstream.close();
  await once(upstream, 'close');
  clock.advance(1900);
  t.same(await ready(), [200, 'ready'], 'asked less than two seconds ago');
  clock.advance(200);
  t.same(await ready(), [503, 'upstream unreachable']);
  upstream.listen(port, '127.0.0.1');
  await once(upstream, 'listening');
  t.teardown(() => upstream.close());
  clock.advance(1900);
  t.same(await ready(), [503, 'upstream unreachable'], 'that counts as long');
  clock.advance(200);
  t.same(await ready(), [200, 'ready']);
  t.equal((await request(`${adminUrl}/healthz`)).status, 200);
  t.equal((await request(`${adminUrl}/nothing`)).status, 404);
});

t.test('draining takes as long as it may, and no longer (O5)', async (t) => {
  const clock = createVirtualClock();
  const backend = await startBackend(t, ({ url }, response) => {
    if (url !== '/never') response.end('content');
  });
  const limits = { drainDelay: 5000, drain: 25_000, upstreamTimeout: 1_000_000 };
  const gate = await watchBefore(t, { upstream: backend.url, clock, limits });
  const broken = t.rejects(gate.ask('GET', '/never'), { code: 'ECONNRESET' });
  await backend.arrived(1);
  const ready = async () => (await request(`${gate.adminUrl}/readyz`)).status;
  t.equal(await ready(), 200);
  const closed = gate.close();
  t.equal(await ready(), 503);
  const late = await request(`${gate.url}/late`);
  t.equal(late.status, 200, 'who has not noticed yet is served');
  t.equal(late.headers.connection, 'close');
  clock.advance(5000);
  await t.rejects(
    until(() => gate.ask('GET', '/too-late').then(() => false)),
    { code: /^ECONN(REFUSED|RESET)$/ },
  );
  t.equal(await ready(), 503);
  clock.advance(25_000);
  await broken;
  await closed;
  t.ok(gate.lines.some(({ msg }) => msg === 'stopped'));
});

const names = [
  ...['decisions_total', 'stale_writes_refused_total', 'writes_total', 'probes_total', 'lease_wait_seconds', 'leases'],
  ...['store_entries', 'store_errors_total', 'store_info', 'upstream_duration_seconds', 'overhead_seconds'],
  'build_info',
];

interface Counted {
  readonly title: string;
  readonly settings?: Omit<GateSettings, 'upstream'>;
  readonly headers?: readonly string[];
  readonly method?: string;
  /** Lines of the exposition that must be there. */
  readonly lines: readonly string[];
}

const docs = 'route="/docs/:id"';
const decision = (method: string, name: string, condition: string, count = 1): string =>
  `ifmatch_decisions_total{${docs},method="${method}",decision="${name}",condition="${condition}"} ${count}`;
const reporting = { policy: { mode: 'report' as const, guard: 'required' as const } };

/** One request for /docs/7 each. */
// biome-ignore format: a table
const counted: readonly Counted[] = [
  { title: 'a write without condition', lines: [decision('PUT', 'forwarded', 'none'), `ifmatch_writes_total{${docs},conditional="no"} 1`, 'ifmatch_probes_total 0'] },
  { title: 'a write that is allowed', headers: ['If-Match', '"n"'], lines: [decision('PUT', 'forwarded', 'If-Match'), `ifmatch_writes_total{${docs},conditional="yes"} 1`, 'ifmatch_lease_wait_seconds_count 1', 'ifmatch_upstream_duration_seconds_count 1', 'ifmatch_overhead_seconds_count 1'] },
  { title: 'a deliberate override counts apart (W2)', headers: ['If-Match', '*'], lines: [decision('PUT', 'forwarded', 'If-Match: *')] },
  { title: 'a stale write', headers: ['If-Match', '"o"'], lines: [decision('PUT', 'precondition-failed', 'If-Match'), `ifmatch_stale_writes_refused_total{${docs}} 1`, 'ifmatch_probes_total 1', 'ifmatch_store_entries 1', 'ifmatch_leases 0'] },
  { title: 'a resource that is there', headers: ['If-None-Match', '*'], lines: [decision('PUT', 'precondition-failed', 'If-None-Match')] },
  { title: 'a malformed one', headers: ['If-Match', 'n'], lines: [decision('PUT', 'malformed-precondition', 'If-Match')] },
  { title: 'what report mode would have refused: stale', settings: reporting, headers: ['If-Match', '"o"'], lines: [decision('PUT', 'report:precondition-failed', 'If-Match')] },
  { title: 'what report mode would have refused: malformed', settings: reporting, headers: ['If-Match', 'n'], lines: [decision('PUT', 'report:malformed-precondition', 'If-Match')] },
  { title: 'what report mode would have refused: no condition', settings: reporting, lines: [decision('PUT', 'report:precondition-required', 'none')] },
  { title: 'a read', method: 'GET', lines: [decision('GET', 'forwarded', 'none')] },
];

t.test('/metrics (O2)', async (t) => {
  const routes = [{ path: '/docs/:id' }];
  for (const { title, settings, method = 'PUT', headers = [], lines } of counted) {
    await t.test(title, async (t) => {
      const policy = settings?.policy;
      const gate = await watch(t, native, { ...settings, routes: [{ path: '/docs/:id', ...(policy && { policy }) }] });
      await gate.ask(method, '/docs/7', { headers, ...(method === 'PUT' && { body: 'new' }) });
      for (const line of lines) {
        await t.resolves(
          until(async () => (await gate.metrics()).includes(`${line}\n`)),
          line,
        );
      }
    });
  }

  await t.test('every name is there from the start, no path ever is', async (t) => {
    const gate = await watch(t, native, { routes });
    const initial = await gate.metrics();
    for (const name of names) t.match(initial, new RegExp(`^# TYPE ifmatch_${name} `, 'm'));
    t.match(initial, /^ifmatch_store_info\{store="memory",scope="this process only"\} 1$/m);
    t.match(initial, /^ifmatch_build_info\{version="0\.0\.0-test"\} 1$/m);
    t.match(initial, /^process_cpu_seconds_total /m);
    const { headers } = await request(`${gate.adminUrl}/metrics`);
    t.match(headers['content-type'], /^text\/plain; version=0\.0\.4/);
    for (const path of ['/docs/7', '/docs/8?x=secret', '/elsewhere/9']) {
      await gate.ask('GET', path);
      await gate.ask('PUT', path, { headers: ['If-Match', '"o"'], body: 'new' });
    }
    await until(() => gate.decisions.length >= 3);
    const later = await gate.metrics();
    t.notMatch(later, /docs\/[78]|elsewhere|secret/);
    t.match(later, /route="\*"/, 'what has no route of its own');
  });

  await t.test('a failure where nothing is guarded, and what cannot be read', async (t) => {
    const gate = await watchBefore(t, { upstream: 'http://127.0.0.1:9', policy: { guard: 'off' } });
    t.equal(await gate.ask('GET', '/docs/7'), 502);
    await rawRequest(gate.port, 'FOO / HTTP/1.1\r\nHost: a\r\n\r\n');
    await rawRequest(gate.port, 'GET /a/.;/b HTTP/1.1\r\nHost: a\r\n\r\n');
    await until(() => gate.decisions.length >= 3);
    t.match(gate.decisions, [
      { decision: 'upstream-failed', status: 502 },
      { decision: 'malformed-request', status: 400 },
      { decision: 'ambiguous-target', status: 400 },
    ]);
    const text = await gate.metrics();
    for (const name of ['upstream-failed', 'malformed-request', 'ambiguous-target']) {
      t.match(text, new RegExp(`^ifmatch_decisions_total\\{.*decision="${name}".*\\} 1$`, 'm'));
    }
  });
});

t.test('the log of decisions (O3)', async (t) => {
  const gate = await watch(t, native, { routes: [{ path: '/docs/:id' }] });
  const headers = ['X-Request-Id', 'mine', 'If-Match', '"o", "p"'];
  await gate.ask('PUT', '/docs/7?token=secret', { headers, body: 'new' });
  await gate.ask('PUT', '/docs/7', { headers: ['If-Match', '"n"'], body: 'new' });
  await until(() => gate.decisions.length === 2);
  const [refused, forwarded] = gate.decisions;
  t.match(refused, {
    ...{ msg: 'write', decision: 'precondition-failed', condition: 'If-Match', received: ['"o"', '"p"'] },
    ...{ current: '"n"', decidedBy: 'probe', requestId: 'mine', route: '/docs/:id', path: '/docs/7', method: 'PUT' },
    ...{ status: 412, probes: 1, client: '127.0.0.1', leaseWaitMs: Number, totalMs: Number },
  });
  t.match(forwarded, {
    decision: 'forwarded',
    outcome: 'changed',
    status: 204,
    upstreamMs: Number,
    leaseWaitMs: Number,
  });
  t.not(forwarded?.requestId, 'mine');

  for (const [access, count] of [
    ['decisions', 3],
    ['all', 4],
    ['none', 0],
  ] as const) {
    const gate = await watch(t, native, { config: { log: { level: 'info', access, pretty: false } } });
    await gate.ask('GET', '/docs/7');
    await gate.ask('PUT', '/docs/7', { body: 'new' });
    await gate.ask('PUT', '/docs/7', { headers: ['If-Match', 'n'], body: 'new' });
    await gate.ask('GET', '/docs/7', { headers: ['If-Match', '"im-stale"'] });
    await until(async () => (await gate.metrics()).includes('ifmatch_overhead_seconds_count 4'));
    t.equal(gate.decisions.length, count, `log.access: ${access}`);
  }
});

t.test('requests of a pipeline are on record, and what they hold is free, when its connection breaks', async (t) => {
  const handler: Handler = ({ url }, response) => {
    if (url !== '/never') response.end('content');
  };
  const config = { log: { level: 'info' as const, access: 'all' as const, pretty: false } };
  const backend = await startBackend(t, handler);
  // There is room for one body to be held back.
  const gate = await watchBefore(t, { upstream: backend.url, config, limits: { holdTotal: 10 } });
  const client = await rawClient(t, gate.port);
  client.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\nGET /docs/7 HTTP/1.1\r\nHost: a\r\n\r\n');
  await backend.arrived(2);
  await until(async () => (await request(`${gate.url}/docs/8`)).headers.etag === undefined);
  client.reset();
  await until(() => gate.decisions.some(({ path }) => path === '/docs/7'));
  await until(() => gate.decisions.some(({ path, decision }) => path === '/never' && decision === 'client-gone'));
  t.match((await request(`${gate.url}/docs/8`)).headers.etag, /^"im-/, 'there is room again');
});

t.test('whom trustProxy believes is logged, and forwarded to nobody', async (t) => {
  for (const [trustProxy, client] of [
    [false, '127.0.0.1'],
    [true, '192.0.2.7'],
    [['127.0.0.1'], '192.0.2.7'],
    [['10.0.0.0/8'], '127.0.0.1'],
  ] as const) {
    const backend = await startBackend(t, native);
    const gate = await watchBefore(t, { upstream: backend.url, config: { trustProxy } });
    await gate.ask('PUT', '/docs/7', { headers: ['X-Forwarded-For', '192.0.2.7'], body: 'new' });
    await until(() => gate.decisions.length === 1);
    t.equal(gate.decisions[0]?.client, client, `trustProxy: ${trustProxy}`);
    const forwarded = backend.requests.map(({ headers }) => headers['x-forwarded-for']);
    t.same(forwarded, ['192.0.2.7, 127.0.0.1'], 'the peer is added');
  }
});

/** Values that must never be seen again. */
const secrets = ['s3cret-bearer', 's3cret-cookie', 's3cret-key', 's3cret-query', 's3cret-probe', 's3cret-custom'];
const credentials = [
  ...['Authorization', 'Bearer s3cret-bearer', 'Cookie', 'session=s3cret-cookie', 'X-Api-Key', 's3cret-key'],
  ...['X-Session-Token', 's3cret-custom'],
];

t.test('no credential is in the log or the metrics', async (t) => {
  const settings = {
    policy: { guard: 'required' as const, probe: { headers: { 'x-operator': 's3cret-probe' } } },
    config: { log: { level: 'trace' as const, access: 'all' as const, pretty: false } },
  };
  const gate = await watch(
    t,
    ({ url, method }, response, { socket }) => {
      if (url.startsWith('/broken')) return socket.destroy();
      response.writeHead(url.startsWith('/denied') ? 403 : 200, { 'Set-Cookie': 'session=s3cret-cookie' });
      return response.end(method === 'HEAD' ? undefined : 'content');
    },
    settings,
  );
  const signed = ['Authorization', 'Hawk id="key", mac="s3cret-bearer"', ...credentials.slice(2)];
  let sent = 0;
  for (const path of ['/docs/7', '/denied/7', '/broken/7']) {
    for (const method of ['GET', 'PUT', 'POST']) {
      for (const conditions of [[], ['If-Match', '"o"'], ['If-Match', 'o'], ['If-Match', '*']]) {
        for (const fields of [credentials, signed]) {
          const body = method === 'GET' ? {} : { body: 's3cret-key' };
          await gate.ask(method, `${path}?access_token=s3cret-query`, { headers: [...fields, ...conditions], ...body });
          sent += 1;
        }
      }
    }
  }
  await rawRequest(gate.port, 'GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer s3cret-bearer\r\nbad field\r\n\r\n');
  await until(() => gate.decisions.length === sent + 1);
  const seen = `${gate.lines.map((line) => JSON.stringify(line)).join('\n')}\n${await gate.metrics()}`;
  for (const secret of secrets) t.notOk(seen.includes(secret), secret);
  t.ok(seen.includes('"path":"/docs/7"'), 'the log is there');
});

t.test('a key that folds many URLs together is named, once (I1)', async (t) => {
  const writers = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  for (const isFolded of [true, false]) {
    const held: (() => void)[] = [];
    const holding: Handler = (seen, response, body) => {
      if (seen.method === 'PUT') held.push(() => native(seen, response, body));
      else native(seen, response, body);
    };
    const gate = await watch(t, holding);
    const advices = (): number => gate.lines.filter(({ advice }) => advice === 'crowded-key').length;
    const options = { headers: ['If-Match', '*'], body: 'b' };
    const writes = writers.map((id) => gate.ask('PUT', `/item?id=${isFolded ? id : 1}`, options));
    let answered = 0;
    for (const write of writes) void write.then(() => (answered += 1));
    if (isFolded) await eventually(t, () => advices() > 0, 'the operator is told while they wait');
    const releaseNext = (): boolean => {
      held.shift()?.();
      return answered === writers.length;
    };
    await eventually(t, releaseNext, 'all are answered');
    for (const status of await Promise.all(writes)) t.equal(status, 204);
    t.equal(advices(), isFolded ? 1 : 0, isFolded ? 'many URLs of one key' : 'many writers of one URL');
  }
});

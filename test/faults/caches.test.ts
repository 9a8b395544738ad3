import { join } from 'node:path';
import t from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { type Answer, request, roundTrip } from '../helpers/client.js';
import { createVirtualClock } from '../helpers/clock.js';
import { startGate } from '../helpers/gate.js';
import { hasNginx, type Site, startNginx } from '../helpers/nginx.js';
import { rawClient } from '../helpers/raw.js';
import { type StoppingBackend, startStoppingBackend } from '../helpers/stopping-backend.js';

/**
 * A cache between gate and backend may answer the gate's own reads with what was true once. nginx as a cache ignores
 * no-cache in requests and sends no Age, unless it is told otherwise: as it comes, it fools the gate (V10).
 */

/** Locations of one nginx, by their first segment: what each says besides `proxy_cache`. */
const locations = {
  'as-it-comes': '',
  'names-its-hits': 'add_header X-Cache-Status $upstream_cache_status;',
  'age-of-zero': 'add_header Age $age_of_zero;',
  'age-of-one': 'add_header Age $age_of_one;',
  bypassed: 'proxy_cache_bypass $http_cache_control $http_pragma;',
  'before-no-cache': '',
} as const;

type Location = keyof typeof locations;

/** @param reusable answers to all locations but the last, whose answers say `Cache-Control: no-cache` */
function caches(reusable: StoppingBackend, other: StoppingBackend): Site {
  const age = (seconds: number): string => ['HIT', 'STALE', 'UPDATING'].map((hit) => `${hit} ${seconds};`).join(' ');
  return (prefix) => ({
    // nginx cannot tell how old its answers are. A field whose value is empty is left out.
    http: `
  proxy_cache_path ${join(prefix, 'temporary', 'cache')} keys_zone=cache:1m;
  map $upstream_cache_status $age_of_zero { default ''; ${age(0)} }
  map $upstream_cache_status $age_of_one { default ''; ${age(1)} }
  proxy_cache cache;
  proxy_cache_valid 1h;`,
    server: Object.entries(locations)
      .map(([name, directives]) => {
        const { url } = name === 'before-no-cache' ? other : reusable;
        return `location /${name}/ { proxy_pass ${url}/; ${directives} }`;
      })
      .join('\n    '),
  });
}

const lost = 'taken: an update is lost';
const refused = 'refused by the gate';
const unknown = 'not sent: no version can be told';
const checked = 'refused by the backend';

function outcomeOf({ status, headers }: Answer): string {
  const isGates = headers['proxy-status'] !== undefined;
  if (status === 204) return lost;
  if (status === 412) return isGates ? refused : checked;
  return status === 502 && isGates ? unknown : `another: ${status}`;
}

const hash: Partial<Policy> = { validator: { kind: 'body' } };
const remembering: Partial<Policy> = { recheck: 60_000 };

/** What becomes of the second of two writers who have read the same content, by cache and by kind of backend. */
const outcomes: readonly [location: Location, kind: string, policy: Partial<Policy>, outcome: string][] = [
  ['as-it-comes', 'plain', {}, lost],
  // V7: it has the tag that the resource had before the first write.
  ['as-it-comes', 'tagged', {}, refused],
  ['as-it-comes', 'tagged', hash, lost],
  ['as-it-comes', 'checked', {}, refused],
  ['names-its-hits', 'plain', {}, lost],
  ['age-of-zero', 'plain', {}, lost],
  ['age-of-one', 'plain', {}, unknown],
  // V7: the tag is still the one from before the first write. Otherwise it would be the upstream's to judge (W5).
  ['age-of-one', 'tagged', {}, unknown],
  ['age-of-one', 'tagged', hash, unknown],
  ['age-of-one', 'checked', {}, unknown],
  ['bypassed', 'plain', {}, refused],
  ['bypassed', 'tagged', {}, refused],
  ['bypassed', 'checked', {}, refused],
  ['before-no-cache', 'plain', {}, refused],
  ['before-no-cache', 'tagged', {}, refused],
  // W4: what clients read comes from the cache even if what the gate asks for does not, and it does not look old.
  ['bypassed', 'plain', remembering, lost],
  ['age-of-one', 'plain', remembering, unknown],
  ['before-no-cache', 'plain', remembering, refused],
];

t.test('a cache between gate and backend (V10)', async (t) => {
  if (!hasNginx(t)) return;
  const reusable = await startStoppingBackend(t);
  const other = await startStoppingBackend(t, { cacheControl: 'no-cache' });
  const nginx = await startNginx(t, caches(reusable, other));

  for (const [index, [location, kind, policy, outcome]] of outcomes.entries()) {
    const backend = location === 'before-no-cache' ? other : reusable;
    const gate = await startGate(t, { upstream: nginx.url, policy, clock: createVirtualClock() });
    const path = `/${kind}/${index}`;
    const url = `${gate.url}/${location}${path}`;
    backend.change(path, 'old');
    const tag = (await request(url)).headers.etag ?? 'none';
    // Without a condition nothing is asked before.
    await request(url, { method: 'PUT', body: 'first' });
    t.equal(backend.text(path), 'first', 'the first write is taken');
    await request(url);
    const answer = await request(url, { method: 'PUT', headers: { 'If-Match': tag }, body: 'second' });
    const name = `${location} before a ${kind} backend, ${JSON.stringify(policy)}`;
    t.equal(outcomeOf(answer), outcome, name);
    t.equal(backend.text(path), outcome === lost ? 'second' : 'first', 'what is left of the two writes');
  }

  await t.test('as it comes, two writers who both name what they have read', async (t) => {
    reusable.change('/plain/both', 'old');
    const gate = await startGate(t, { upstream: nginx.url, clock: createVirtualClock() });
    const url = `${gate.url}/as-it-comes/plain/both`;
    const tag = (await request(url)).headers.etag ?? 'none';
    for (const body of ['first', 'second']) {
      t.equal((await request(url, { method: 'PUT', headers: { 'If-Match': tag }, body })).status, 204);
    }
    t.equal(reusable.text('/plain/both'), 'second', 'although no one went around the gate, an update is lost');
  });

  await t.test('one that honours no-cache, and a read by a client that begins after a slow write', async (t) => {
    reusable.change('/plain/slow', 'old');
    const gate = await startGate(t, { upstream: nginx.url, clock: createVirtualClock() });
    const path = '/bypassed/plain/slow';
    const tag = (await request(gate.url + path)).headers.etag ?? 'none';
    reusable.change('/plain/slow', 'first');
    const client = await rawClient(t, gate.port);
    const fields = `Host: 127.0.0.1:${gate.port}\r\nIf-Match: ${tag}\r\nContent-Length: 6\r\n`;
    client.write(`PUT ${path} HTTP/1.1\r\n${fields}\r\nsec`);
    await roundTrip(gate.port);
    t.equal((await request(gate.url + path)).body.toString(), 'old', 'the client asks for nothing newer');
    client.write('ond');
    t.match(await client.seen(/\r\n\r\n/), /^HTTP\/1\.1 412 /, 'the write is stale');
    t.equal(reusable.text('/plain/slow'), 'first', 'and nothing is lost');
  });
});

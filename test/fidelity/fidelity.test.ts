import { readFileSync } from 'node:fs';
import t from 'tap';
import { differencesOf, direct, gate, type Peer, plainHttpProxy, startPeer } from './peers.js';
import { cellOf } from './point.js';
import { points } from './points.js';
import { hopRules, limits, permitted } from './rules.js';

/** Each has its own backend and gate, so that points that wait for something do not wait for each other. */
const lanes = 3;

t.test('nobody can tell that the gate is there, but for what is permitted and what it cannot do', async (t) => {
  const found = new Map<string, string[]>();
  const remaining = [...points];
  const run = async (reference: Peer, peer: Peer): Promise<void> => {
    for (let point = remaining.shift(); point !== undefined; point = remaining.shift()) {
      found.set(point.id, await differencesOf(peer, point, await reference.play(point)));
    }
  };
  const pairs = Array.from(
    { length: lanes },
    async () => [await startPeer(t, direct), await startPeer(t, gate)] as const,
  );
  await Promise.all((await Promise.all(pairs)).map(([reference, peer]) => run(reference, peer)));
  const known: Record<string, readonly string[]> = Object.assign({}, ...limits.map((limit) => limit.points));
  for (const { id, title } of points) t.same(found.get(id), known[id] ?? [], `${id}: ${title}`);
});

t.test('a proxy that is not faithful is found out', async (t) => {
  const [reference, peer] = [await startPeer(t, direct), await startPeer(t, plainHttpProxy)];
  const expected = {
    'request-fields': 'request: `x-dup` joined',
    'response-hop': 'response: `x-hop` added',
    'request-chunked': 'request: length 516 instead of chunked',
    'response-trailers': 'response: trailers gone',
    'status-299': '`299 unknown` for `299 Odd`',
    'target-dot': '`GET /a/b` for `GET /a/./b`',
  };
  for (const [id, difference] of Object.entries(expected)) {
    const point = points.find((one) => one.id === id);
    if (point === undefined) throw new Error(`there is no point ${id}`);
    t.ok((await differencesOf(peer, point, await reference.play(point))).includes(difference), `${id}: ${difference}`);
  }
});

t.test('docs/fidelity.md lists all points, all permitted differences, limits and rules of the hop', async (t) => {
  const page = readFileSync('docs/fidelity.md', 'utf8');
  const [, table = ''] = page.split('<!-- table -->');
  const rows = [...table.matchAll(/^\| (.*?) (?<!\\)\|/gm)].map(([, title]) => title);
  const advice = 'node scripts/fidelity.mjs --write';
  // Before them: the head, its line, and what peers do everywhere.
  t.same(
    rows.slice(3),
    points.map(({ title }) => cellOf(title)),
    advice,
  );
  t.equal(new Set(points.map(({ id }) => id)).size, points.length, 'ids are used once');
  const text = page.replace(/\s+/g, ' ').toLowerCase();
  for (const { what } of [...permitted, ...limits, ...hopRules]) t.ok(text.includes(what.toLowerCase()), what);
});

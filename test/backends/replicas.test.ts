import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { Owner } from '../helpers/backend.js';
import type { GateProcess } from '../helpers/gate-process.js';
import {
  type Contest,
  type ContestOptions,
  contend,
  figures,
  historyOf,
  type Reading,
  uselessTags,
} from '../helpers/history.js';
import { startJsonServer } from '../helpers/json-server.js';
import { hasNginx, type Site, startNginx } from '../helpers/nginx.js';
import { hasRedis, startRedis } from '../helpers/redis.js';
import { ask, sharing, startReplicas, untilTrusted } from '../helpers/replicas.js';

/**
 * Several gates that share a store before one backend that checks nothing: together they keep what each of them
 * promises. Every client reads through one gate and writes through another. What counts is what the resource contains in
 * the end.
 */

const clients = 8;
const updates = 6;
/** Far more than it takes: of those that have read the same content, one succeeds. */
const attempts = 40 * updates;

/** How many gates there are. */
const counts = [2, 3, 4] as const;

/** What decides: a probe for each write, or what one of the gates has learned (W4). Their names are parts of paths. */
const policies = ['probed', 'remembered'] as const;

const config = JSON.stringify({ policy: { guard: 'required' }, routes: [{ path: '/remembered/*', recheck: 'never' }] });

/** A new store is trusted once leases could have ended that it knows nothing of: these limits make that short. */
const limits = { LIMITS_UPSTREAM_TIMEOUT: '2s', LIMITS_QUARANTINE: '500ms' };

interface Pattern extends Pick<ContestOptions, 'modify'> {
  readonly id: string;
  readonly method: 'PUT' | 'PATCH';
  readonly initial: string;
  readonly contentOf: (body: string) => string;
  readonly bodyOf: (content: string) => string;
}

const lines: Pattern = {
  id: 'lines',
  method: 'PUT',
  initial: 'start',
  contentOf: (body) => String(JSON.parse(body).text),
  bodyOf: (text) => JSON.stringify({ text }),
  modify: (text, writer) => `${text}\n${writer}`,
};

const counter: Pattern = {
  id: 'counter',
  method: 'PATCH',
  initial: '0 start',
  contentOf(body) {
    const { count, writer } = JSON.parse(body) as { count: number; writer: string };
    return `${count} ${writer}`;
  },
  bodyOf: (content) => JSON.stringify({ count: Number.parseInt(content, 10), writer: content.split(' ')[1] }),
  modify: (content, writer) => `${Number.parseInt(content, 10) + 1} ${writer}`,
};

const plain = { method: 'PUT', contentOf: (body: string) => body, bodyOf: (content: string) => content } as const;

/** nginx gives contents of one size and second one strong tag. */
const sameSize: Pattern = {
  ...plain,
  id: 'same-size',
  initial: fixedWidth(0, 'start'),
  modify: (content, writer) => fixedWidth(Number.parseInt(content, 10) + 1, writer),
};

const growing: Pattern = {
  ...plain,
  id: 'growing',
  initial: 'start',
  modify: (content, writer) => `${content}\n${writer}`,
};

function fixedWidth(count: number, writer: string): string {
  return `${String(count).padStart(8, '0')} ${writer.padEnd(16)}\n`;
}

/** The resources of all contests with this pattern, by their policy. */
const idsOf = ({ id }: Pattern): string[] => counts.map((count) => `${id}-${count}`);

/** One that nobody contends for. */
const other = '/remembered/other';

async function startDocuments(t: Owner, patterns: readonly Pattern[]): Promise<string> {
  const documents = patterns.flatMap((pattern) =>
    idsOf(pattern).map((id) => ({ id, ...JSON.parse(pattern.bodyOf(pattern.initial)) })),
  );
  documents.push({ id: 'other' });
  const { url } = await startJsonServer(t, Object.fromEntries(policies.map((policy) => [policy, documents])));
  return url;
}

/** A WebDAV server that makes the folders of what is put into it. */
const dav: Site = (prefix) => ({
  server: `root ${join(prefix, 'files')}; location / { dav_methods PUT; create_full_put_path on; }`,
});

async function startFiles(t: Owner, patterns: readonly Pattern[]): Promise<string> {
  const { url } = await startNginx(t, dav);
  const put = (path: string, body: string) => ask(url + path, { method: 'PUT', body });
  for (const policy of policies) {
    for (const pattern of patterns)
      for (const id of idsOf(pattern)) await put(`/${policy}/${id}`, pattern.bodyOf(pattern.initial));
  }
  await put(other, 'other');
  return url;
}

async function read(url: string, { contentOf }: Pattern): Promise<Reading> {
  const { status, headers, body } = await ask(url);
  if (status !== 200) throw new Error(`a read was answered with ${status}`);
  return { content: contentOf(body.toString()), tag: headers.etag };
}

/** Every client reads through one of the gates and writes through the next one. */
function contest(gates: readonly GateProcess[], path: string, pattern: Pattern): Promise<Contest> {
  const urlOf = (number: number): string => `${gates[number % gates.length]?.url}${path}`;
  return contend({
    clients,
    updates,
    attempts,
    modify: pattern.modify,
    read: (client) => read(urlOf(client), pattern),
    async write(content, tag, client) {
      const headers = { 'Content-Type': 'application/json', 'If-Match': tag ?? '"none"' };
      const body = pattern.bodyOf(content);
      return (await ask(urlOf(client + 1), { method: pattern.method, headers, body })).status;
    },
  });
}

async function startGates(t: Test, url: string, count: number, store?: string): Promise<GateProcess[]> {
  const folder = await mkdtemp(join(tmpdir(), 'ifmatch-replicas-'));
  t.teardown(() => rm(folder, { recursive: true }));
  const file = join(folder, 'gate.json');
  await writeFile(file, config);
  return startReplicas(t, url, count, { CONFIG: file, ...limits, ...(store !== undefined && sharing(store)) });
}

const backends = [
  { name: 'json-server', isThere: () => true, start: startDocuments, patterns: [lines, counter] },
  { name: 'nginx', isThere: hasNginx, start: startFiles, patterns: [sameSize, growing] },
] as const;

for (const { name, isThere, start, patterns } of backends) {
  t.test(`gates that share a store before ${name}`, async (t) => {
    if (!isThere(t) || !hasRedis(t)) return;
    const backend = await start(t, patterns);
    const redis = await startRedis(t);
    const gates = await startGates(t, backend, Math.max(...counts), redis.url);
    await untilTrusted(gates, other);
    for (const count of counts) {
      // Over both backends each pattern and each policy comes up.
      const pattern = patterns[count % patterns.length] as Pattern;
      const path = `/${policies[(count >> 1) % policies.length]}/${pattern.id}-${count}`;
      await t.test(`${count} gates: ${path}`, (t) => shared(t, backend, gates.slice(0, count), path, pattern));
    }
  });
}

async function shared(
  t: Test,
  backend: string,
  gates: readonly GateProcess[],
  path: string,
  pattern: Pattern,
): Promise<void> {
  const contested = await contest(gates, path, pattern);
  const final = (await read(backend + path, pattern)).content;
  const history = historyOf(pattern.initial, final, contested.replacements);
  t.comment(figures(`${gates.length} gates, ${path}`, contested, history));
  t.same(contested.unexpected, [], 'a write is taken or refused');
  t.same(history, { lost: 0, forks: 0, reachesInitial: true });
  t.equal(contested.replacements.length, clients * updates, 'everybody got all of its updates');
  t.ok(contested.refused > 0, 'there was a contest');
  t.ok(
    contested.refused <= (clients - 1) * contested.replacements.length,
    'only who was overtaken was refused: by each success at most the others that had read what it replaced',
  );
  t.same(uselessTags(contested), [], 'every read had a strong tag, and every tag stands for one content');
}

t.test('gates that share nothing lose updates', async (t) => {
  const backend = await startDocuments(t, [lines]);
  const gates = await startGates(t, backend, 2);
  const path = `/probed/${idsOf(lines)[0]}`;
  const contested = await contest(gates, path, lines);
  const history = historyOf(lines.initial, (await read(backend + path, lines)).content, contested.replacements);
  t.comment(figures('2 gates, each with a memory of its own', contested, history));
  t.ok(history.lost > 0, 'two gates take a write for the same version');
});

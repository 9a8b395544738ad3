import t, { type Test } from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { type Answer, request } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';
import {
  type Contest,
  type ContestOptions,
  contend,
  figures,
  historyOf,
  type Reading,
  uselessTags,
} from '../helpers/history.js';
import { hasNginx, startNginx } from '../helpers/nginx.js';

/**
 * nginx makes strong tags of size and modification time in seconds, and its DAV module never looks at If-Match. So two
 * versions of one size and second have the same strong tag, which a gate must not trust (V7).
 */

const clients = 8;
const updates = 10;
/** Far more than it takes: of those that have read the same content, one succeeds. */
const attempts = 40 * updates;

/** How often a pair of writes is tried that has to fall into one second. */
const tries = 10;

interface Pattern extends Pick<ContestOptions, 'modify'> {
  readonly name: string;
  readonly initial: string;
}

const sameSize: Pattern = {
  name: 'contents of one size',
  initial: fixedWidth(0, 'start'),
  modify: (content, writer) => fixedWidth(Number.parseInt(content, 10) + 1, writer),
};

const growing: Pattern = {
  name: 'contents that grow',
  initial: 'start',
  modify: (content, writer) => `${content}\n${writer}`,
};

/** What decides: a probe for each write, or what the gate has learned and kept (W4). */
const policies: readonly { readonly name: string; readonly policy: Partial<Policy> }[] = [
  { name: 'probed', policy: {} },
  { name: 'remembered', policy: { recheck: Number.POSITIVE_INFINITY } },
];

function fixedWidth(count: number, writer: string): string {
  return `${String(count).padStart(8, '0')} ${writer.padEnd(16)}\n`;
}

async function get(url: string): Promise<Answer> {
  const answer = await request(url);
  if (answer.status !== 200) throw new Error(`a read was answered with ${answer.status}`);
  return answer;
}

async function read(url: string): Promise<Reading> {
  const { headers, body } = await get(url);
  return { content: body.toString(), tag: headers.etag };
}

async function write(url: string, content: string, tag?: string, date?: string): Promise<number> {
  const headers = { ...(tag !== undefined && { 'If-Match': tag }), ...(date !== undefined && { Date: date }) };
  return (await request(url, { method: 'PUT', headers, body: content })).status;
}

function contest(url: string, { modify }: Pattern, date?: string): Promise<Contest> {
  return contend({
    clients,
    updates,
    attempts,
    modify,
    read: () => read(url),
    write: (content, tag) => write(url, content, tag, date),
  });
}

t.test('many writers of one file', async (t) => {
  if (!hasNginx(t)) return;
  const backend = await startNginx(t);

  for (const pattern of [sameSize, growing]) {
    await t.test(`without the gate updates are lost: ${pattern.name}`, async (t) => {
      const url = `${backend.url}/direct`;
      await write(url, pattern.initial);
      const direct = await contest(url, pattern);
      const history = historyOf(pattern.initial, (await read(url)).content, direct.replacements);
      t.comment(figures(`direct, ${pattern.name}`, direct, history));
      t.equal(direct.replacements.length, clients * updates, 'nginx takes every write');
      t.ok(history.lost > clients, 'and loses many of them');
      if (pattern === sameSize) {
        const shared = uselessTags(direct);
        t.comment(`nginx gave ${shared.length} of its ${direct.contentsByTag.size} strong tags to several contents`);
        t.ok(shared.length > 0, 'one strong tag stands for many contents');
      }
    });

    for (const { name, policy } of policies) {
      await t.test(`through the gate every write replaces what its writer had read: ${pattern.name}, ${name}`, (t) =>
        gated(t, pattern, policy, name),
      );
    }
  }

  // nginx takes the modification time from the request, so that the tag is the same for all contents of one size, and
  // never looks young.
  await t.test('through the gate, where clients set the time', async (t) => {
    const { initial } = sameSize;
    const date = 'Thu, 01 Jan 2026 00:00:00 GMT';
    const gate = await startGate(t, { upstream: backend.url });
    await write(`${backend.url}/dated`, initial, undefined, date);
    const contested = await contest(`${gate.url}/dated`, sameSize, date);
    const history = historyOf(initial, (await read(`${backend.url}/dated`)).content, contested.replacements);
    t.comment(figures('through the gate, dated by clients', contested, history));
    t.same(history, { lost: 0, forks: 0, reachesInitial: true });
    t.equal(contested.replacements.length, clients * updates, 'everybody got all of its updates');
    const { headers } = await get(`${backend.url}/dated`);
    t.ok(contested.contentsByTag.has(headers.etag), 'nginx still has the tag that the first readers were given');
  });

  async function gated(t: Test, pattern: Pattern, policy: Partial<Policy>, name: string): Promise<void> {
    const path = `/gated-${name}`;
    await write(`${backend.url}${path}`, pattern.initial);
    const gate = await startGate(t, { upstream: backend.url, policy });
    const contested = await contest(`${gate.url}${path}`, pattern);
    const final = (await read(`${backend.url}${path}`)).content;
    const history = historyOf(pattern.initial, final, contested.replacements);
    t.comment(figures(`through the gate, ${pattern.name}, ${name}`, contested, history));
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
});

t.test('two versions of one size and one second', async (t) => {
  if (!hasNginx(t)) return;
  const backend = await startNginx(t);
  const gates = {
    auto: await startGate(t, { upstream: backend.url }),
    upstream: await startGate(t, { upstream: backend.url, policy: { validator: { kind: 'upstream' } } }),
  };

  /**
   * Two clients read the same version through a gate, and both write, one after the other.
   *
   * @returns the second one's status, and whether nginx had one tag for what it had read and for what it replaced
   */
  async function secondWriter(gate: { readonly url: string }, number: number) {
    const path = `/pair-${number}`;
    await write(backend.url + path, fixedWidth(0, 'start'));
    const before = await get(backend.url + path);
    const { tag } = await read(gate.url + path);
    const first = await write(gate.url + path, fixedWidth(1, 'first'), tag);
    const after = await get(backend.url + path);
    const second = await write(gate.url + path, fixedWidth(1, 'second'), tag);
    if (first !== 204) throw new Error(`the first writer was answered with ${first}`);
    return { second, collides: before.headers.etag === after.headers.etag };
  }

  /** The second writer's status in the first pair that falls into one second. */
  async function inOneSecond(gate: { readonly url: string }, numbers: number): Promise<number | undefined> {
    for (let attempt = 0; attempt < tries; attempt += 1) {
      const { second, collides } = await secondWriter(gate, numbers + attempt);
      if (collides) return second;
    }
    return undefined;
  }

  t.equal(await inOneSecond(gates.auto, 0), 412, 'the gate does not take the young tag for a version');
  t.equal(await inOneSecond(gates.upstream, tries), 204, 'validator: upstream does, and the first update is lost');
});

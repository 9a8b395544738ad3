import t from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { type RequestOptions, request } from '../helpers/client.js';
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
import { startJsonServer } from '../helpers/json-server.js';

/**
 * json-server 0.17 sends a weak hash of the body as ETag and never looks at If-Match: it is the backend of whom lost
 * updates are known. What counts here is what its documents contain in the end, whatever the tags said.
 */

const clients = 8;
const updates = 10;
/** Far more than it takes: of those that have read the same content, one succeeds. */
const attempts = 40 * updates;

/** What decides: a probe for each write, or what the gate has learned and kept (W4). */
const policies: readonly { readonly id: string; readonly policy: Partial<Policy> }[] = [
  { id: 'probed', policy: {} },
  { id: 'remembered', policy: { recheck: Number.POSITIVE_INFINITY } },
];

type Pattern = Pick<ContestOptions, 'modify'> & {
  readonly name: string;
  readonly method: 'PUT' | 'PATCH';
  readonly initial: Readonly<Record<string, unknown>>;
  /** The part of a document that clients change, as text, and back. */
  readonly contentOf: (document: Record<string, unknown>) => string;
  readonly bodyOf: (content: string) => Record<string, unknown>;
};

const patterns: readonly Pattern[] = [
  {
    name: 'PUT, every writer appends its own line',
    method: 'PUT',
    initial: { text: 'start' },
    contentOf: ({ text }) => String(text),
    bodyOf: (text) => ({ text }),
    modify: (text, writer) => `${text}\n${writer}`,
  },
  {
    name: 'PATCH, every writer counts one up',
    method: 'PATCH',
    initial: { count: 0, writer: 'start' },
    contentOf: ({ count, writer }) => `${count} ${writer}`,
    bodyOf: (content) => ({ count: Number.parseInt(content, 10), writer: content.split(' ')[1] }),
    modify: (content, writer) => `${Number.parseInt(content, 10) + 1} ${writer}`,
  },
];

async function read(url: string, { contentOf }: Pattern): Promise<Reading> {
  const { status, headers, body } = await request(url);
  if (status !== 200) throw new Error(`a read was answered with ${status}`);
  return { content: contentOf(JSON.parse(body.toString())), tag: headers.etag };
}

function write(url: string, { method, bodyOf }: Pattern, content: string, tag: string | undefined) {
  const headers = { 'Content-Type': 'application/json', ...(tag !== undefined && { 'If-Match': tag }) };
  const options: RequestOptions = { method, headers, body: JSON.stringify(bodyOf(content)) };
  return request(url, options).then(({ status }) => status);
}

function contest(url: string, pattern: Pattern): Promise<Contest> {
  return contend({
    clients,
    updates,
    attempts,
    modify: pattern.modify,
    read: () => read(url, pattern),
    write: (content, tag) => write(url, pattern, content, tag),
  });
}

for (const pattern of patterns) {
  t.test(pattern.name, async (t) => {
    const initial = pattern.contentOf({ ...pattern.initial });
    const documents = ['direct', ...policies.map(({ id }) => id)].map((id) => ({ id, ...pattern.initial }));
    const backend = await startJsonServer(t, { documents });

    await t.test('without the gate updates are lost', async (t) => {
      const url = `${backend.url}/documents/direct`;
      const direct = await contest(url, pattern);
      const history = historyOf(initial, (await read(url, pattern)).content, direct.replacements);
      t.comment(figures('direct', direct, history));
      t.equal(direct.replacements.length, clients * updates, 'json-server takes every write');
      t.ok(history.lost > clients, 'and loses many of them');
    });

    for (const { policy, id } of policies) {
      await t.test(`through the gate every write replaces what its writer had read: ${id}`, async (t) => {
        const gate = await startGate(t, { upstream: backend.url, policy });
        const gated = await contest(`${gate.url}/documents/${id}`, pattern);
        const final = (await read(`${backend.url}/documents/${id}`, pattern)).content;
        const history = historyOf(initial, final, gated.replacements);
        t.comment(figures(`through the gate, ${id}`, gated, history));
        t.same(gated.unexpected, [], 'a write is taken or refused');
        t.same(history, { lost: 0, forks: 0, reachesInitial: true });
        if (pattern.method === 'PATCH') {
          t.equal(Number.parseInt(final, 10), gated.replacements.length, 'the count is right');
        }
        t.equal(gated.replacements.length, clients * updates, 'everybody got all of its updates');
        t.ok(gated.refused > 0, 'there was a contest');
        t.ok(
          gated.refused <= (clients - 1) * gated.replacements.length,
          'only who was overtaken was refused: by each success at most the others that had read what it replaced',
        );
        t.same(uselessTags(gated), [], 'every read had a strong tag, and every tag stands for one content');
      });
    }
  });
}

import { createHash } from 'node:crypto';
import t, { type Test } from 'tap';
import type { Backend, Document } from '../helpers/backend.js';
import { documents, startBackend } from '../helpers/backend.js';
import { request } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';
import type { Row } from './rows.js';
import { rows, withHash } from './rows.js';

const reads: ReadonlySet<string> = new Set(['GET', 'HEAD']);

function hashOf(body: string): string {
  return createHash('sha256').update(body).digest('base64url').slice(0, 22);
}

/** One document per row, so that rows do not disturb each other. */
function pathOf(row: Row): string {
  return `/rows/${row.id.toLowerCase()}`;
}

/** Rows by what their gates have in common, with the policy itself as the key. */
function byPolicy(all: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of all) {
    const key = JSON.stringify(row.policy ?? {});
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return groups;
}

const tested = rows.filter((row) => row.only !== 'pure').map((row) => withHash(row, hashOf(row.stored?.body ?? '')));

for (const [key, group] of byPolicy(tested)) {
  t.test(`policy ${key}`, async (t) => {
    const initial: Record<string, Document> = {};
    for (const row of group) if (row.stored !== null) initial[pathOf(row)] = { ...row.stored };
    const handler = documents(initial, { conditionalReads: true });
    const backend = await startBackend(t, handler);
    const gate = await startGate(t, { upstream: backend.url, policy: group[0]?.policy ?? {} });
    for (const row of group) {
      await t.test(`${row.id} ${row.title} (${row.rule})`, (t) => judge(t, row, gate.url, backend, handler.stored));
    }
  });
}

async function judge(
  t: Test,
  row: Row,
  gate: string,
  backend: Backend,
  stored: ReadonlyMap<string, Document>,
): Promise<void> {
  const { method, headers, body } = row.request;
  const path = pathOf(row);
  const answer = await request(gate + path, { method, headers, ...(body !== undefined && { body }) });
  t.equal(answer.status, row.expect.status, `status; the body was ${answer.body.toString()}`);
  if (reads.has(method)) return;

  const writes = backend.requests.filter((seen) => seen.url === path && seen.method === method);
  t.equal(writes.length, row.expect.decision === 'forward' ? 1 : 0, 'the backend sees the write if it may');
  const refused = row.expect.decision === 'refuse';
  const proxyStatus = answer.headers['proxy-status'];
  if (!refused) {
    t.equal(proxyStatus, undefined, 'the answer is the backend’s own');
    if (body !== undefined) t.equal(writes[0]?.body.toString(), body, 'the body arrives whole');
    return;
  }
  t.match(proxyStatus, /^ifmatch; error=[a-z_]+; details="/);
  t.equal(answer.headers['content-type'], 'application/problem+json');
  t.equal(answer.headers['cache-control'], 'no-store');
  const problem: unknown = JSON.parse(answer.body.toString());
  t.match(problem, { status: row.expect.status });
  if (row.expect.precondition !== undefined) t.match(problem, { precondition: row.expect.precondition });
  t.equal(stored.get(path)?.body, row.stored?.body, 'the document is as it was');
}

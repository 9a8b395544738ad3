import { createHash } from 'node:crypto';
import t from 'tap';
import { asCurrentForWrite, asSelected, hasRequiredCondition, restsOnDateAlone } from '../../src/gate/decide.js';
import { isWeak, parseEntityTag } from '../../src/http/entity-tag.js';
import { parseHttpDate } from '../../src/http/http-date.js';
import { evaluate, parsePreconditions } from '../../src/http/preconditions.js';
import type { Observation } from '../../src/store/store.js';
import type { Expectation, PolicyOverrides, Row, Stored } from './rows.js';
import { rows, withHash } from './rows.js';

/** The 132 bits of SHA-256 that a synthetic tag is made of (V2), computed apart from the code under test. */
function hashOf(body: string): string {
  return createHash('sha256').update(body).digest('base64url').slice(0, 22);
}

/** What a probe would have learned of the stored representation under this policy (V1, V6). */
function observe(stored: Stored | null, { validator }: PolicyOverrides): Observation {
  const kind = validator?.kind ?? 'auto';
  const tag = parseEntityTag(stored?.etag);
  const native = tag !== undefined && !isWeak(tag) && kind !== 'body' ? tag : undefined;
  const hash = stored !== null && native === undefined && kind !== 'upstream' ? hashOf(stored.body) : undefined;
  const etag = native ?? (hash === undefined ? tag : `"im-${hash}"`);
  const selecting = { fields: [], digest: '' };
  const { lastModified } = stored ?? {};
  const read = { view: '', selecting, sentAt: 0, uncached: true, fingerprint: '' };
  return { ...read, exists: stored !== null, native, upstreamTag: tag, hash, etag, lastModified };
}

/** The rules from W1 to W7 in their order, without lease and upstream. */
function decide(row: Row): Omit<Expectation, 'status'> & { status: number | undefined } {
  const { guard = 'optional', mode = 'enforce' } = row.policy ?? {};
  const { method, headers } = row.request;
  const reads = method === 'GET' || method === 'HEAD';
  const forward = { decision: 'forward', status: undefined } as const;
  if (guard === 'off' || mode === 'report') return forward;

  const conditions = parsePreconditions(headers);
  if (!reads && conditions.malformed) {
    return { decision: 'refuse', status: 400, precondition: conditions.malformed.field };
  }
  const observation = observe(row.stored, row.policy ?? {});
  const current = reads ? asSelected(observation) : asCurrentForWrite(observation);
  const guarded = ['PUT', 'PATCH', 'DELETE'].includes(method);
  if (guard === 'required' && guarded) {
    const unusableDate = restsOnDateAlone(conditions) && current.exists && current.lastModified === undefined;
    if (!hasRequiredCondition(conditions) || unusableDate) return { decision: 'refuse', status: 428 };
  }
  const evaluation = evaluate(method, conditions, current);
  switch (evaluation.result) {
    case 'proceed':
      return forward;
    case 'not-modified':
      return { decision: 'not-modified', status: 304 };
    case 'failed':
      // Without a representation a read is answered as if it had no conditions (RFC 9110 13.2.1).
      return reads && !current.exists ? forward : { decision: 'refuse', status: 412, precondition: evaluation.field };
  }
}

t.test('the table is sound', (t) => {
  t.ok(rows.length >= 130, `${rows.length} rows`);
  t.equal(new Set(rows.map((row) => row.id)).size, rows.length, 'ids are unique');
  t.equal(rows[0]?.request.headers[1], '"a,b"', 'a comma inside quotes comes first');
  for (const { lastModified } of rows.flatMap((row) => row.stored ?? [])) {
    t.ok(lastModified === undefined || lastModified === 'yesterday' || parseHttpDate(lastModified), 'dates are dates');
  }
  t.end();
});

for (const template of rows.filter((row) => row.only !== 'socket')) {
  const row = withHash(template, hashOf(template.stored?.body ?? ''));
  t.test(`${row.id} ${row.title} (${row.rule})`, (t) => {
    const decision = decide(row);
    t.equal(decision.decision, row.expect.decision);
    t.equal(decision.precondition, row.expect.precondition);
    if (decision.status !== undefined) t.equal(decision.status, row.expect.status);
    t.end();
  });
}

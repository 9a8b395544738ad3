import type { Advice, DecisionRecord, Observer } from '../gate/outcome.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';

/** Which requests get a line in the log (O3). */
export type AccessLog = 'decisions' | 'all' | 'none';

const advices: Readonly<Record<Advice, string>> = {
  'unstable-body':
    'the body of a resource changed without a write: if it carries a timestamp or a nonce, name it in policy.ignore',
  'crowded-key':
    'writes queue for one resource: if they mean different ones, refine identity or policy.query for this route',
  'repeated-tag':
    'an ETag of the upstream stayed the same over a write that may have changed the content, and is not used until it changes: if it is made of size and time, or constant, set policy.validator: body for this route',
};

/** Writes decisions to the log and the metrics. Values of credentials are in neither. */
export function createObserver(logger: Logger, metrics: Metrics, access: AccessLog): Observer {
  const advised = new Set<string>();
  return {
    decided(record) {
      metrics.record(record);
      if (record.error !== undefined && record.decision === 'internal-error') logger.error(lineOf(record), 'failed');
      else if (isLogged(record, access)) logger.info(lineOf(record), record.kind);
    },
    advise(route, advice) {
      const key = `${route} ${advice}`;
      if (advised.has(key)) return;
      advised.add(key);
      logger.warn({ route, advice }, advices[advice]);
    },
    wasAdvised: (route, advice) => advised.has(`${route} ${advice}`),
  };
}

function isLogged({ kind, decision }: DecisionRecord, access: AccessLog): boolean {
  if (access !== 'decisions') return access === 'all';
  return kind === 'write' || kind === 'made' || decision !== 'forwarded';
}

/** O3's fields; absent ones are left out. Times in milliseconds with microseconds. */
function lineOf(record: DecisionRecord): Record<string, unknown> {
  const { leaseWait, upstream, total, probes, ...rest } = record;
  return {
    ...rest,
    received: record.received.length === 0 ? undefined : record.received.slice(0, 16),
    probes: probes === 0 ? undefined : probes,
    leaseWaitMs: rounded(leaseWait),
    upstreamMs: rounded(upstream),
    totalMs: rounded(total),
  };
}

function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 1000) / 1000;
}

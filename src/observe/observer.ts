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
      else if (isLogged(record, access) && logger.isLevelEnabled('info')) logger.info(lineOf(record), record.kind);
    },
    advise(route, advice) {
      const key = `${route} ${advice}`;
      if (advised.has(key)) return;
      advised.add(key);
      logger.warn({ route, advice }, advices[advice]);
    },
    wasAdvised: (route, advice) => advised.size > 0 && advised.has(`${route} ${advice}`),
  };
}

function isLogged({ kind, decision }: DecisionRecord, access: AccessLog): boolean {
  if (access !== 'decisions') return access === 'all';
  return kind === 'write' || kind === 'made' || decision !== 'forwarded';
}

/** Longest text in a line that a client may have sent, in characters: 16 tags of 60 kB each fit into one head. */
const longestText = 1024;

/** C1 control characters, which JSON leaves as they are, and terminals obey (ISO 6429). */
const controls = /[\u0080-\u009f]/g;

/** O3's fields; absent ones are left out. Times in milliseconds with microseconds. */
function lineOf(record: DecisionRecord): Record<string, unknown> {
  return {
    requestId: record.requestId,
    route: record.route,
    method: asText(record.method),
    path: asText(record.path),
    kind: record.kind,
    decision: record.decision,
    condition: record.condition,
    client: asText(record.client),
    received: record.received.length === 0 ? undefined : record.received.slice(0, 16).map(asText),
    current: asText(record.current),
    decidedBy: record.decidedBy,
    status: record.status,
    outcome: record.outcome,
    error: record.error,
    withoutStore: record.withoutStore || undefined,
    probes: record.probes === 0 ? undefined : record.probes,
    leaseWaitMs: rounded(record.leaseWait),
    upstreamMs: rounded(record.upstream),
    totalMs: rounded(record.total),
  };
}

function asText<T extends string | undefined>(text: T): T | string {
  if (text === undefined) return text;
  const short = text.length <= longestText ? text : `${text.slice(0, longestText)}…`;
  return short.replace(controls, (character) => `\\x${character.charCodeAt(0).toString(16)}`);
}

function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 1000) / 1000;
}

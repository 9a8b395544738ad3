/** What decided: the gate's own read, what the store knew, or the policy alone (A1). */
export type DecidedBy = 'probe' | 'store' | 'policy';

/** The condition that a decision rests on; `If-Match: *`, the deliberate override, counts apart (W2). */
export type ConditionName = 'If-Match' | 'If-Match: *' | 'If-None-Match' | 'If-Unmodified-Since' | 'If' | 'none';

/**
 * The one record of what happened to a request; log and metrics read it at the end. Times in milliseconds.
 */
export interface DecisionRecord {
  readonly requestId: string;
  /** Pattern of the route, `*` where none matched; never a path. */
  route: string;
  method: string;
  /** Path as the client wrote it, without its query. */
  path: string;
  kind: 'read' | 'write' | 'unguarded-write' | 'passed' | 'made';
  /** `forwarded`, or the problem's name; `report:` before it where the mode only reports (W14). */
  decision: string;
  condition: ConditionName;
  /** Address of the client, as far as `trustProxy` believes it. */
  client: string | undefined;
  /** Tags or date as the client sent them. */
  received: readonly string[];
  current: string | undefined;
  decidedBy: DecidedBy | undefined;
  status: number;
  /** How a write ended (W9), where one was forwarded. */
  outcome: 'not-sent' | 'as-it-was' | 'changed' | 'doubt' | 'unknown' | undefined;
  leaseWait: number | undefined;
  /** Whether it was written under a lease of this process alone, because the shared store was out of reach (S4). */
  withoutStore: boolean;
  /** From the first byte sent upstream to the response head, of the forwarded request. */
  upstream: number | undefined;
  /** Reads that the gate sent for itself: probes and refreshes. */
  probes: number;
  /** Taken from the client's arrival to the answer. */
  total: number;
  error: string | undefined;
}

/**
 * What an operator is told of a route: its bodies change without writes (V9); its keys fold too much together (I1); the
 * upstream's tags stay the same over writes (V7).
 */
export type Advice = 'unstable-body' | 'crowded-key' | 'repeated-tag';

/** Hears of things while and after they happen. Every method must return at once and never throw. */
export interface Observer {
  /** A request has been answered, or its client is gone. */
  decided(record: DecisionRecord): void;
  /** Something an operator should know of a route; told once. */
  advise(route: string, advice: Advice): void;
  /** Whether that was said of the route before. */
  wasAdvised(route: string, advice: Advice): boolean;
}

/** What a record is begun with. */
export interface RecordedRequest {
  readonly requestId: string;
  readonly method: string;
  readonly requestTarget: string;
  readonly clientAddress: string | undefined;
}

function withoutQuery(requestTarget: string): string {
  const mark = requestTarget.indexOf('?');
  return mark === -1 ? requestTarget : requestTarget.slice(0, mark);
}

/** @returns a record of a request about which nothing else is known yet */
export function newRecord({ requestId, method, requestTarget, clientAddress }: RecordedRequest): DecisionRecord {
  return {
    requestId,
    route: '*',
    method,
    path: withoutQuery(requestTarget),
    kind: 'passed',
    decision: 'forwarded',
    condition: 'none',
    client: clientAddress,
    received: [],
    current: undefined,
    decidedBy: undefined,
    status: 0,
    outcome: undefined,
    leaseWait: undefined,
    withoutStore: false,
    upstream: undefined,
    probes: 0,
    total: 0,
    error: undefined,
  };
}

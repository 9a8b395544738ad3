import { METHODS } from 'node:http';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { DecisionRecord } from '../gate/outcome.js';
import type { StoreStats } from '../store/store.js';

/** What Prometheus scrapes (O2). */
export interface Metrics {
  record(record: DecisionRecord): void;
  /** Whose counts are shown from now on. */
  watch(stats: () => StoreStats): void;
  /** A step of the store has failed. */
  storeFailed(): void;
  /** Whether the store can be reached. */
  storeIs(up: boolean): void;
  /** @returns the text exposition format, and its media type */
  render(): Promise<{ contentType: string; text: string }>;
}

export interface MetricsOptions {
  readonly version: string;
  readonly store: { readonly kind: string; readonly scope: string };
}

const seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

const knownMethods: ReadonlySet<string> = new Set(METHODS);

/** Counts until somebody asks: a counter with labels costs as much as all other metrics of a request together. */
class Tally<Label extends string> {
  readonly #names: readonly Label[];
  /** By the value of each label in turn. */
  readonly #root: Branch = { count: 0, branches: new Map() };

  constructor(names: readonly Label[]) {
    this.#names = names;
  }

  /** @param values of the labels, in their order */
  add(...values: string[]): void {
    let branch = this.#root;
    for (const value of values) {
      let next = branch.branches.get(value);
      if (next === undefined) {
        next = { count: 0, branches: new Map() };
        branch.branches.set(value, next);
      }
      branch = next;
    }
    branch.count += 1;
  }

  moveTo(counter: Counter<Label>): void {
    this.#move(this.#root, {}, counter);
    this.#root.branches.clear();
  }

  #move({ count, branches }: Branch, labels: Partial<Record<Label, string>>, counter: Counter<Label>): void {
    if (count > 0) counter.inc(labels as Record<Label, string>, count);
    const name = this.#names[Object.keys(labels).length];
    if (name === undefined) return;
    for (const [value, branch] of branches) this.#move(branch, { ...labels, [name]: value }, counter);
  }
}

interface Branch {
  count: number;
  readonly branches: Map<string, Branch>;
}

/** Makes the counters, each with a registry of its own, so that several gates can live in one process. */
export function createMetrics(options: MetricsOptions): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const counted = <Label extends string>(name: string, help: string, labelNames: Label[]) => {
    const tally = new Tally(labelNames);
    new Counter({
      ...{ name, help, labelNames, registers },
      collect() {
        tally.moveTo(this);
      },
    });
    return tally;
  };
  const decided = counted(
    'ifmatch_decisions_total',
    'Guarded requests and answers of the gate itself, by what was decided.',
    ['route', 'method', 'decision', 'condition'],
  );
  const stale = counted(
    'ifmatch_stale_writes_refused_total',
    'Writes refused with 412 because the resource had changed.',
    ['route'],
  );
  const writes = counted('ifmatch_writes_total', 'Guarded writes, by whether they carry a condition.', [
    'route',
    'conditional',
  ]);
  const probes = new Counter({
    name: 'ifmatch_probes_total',
    help: 'Reads that the gate sent for itself: probes and refreshes.',
    registers,
  });
  // Bound to its labels, of which there are none, once and not for each value.
  const histogram = (name: string, help: string) => {
    return new Histogram({ name, help, buckets: seconds, registers }).labels();
  };
  const leaseWait = histogram('ifmatch_lease_wait_seconds', 'How long guarded writes queued for their resource.');
  const upstream = histogram('ifmatch_upstream_duration_seconds', 'From forwarding a request to its response head.');
  const overhead = histogram(
    'ifmatch_overhead_seconds',
    'Time of a request that was not spent waiting for the upstream.',
  );
  const storeErrors = new Counter({
    name: 'ifmatch_store_errors_total',
    help: 'Failed steps of the store.',
    registers,
  });
  storeErrors.inc(0);
  const storeUp = new Gauge({ name: 'ifmatch_store_up', help: '1 while the store can be reached.', registers });
  storeUp.set(1);
  const withoutStore = new Counter({
    name: 'ifmatch_writes_without_store_total',
    help: 'Guarded writes under a lease of this process alone, because the shared store was out of reach.',
    labelNames: ['route'],
    registers,
  });
  let storeStats = (): StoreStats => ({ entries: 0, leases: 0, waiting: 0 });
  const gauge = (name: string, help: string, value: (stats: StoreStats) => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value(storeStats()));
      },
    });
  gauge('ifmatch_leases', 'Leases and marks held now.', (stats) => stats.leases);
  gauge('ifmatch_store_entries', 'Resources whose version is known or in doubt.', (stats) => stats.entries);
  constant('ifmatch_store_info', 'The store, and how far its guarantee reaches.', {
    store: options.store.kind,
    scope: options.store.scope,
  });
  constant('ifmatch_build_info', 'Version of this program.', { version: options.version });

  function constant(name: string, help: string, labels: Record<string, string>): void {
    new Gauge({ name, help, labelNames: Object.keys(labels), registers }).set(labels, 1);
  }

  return {
    record(record) {
      const { route, decision, condition } = record;
      // A method override (I4) can be any text: as a label each would be a time series for ever.
      const method = knownMethods.has(record.method) ? record.method : 'other';
      if (record.kind !== 'passed' || decision !== 'forwarded') {
        decided.add(route, method, decision, condition);
      }
      if (record.probes > 0) probes.inc(record.probes);
      if (record.kind === 'write') {
        writes.add(route, condition === 'none' ? 'no' : 'yes');
        if (decision === 'precondition-failed') stale.add(route);
      }
      if (record.withoutStore) withoutStore.inc({ route });
      if (record.leaseWait !== undefined) leaseWait.observe(record.leaseWait / 1000);
      if (record.upstream !== undefined) upstream.observe(record.upstream / 1000);
      overhead.observe(Math.max(0, record.total - (record.upstream ?? 0)) / 1000);
    },
    watch(stats) {
      storeStats = stats;
    },
    storeFailed: () => storeErrors.inc(),
    storeIs: (up) => storeUp.set(up ? 1 : 0),
    async render() {
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}

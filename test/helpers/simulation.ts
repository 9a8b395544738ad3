import { setImmediate as turn } from 'node:timers/promises';
import type { Config, Policy } from '../../src/config/schema.js';
import { createCrowds } from '../../src/gate/crowds.js';
import type { Exchange } from '../../src/gate/exchange.js';
import { createGate } from '../../src/gate/gate.js';
import type { DecisionRecord } from '../../src/gate/outcome.js';
import type { GateParts } from '../../src/gate/passage.js';
import { createRepeats } from '../../src/gate/repeats.js';
import type { RoutePolicy } from '../../src/gate/settings.js';
import { createCorsMemory } from '../../src/headers/cors.js';
import { requestFields, responseVia } from '../../src/headers/forwarded.js';
import { createIdentifier } from '../../src/resource/identity.js';
import { createLocator } from '../../src/resource/locate.js';
import { createSelector } from '../../src/resource/selecting.js';
import { createMemoryStore } from '../../src/store/memory.js';
import type { Store } from '../../src/store/store.js';
import { createHoldBudget, type HoldBudget } from '../../src/upstream/represent.js';
import { fingerprint } from '../../src/version/tag.js';
import { createVirtualClock, type VirtualClock } from './clock.js';
import { gateConfig } from './gate.js';
import { type Client, type ClientRequest, SimulatedClient } from './simulated-client.js';
import { violations, withJournal } from './simulated-history.js';
import {
  type BackendKind,
  createSimulatedUpstream,
  type Fault,
  type SentRequest,
  type SimulatedUpstream,
  type Steps,
} from './simulated-upstream.js';

export interface SimulationOptions {
  readonly kind: BackendKind;
  readonly documents: Readonly<Record<string, string>>;
  readonly policy?: Partial<Policy>;
  readonly routes?: readonly { readonly path: string; readonly policy?: Partial<Policy> }[];
  readonly limits?: Partial<Config['limits']>;
  /** Puts something between the gate and the store. */
  readonly wrap?: ((store: Store) => Store) | undefined;
  /** How many resources the store remembers. */
  readonly resources?: number;
  /** See `SimulatedUpstreamOptions`. */
  readonly checks?: boolean;
  readonly timesOut?: boolean;
  readonly fault?: (request: SentRequest) => Fault | undefined;
  readonly onApply?: (request: SentRequest, write: (path: string, content: string) => void) => void;
}

export type Simulation = ReturnType<typeof simulate>;

/**
 * A whole gate, composed as the server composes it, over a simulated backend, with time that stands still: what happens
 * next is the scheduler's choice alone.
 */
export function simulate(scheduler: Steps, options: SimulationOptions) {
  const config = configOf(options);
  const clock = createVirtualClock();
  const upstream = createSimulatedUpstream({ ...options, scheduler, clock });
  // Setting up a store of the usual size takes longer than a whole run.
  const memory = createMemoryStore({ resources: options.resources ?? 100, queue: config.limits.leaseQueue, clock });
  const { journal, store } = withJournal(options.wrap?.(memory) ?? memory, clock);
  const records = new Map<string, DecisionRecord>();
  const budget = createHoldBudget(config.limits.holdTotal);
  const gate = createGate(partsOf(config, { store, upstream, clock, records, budget }));
  const clients: SimulatedClient[] = [];

  /** Sends a request now. */
  function send(request: ClientRequest): Client {
    const client = new SimulatedClient(request);
    clients.push(client);
    client.done = client.talk(gate, clock, upstream.tagOf);
    return client;
  }

  /** Sends a request when its turn comes. */
  function arrive(request: ClientRequest): Client {
    const client = new SimulatedClient(request);
    clients.push(client);
    const comes = scheduler.schedule(Promise.resolve(), `${request.id} arrives`);
    client.done = comes.then(() => client.talk(gate, clock, upstream.tagOf));
    return client;
  }

  /**
   * Lets things happen, one at a time, until all clients are done and nothing is on its way; time goes on only where
   * nothing else can happen.
   */
  async function finish(): Promise<void> {
    await turn();
    for (;;) {
      if (scheduler.count() > 0) await scheduler.waitNext(1);
      else if (clients.every(({ isDone }) => isDone)) return;
      else if (clock.pending() > 0) clock.advance(100);
      else throw new Error('somebody waits for something that never happens');
      await turn();
    }
  }

  /** Sends one request and waits until it is done. */
  async function ask(request: ClientRequest): Promise<Client> {
    const client = send(request);
    await finish();
    return client;
  }

  return {
    clock,
    upstream,
    store,
    journal,
    /** What is held back at the moment (V4). */
    budget,
    records: records as ReadonlyMap<string, DecisionRecord>,
    clients: clients as readonly Client[],
    send,
    arrive,
    finish,
    ask,
    /** What the gate has promised and not kept, and what it has left behind; called when everybody is done. */
    problems(): string[] {
      // Every rest is over by then.
      clock.advance(config.limits.quarantine);
      const { leases, waiting } = store.stats();
      const left = Object.entries({ leases, waiting, timers: clock.pending() }).filter(([, count]) => count > 0);
      const failed = [...records.values()].filter(({ decision }) => decision === 'internal-error');
      return [
        ...violations(clients, records, upstream, journal),
        ...left.map(([name, count]) => `${count} ${name} left`),
        ...failed.map(({ error }) => String(error)),
      ];
    },
  };
}

/** Loading it takes longer than many a run. */
const defaults = gateConfig({ upstream: 'http://upstream.test' });

function configOf({ kind, policy, routes = [], limits }: SimulationOptions): Config {
  const merged: Policy = {
    ...defaults.policy,
    ...(kind === 'upstream' && { validator: { kind } }),
    ...policy,
  };
  return {
    ...defaults,
    policy: merged,
    routes: routes.map((route) => ({ path: route.path, policy: { ...merged, ...route.policy } })),
    limits: { ...defaults.limits, ...limits },
  };
}

interface Surroundings {
  readonly store: Store;
  readonly upstream: SimulatedUpstream;
  readonly clock: VirtualClock;
  readonly records: Map<string, DecisionRecord>;
  readonly budget: HoldBudget;
}

function partsOf(config: Config, { store, upstream, clock, records, budget }: Surroundings): GateParts {
  const locator = createLocator<RoutePolicy>({
    routes: config.routes,
    policy: config.policy,
    identity: config.identity,
    fingerprint: ({ validator, ignore }) => fingerprint(JSON.stringify(validator), ignore),
    upstream: { authority: upstream.authority, basePath: '' },
  });
  const forwarded = { ...config, pathHeaders: config.identity.pathHeaders };
  return {
    store,
    upstream,
    clock,
    limits: config.limits,
    observer: { decided: (record) => void records.set(record.requestId, record), advise() {}, wasAdvised: () => false },
    budget,
    crowds: createCrowds({ advise() {} }),
    repeats: createRepeats(16),
    cors: createCorsMemory(1),
    locate: locator.locate,
    keyOf: locator.keyOf,
    locateReference: locator.locateReference,
    identify: createIdentifier(Buffer.alloc(32)),
    select: createSelector(16),
    outbound: (raw, exchange, clientHost) =>
      requestFields(raw, { ...factsOf(exchange), clientHost, upstreamHost: upstream.authority }, forwarded),
    inbound: (raw) => responseVia(raw, '1.1', forwarded),
  };
}

function factsOf({ remoteAddress, protocol, requestId, httpVersion }: Exchange) {
  return { remoteAddress, protocol, requestId, httpVersion };
}

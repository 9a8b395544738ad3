import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type fc from 'fast-check';
import type { Config, Policy } from '../../src/config/schema.js';
import type { Answer, Exchange } from '../../src/gate/exchange.js';
import { createGate } from '../../src/gate/gate.js';
import type { DecisionRecord } from '../../src/gate/outcome.js';
import type { RoutePolicy } from '../../src/gate/settings.js';
import { createCorsMemory } from '../../src/headers/cors.js';
import { requestFields, responseVia } from '../../src/headers/forwarded.js';
import { fieldLine } from '../../src/http/fields.js';
import { createIdentifier } from '../../src/resource/identity.js';
import { createLocator } from '../../src/resource/locate.js';
import { createSelector } from '../../src/resource/selecting.js';
import { createMemoryStore } from '../../src/store/memory.js';
import type { Store, Token } from '../../src/store/store.js';
import { createHoldBudget } from '../../src/upstream/represent.js';
import { fingerprint } from '../../src/version/tag.js';
import { createVirtualClock, type VirtualClock } from './clock.js';
import { gateConfig } from './gate.js';
import { type BackendKind, createSimulatedUpstream, type Fault, type SentRequest } from './simulated-upstream.js';

export interface SimulationOptions {
  readonly kind: BackendKind;
  readonly documents: Readonly<Record<string, string>>;
  readonly policy?: Partial<Policy>;
  readonly routes?: readonly { readonly path: string; readonly policy?: Partial<Policy> }[];
  readonly limits?: Partial<Config['limits']>;
  /** Puts something between the gate and the store. */
  readonly wrap?: ((store: Store) => Store) | undefined;
  readonly fault?: (request: SentRequest) => Fault | undefined;
  readonly onApply?: (request: SentRequest, write: (path: string, content: string) => void) => void;
}

/** What a client asks for. */
export interface ClientRequest {
  /** Also the request id; unique in a simulation, and the body of a write. */
  readonly id: string;
  readonly method: string;
  readonly path: string;
  /** Content that the client has read and names by its tag in If-Match; `null`: If-None-Match: *; absent: neither. */
  readonly base?: string | null | undefined;
  readonly body?: string;
  /** The body comes when `finishBody` is called. */
  readonly slowBody?: boolean;
}

/** A client and what became of it. */
export interface Client {
  readonly request: ClientRequest;
  /** Resolves when the answer has been delivered, or could not be. */
  readonly done: Promise<void>;
  readonly status: number | undefined;
  /** Body of the answer. */
  readonly content: string;
  /** Goes away, unless it has its answer. Before it has arrived it does nothing. */
  leave(): void;
  finishBody(): void;
}

export type Simulation = ReturnType<typeof simulate>;

/**
 * A whole gate, composed as the server composes it, over a simulated backend, with time that stands still: what happens
 * next is the scheduler's choice alone.
 */
export function simulate(scheduler: fc.Scheduler, options: SimulationOptions) {
  const config = configOf(options);
  const clock = createVirtualClock();
  const upstream = createSimulatedUpstream({ ...options, scheduler, clock });
  const memory = createMemoryStore({ resources: config.limits.resources, queue: config.limits.leaseQueue, clock });
  const { journal, store } = withJournal(options.wrap?.(memory) ?? memory, clock);
  const records = new Map<string, DecisionRecord>();
  const locator = createLocator<RoutePolicy>({
    routes: config.routes,
    policy: config.policy,
    identity: config.identity,
    fingerprint: ({ validator, ignore }) => fingerprint(JSON.stringify(validator), ignore),
    upstream: { authority: upstream.authority, basePath: '' },
  });
  const forwarded = { ...config, pathHeaders: config.identity.pathHeaders };
  const gate = createGate({
    store,
    upstream,
    clock,
    limits: config.limits,
    observer: { decided: (record) => void records.set(record.requestId, record), advise() {}, wasAdvised: () => false },
    budget: createHoldBudget(config.limits.holdTotal),
    cors: createCorsMemory(1),
    locate: locator.locate,
    keyOf: locator.keyOf,
    identify: createIdentifier(Buffer.alloc(32)),
    select: createSelector(16),
    outbound: (raw, exchange, clientHost) =>
      requestFields(raw, { ...factsOf(exchange), clientHost, upstreamHost: upstream.authority }, forwarded),
    inbound: (raw, httpVersion) => responseVia(raw, httpVersion, forwarded),
  });
  const clients: SimulatedClient[] = [];

  /** Sends a request now. */
  function send(request: ClientRequest): Client {
    const client = new SimulatedClient(request);
    clients.push(client);
    void client.talk(clock, upstream.tagOf, (exchange) => gate.handle(exchange));
    return client;
  }

  /** Sends a request when its turn comes. */
  function arrive(request: ClientRequest): Client {
    const client = new SimulatedClient(request);
    clients.push(client);
    void scheduler
      .schedule(Promise.resolve(), `${request.id} arrives`)
      .then(() => client.talk(clock, upstream.tagOf, (exchange) => gate.handle(exchange)));
    return client;
  }

  /** Lets things happen, one at a time, until all clients are done; time goes on only where nothing else can. */
  async function finish(): Promise<void> {
    for (;;) {
      const count = clients.length;
      await drive(Promise.all(clients.map(({ done }) => done)));
      // What nobody waits for any more: bodies of answers that were given up, late writes, rests.
      while (scheduler.count() > 0) await stepOnce();
      if (clients.length === count) return;
    }
  }

  async function drive(until: Promise<unknown>): Promise<void> {
    let isOver = false;
    void until.then(() => {
      isOver = true;
    });
    await turn();
    for (let idle = 0; !isOver; ) {
      if (scheduler.count() > 0) await stepOnce();
      else if (clock.pending() === 0) throw new Error(`stuck: ${describe(clients)}`);
      else {
        clock.advance(idle === 0 ? 0 : 100);
        await turn();
      }
      idle = scheduler.count() > 0 ? 0 : idle + 1;
    }
  }

  async function stepOnce(): Promise<void> {
    await scheduler.waitNext(1);
    await turn();
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
    records,
    clients: clients as readonly Client[],
    send,
    arrive,
    finish,
    ask,
    turn: () => turn(),
    violations: () => violations(clients, upstream, journal, (path) => keyOf(locator, path)),
    /** What is left behind once everybody is done and every rest is over. */
    leaks: (): string[] => {
      clock.advance(config.limits.quarantine);
      const { leases, waiting } = store.stats();
      const left = { leases, waiting, timers: clock.pending() };
      return Object.entries(left).flatMap(([name, count]) => (count === 0 ? [] : [`${count} ${name} left`]));
    },
  };
}

/** Loading a configuration is slow beside a run: each is loaded once. */
const configs = new Map<string, Config>();

function configOf({ policy, routes, limits }: SimulationOptions): Config {
  const key = JSON.stringify([policy, routes, limits], (_, value) => (value === Infinity ? 'Infinity' : value));
  const settings = { upstream: 'http://upstream.test', policy, routes, limits };
  const config = configs.get(key) ?? gateConfig(JSON.parse(JSON.stringify({ upstream: settings.upstream })));
  const merged = { ...config.policy, ...policy };
  void merged;
  configs.set(key, config);
  return config;
}

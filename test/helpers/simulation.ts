import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type fc from 'fast-check';
import type { Config, Policy } from '../../src/config/schema.js';
import type { Answer, Exchange } from '../../src/gate/exchange.js';
import { createGate, type Gate } from '../../src/gate/gate.js';
import type { DecisionRecord } from '../../src/gate/outcome.js';
import type { RoutePolicy } from '../../src/gate/settings.js';
import { createCorsMemory } from '../../src/headers/cors.js';
import { requestFields, responseVia } from '../../src/headers/forwarded.js';
import { createIdentifier } from '../../src/resource/identity.js';
import { createLocator } from '../../src/resource/locate.js';
import { createSelector } from '../../src/resource/selecting.js';
import { createMemoryStore } from '../../src/store/memory.js';
import type { Store } from '../../src/store/store.js';
import type { ResponseBody } from '../../src/upstream/call.js';
import { createHoldBudget } from '../../src/upstream/represent.js';
import { fingerprint } from '../../src/version/tag.js';
import { createVirtualClock, type VirtualClock } from './clock.js';
import { gateConfig } from './gate.js';
import { violations, withJournal } from './simulated-history.js';
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
  /** Whether the answer has been delivered, or could not be. */
  readonly isDone: boolean;
  /** Status of the answer; undefined without one. */
  readonly status: number | undefined;
  /** Body of the answer. */
  readonly content: string;
  /** Goes away, unless it has its answer or has not come yet. */
  leave(): void;
  /** Sends a slow body. */
  finishBody(): void;
}

export type Simulation = ReturnType<typeof simulate>;

/**
 * A whole gate, composed as the server composes it, over a simulated backend, with time that stands still: what happens
 * next is the scheduler's choice alone.
 */
export function simulate(scheduler: fc.Scheduler, options: SimulationOptions) {
  const { policy, routes, limits } = options;
  const config = gateConfig({
    upstream: 'http://upstream.test',
    ...(policy && { policy }),
    ...(routes && { routes }),
    ...(limits && { limits }),
  });
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
    void client.talk(gate, clock, upstream.tagOf);
    return client;
  }

  /** Sends a request when its turn comes. */
  function arrive(request: ClientRequest): Client {
    const client = new SimulatedClient(request);
    clients.push(client);
    void scheduler
      .schedule(Promise.resolve(), `${request.id} arrives`)
      .then(() => client.talk(gate, clock, upstream.tagOf));
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
    records,
    clients: clients as readonly Client[],
    send,
    arrive,
    finish,
    ask,
    turn: () => turn(),
    /** What went wrong for those who read before they wrote. */
    violations: (): string[] => violations(clients, upstream, journal),
    /** What is left behind once everybody is done and every rest is over. */
    leaks: (): string[] => {
      clock.advance(config.limits.quarantine);
      const { leases, waiting } = store.stats();
      const left = { leases, waiting, timers: clock.pending() };
      return Object.entries(left).flatMap(([name, count]) => (count === 0 ? [] : [`${count} ${name} left`]));
    },
  };
}

function factsOf({ remoteAddress, protocol, requestId, httpVersion }: Exchange) {
  return { remoteAddress, protocol, requestId, httpVersion };
}

/** A client, and the exchange that the gate has with it. */
class SimulatedClient implements Client, Exchange {
  readonly request: ClientRequest;
  readonly httpVersion = '1.1';
  readonly protocol = 'http';
  readonly remoteAddress = '127.0.0.1';
  readonly sendContinue = undefined;
  arrivedAt = 0;
  rawHeaders: string[] = [];
  body: IncomingMessage | undefined;
  isGone = false;
  isDone = false;
  status: number | undefined;
  content = '';
  readonly #controller = new AbortController();
  readonly #whenGone: (() => void)[] = [];

  constructor(request: ClientRequest) {
    this.request = request;
  }

  get method(): string {
    return this.request.method;
  }

  get requestTarget(): string {
    return this.request.path;
  }

  get requestId(): string {
    return this.request.id;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Sends the request and takes the answer in. */
  async talk(gate: Gate, clock: VirtualClock, tagOf: (content: string) => string): Promise<void> {
    const { id, method, base, slowBody, body = id } = this.request;
    this.arrivedAt = clock.now();
    this.rawHeaders = ['Host', 'api.test', 'X-Request-Id', id];
    if (base !== undefined) {
      this.rawHeaders.push(...(base === null ? ['If-None-Match', '*'] : ['If-Match', tagOf(base)]));
    }
    if (withBody.has(method)) {
      this.rawHeaders.push(...(slowBody ? ['Transfer-Encoding', 'chunked'] : ['Content-Length', String(body.length)]));
      this.body = new IncomingMessage(new Socket());
      if (!slowBody) this.finishBody();
    }
    const { answer, done } = await gate.handle(this);
    if (answer !== undefined) await this.#take(answer);
    done();
    this.isDone = true;
  }

  finishBody(): void {
    const { id, body = id } = this.request;
    if (this.body === undefined || this.isGone) return;
    this.body.push(body);
    this.body.push(null);
    this.body.complete = true;
  }

  leave(): void {
    if (this.arrivedAt === 0 || this.isDone || this.isGone) return;
    this.isGone = true;
    this.#controller.abort();
    for (const action of this.#whenGone) action();
    this.body?.destroy();
  }

  onGone(action: () => void): void {
    if (this.isGone) action();
    else this.#whenGone.push(action);
  }

  sendInformational(): void {}

  async #take({ status, body, release }: Answer): Promise<void> {
    if (typeof body === 'object' && 'consume' in body) {
      if (this.isGone) body.abort();
      else this.content = await contentOf(body, (abort) => this.onGone(abort));
    } else {
      this.content = String(body ?? '');
    }
    release?.();
    if (!this.isGone) this.status = status;
  }
}

const withBody = new Set(['PUT', 'PATCH', 'POST']);

function contentOf(body: ResponseBody, onGone: (abort: () => void) => void): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    onGone(() => body.abort());
    body.consume({
      data: (chunk) => chunks.push(chunk) > 0,
      end: (last) => resolve(Buffer.concat(last === undefined ? chunks : [...chunks, last]).toString()),
      error: () => resolve(''),
    });
  });
}

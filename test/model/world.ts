import { setImmediate as turn } from 'node:timers/promises';
import type { Store } from '../../src/store/store.js';
import type { ClientRequest } from '../helpers/simulated-client.js';
import type { Fault, SentRequest } from '../helpers/simulated-upstream.js';
import { type Simulation, simulate } from '../helpers/simulation.js';
import { Agenda } from './agenda.js';
import { Model } from './model.js';
import { Judge } from './postconditions.js';
import { type Condition, isRead, type Known, type Operation } from './rules.js';
import { actors, documents, limits, type Setting } from './setting.js';

/** Every wait of the gate is a multiple of it, in milliseconds: time goes on in such steps. */
const tick = 250;

const free: Condition = { kind: 'none' };

/** What a client does. */
export interface Act {
  readonly actor: number;
  readonly method: string;
  readonly path: string;
  readonly condition: Condition;
  readonly revalidates?: Known | undefined;
  /** Content to write; absent: one that nobody has written before. */
  readonly body?: string | undefined;
  readonly slowBody?: boolean;
}

/** The gate over its backend, time, and what a test can do with them; after each act the model judges what happened. */
export class World {
  readonly model: Model;
  readonly #agenda = new Agenda();
  readonly #simulation: Simulation;
  readonly #judge: Judge;
  readonly #armed: { readonly reads: boolean; readonly fault: Fault }[] = [];
  #moment = 0;

  /** @param wrap puts something between the gate and its store */
  constructor(setting: Setting, wrap?: (store: Store) => Store) {
    const { kind, validator, recheck, refresh, resources, checks, holdRequest } = setting;
    this.#simulation = simulate(this.#agenda, {
      kind,
      documents,
      policy: { validator: { kind: validator }, recheck, refresh },
      limits: { ...limits, holdRequest },
      resources,
      checks,
      timesOut: true,
      fault: (request) => this.#faultOf(request),
      wrap,
    });
    this.model = new Model(setting, this.#simulation.upstream);
    this.#judge = new Judge(this.model);
  }

  /** All clients read one resource, so that they have something to change. */
  async begin(path: string): Promise<void> {
    for (const actor of actors) await this.attend(await this.send({ actor, path, method: 'GET', condition: free }));
  }

  /** A client's request arrives. */
  async send(act: Act): Promise<Operation> {
    const { actor, method, path, condition, revalidates } = act;
    const id = `o${String(this.model.operations.length).padStart(3, '0')}`;
    let operation: Operation | undefined;
    await this.#happen(() => {
      const arrivedAt = this.#simulation.clock.now();
      const client = this.#simulation.send(this.#requestOf(id, act));
      const end = { leftAt: undefined, doneAt: undefined, decidedAt: undefined };
      const begun: Operation = { id, actor, method, path, condition, revalidates, client, arrivedAt, ...end };
      operation = begun;
      void client.done.then(() => {
        begun.doneAt = this.#simulation.clock.now();
        begun.decidedAt = this.#moment;
      });
      this.model.begin(begun);
    });
    if (operation === undefined) throw new Error('nothing was sent');
    return operation;
  }

  /** Lets what belongs to one operation happen until it is done, or waits for something else. */
  async attend({ id }: Operation): Promise<void> {
    const isOwn = (request: SentRequest) => request.id === id;
    while (this.#agenda.has(isOwn)) await this.#happen(() => this.#agenda.take(isOwn));
  }

  /** Lets one step happen. */
  async step(choice: number): Promise<void> {
    await this.#happen(() => this.#agenda.takeAny(choice));
  }

  /** Lets everything happen that needs no time. */
  async settle(): Promise<void> {
    while (this.#agenda.count() > 0) await this.#happen(() => this.#agenda.take());
  }

  async leave(operation: Operation): Promise<void> {
    await this.#happen(() => {
      operation.leftAt = this.#simulation.clock.now();
      operation.client.leave();
    });
  }

  async finishBody({ client }: Operation): Promise<void> {
    await this.#happen(() => client.finishBody());
  }

  async change(path: string, content: string | undefined): Promise<void> {
    await this.#happen(() => this.#simulation.upstream.change(path, content));
  }

  /** What goes wrong with the next read, or the next write, that the gate sends. */
  arm(reads: boolean, fault: Fault): void {
    this.#armed.push({ reads, fault });
  }

  /** Time goes on. A write whose outcome is unknown takes effect within its rest, or not at all (W11). */
  async advance(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += tick) {
      const until = Math.floor(this.#simulation.clock.now()) + tick;
      const isDue = (request: SentRequest) => mustApplyBy(request) <= until;
      while (this.#agenda.has(isDue)) await this.#happen(() => this.#agenda.take(isDue));
      await this.#happen(() => this.#simulation.clock.advance(tick));
    }
  }

  /** Everything comes to its end; nothing may be left behind. */
  async end(): Promise<void> {
    const { store, clock, budget, records } = this.#simulation;
    for (const operation of this.model.active) await this.finishBody(operation);
    await this.settle();
    while (this.model.operations.some(({ doneAt }) => doneAt === undefined)) {
      if (clock.pending() === 0) throw new Error('somebody waits for something that never happens');
      await this.advance(tick);
      await this.settle();
    }
    await this.advance(limits.quarantine);
    const { leases, waiting } = store.stats();
    const left = Object.entries({ leases, waiting, timers: clock.pending(), held: budget.used });
    fail(left.filter(([, count]) => count > 0).map(([name, count]) => `${count} ${name} left`));
    fail(
      [...records.values()].flatMap(({ decision, error }) => (decision === 'internal-error' ? [String(error)] : [])),
    );
  }

  async #happen(action: () => void): Promise<void> {
    this.#moment = this.#simulation.clock.now();
    action();
    await turn();
    this.model.pendingSteps = this.#agenda.count();
    fail(this.#judge.judge());
  }

  #faultOf(request: SentRequest): Fault | undefined {
    const index = this.#armed.findIndex(({ reads }) => reads === isRead(request));
    return index < 0 ? undefined : this.#armed.splice(index, 1)[0]?.fault;
  }

  #requestOf(id: string, { actor, method, path, condition, revalidates, body, slowBody }: Act): ClientRequest {
    const headers = conditionFields(condition);
    if (revalidates !== undefined) headers.push('If-None-Match', revalidates.tag);
    if (this.model.setting.identities) headers.push('Authorization', `Bearer ${actor}`);
    return { id, method, path, headers, slowBody: slowBody === true, ...(body !== undefined && { body }) };
  }
}

function conditionFields(condition: Condition): string[] {
  if (condition.kind === 'none') return [];
  if (condition.kind === 'absent') return ['If-None-Match', '*'];
  if (condition.kind === 'exists') return ['If-Match', '*'];
  return ['If-Match', condition.names.map(({ tag }) => tag).join(', ')];
}

/** When a write of which the gate knows no outcome must have taken effect, if it does at all. */
function mustApplyBy(request: SentRequest): number {
  const { answeredAt, carriedOut } = request;
  if (isRead(request) || answeredAt === undefined || carriedOut !== undefined) return Number.POSITIVE_INFINITY;
  return Math.floor(answeredAt) + limits.quarantine;
}

function fail(problems: readonly string[]): void {
  if (problems.length > 0) throw new Error(problems.join('\n'));
}

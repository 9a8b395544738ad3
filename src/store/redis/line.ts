import type { Clock } from '../../http/clock.js';
import type { Lease } from '../leases.js';
import type { AcquireRequest, NotAcquired, StoreEvents } from '../store.js';
import type { Client } from './client.js';
import type { Part } from './holdings.js';
import { outOfReach } from './link.js';
import type { Protocol } from './protocol.js';
import type { Resource, Told } from './resources.js';
import { Turns } from './turns.js';

/** What is asked for from the grant of this process's own lease on. */
export interface Wish {
  readonly lease: Lease;
  /** Names the lease in the store, and the place in line. */
  readonly owner: string;
  readonly first: string;
  readonly resource: Resource;
  readonly parts: readonly Part[];
}

/** A lease that was given. `sentAt`: when it was asked for, from which on it lives. */
export interface Given {
  readonly kind: 'given';
  readonly told: Told;
  readonly sentAt: number;
}

export interface LineOptions {
  readonly protocol: Protocol;
  readonly client: Client;
  /** On which those who wait are told. */
  readonly channel: string;
  readonly clock: Clock;
  /** Clock of the pauses between two questions. */
  readonly upkeep: Clock;
  readonly events: StoreEvents;
  /** Called when the store begins to rest. */
  readonly onRest: () => void;
}

/** Between two questions of one who waits for another gate's lease, in milliseconds. */
const askEvery = 100;
/** After what time it is worth another try where the store is out of reach, in milliseconds. */
const tryAgainAfter = 1000;

/** The way of a lease from this process's own line into the store, where other gates may have it (W3). */
export class Line {
  readonly #options: LineOptions;
  readonly #turns: Turns;
  readonly #asking = new Set<Promise<unknown>>();
  #restsUntil = 0;
  #isListening = false;
  #isClosed = false;

  constructor(options: LineOptions) {
    this.#options = options;
    this.#turns = new Turns(options.upkeep);
  }

  /** How many wait for other gates. */
  get waiting(): number {
    return this.#turns.size;
  }

  /** Asks until the lease is given or the wait is over, which `deadline` (`Clock.now()`) says. */
  ask(wish: Wish, request: AcquireRequest, deadline: number): Promise<Given | NotAcquired> {
    const asking = this.#ask(wish, request, deadline);
    this.#asking.add(asking);
    return asking.finally(() => this.#asking.delete(asking));
  }

  async #ask(wish: Wish, request: AcquireRequest, deadline: number): Promise<Given | NotAcquired> {
    const { protocol } = this.#options;
    const place = this.#turns.enter(wish.owner);
    try {
      return await this.#askAgain(wish, request, deadline, (ms) => place.wait(ms, request.signal));
    } catch (error) {
      // Whether it was given nobody knows; nothing has been sent under it.
      protocol.abandon(wish.parts, wish.owner, false);
      outOfReach(error);
      return { kind: 'unavailable', reason: 'unreachable', retryAfter: tryAgainAfter };
    } finally {
      place.leave();
    }
  }

  /** The store gives no leases for so long: told once for each time. */
  rests(ms: number): void {
    const now = this.#options.clock.now();
    if (now < this.#restsUntil) return;
    this.#restsUntil = now + ms;
    this.#options.events.rests(ms);
    this.#options.onRest();
  }

  /** Nobody waits any more. Resolves when all places in line have been given up. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#turns.close();
    await Promise.allSettled(this.#asking);
  }

  async #askAgain(
    { lease, owner, parts, resource }: Wish,
    { wait, signal }: AcquireRequest,
    deadline: number,
    pause: (ms: number) => Promise<void>,
  ): Promise<Given | NotAcquired> {
    const { protocol, clock } = this.#options;
    for (;;) {
      const sentAt = clock.now();
      const answer = await protocol.acquire(parts, resource, lease.kind, owner, wait > 0);
      if (answer.kind === 'acquired') return { kind: 'given', told: answer.told, sentAt };
      if (answer.kind === 'resting') {
        this.rests(answer.ms);
        return { kind: 'unavailable', reason: 'resting', retryAfter: answer.ms };
      }
      if (wait <= 0) return { kind: 'busy' };
      this.#listen();
      const left = deadline - clock.now();
      if (left > 0) await pause(Math.min(left, askEvery * (0.5 + Math.random())));
      if (left > 0 && !signal?.aborted && !this.#isClosed) continue;
      const leaving = protocol.leave(parts, owner).catch(outOfReach);
      if (this.#isClosed) await leaving;
      return { kind: left > 0 ? 'aborted' : 'timeout' };
    }
  }

  /** From the first time on that somebody has to wait for another gate. */
  #listen(): void {
    if (this.#isListening) return;
    this.#isListening = true;
    const { client, channel } = this.#options;
    client.subscribe(channel, (message) => this.#turns.called(message));
  }
}

import type { Clock } from '../../http/clock.js';
import type { StoreEvents } from '../store.js';
import { type Client, StorePolicyError } from './client.js';
import { ServerTime } from './server-time.js';
import type { Step } from './steps.js';
import { TimeLimit } from './time-limit.js';

/** The store could not carry out a step, or nobody knows whether it did (S4). */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable';
  readonly code = 'store-unavailable';
}

/** A part of the keys, all in one cluster slot, with counters of its own. Without a cluster there is one. */
export interface Bucket {
  /** Name of the key with its counters. */
  readonly key: string;
  /** What the names of its resources begin with. */
  readonly prefix: string;
}

/** How a bucket can be reached now. */
interface State {
  isDown: boolean;
  /** The clock of the server that it lies on. */
  readonly time: ServerTime;
  /** Grows whenever something may have been missed (S4), and what of it the store knows. */
  missed: number;
  told: number;
  /** What has to be done when it is back, at its next greeting. */
  readonly owed: Set<() => Promise<void>>;
}

/** A step on its way: when it was sent, the time that the server was told, and what it had been told of before. */
interface Sending {
  readonly sentAt: number;
  readonly now: number | undefined;
  readonly missed: number;
  /** What every script begins with (./steps.ts). */
  readonly args: readonly string[];
}

export interface LinkOptions {
  readonly client: Client;
  readonly clock: Clock;
  /** Clock of the pauses between two tries. */
  readonly upkeep: Clock;
  /** The server's own time is used where there is none. */
  readonly serverClock: (() => number) | undefined;
  /** Longest time that a step may take, in milliseconds. */
  readonly timeout: number;
  /** Time to live of leases and of versions, in milliseconds. */
  readonly leaseTime: number;
  readonly keptFor: number;
  readonly channel: string;
  readonly events: StoreEvents;
}

/** The first and the longest pause before a bucket that is down is greeted again, in milliseconds. */
const firstPause = 50;
const longestPause = 1000;
/** What is owed to a bucket that stays down is not remembered without end: it expires. */
const mostOwed = 10_000;

/**
 * The way to the shared store. A step that fails takes its bucket down: from then on all steps fail at once, so that a
 * store that hangs costs nobody more than one timeout, until a greeting comes back. Whatever was missed meanwhile makes
 * all older knowledge void with the first step that gets through (S4).
 */
export class Link {
  readonly #options: LinkOptions;
  readonly #states = new Map<Bucket, State>();
  readonly #pauses = new Set<() => void>();
  readonly #limit: TimeLimit;
  /** What every script is told that stays the same. */
  readonly #settings: readonly string[];
  #isClosed = false;
  #hasWarned = false;
  #down = 0;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#limit = new TimeLimit(options.upkeep, options.timeout);
    this.#settings = [String(options.leaseTime), String(options.keptFor), options.channel];
  }

  /** Whether every bucket that was used can be reached. */
  get isUp(): boolean {
    return this.#down === 0;
  }

  /**
   * Carries out a step.
   *
   * @param keys names of resources of the bucket
   * @returns the script's answer
   * @throws {StoreUnavailable}
   */
  async run(step: Step, bucket: Bucket, keys: readonly string[], args: readonly string[]): Promise<string[]> {
    const state = this.#state(bucket);
    if (state.isDown || this.#isClosed) throw new StoreUnavailable('the store is out of reach');
    try {
      const sending = this.#prepare(state);
      const answer = await this.#send(step, bucket, sending, keys, args);
      this.#hear(state, sending, answer);
      return answer;
    } catch (error) {
      this.#takeDown(bucket, state, error as Error);
      throw new StoreUnavailable((error as Error).message, { cause: error });
    }
  }

  /** How the clock of the server that the bucket lies on stands. */
  timeOf(bucket: Bucket): ServerTime {
    return this.#state(bucket).time;
  }

  /** Something has happened that the store should know and does not: older knowledge in the bucket is void (S4). */
  missed(bucket: Bucket): void {
    const state = this.#state(bucket);
    state.missed += 1;
    // What nobody asks for would be believed by the other gates until somebody does.
    if (!state.isDown) this.run('hello', bucket, [], []).catch(ignored);
  }

  /** Has something done as soon as the bucket can be reached again: now, where it can. */
  owe(bucket: Bucket, action: () => Promise<void>): void {
    if (this.#isClosed) return;
    const state = this.#state(bucket);
    if (state.isDown && state.owed.size < mostOwed) state.owed.add(action);
    else if (!state.isDown) action().catch(ignored);
  }

  /** Ends all tries; steps fail from now on. */
  close(): void {
    this.#isClosed = true;
    for (const cancel of this.#pauses) cancel();
    this.#pauses.clear();
  }

  #state(bucket: Bucket): State {
    const known = this.#states.get(bucket);
    if (known !== undefined) return known;
    const state: State = { isDown: false, time: new ServerTime(), missed: 0, told: 0, owed: new Set() };
    this.#states.set(bucket, state);
    return state;
  }

  /** What goes to the script and to the reading of its answer. */
  #prepare(state: State): Sending {
    const { clock, serverClock, timeout } = this.#options;
    const sentAt = clock.now();
    const now = serverClock?.();
    const { missed, told, time } = state;
    const latest = time.isKnown ? String(time.latest(sentAt) + timeout) : '';
    const args = [now === undefined ? '' : String(now), latest, missed > told ? '1' : '', ...this.#settings];
    return { sentAt, now, missed, args };
  }

  #send(step: Step, bucket: Bucket, { args }: Sending, keys: readonly string[], own: readonly string[]) {
    return this.#limit.within(this.#options.client.run(step, [bucket.key, ...keys], [...args, ...own]));
  }

  #hear(state: State, { sentAt, now, missed }: Sending, [what, told]: readonly string[]): void {
    if (now === undefined) state.time.learn(Number(told), sentAt, this.#options.clock.now());
    else state.time.learn(now, sentAt, sentAt);
    if (what === 'late') throw new Error('the step came too late');
    state.told = Math.max(state.told, missed);
  }

  /** Found out only now, because it could not be reached before: an operator has to know why it stays out of use. */
  #warnOnce(error: unknown): void {
    if (!(error instanceof StorePolicyError) || this.#hasWarned) return;
    this.#hasWarned = true;
    this.#options.events.down(error);
  }

  #takeDown(bucket: Bucket, state: State, error: Error): void {
    if (this.#isClosed) return;
    this.#options.events.failed(error);
    state.missed += 1;
    if (state.isDown) return;
    state.isDown = true;
    this.#down += 1;
    if (this.#down === 1) this.#options.events.down(error);
    this.#comeBack(bucket, state, firstPause);
  }

  /** Greets the bucket until it answers; pauses are jittered, so that not all gates come at once. */
  #comeBack(bucket: Bucket, state: State, pause: number): void {
    const cancel = this.#options.upkeep.after(pause * (0.5 + Math.random()), () => {
      this.#pauses.delete(cancel);
      void this.#tryAgain(bucket, state, Math.min(pause * 2, longestPause));
    });
    this.#pauses.add(cancel);
  }

  async #tryAgain(bucket: Bucket, state: State, pause: number): Promise<void> {
    try {
      await this.#limit.within(this.#options.client.check());
      // What is missed while it is greeted, it is told too.
      do {
        const sending = this.#prepare(state);
        this.#hear(state, sending, await this.#send('hello', bucket, sending, [], []));
      } while (state.missed > state.told);
    } catch (error) {
      if (this.#isClosed) return;
      this.#options.events.failed(error as Error);
      this.#warnOnce(error);
      this.#comeBack(bucket, state, pause);
      return;
    }
    if (this.#isClosed) return;
    state.isDown = false;
    this.#down -= 1;
    if (this.#down === 0) this.#options.events.up();
    const owed = [...state.owed];
    state.owed.clear();
    for (const action of owed) action().catch(ignored);
  }
}

/**
 * For `catch`: makes a step that the store could not take one without a result.
 *
 * @throws any other error
 */
export function outOfReach(error: unknown): undefined {
  if (!(error instanceof StoreUnavailable)) throw error;
}

/** A failure has taken the bucket down, and was told. */
function ignored(): void {}

import { randomBytes } from 'node:crypto';
import type { Clock } from '../../http/clock.js';
import { type Lease, LeaseQueue } from '../leases.js';
import type {
  Acquired,
  AcquireRequest,
  Mark,
  NotAcquired,
  Observation,
  Outcome,
  ReadStart,
  Store,
  StoreStats,
  Token,
} from '../store.js';
import { type Client, createClient, StorePolicyError } from './client.js';
import { type Held, Holdings } from './holdings.js';
import { type Given, Line, type Wish } from './line.js';
import { type Bucket, Link, outOfReach } from './link.js';
import type { RedisStoreOptions } from './options.js';
import { doubtsOf, mayHaveChanged, Protocol } from './protocol.js';
import { Records } from './records.js';
import { bucketsOf, format, Resources } from './resources.js';
import { Untold } from './untold.js';

/** Longest time that a step may take, in milliseconds: what a store that hangs costs the first request that meets it. */
const usualTimeout = 1000;
/** How much faster the server's clock may run than that of this process. */
const clockDrift = 0.01;

/** The epoch that a read begins with where the store is out of reach. */
const noEpoch = -1;

const rested = { kind: 'rested' } as const;

class RedisStore implements Store {
  readonly #options: RedisStoreOptions;
  readonly #clock: Clock;
  readonly #client: Client;
  readonly #link: Link;
  readonly #protocol: Protocol;
  readonly #resources: Resources;
  readonly #holdings: Holdings;
  readonly #queue: LeaseQueue;
  readonly #line: Line;
  readonly #untold: Untold;
  readonly #buckets: readonly Bucket[];
  /** When this process moved the epoch of a key that it leases. */
  readonly #movedAt = new Map<string, number>();
  /** What cancels the rests of writes whose outcome is unknown (W11). */
  readonly #quarantines = new Set<() => void>();
  /** With a number it names a lease or a place in line: nobody else can settle it. */
  readonly #process = randomBytes(16).toString('base64url');
  #names = 0;
  #isClosed = false;

  constructor(options: RedisStoreOptions, client: Client) {
    const { clock, upkeep = clock, namespace, leaseTime, keptFor, serverClock, events } = options;
    this.#options = options;
    this.#clock = clock;
    this.#client = client;
    const channel = `ifmatch:${format}:${namespace}:turns`;
    this.#buckets = bucketsOf(namespace, options.topology);
    const { timeout = usualTimeout } = options;
    const link = new Link({ client, clock, upkeep, serverClock, timeout, leaseTime, keptFor, channel, events });
    this.#link = link;
    const records = new Records(this.#process);
    const timeOf = (bucket: Bucket) => link.timeOf(bucket);
    this.#resources = new Resources(options.resources, options.secret, this.#buckets, records, timeOf);
    this.#protocol = new Protocol(link, records, this.#resources);
    this.#untold = new Untold(link, this.#protocol);
    this.#holdings = new Holdings(upkeep, leaseTime, (held) => void this.#renew(held));
    this.#queue = new LeaseQueue(options);
    this.#line = new Line({
      protocol: this.#protocol,
      client,
      channel,
      clock,
      upkeep,
      events,
      onRest: () => void this.#greet(),
    });
  }

  /** Greets the store. One that is out of reach is greeted again later. @throws {StorePolicyError} where it evicts */
  async open(): Promise<void> {
    await this.#client.connected();
    await this.#client.check().catch((error) => {
      if (error instanceof StorePolicyError) throw error;
    });
    await this.#greet();
  }

  /** A server that has forgotten gives no lease for a while (S2): in all buckets at once, not when each is first used. */
  async #greet(): Promise<void> {
    const greet = async (bucket: Bucket) => {
      const answer = await this.#link.run('hello', bucket, [], []).catch(outOfReach);
      if (answer !== undefined && Number(answer[2]) > 0) this.#line.rests(Number(answer[2]));
      return answer !== undefined;
    };
    const [first, ...others] = this.#buckets;
    if (first !== undefined && (await greet(first))) await Promise.all(others.map(greet));
  }

  async acquire(request: AcquireRequest): Promise<Acquired | NotAcquired> {
    const [first] = request.keys;
    if (first === undefined) throw new RangeError('a lease needs a key');
    const deadline = this.#clock.now() + request.wait;
    const lease = await new Promise<Lease | NotAcquired>((resolve) => this.#queue.request(request, resolve));
    if (!('keys' in lease)) return lease;
    const wish = { lease, owner: this.#name(), first, ...this.#protocol.locate(lease.keys, first) };
    let result: Acquired | NotAcquired | undefined;
    try {
      result = this.#concluded(wish, await this.#line.ask(wish, request, deadline));
    } finally {
      if (result?.kind !== 'acquired') this.#free(wish);
    }
    return result;
  }

  async renew(token: Token): Promise<boolean> {
    const held = this.#holdings.get(token);
    return held !== undefined && (!held.isShared || this.#renew(held));
  }

  remaining(token: Token): number {
    const held = this.#holdings.get(token);
    if (held === undefined) return 0;
    // Who goes on without the store (S4) goes on when it is lost in the middle, too.
    const goesOn = this.#options.down === 'forward' && !this.#link.isUp;
    return goesOn ? Number.POSITIVE_INFINITY : held.validUntil - this.#clock.now();
  }

  async settle(token: Token, outcome: Outcome): Promise<boolean> {
    const isCovered = this.remaining(token) > 0;
    const held = this.#holdings.take(token);
    if (held === undefined) return false;
    const isRecorded = await this.#record(held, outcome);
    if (outcome.kind === 'unknown' && !this.#isClosed) this.#rest(held, outcome.rest);
    else this.#free(held);
    return isCovered && isRecorded;
  }

  async observe(key: string, epoch: number, observation: Observation): Promise<boolean> {
    if (epoch === noEpoch) return false;
    const recorded = await this.#protocol.observe(this.#resources.of(key), epoch, observation).catch(outOfReach);
    return recorded === true;
  }

  async epoch(key: string): Promise<ReadStart> {
    const told = await this.#protocol.epoch(this.#resources.of(key)).catch(outOfReach);
    if (told === undefined) return { epoch: noEpoch, doubtful: true, knowledge: [], seenTags: [] };
    const { epoch, isHeld, views, seenTags } = told;
    this.#holdings.learnEpoch(key, epoch, this.#clock.now());
    return { epoch, doubtful: isHeld, knowledge: views, seenTags };
  }

  async touch(keys: readonly string[]): Promise<Mark> {
    const [first] = keys;
    if (first === undefined) throw new RangeError('a mark needs a key');
    const token: Token = { keys: [...new Set(keys)] };
    const { parts, resource } = this.#protocol.locate(token.keys, first);
    const owner = this.#name();
    const sentAt = this.#clock.now();
    const marked = await Promise.all(parts.map((part) => this.#protocol.mark(part, resource, owner))).catch(outOfReach);
    const isRecorded = marked !== undefined;
    this.#moved(token.keys);
    const since = this.#clock.now();
    const told = marked?.find((one) => one !== undefined);
    if (told !== undefined) this.#holdings.learnEpoch(first, told.epoch, since);
    const held = { token, first, resource, parts, owner, lease: undefined, since, epochs: [] };
    const validUntil = this.#validFrom(sentAt);
    this.#hold({ ...held, isShared: isRecorded, validUntil });
    const mayForward = isRecorded || this.#options.down === 'forward';
    return { token, seenTags: told?.seenTags ?? [], isRecorded, mayForward };
  }

  /** Only what this process itself has written can be told without a round trip. */
  movedSince(token: Token, since: number): boolean | undefined {
    const held = this.#holdings.get(token);
    if (held === undefined) return true;
    const after = Math.max(since, held.since);
    return held.lease?.keys.some((key) => (this.#movedAt.get(key) ?? 0) > after) === true ? true : undefined;
  }

  stats(): StoreStats {
    return {
      entries: this.#resources.size,
      leases: this.#holdings.size + this.#quarantines.size,
      waiting: this.#queue.waiting + this.#line.waiting,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#queue.close();
    await this.#line.close();
    for (const cancel of this.#quarantines) cancel();
    this.#quarantines.clear();
    this.#holdings.clear();
    this.#link.close();
    this.#client.close();
  }

  #concluded(wish: Wish, answer: Given | NotAcquired): Acquired | NotAcquired {
    if (this.#isClosed) return { kind: 'aborted' };
    if (answer.kind === 'unavailable' && this.#options.down === 'forward') return this.#ownLease(wish);
    if (answer.kind !== 'given') return answer;
    const token: Token = { keys: wish.lease.keys };
    const since = this.#clock.now();
    const { epoch, views, seenTags } = answer.told;
    const epochs = [{ epoch, at: since }];
    const validUntil = this.#validFrom(answer.sentAt);
    this.#hold({ ...wish, token, since, isShared: true, validUntil, epochs });
    return { kind: 'acquired', token, isShared: true, since, epoch, knowledge: views, seenTags };
  }

  /** S4, `store.down: forward`: a lease that only this process knows of. */
  #ownLease(wish: Wish): Acquired {
    const token: Token = { keys: wish.lease.keys };
    const since = this.#clock.now();
    const held = { ...wish, token, since, isShared: false, epochs: [] };
    this.#hold({ ...held, validUntil: Number.POSITIVE_INFINITY });
    return { kind: 'acquired', token, isShared: false, since, epoch: noEpoch, knowledge: [], seenTags: [] };
  }

  #hold(held: Held): void {
    this.#holdings.add(held);
    if (!held.isShared) this.#untold.add(held);
  }

  async #renew(held: Held): Promise<boolean> {
    const sentAt = this.#clock.now();
    const isHeld = await this.#protocol.renew(held).catch(outOfReach);
    if (isHeld === true) held.validUntil = Math.max(held.validUntil, this.#validFrom(sentAt));
    if (isHeld === false) held.validUntil = Number.NEGATIVE_INFINITY;
    return isHeld === true;
  }

  /** @returns false where the store says that it was lost */
  async #record(held: Held, outcome: Outcome): Promise<boolean> {
    if (mayHaveChanged(outcome)) this.#moved([...held.token.keys, ...doubtsOf(outcome)]);
    if (!held.isShared) {
      this.#untold.settle(held, outcome);
      return true;
    }
    try {
      const epoch = await this.#protocol.settle(held, outcome);
      if (typeof epoch === 'number') this.#holdings.learnEpoch(held.first, epoch, this.#clock.now());
      return epoch !== undefined;
    } catch (error) {
      outOfReach(error);
      // It ends by itself, in doubt; sooner where the store comes back before.
      if (outcome.kind !== 'unknown') this.#protocol.abandon(held.parts, held.owner, mayHaveChanged(outcome));
      return true;
    }
  }

  /** The write may take effect until the rest is over (W11): it is held so long, then left in doubt. */
  #rest(held: Held, ms: number): void {
    const cancel = this.#clock.after(ms, () => {
      this.#quarantines.delete(cancel);
      void this.#endRest(held);
    });
    this.#quarantines.add(cancel);
  }

  async #endRest(held: Held): Promise<void> {
    this.#moved(held.token.keys);
    try {
      if (!held.isShared) this.#untold.settle(held, rested);
      else for (const part of held.parts) await this.#protocol.settlePart(part, held.owner, rested);
    } catch (error) {
      outOfReach(error);
      this.#protocol.abandon(held.parts, held.owner, true);
    }
    this.#free(held);
  }

  #free({ lease }: Pick<Held, 'lease'>): void {
    if (lease === undefined) return;
    this.#queue.release(lease);
    for (const key of lease.keys) if (!this.#queue.isHeld(key)) this.#movedAt.delete(key);
  }

  #moved(keys: readonly string[]): void {
    for (const key of keys) if (this.#queue.isHeld(key)) this.#movedAt.set(key, this.#clock.now());
  }

  #validFrom(sentAt: number): number {
    return sentAt + this.#options.leaseTime * (1 - clockDrift);
  }

  #name(): string {
    this.#names += 1;
    return `${this.#process}.${this.#names.toString(36)}`;
  }
}

/**
 * The store that several gates share (S1, S2, S4). It is usable when the promise resolves, or as soon as it can be reached.
 *
 * @throws {StorePolicyError} where the server may evict what is recorded
 */
export async function createRedisStore(options: RedisStoreOptions): Promise<Store> {
  const client = await createClient(options.address, options.topology, options.timeout ?? usualTimeout);
  const store = new RedisStore(options, client);
  try {
    await store.open();
  } catch (error) {
    await store.close();
    throw error;
  }
  return store;
}

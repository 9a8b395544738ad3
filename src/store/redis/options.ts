import type { Clock } from '../../http/clock.js';
import type { StoreEvents, StoreOptions } from '../store.js';
import type { StoreAddress, Topology } from './client.js';

/** What a shared store is opened with. */
export interface RedisStoreOptions extends StoreOptions {
  readonly address: StoreAddress;
  readonly topology: Topology;
  /** What the names of all keys begin with: two APIs must never share keys. */
  readonly namespace: string;
  /** Keys the names of resources; the same in all gates. */
  readonly secret: string;
  /** Time to live of a lease, in milliseconds: longer than a write may take from being sent to its outcome (S2). */
  readonly leaseTime: number;
  /** How long a version is kept, in milliseconds. */
  readonly keptFor: number;
  /** What becomes of guarded writes while the store is out of reach (S4). */
  readonly down: 'refuse' | 'forward';
  readonly events: StoreEvents;
  /** Longest time that a step may take, in milliseconds. */
  readonly timeout?: number;
  /** Clock of renewals and of tries to reach the store again, where it is not `clock`. */
  readonly upkeep?: Clock;
  /** Time of leases in the store, where it is not the server's own. */
  readonly serverClock?: (() => number) | undefined;
}

import { channel } from 'node:diagnostics_channel';
import type { EventEmitter } from 'node:events';
import { Server } from 'node:net';
import { queryObjects } from 'node:v8';
import { Pool } from 'undici';
import { ServerExchange } from '../../src/listen/exchange.js';
import { UpstreamCall } from '../../src/upstream/call.js';
import type { Owner } from './backend.js';
import { request } from './client.js';
import type { VirtualClock } from './clock.js';
import { turn } from './eventually.js';

/** Numbers by what was counted. */
export type Counts = Readonly<Record<string, number>>;

/** What is counted of a gate in this process. */
export interface Watched {
  readonly gate: { readonly adminUrl: string };
  readonly clock: VirtualClock;
  /** Breaks the connections that the gate keeps for later: how many there are depends on how requests coincide. */
  closeIdleConnections(): void;
}

export interface LeakWatch {
  /**
   * What gates and their surroundings hold when nothing is under way: leases and known resources (metrics), timers of its
   * clock (one for each write in line, among others), connections of each server, what keeps the event loop busy, by
   * kind, and listeners of all that lives long: the process, its servers, the pool of upstream connections.
   *
   * @param expected comes after a while where nothing was left behind; undefined: what does not change for a while
   */
  count(watched: readonly Watched[], expected?: Counts): Promise<Counts>;
  /** Warnings of too many listeners, and rejections that nobody handles, so far. */
  readonly troubles: readonly string[];
}

/**
 * Watches this process from now on until the test ends; servers and pools are known from their first request.
 *
 * @param t the test that owns it
 */
export function watchForLeaks(t: Owner): LeakWatch {
  const troubles: string[] = [];
  const long = new Set<EventEmitter>([process]);
  const onWarning = ({ name, message }: Error): void => {
    if (name === 'MaxListenersExceededWarning') troubles.push(message);
  };
  const onRejection = (reason: unknown): void => void troubles.push(String(reason));
  const onRequest = (message: unknown): void => void long.add((message as { server: Server }).server);
  const requests = channel('http.server.request.start');
  process.on('warning', onWarning).on('unhandledRejection', onRejection);
  requests.subscribe(onRequest);
  const { dispatch } = Pool.prototype;
  Pool.prototype.dispatch = function (...parameters): boolean {
    long.add(this);
    return dispatch.apply(this, parameters);
  };
  t.teardown(() => {
    process.off('warning', onWarning).off('unhandledRejection', onRejection);
    requests.unsubscribe(onRequest);
    Reflect.deleteProperty(Pool.prototype, 'dispatch');
  });

  return {
    troubles,
    async count(watched, expected) {
      let counts = await countOnce(watched, long);
      let before = expected ?? counts;
      for (let tries = 0, same = 0; tries < 500 && same < (expected ? 1 : 20); tries += 1) {
        for (const one of watched) one.closeIdleConnections();
        for (let turns = 0; turns < 5; turns += 1) await turn();
        counts = await countOnce(watched, long);
        same = isSame(counts, before) ? same + 1 : 0;
        before = expected ?? counts;
      }
      return counts;
    },
  };
}

async function countOnce(watched: readonly Watched[], long: ReadonlySet<EventEmitter>): Promise<Counts> {
  const gates: Record<string, number> = {};
  for (const [index, { gate, clock }] of watched.entries()) {
    const { leases, resources } = await gauges(gate.adminUrl);
    Object.assign(gates, { [`leases ${index}`]: leases, [`resources ${index}`]: resources });
    gates[`timers ${index}`] = clock.pending();
  }
  return { ...gates, ...busy(), ...(await connections(long)), ...listeners(long) };
}

/**
 * How many objects of a request's life are reachable after a full garbage collection: what the gate makes for each
 * request, and promises, which are what waits for something that never happens. Takes seconds.
 */
export function countReachable(): Counts {
  const kinds = { UpstreamCall, ServerExchange, Promise };
  return Object.fromEntries(Object.entries(kinds).map(([name, kind]) => [name, Number(queryObjects(kind))]));
}

function isSame(one: Counts, other: Counts): boolean {
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every((name) => one[name] === other[name]);
}

async function gauges(adminUrl: string): Promise<{ leases: number; resources: number }> {
  const text = (await request(`${adminUrl}/metrics`)).body.toString();
  const gauge = (name: string): number => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(text)?.[1]);
  return { leases: gauge('ifmatch_leases'), resources: gauge('ifmatch_store_entries') };
}

function busy(): Counts {
  const counts: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

async function connections(emitters: ReadonlySet<EventEmitter>): Promise<Counts> {
  const servers = [...emitters].filter((emitter) => emitter instanceof Server);
  const counts = servers.map(
    (server) => new Promise<number>((resolve) => server.getConnections((_, open) => resolve(open))),
  );
  return Object.fromEntries((await Promise.all(counts)).map((open, index) => [`connections of server ${index}`, open]));
}

function listeners(emitters: ReadonlySet<EventEmitter>): Counts {
  const counts = [...emitters].map((emitter, index): [string, number] => {
    const each = emitter.eventNames().map((name) => emitter.listenerCount(name));
    return [`listeners of ${emitter.constructor.name} ${index}`, each.reduce((sum, one) => sum + one, 0)];
  });
  return Object.fromEntries(counts);
}

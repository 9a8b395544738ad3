import type { DecisionRecord } from '../../src/gate/outcome.js';
import type { Clock } from '../../src/http/clock.js';
import type { Acquired, NotAcquired, Outcome, Store, Token } from '../../src/store/store.js';
import type { Client } from './simulated-client.js';
import type { AppliedWrite, SimulatedUpstream } from './simulated-upstream.js';

/** When a key was marked as being written without a lease, and until when. Keys are paths in simulations. */
interface Mark {
  readonly keys: readonly string[];
  readonly from: number;
  to: number;
}

/** What went on at the store; times of the simulation's clock. */
export interface Journal {
  readonly marks: readonly Mark[];
  /** Times at which leases were given, by key. */
  readonly leases: readonly { readonly key: string; readonly at: number }[];
}

/** A store that keeps a journal. */
export function withJournal(store: Store, clock: Clock): { store: Store; journal: Journal } {
  const marks: Mark[] = [];
  const leases: { key: string; at: number }[] = [];
  const byToken = new Map<Token, Mark>();
  const acquired = <Result extends Acquired | NotAcquired | undefined>(result: Result): Result => {
    if (result?.kind === 'acquired') leases.push(...result.token.keys.map((key) => ({ key, at: clock.now() })));
    return result;
  };
  const settled = (token: Token, outcome: Outcome): void => {
    const mark = byToken.get(token);
    if (mark?.to !== Number.POSITIVE_INFINITY) return;
    // Rests end at whole milliseconds; fractions only tell readings of the clock apart.
    mark.to = outcome.kind === 'unknown' ? Math.floor(clock.now()) + outcome.rest : clock.now();
  };
  const { atOnce } = store;
  const observed: Store = {
    ...passingOn(store),
    atOnce: atOnce && {
      acquire: (request) => acquired(atOnce.acquire(request)),
      settle(token, outcome) {
        settled(token, outcome);
        return atOnce.settle(token, outcome);
      },
      epoch: (key) => atOnce.epoch(key),
    },
    acquire: async (request) => acquired(await store.acquire(request)),
    async touch(keys) {
      const mark: Mark = { keys, from: clock.now(), to: Number.POSITIVE_INFINITY };
      marks.push(mark);
      const touched = await store.touch(keys);
      byToken.set(touched.token, mark);
      return touched;
    },
    settle(token, outcome) {
      settled(token, outcome);
      return store.settle(token, outcome);
    },
  };
  return { store: observed, journal: { marks, leases } };
}

/** All steps of a store as plain functions, so that some of them can be replaced: none is done at once. */
export function passingOn(store: Store): Store {
  return {
    acquire: (request) => store.acquire(request),
    renew: (token) => store.renew(token),
    remaining: (token) => store.remaining(token),
    settle: (token, outcome) => store.settle(token, outcome),
    observe: (key, epoch, observation) => store.observe(key, epoch, observation),
    epoch: (key) => store.epoch(key),
    touch: (keys) => store.touch(keys),
    movedSince: (token, since) => store.movedSince(token, since),
    stats: () => store.stats(),
    close: () => store.close(),
  };
}

/**
 * Holds the history of a simulation against what the gate promises: a conditional write takes effect at most once, on
 * exactly the content that its client had read; what was confirmed took effect, what was refused did not.
 *
 * A write without a lease (POST, a side effect) may change that content where it is on its way, without its epoch moving,
 * from the check to after the write was sent: nothing could tell.
 */
export function violations(
  clients: readonly Client[],
  records: ReadonlyMap<string, DecisionRecord>,
  upstream: SimulatedUpstream,
  journal: Journal,
): string[] {
  const found: string[] = [];
  for (const { request, status } of clients) {
    const { id, method, path, base } = request;
    const own = upstream.applied.filter((write) => write.id === id && write.path === path);
    if (own.length > 1) found.push(`${id} took effect ${own.length} times`);
    const isConfirmed = status === 200 || status === 201 || status === 204;
    if (method !== 'GET' && isConfirmed && own.length === 0) found.push(`${id} was confirmed and lost`);
    const outcome = records.get(id)?.outcome ?? 'not-sent';
    if (outcome === 'not-sent' && own.length > 0) found.push(`${id} was refused and took effect`);
    for (const write of own) found.push(...lostUpdates(write, base, upstream, journal));
  }
  return found;
}

function lostUpdates(
  write: AppliedWrite,
  base: string | null | undefined,
  upstream: SimulatedUpstream,
  { marks, leases }: Journal,
): string[] {
  if (base === undefined) return [];
  const { id, path } = write;
  const sent = upstream.requests.findLast((request) => request.id === id && request.method === write.method);
  const probe = upstream.requests.findLast(
    (request) => request.id === id && request.sentAt < (sent?.sentAt ?? 0) && request.method !== write.method,
  );
  const lease = leases.findLast(({ key, at }) => key === path && at < (sent?.sentAt ?? 0));
  const from = Math.max(probe?.sentAt ?? 0, lease?.at ?? 0);
  const to = sent?.sentAt ?? 0;
  const here = marks.filter(({ keys }) => keys.includes(path));
  const moved = here.some((mark) => (from < mark.from && mark.from < to) || (from < mark.to && mark.to < to));
  const found = moved ? [`${id} was not decided again though the epoch moved`] : [];
  const before = base ?? undefined;
  if (write.before === before) return found;
  const history = upstream.applied.slice(0, upstream.applied.indexOf(write)).filter((other) => other.path === path);
  const between = history.slice(history.findLastIndex(({ after }) => after === before) + 1);
  const excused = between.every(({ at }) => here.some((mark) => mark.from < at && at < mark.to && mark.to > to));
  if (!excused) found.push(`${id} had read ${before}, but replaced ${write.before}`);
  return found;
}

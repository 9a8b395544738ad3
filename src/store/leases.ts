import type { Clock } from '../http/clock.js';
import type { AcquireRequest, LeaseKind, NotAcquired } from './store.js';

/** Keys that are leased together, from the grant until `release`. */
export interface Lease {
  readonly keys: readonly string[];
  readonly kind: LeaseKind;
}

/** Told the result of a request, in the same step in which it comes about. */
export type Answer = (result: Lease | NotAcquired) => void;

interface Waiter extends Lease {
  /** Leaves the lines, stops timer and abort listener, and tells the result. */
  leave(result: Lease | NotAcquired): void;
}

/** What happens at one key; kept only while there is something to keep. */
interface Line {
  holders: number;
  exclusive: boolean;
  /** In order of arrival; a Set, because those in the middle leave as well. Made for the first who waits. */
  queue: Set<Waiter>;
}

/** The queue of a line in which nobody waits: never added to. */
const nobody: Set<Waiter> = new Set();

/**
 * The lines of writers at all keys (W3): at each key first come, first served between exclusive and shared requests.
 *
 * A request for several keys joins all their lines in one step and takes all keys in one step. So nobody holds one key
 * while waiting for another, and of two requests the same one is ahead in every line that they share: there is no
 * cycle to wait in (I7).
 */
export class LeaseQueue {
  readonly #longest: number;
  readonly #clock: Clock;
  readonly #lines = new Map<string, Line>();
  readonly #waiters = new Set<Waiter>();
  #closed = false;

  /** `queue`: how many may be in line at one key; `clock` measures how long. */
  constructor(options: { readonly queue: number; readonly clock: Clock }) {
    this.#longest = options.queue;
    this.#clock = options.clock;
  }

  /** How many requests are in line. */
  get waiting(): number {
    return this.#waiters.size;
  }

  /** Whether any lease is held on the key. */
  isHeld(key: string): boolean {
    return (this.#lines.get(key)?.holders ?? 0) > 0;
  }

  /**
   * Leases all keys of the request or none. Calls `answer` exactly once: before it returns where the result is known,
   * else when the lease is given, the wait is over or the request aborted. What `answer` reads is what was true at the
   * moment of the grant.
   */
  request(request: AcquireRequest, answer: Answer): void {
    const free = this.take(request);
    const lease = free ?? leaseOf(request);
    if (free !== undefined) {
      answer(free);
    } else if (this.#closed || request.signal?.aborted) {
      answer({ kind: 'aborted' });
    } else if (request.wait <= 0) {
      answer({ kind: 'busy' });
    } else if (lease.keys.some((key) => (this.#lines.get(key)?.queue.size ?? 0) >= this.#longest)) {
      answer({ kind: 'queue-full' });
    } else {
      this.#wait(lease, request, answer);
    }
  }

  /** Leases all keys of the request where nobody is in the way. @returns undefined where somebody is, or nobody asks */
  take(request: AcquireRequest): Lease | undefined {
    if (this.#closed || request.signal?.aborted) return undefined;
    const lease = leaseOf(request);
    return this.#isFree(lease) ? this.#hold(lease) : undefined;
  }

  /** Ends a lease that is held, and gives its keys to as many of those in line as may have them, in order. */
  release(lease: Lease): void {
    for (const key of lease.keys) {
      const line = this.#line(key);
      line.holders -= 1;
      line.exclusive = false;
    }
    this.#grantNext(lease.keys);
  }

  /** Gives up all requests in line and all that come later: they get `aborted`. */
  close(): void {
    this.#closed = true;
    for (const waiter of this.#waiters) waiter.leave({ kind: 'aborted' });
  }

  #line(key: string): Line {
    const known = this.#lines.get(key);
    if (known !== undefined) return known;
    const line: Line = { holders: 0, exclusive: false, queue: nobody };
    this.#lines.set(key, line);
    return line;
  }

  /** Whether neither a holder nor anybody ahead bars the lease; one that is not in line has the whole line ahead. */
  #isFree(lease: Lease): boolean {
    return lease.keys.every((key) => {
      const line = this.#lines.get(key);
      if (line === undefined) return true;
      if (line.exclusive || (lease.kind === 'exclusive' && line.holders > 0)) return false;
      for (const ahead of line.queue) {
        if (ahead === lease) return true;
        if (lease.kind === 'exclusive' || ahead.kind === 'exclusive') return false;
      }
      return true;
    });
  }

  #hold(lease: Lease): Lease {
    for (const key of lease.keys) {
      const line = this.#line(key);
      line.holders += 1;
      line.exclusive = lease.kind === 'exclusive';
    }
    return lease;
  }

  #wait(lease: Lease, request: AcquireRequest, answer: Answer): void {
    const giveUp = (kind: 'aborted' | 'timeout') => {
      waiter.leave({ kind });
      this.#grantNext(waiter.keys);
    };
    const onAbort = () => giveUp('aborted');
    const stopTimer = this.#clock.after(request.wait, () => giveUp('timeout'));
    request.signal?.addEventListener('abort', onAbort, { once: true });
    const waiter: Waiter = {
      ...lease,
      leave: (result) => {
        stopTimer();
        request.signal?.removeEventListener('abort', onAbort);
        this.#waiters.delete(waiter);
        for (const key of waiter.keys) this.#lines.get(key)?.queue.delete(waiter);
        answer(result);
      },
    };
    this.#waiters.add(waiter);
    for (const key of waiter.keys) {
      const line = this.#line(key);
      if (line.queue === nobody) line.queue = new Set();
      line.queue.add(waiter);
    }
  }

  /** Grants what can be granted at the keys, and forgets those where nothing happens any more. */
  #grantNext(keys: readonly string[]): void {
    for (const key of keys) {
      const line = this.#lines.get(key);
      if (line === undefined) continue;
      this.#grantAlong(line);
      if (line.holders === 0 && line.queue.size === 0) this.#lines.delete(key);
    }
  }

  /**
   * A grant never frees anybody else: it bars those behind it, or is shared as they are and did not bar them before.
   * So one pass along this line is enough, and the other lines of those who get their lease need none.
   */
  #grantAlong(line: Line): void {
    for (const waiter of line.queue) {
      if (this.#isFree(waiter)) {
        waiter.leave(this.#hold(waiter));
      } else if (line.exclusive || waiter.kind === 'exclusive') {
        return;
      }
    }
  }
}

/** Each key once. */
function leaseOf({ keys, kind }: AcquireRequest): Lease {
  return { keys: keys.length === 1 ? keys : [...new Set(keys)], kind };
}

/**
 * The one source of time: injected everywhere, so that tests decide what time it is.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch with fractions. Strictly increasing: no two calls return the same. */
  now(): number;
  /** Calls `action` once after `ms` milliseconds; the returned function cancels it. Does not keep the process alive. */
  after(ms: number, action: () => void): () => void;
}

/** Smallest step between two readings, in milliseconds: a multiple of what a double can tell apart at today's dates. */
const step = 2 ** -10;

/** A longer delay would make `setTimeout` fire at once. */
const longestDelay = 2 ** 31 - 1;

/** Of the process; to look either up costs as much as the time itself. */
const origin = performance.timeOrigin;
const sinceOrigin = performance.now.bind(performance);

let last = 0;

/**
 * The clock of the process. It runs on from the wall clock's time at start and does not follow later corrections of
 * the wall clock: the order of events is worth more here than the exact date. Delays beyond 24.8 days are cut to that.
 */
export const systemClock: Clock = {
  now() {
    last = Math.max(origin + sinceOrigin(), last + step);
    return last;
  },
  after(ms, action) {
    const timer = setTimeout(action, Math.min(ms, longestDelay)).unref();
    return () => clearTimeout(timer);
  },
};

import type { Clock } from '../../src/http/clock.js';

/** A clock that stands still until it is told to go on. */
export interface VirtualClock extends Clock {
  /** Lets `ms` milliseconds pass and fires the timers that come due, in the order of their times. */
  advance(ms: number): void;
  /** How many timers are running. */
  pending(): number;
}

/** What a reading adds, so that no two are equal: far too little for a timer to notice. */
const step = 2 ** -11;

interface Timer {
  readonly due: number;
  readonly action: () => void;
}

/** `start`: the time at first, in whole milliseconds since the epoch. */
export function createVirtualClock(start: number = Date.UTC(2026, 0, 1)): VirtualClock {
  const timers = new Set<Timer>();
  let time = start;
  let last = start;

  const nextDue = (until: number): Timer | undefined =>
    [...timers].filter(({ due }) => due <= until).sort((a, b) => a.due - b.due)[0];

  return {
    now() {
      last = Math.max(time, last + step);
      return last;
    },
    after(ms, action) {
      const timer = { due: time + ms, action };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance(ms) {
      const until = time + ms;
      for (let timer = nextDue(until); timer !== undefined; timer = nextDue(until)) {
        timers.delete(timer);
        time = timer.due;
        timer.action();
      }
      time = until;
    },
    pending: () => timers.size,
  };
}

import type { Clock } from '../../http/clock.js';
import type { Cancellation } from '../store.js';

/**
 * Those of this process who wait for a lease that another gate holds (W3): told when it is their turn, and asking from
 * time to time in case nobody told them. Of one resource only the first of this process's own line waits here.
 */
export class Turns {
  readonly #clock: Clock;
  readonly #places = new Map<string, Place>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How many wait. */
  get size(): number {
    return this.#places.size;
  }

  /** @param ticket under which the place in line is recorded; `leave` gives it up */
  enter(ticket: string): Place {
    const place = new Place(this.#clock, () => this.#places.delete(ticket));
    this.#places.set(ticket, place);
    return place;
  }

  /** @param message tickets whose turn it is */
  called(message: string): void {
    for (const ticket of message.split(' ')) this.#places.get(ticket)?.call();
  }

  /** Nobody waits any more. */
  close(): void {
    for (const place of this.#places.values()) place.call();
  }
}

/** A place in line. */
export class Place {
  readonly #clock: Clock;
  readonly leave: () => void;
  #isCalled = false;
  #wake: (() => void) | undefined;

  constructor(clock: Clock, leave: () => void) {
    this.#clock = clock;
    this.leave = leave;
  }

  call(): void {
    this.#isCalled = true;
    this.#wake?.();
  }

  /** Resolves when it is called, when it was since the last wait, after `ms` milliseconds, or when nobody waits for it. */
  async wait(ms: number, signal: Cancellation | undefined): Promise<void> {
    if (!this.#isCalled && !signal?.aborted) {
      await new Promise<void>((resolve) => {
        const wake = (): void => {
          cancel();
          signal?.removeEventListener('abort', wake);
          this.#wake = undefined;
          resolve();
        };
        const cancel = this.#clock.after(ms, wake);
        signal?.addEventListener('abort', wake, { once: true });
        this.#wake = wake;
      });
    }
    this.#isCalled = false;
  }
}

import type { Clock } from '../../http/clock.js';

interface Step {
  readonly fail: (error: Error) => void;
  readonly until: number;
}

/** Limits the time that steps take, all of them to the same, with one timer. */
export class TimeLimit {
  readonly #clock: Clock;
  readonly #limit: number;
  /** What has time left, in the order in which it ends. */
  readonly #steps = new Set<Step>();
  #cancel: (() => void) | undefined;

  /** @param limit in milliseconds */
  constructor(clock: Clock, limit: number) {
    this.#clock = clock;
    this.#limit = limit;
  }

  /** @returns what the work comes to; rejects where it takes longer */
  within<T>(work: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const step = { fail: reject, until: this.#clock.now() + this.#limit };
      this.#steps.add(step);
      this.#cancel ??= this.#clock.after(this.#limit, () => this.#look());
      work.then(
        (result) => {
          this.#over(step);
          resolve(result);
        },
        (error) => {
          this.#over(step);
          reject(error);
        },
      );
    });
  }

  #over(step: Step): void {
    this.#steps.delete(step);
    if (this.#steps.size > 0) return;
    this.#cancel?.();
    this.#cancel = undefined;
  }

  #look(): void {
    this.#cancel = undefined;
    const now = this.#clock.now();
    for (const step of this.#steps) {
      if (step.until > now) {
        this.#cancel = this.#clock.after(step.until - now, () => this.#look());
        return;
      }
      this.#steps.delete(step);
      this.#end(step);
    }
  }

  /**
   * A process that was held up itself finds the answers that have come meanwhile only after its timers: it looks for them
   * before it blames the server.
   */
  #end({ fail }: Step): void {
    const late = (): void => fail(new Error(`the store did not answer within ${this.#limit} ms`));
    setImmediate(() => setImmediate(late));
  }
}

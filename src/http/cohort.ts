/** For so many turns of the event loop a cohort is added to at most. */
const mostTurns = 4;

/**
 * Runs actions of one kind together that come in the same turn of the event loop, after all that is there to be read was
 * read. Requests that are in flight side by side go through each step side by side then, so that its code may still be in
 * the processor's caches (cohort scheduling: Larus and Parkes, USENIX 2002). Where they wait for promises they
 * stay in step, because those are continued in order.
 *
 * Under load a cohort waits a few turns, for as long as each brings more; an action that is alone waits for nobody.
 */
export class Cohort {
  /** What runs next, in the order in which it came. */
  #actions: (() => void)[] = [];
  #sizeBefore = 0;
  #turns = 0;

  /** @param action must not throw */
  add(action: () => void): void {
    if (this.#actions.length === 0) setImmediate(this.#turn);
    this.#actions.push(action);
  }

  readonly #turn = (): void => {
    const actions = this.#actions;
    if (actions.length > Math.max(1, this.#sizeBefore) && this.#turns < mostTurns) {
      this.#sizeBefore = actions.length;
      this.#turns += 1;
      setImmediate(this.#turn);
      return;
    }
    this.#actions = [];
    this.#sizeBefore = 0;
    this.#turns = 0;
    for (const action of actions) action();
  };
}

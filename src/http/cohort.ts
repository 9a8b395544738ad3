/** What runs at the end of the event loop's turn, in the order in which it was asked for. */
let waiting: (() => void)[] = [];

/**
 * Runs an action together with all others that the turn of the event loop brings about, once it has read all that was
 * there to be read. Requests that came side by side then go through each step side by side too: its code is in the
 * processor's caches after the first of them (cohort scheduling: Larus and Parkes, USENIX 2002). What the actions wait
 * for is in step as well, because promises are continued in order.
 *
 * @param action must not throw
 */
export function inCohort(action: () => void): void {
  if (waiting.length === 0) setImmediate(runAll);
  waiting.push(action);
}

function runAll(): void {
  const actions = waiting;
  waiting = [];
  for (const action of actions) action();
}

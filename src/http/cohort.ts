/** For so many turns of the event loop a cohort is added to at most. */
const mostTurns = 4;

/** What runs next, in the order in which it was asked for. */
let cohort: (() => void)[] = [];
/** How many were in it a turn ago, and how many turns it is old. */
let sizeBefore = 0;
let turns = 0;

/**
 * Runs an action together with others that come in the same turn of the event loop, after all that is there to be read
 * was read. Requests that are in flight side by side go through each step side by side then: its code is in the
 * processor's caches after the first of them (cohort scheduling: Larus and Parkes, USENIX 2002). Where they wait for
 * promises they stay in step, because those are continued in order.
 *
 * Under load a cohort waits a few turns, for as long as each brings more; an action that is alone waits for nobody.
 *
 * @param action must not throw
 */
export function inCohort(action: () => void): void {
  if (cohort.length === 0) setImmediate(run);
  cohort.push(action);
}

/** Runs an action when the cohort of this turn, if there is one, has gone as far as it goes without waiting for others. */
export function afterCohort(action: () => void): void {
  inCohort(() => setImmediate(action));
}

function run(): void {
  const size = cohort.length;
  if (size > Math.max(1, sizeBefore) && turns < mostTurns) {
    sizeBefore = size;
    turns += 1;
    setImmediate(run);
    return;
  }
  const actions = cohort;
  cohort = [];
  sizeBefore = 0;
  turns = 0;
  for (const action of actions) action();
}

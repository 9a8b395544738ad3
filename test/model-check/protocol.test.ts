import t, { type Test } from 'tap';

/**
 * The protocol with a shared store, as docs/model/protocol.pml has it, checked by Spin: without an error as it is, and
 * with a lost update where one mechanism is taken out. See docs/model/README.md.
 */

/** As `checkModel` of scripts/model.mjs yields it. */
interface Result {
  readonly name: string;
  readonly what: string;
  /** Why the result is not what it has to be. */
  readonly objection: string | undefined;
  readonly states: number;
  readonly seconds: number;
  readonly megabytes: number;
}

interface Model {
  readonly checks: readonly { readonly name: string }[];
  missing(): string | undefined;
  checkModel(options: { signal: AbortSignal }): AsyncIterable<Result>;
}

/** A script, and no part of what is compiled. */
const model: Model = await import(new URL('../../scripts/model.mjs', import.meta.url).href);

/** About 40 s on one core, and more on a machine that is busy. */
const timeout = 600_000;
t.setTimeout(timeout);

/** Whether the model can be checked here. Where not, says so: a skipped test, or under `CI=true` a failed one. */
function hasSpin(t: Test): boolean {
  const lacking = model.missing();
  if (lacking === undefined) return true;
  const advice = `${lacking} is missing: apt-get install spin gcc libc6-dev`;
  if (process.env.CI === 'true') t.fail(advice);
  else t.pass('spin', { skip: advice });
  return false;
}

t.test('the model of the protocol', { timeout }, async (t) => {
  if (!hasSpin(t)) return;
  const end = new AbortController();
  t.teardown(() => end.abort());
  let checked = 0;
  for await (const { name, what, objection, states, seconds, megabytes } of model.checkModel({ signal: end.signal })) {
    t.equal(objection, undefined, `${name}: ${what}`);
    t.comment(`${states} states, ${seconds} s, ${megabytes} MB`);
    checked += 1;
  }
  t.equal(checked, model.checks.length, 'nothing is left out');
});

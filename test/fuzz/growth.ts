/** How much longer the input of the second measurement is. */
const factor = 8;
/** A run should take this long, in milliseconds of the processor, for its time to be measured. */
const measurable = 0.4;
/** No input gets longer than this many repetitions; quadratic time is long enough to be measured then. */
const most = 2 ** 14;
/** Times below this, in milliseconds, are noise. */
const noise = 0.1;
/** Linear time grows eightfold, with sorting about tenfold, where memory gets scarce up to 25-fold; quadratic time 64-fold. */
export const mostGrowth = 36;

type Run = () => unknown;

/** Milliseconds that this process has had of the processor: what else the machine does is not in them. */
function spent(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Shortest of some runs: what it takes when neither compiler nor garbage collector is at work. */
function shortest(run: Run, times: number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let index = 0; index < times; index++) {
    const started = spent();
    run();
    least = Math.min(least, spent() - started);
  }
  return least;
}

/**
 * How much longer a parser takes for eight times the input. Single measurements may be wrong, so that a growth beyond
 * the bound is measured again, and the least counts.
 *
 * @param prepare makes the input, of as many repetitions as it is told, and returns what is to be measured
 * @param attempts how often it is measured at most
 */
export function growthOf(prepare: (repetitions: number) => Run, attempts = 12): number {
  let repetitions = 64;
  let run = prepare(repetitions);
  run();
  while (repetitions < most && shortest(run, 1) < measurable) {
    repetitions *= 2;
    run = prepare(repetitions);
  }
  const longRun = prepare(repetitions * factor);
  let least = Number.POSITIVE_INFINITY;
  for (let attempt = 0; attempt < attempts && least > mostGrowth; attempt++) {
    const short = shortest(run, 3);
    least = Math.min(least, shortest(longRun, 1 + attempt) / Math.max(short, noise));
  }
  return least;
}

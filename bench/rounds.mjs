// Interleaved rounds: what is compared runs side by side on the same machine within seconds, so that its moods cancel out.
import { cost, warm } from './load.mjs';
import { startByName } from './scenarios.mjs';
import { median, spread } from './statistics.mjs';

/**
 * Measures the rows of a set. Two processes of one program differ by up to a tenth for as long as they live: so there are
 * several of each, one after the other, and the rounds of all of them count.
 *
 * @param {{ title: string, rows: object[] }} set
 * @param {{ processes: number, rounds: number, warmUp: { least: number, most: number }, log: (line: string) => void }} how
 *   `rounds` of each process, `warmUp` in seconds
 * @returns for each row of a program that is installed: CPU time per request in microseconds, its ratio, and whether the
 *   goal is met
 */
export async function measure(set, origin, how) {
  const measured = new Map();
  for (let process = 1; process <= how.processes; process += 1) {
    await measureOnce(set, origin, { ...how, title: `${set.title}: process ${process} of ${how.processes}` }, measured);
  }
  return set.rows.flatMap((row) => resultOf(row, measured) ?? []);
}

/** One process of each program. @param {Map<string, object[]>} measured rounds by row, to which its own are added */
async function measureOnce(set, origin, { title, rounds, warmUp, log }, measured) {
  const programs = await startAll(set.rows, origin, log);
  try {
    const loaded = set.rows.filter((row) => programs.has(row.program));
    for (const row of loaded) await warm((second) => one(row, programs.get(row.program), -second, origin), warmUp);
    log(`${title}: warm`);
    for (let round = 1; round <= rounds; round += 1) {
      for (const row of loaded) {
        const result = await one(row, programs.get(row.program), round, origin);
        measured.set(row.name, [...(measured.get(row.name) ?? []), result]);
      }
      log(`${title}: round ${round} of ${rounds}`);
    }
  } finally {
    for (const program of programs.values()) await program.stop();
  }
}

async function startAll(rows, origin, log) {
  const programs = new Map();
  for (const name of new Set(rows.map(({ program }) => program))) {
    const program = name === undefined ? undefined : await startByName(name, origin);
    if (program !== undefined) programs.set(name, program);
    else if (name !== undefined) log(`${name} is not installed: left out`);
  }
  return programs;
}

/** Of load, in a round. */
const seconds = 1;

async function one(row, program, round, origin) {
  await row.prepare?.(program, round);
  const load = typeof row.load === 'function' ? row.load(round) : row.load;
  const before = row.upstream === undefined ? 0 : await origin.requests();
  const result = await cost(program, load, seconds);
  check(row, result);
  // Without the question itself; what is on its way when a load ends is counted here alone.
  return row.upstream === undefined ? result : { ...result, sent: (await origin.requests()) - before - 1 };
}

function check(row, { requests, refused }) {
  const wrong = row.refuses === true ? requests - refused : refused;
  // A request may come behind one that it should have come before.
  if (wrong > requests / 50) throw new Error(`${row.name}: ${wrong} of ${requests} answers were not as expected`);
}

function resultOf(row, measured) {
  const own = measured.get(row.same ?? row.name);
  if (own === undefined) return undefined;
  const result = { name: row.name, cpu: median(own.map(({ cpu }) => cpu)) };
  if (row.upstream !== undefined) {
    const sent = median(own.map(({ sent, requests }) => sent / requests));
    Object.assign(result, { upstreamRequests: sent, upstreamGoal: row.upstream });
  }
  const base = row.to === undefined ? undefined : measured.get(row.to);
  if (base === undefined) return result;
  const ratios = own.map(({ cpu }, index) => cpu / base[index].cpu);
  return { ...result, to: row.to, ratio: median(ratios), ...spread(ratios), goal: row.goal };
}

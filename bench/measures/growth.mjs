// Whether a request costs the same however much there is to know: resources, routes, writers in line.
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cost, warm } from '../load.mjs';
import { median, spread } from '../statistics.mjs';
import { startGate } from '../subjects.mjs';

/** Seconds of load at a time while a store is filled. */
const filling = 10;

/** @returns for each kind of growth the ratio of a request's cost, much to little */
export async function measureGrowth(origin, { rounds, seconds, many, warmUp, log }) {
  const how = { rounds, seconds, warmUp };
  return [
    await compare(`1,000 to ${many.toLocaleString('en')} known resources`, resources(origin, many, log), how),
    await compare('10 to 1,000 routes', routes(origin), how),
    await compare('1 to 64 writers in line', writers(origin), how),
  ];
}

async function compare(name, begin, { rounds, seconds, warmUp }) {
  const { little, much } = await begin();
  const costOf = ({ program, load, inFlight }) => cost(program, load, seconds, inFlight);
  try {
    for (const side of [little, much]) await warm(() => costOf(side), warmUp);
    const ratios = [];
    for (let round = 0; round < rounds; round += 1) {
      const one = await costOf(little);
      const other = await costOf(much);
      ratios.push(other.cpu / one.cpu);
    }
    return { name, ratio: median(ratios), ...spread(ratios), goal: 1.1 };
  } finally {
    await little.program.stop();
    await much.program.stop();
  }
}

const random = (count) => ({ path: '/native/1k/', arguments: ['random', count] });

function resources(origin, many, log) {
  return async () => {
    const few = 1000;
    const settings = { LIMITS_RESOURCES: String(many) };
    const little = { program: await startGate(origin, settings), load: random(few) };
    const much = { program: await startGate(origin, settings), load: random(many) };
    let known = 0;
    while (known < many) {
      const walk = { path: '/native/1k/', arguments: ['walk', many, known] };
      known += (await cost(much.program, walk, filling)).requests;
      log(`growth: ${Math.min(known, many).toLocaleString('en')} resources known`);
    }
    return { little, much };
  };
}

function routes(origin) {
  const withRoutes = async (count) => {
    const list = Array.from({ length: count }, (_, index) => ({ path: `/kind-${index}/:id`, recheck: 'never' }));
    const config = join(mkdtempSync(join(tmpdir(), 'ifmatch-bench-')), 'config.yaml');
    // The last route is the one that matches.
    list.push({ path: '/native/1k/:id', recheck: 'never' });
    writeFileSync(config, JSON.stringify({ routes: list }));
    return { program: await startGate(origin, { CONFIG: config }), load: random(1000) };
  };
  return async () => ({ little: await withRoutes(10), much: await withRoutes(1000) });
}

/** One resource, which one client writes, or 64. */
function writers(origin) {
  const load = { method: 'PUT', path: '/native/1k/', headers: { 'If-Match': '*' }, arguments: ['fixed', 1] };
  return async () => ({
    little: { program: await startGate(origin), load, inFlight: 1 },
    much: { program: await startGate(origin), load, inFlight: 64 },
  });
}

// What the gate adds to the latency of a guarded GET at a fixed rate well below saturation.
import { Pool } from 'undici';
import { cost, warm } from '../load.mjs';
import { startByName } from '../scenarios.mjs';
import { median, percentile } from '../statistics.mjs';

/** Requests a second. */
const rate = 1000;

/** @returns percentiles in microseconds, and what guarding adds to the 99th */
export async function measureLatency(origin, { rounds, seconds, warmUp }) {
  const programs = {
    forwarded: await startByName('gate, guard off', origin),
    guarded: await startByName('gate', origin),
    plain: await startByName('@fastify/http-proxy', origin),
  };
  const results = { forwarded: [], guarded: [], plain: [] };
  try {
    const load = { path: '/plain/1k/', arguments: ['fixed', 1] };
    for (const program of Object.values(programs)) await warm(() => cost(program, load, 1), warmUp);
    for (let round = 0; round < rounds; round += 1) {
      for (const [name, program] of Object.entries(programs)) {
        const latencies = await atFixedRate(program.port, '/plain/1k/1', seconds);
        results[name].push({ p50: percentile(latencies, 50), p99: percentile(latencies, 99) });
      }
    }
  } finally {
    for (const program of Object.values(programs)) await program.stop();
  }
  const figures = Object.entries(results).map(([name, all]) => [
    name,
    { p50: median(all.map(({ p50 }) => p50)), p99: median(all.map(({ p99 }) => p99)) },
  ]);
  const added = median(results.guarded.map(({ p99 }, index) => p99 - results.forwarded[index].p99));
  return { rate, ...Object.fromEntries(figures), added };
}

/** Sends at times that do not depend on the answers, so that a slow one does not spare the next. */
async function atFixedRate(port, path, seconds) {
  const client = new Pool(`http://127.0.0.1:${port}`, { connections: 64 });
  const latencies = [];
  const began = performance.now();
  const pending = [];
  try {
    await new Promise((resolve) => {
      const timer = setInterval(() => {
        const due = Math.min(rate * seconds, Math.floor(((performance.now() - began) * rate) / 1000));
        while (pending.length < due) pending.push(timed(client, path, latencies));
        if (due < rate * seconds) return;
        clearInterval(timer);
        resolve();
      }, 1);
    });
    await Promise.all(pending);
  } finally {
    await client.close();
  }
  return latencies;
}

async function timed(client, path, latencies) {
  const began = performance.now();
  const { body } = await client.request({ path, method: 'GET' });
  await body.dump();
  latencies.push((performance.now() - began) * 1000);
}

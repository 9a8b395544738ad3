// How long the gate takes from exec to its first connection, and what it takes of memory when nothing happens.
import { setTimeout as elapsed } from 'node:timers/promises';
import { median, spread } from '../statistics.mjs';
import { startGate } from '../subjects.mjs';

/** Until what was needed to start is given back. */
const settled = 2000;

/** @returns milliseconds until it is ready, and bytes when it is idle */
export async function measureStart(origin, times) {
  const ready = [];
  let idle = 0;
  for (let time = 0; time < times; time += 1) {
    const began = performance.now();
    const gate = await startGate(origin, {}, [], undefined);
    ready.push(performance.now() - began);
    if (time === times - 1) await elapsed(settled);
    idle = gate.memory();
    await gate.stop();
  }
  return { ready: { median: median(ready), ...spread(ready) }, idle };
}

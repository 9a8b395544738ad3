// What a million known resources take of memory. Run by itself: node --expose-gc memory.mjs
import { setTimeout as elapsed } from 'node:timers/promises';
import { systemClock as clock } from '../../dist/http/clock.js';
import { createMemoryStore } from '../../dist/store/memory.js';

const resources = 1_000_000;
const urlLength = 100;

/** Texts as they come from the network: on their own, not parts of one another. */
const flat = (text) => Buffer.from(text).toString('latin1');

const store = createMemoryStore({ resources, queue: 1, clock });
const selecting = Object.freeze({ fields: Object.freeze([]), digest: flat('d'.repeat(22)) });
const view = flat('v'.repeat(22));
const fingerprint = flat('f'.repeat(22));

/** What is collected is given back a little later. */
async function collected() {
  for (let time = 0; time < 3; time += 1) {
    globalThis.gc();
    await elapsed(300);
  }
  return process.memoryUsage().rss;
}

const before = await collected();
for (let index = 0; index < resources; index += 1) {
  const key = flat(`/documents/${index}`.padEnd(urlLength, '-'));
  const hash = flat(String(index).padStart(22, 'h'));
  await store.observe(key, 0, {
    view,
    selecting,
    sentAt: clock.now(),
    uncached: false,
    fingerprint,
    exists: true,
    native: undefined,
    upstreamTag: undefined,
    hash,
    etag: `"im-${hash}"`,
    lastModified: undefined,
  });
}
console.log(JSON.stringify({ resources: store.stats().entries, bytes: (await collected()) - before }));

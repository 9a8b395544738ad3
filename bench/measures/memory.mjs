// What a million known resources take of memory. Run by itself: node --expose-gc memory.mjs
import { systemClock as clock } from '../../dist/http/clock.js';
import { createMemoryStore } from '../../dist/store/memory.js';

const resources = 1_000_000;
const urlLength = 100;

/** Texts as they come from the network: on their own, not parts of one another. */
const flat = (text) => Buffer.from(text).toString('latin1');

const store = createMemoryStore({ resources, queue: 1, clock });
const selecting = Object.freeze({ fields: Object.freeze([]), digest: flat('d'.repeat(22)) });
const shared = {
  view: flat('v'.repeat(22)),
  selecting,
  fingerprint: flat('f'.repeat(22)),
  uncached: false,
  exists: true,
};

globalThis.gc();
const before = process.memoryUsage().rss;
for (let index = 0; index < resources; index += 1) {
  const hash = flat(String(index).padStart(22, 'h'));
  const tags = { native: undefined, upstreamTag: undefined, hash, etag: `"im-${hash}"`, lastModified: undefined };
  const key = flat(`/documents/${index}`.padEnd(urlLength, '-'));
  await store.observe(key, 0, { ...shared, ...tags, sentAt: clock.now() });
}
globalThis.gc();
console.log(JSON.stringify({ resources: store.stats().entries, bytes: process.memoryUsage().rss - before }));

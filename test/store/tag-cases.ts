import { isBarred } from '../../src/store/seen-tags.js';
import type { Observation, Outcome, Store, Token } from '../../src/store/store.js';
import type { Cases } from './contract.js';

/** What is held against the upstream's own tags (V7). */

const tag = '"t"';
const native = { native: tag, upstreamTag: tag, etag: tag };

async function lease(store: Store, key: string): Promise<Token> {
  const request = { keys: [key], kind: 'exclusive' as const, wait: 0, signal: undefined };
  const result = await store.acquire(request);
  if (result.kind !== 'acquired') throw new Error(`no lease: ${result.kind}`);
  return result.token;
}

async function observe(store: Store, key: string, seen: Observation): Promise<void> {
  await store.observe(key, (await store.epoch(key)).epoch, seen);
}

async function write(store: Store, key: string, outcome: Outcome): Promise<void> {
  await store.settle(await lease(store, key), outcome);
}

/** Whether the tag would be barred for content with this hash. */
async function barred(store: Store, key: string, hash?: string): Promise<boolean> {
  return isBarred((await store.epoch(key)).seenTags, tag, hash);
}

const outcomes: readonly (readonly [Outcome, boolean])[] = [
  [{ kind: 'notSent' }, false],
  [{ kind: 'asItWas' }, false],
  [{ kind: 'doubt' }, false],
  [{ kind: 'changed' }, true],
  [{ kind: 'unknown', rest: 0 }, true],
];

export const tagCases: Cases = {
  'a tag counts no more after a write that was not refused (V7)': async ({ t, store, clock, seen }) => {
    for (const [outcome, expected] of outcomes) {
      for (const by of ['lease', 'mark'] as const) {
        const key = `${outcome.kind} ${by}`;
        await observe(store, key, seen('1', native));
        t.equal(await barred(store, key), false, `${key}: before`);
        await store.settle(by === 'lease' ? await lease(store, key) : (await store.touch([key])).token, outcome);
        clock.advance(0);
        t.equal(await barred(store, key), expected, key);
        t.equal(await barred(store, key, '2'), expected, `${key}: for another content`);
        t.equal(await barred(store, key, '1'), false, `${key}: for the same content`);
      }
    }
  },

  'a lease and a read are told what is held against tags (V7)': async ({ t, store, seen }) => {
    await observe(store, 'a', seen('1', native));
    await write(store, 'a', { kind: 'changed' });
    const request = { keys: ['a'], kind: 'shared' as const, wait: 0, signal: undefined };
    const acquired = await store.acquire(request);
    t.strictSame(acquired.kind === 'acquired' && acquired.seenTags, (await store.epoch('a')).seenTags);
    t.ok(await barred(store, 'a'));
  },

  'what the holder had read before it wrote, and what the write changed besides (V7)': async ({ t, store, seen }) => {
    for (const kind of ['changed', 'unknown'] as const) {
      await write(store, kind, { kind, rest: 0, before: seen('1', native) });
      t.ok(await barred(store, kind), `${kind}: nobody else knew it`);
    }
    await observe(store, 'other', seen('1', native));
    await write(store, 'a', { kind: 'changed', doubts: ['other'] });
    t.ok(await barred(store, 'other'));
  },

  'a tag that is there again after a write is barred, whatever tag was there before it (V7)': async (world) => {
    const { t, store, seen } = world;
    const earlier = { native: '"s"', upstreamTag: '"s"', etag: '"s"' };
    for (const view of ['v', 'w']) {
      await observe(store, view, seen('1', earlier));
      await write(store, view, { kind: 'changed', given: { view, selection: 'plain', tag, hash: undefined } });
      t.notOk(await barred(store, view), `${view}: given by the last write`);
      await write(store, view, { kind: 'changed' });
      t.ok(await barred(store, view), `${view}: written over`);
      await observe(store, view, seen('2', native));
      t.ok(await barred(store, view, '2'), `${view}: read again`);
      await observe(store, view, seen('3', { native: '"u"', upstreamTag: '"u"', etag: '"u"', view }));
      t.notOk(await barred(store, view), `${view}: the upstream has another one`);
    }
  },

  'a tag that a writer was given counts until the next write (V7)': async ({ t, store }) => {
    const given = { view: 'v', selection: 'plain', tag, hash: undefined };
    await write(store, 'a', { kind: 'changed', given });
    t.notOk(await barred(store, 'a'));
    await write(store, 'a', { kind: 'changed', given });
    t.ok(await barred(store, 'a'), 'and the next one was given it too');
  },

  'another tag in the same place ends it, the same one for the same content too (V7)': async ({ t, store, seen }) => {
    const elsewhere = { selecting: { fields: [], digest: 'gzip' } };
    const rows: [why: string, later: Observation, expected: boolean][] = [
      ['another tag', seen('2', { native: '"u"', upstreamTag: '"u"' }), false],
      ['the same content', seen('1', native), false],
      ['another content', seen('2', native), true],
      ['content without a hash', { ...seen('', native), hash: undefined }, true],
      ['another tag for another selection', seen('2', { upstreamTag: '"u"', ...elsewhere }), true],
      ['another tag for somebody else', seen('2', { upstreamTag: '"u"', view: 'w' }), true],
      ['a weak tag', seen('2', { upstreamTag: 'W/"u"' }), true],
      ['no tag', seen('2'), true],
      ['nothing', { ...seen('2'), exists: false }, true],
    ];
    for (const [key, later, expected] of rows) {
      await observe(store, key, { ...seen('1', native), sentAt: 0 });
      await write(store, key, { kind: 'changed' });
      await observe(store, key, later);
      // What was known to be the same content stays it.
      t.equal(await barred(store, key, key === 'the same content' ? undefined : '3'), expected, key);
    }
  },

  'after a second write the first content is no excuse (V7)': async ({ t, store, seen }) => {
    await observe(store, 'a', seen('1', native));
    await write(store, 'a', { kind: 'changed' });
    await write(store, 'a', { kind: 'changed' });
    t.ok(await barred(store, 'a', '1'), 'nobody knows what was between');
  },

  'what is held against a tag outlives what is known of versions (V7)': async ({ t, open, seen, traits }) => {
    const store = await open({ resources: 2 });
    await observe(store, 'a', seen('1', native));
    await write(store, 'a', { kind: 'changed' });
    for (let number = 0; number < 10; number += 1) await observe(store, `other ${number}`, seen('1', native));
    t.ok(await barred(store, 'a'));
    if (!traits.forgetsByNumber) return;
    for (const key of ['b', 'c']) await write(store, key, { kind: 'changed', before: seen('1', native) });
    t.notOk(await barred(store, 'a'), 'but not any number of other writes');
  },
};

import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { Packer } from '../../src/store/packed.js';
import type { Observation } from '../../src/store/store.js';

const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
const tag = fc.constantFrom('"a"', '"b"', 'W/"a"', '"im-hash"', '"im-hash-gzip"', '"im-other"', '"hash"', '');
const hash = fc.constantFrom('hash', 'other', 'a');
const selectings = ['one', 'two'].map((digest) => Object.freeze({ fields: ['Accept', digest], digest }));

const observation: fc.Arbitrary<Observation> = fc.record(
  {
    view: fc.constantFrom('me', 'you'),
    // One of them is equal to another and not the same.
    selecting: fc.constantFrom(...selectings, { fields: ['accept', 'one'], digest: 'one' }),
    exists: fc.boolean(),
    native: optional(tag),
    upstreamTag: optional(tag),
    hash: optional(hash),
    etag: optional(tag),
    lastModified: optional(fc.constantFrom('Sun, 06 Nov 1994 08:49:37 GMT', '')),
    sentAt: fc.double({ noNaN: true }),
    uncached: fc.boolean(),
    fingerprint: fc.constantFrom('f', 'g'),
  },
  { noNullPrototype: true },
);

t.test('an observation comes back as it was packed, whatever was packed before it', async () => {
  fc.assert(
    fc.property(fc.array(observation, { maxLength: 8 }), fc.nat(), (observations, epoch) => {
      const packer = new Packer();
      for (const given of observations) {
        const packed = packer.pack(epoch, given);
        if (packed === undefined) continue;
        assert.deepEqual(packed.unpacked(), given);
        assert.equal(packed.unpacked().selecting, given.selecting);
        assert.equal(packed.epoch, epoch);
        assert.equal(packed.sentAt, given.sentAt);
      }
    }),
    { numRuns: 2000 },
  );
});

t.test('what is packed: a native tag, one made of the hash, none', async (t) => {
  const base = { view: 'me', selecting: selectings[0] ?? { fields: [], digest: '' }, exists: true, sentAt: 1 };
  const rest = { lastModified: undefined, uncached: true, fingerprint: 'f' };
  const rows: [string, Pick<Observation, 'native' | 'upstreamTag' | 'hash' | 'etag'>, boolean][] = [
    ['native', { native: '"a"', upstreamTag: '"a"', hash: undefined, etag: '"a"' }, true],
    ['native, hashed too', { native: '"a"', upstreamTag: '"a"', hash: 'hash', etag: '"a"' }, true],
    ['synthetic', { native: undefined, upstreamTag: 'W/"a"', hash: 'hash', etag: '"im-hash-gzip"' }, true],
    ['none', { native: undefined, upstreamTag: undefined, hash: undefined, etag: undefined }, true],
    ['another tag', { native: undefined, upstreamTag: '"a"', hash: undefined, etag: '"a"' }, false],
    ['two natives', { native: '"a"', upstreamTag: '"b"', hash: undefined, etag: '"a"' }, false],
  ];
  for (const [name, tags, isPacked] of rows) {
    const packed = new Packer().pack(0, { ...base, ...tags, ...rest });
    t.equal(packed !== undefined, isPacked, name);
    t.equal(packed?.isSameView({ ...base, ...tags, ...rest }) ?? true, true, name);
    t.equal(packed?.isSameView({ ...base, ...tags, ...rest, view: 'you' }) ?? false, false, name);
  }
});

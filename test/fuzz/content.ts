import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import zlib from 'node:zlib';
import fc from 'fast-check';
import { parseEntityTag } from '../../src/http/entity-tag.js';
import { codingsOf, createDecoding, decodableCodings } from '../../src/version/decoding.js';
import {
  createContentHasher,
  fingerprint,
  hashContent,
  hashRepresentation,
  isSynthetic,
  syntheticHash,
  syntheticTag,
} from '../../src/version/tag.js';
import { usableNative, type ValidatorKind } from '../../src/version/trust.js';
import { asyncProperty, Dice, type Property, property, seeds, soup } from './property.js';

const coders = new Map<string, (bytes: Uint8Array) => Buffer>([
  ['gzip', (bytes) => zlib.gzipSync(bytes, { level: 1 })],
  ['x-gzip', (bytes) => zlib.gzipSync(bytes, { level: 1 })],
  ['deflate', (bytes) => zlib.deflateSync(bytes)],
  // Some send it without the wrapper (RFC 9110 8.4.1.2).
  ['Deflate', (bytes) => zlib.deflateRawSync(bytes)],
  ['br', (bytes) => zlib.brotliCompressSync(bytes, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 1 } })],
]);

const coding = fc.constantFrom(...coders.keys());
const content: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc.uint8Array({ maxLength: 60 }),
  soup(['{"a":', '1', '}', ' '], 40).map((text) => Buffer.from(text)),
);

/** Bytes in up to four pieces, some of them empty. */
function chunksOf(bytes: Uint8Array, dice: Dice): Uint8Array[] {
  const cuts = Array.from({ length: dice.roll(4) }, () => dice.roll(bytes.length + 1)).sort(
    (one, other) => one - other,
  );
  return [...cuts, bytes.length].map((end, index) => bytes.subarray(index === 0 ? 0 : cuts[index - 1], end));
}

/** Decodes as the gate does. A decoder that takes more than its limit, or throws, fails the property. */
async function decoded(bytes: Uint8Array, value: string, limit: number, dice: Dice): Promise<Buffer | undefined> {
  const taken: Uint8Array[] = [];
  let length = 0;
  const decoding = createDecoding(value, limit, (chunk) => {
    length += chunk.length;
    taken.push(Buffer.from(chunk));
  });
  for (const chunk of chunksOf(bytes, dice)) await decoding.update(chunk);
  const isWhole = await decoding.end();
  assert.ok(length <= limit, 'no more than the limit is handed on');
  return isWhole ? Buffer.concat(taken) : undefined;
}

/** What another decoder makes of it all at once; undefined where it is broken. */
function decodedAtOnce(bytes: Uint8Array, value: string): Buffer | undefined {
  const [first = 0] = bytes;
  const inflate = (first & 0x0f) === 8 ? zlib.inflateSync : zlib.inflateRawSync;
  const decode = { gzip: zlib.gunzipSync, 'x-gzip': zlib.gunzipSync, br: zlib.brotliDecompressSync, deflate: inflate };
  if (bytes.length === 0) return Buffer.alloc(0);
  try {
    return new Map(Object.entries(decode)).get(value.toLowerCase())?.(bytes);
  } catch {
    return undefined;
  }
}

/** Coded content with a few bytes flipped, cut off or added. */
function damaged(bytes: Uint8Array, dice: Dice): Uint8Array {
  const copy = Buffer.from(bytes);
  for (let mistakes = dice.roll(3); mistakes > 0 && copy.length > 0; mistakes--) {
    const at = dice.roll(copy.length);
    copy[at] = dice.roll(256);
  }
  const cut = copy.subarray(0, copy.length - dice.pick(0, 0, dice.roll(copy.length + 1)));
  return dice.roll(4) === 0 ? Buffer.concat([cut, Buffer.from([dice.roll(256), dice.roll(256)])]) : cut;
}

const codingPieces = [
  'gzip',
  'GZIP',
  'br',
  'deflate',
  'identity',
  'x-gzip',
  'zz',
  ',',
  ' ',
  '\t',
  ';q=0',
  ';',
  '*',
  '"',
  '\u00e9',
];
const known = /^(?:gzip|x-gzip|br|deflate|zstd|identity)$/i;

const second = 1000;
const base = Date.UTC(2026, 0);
const date = fc.oneof(
  fc.integer({ min: 0, max: 4 }).map((seconds) => new Date(base + seconds * second).toUTCString()),
  fc.constantFrom(undefined, 'yesterday', ''),
);
const nativeAnswer = fc.record({
  etag: fc.constantFrom(undefined, '"a"', 'W/"a"', '"im-a"', '"imx"', 'a', '', '"a", "b"', ' "a" ', '"\u00e9 \\"'),
  lastModified: date,
  date,
});
const kind = fc.constantFrom<ValidatorKind[]>('auto', 'upstream', 'body', 'json', 'header');

/** Milliseconds of one of the dates above; undefined where it is none. */
const timeOf = (text: string): number | undefined => (/GMT$/.test(text) ? Date.parse(text) : undefined);

const settings = fc.tuple(
  fc.constantFrom('auto', 'body', 'json:/a'),
  fc.array(fc.constantFrom('/a', '/b', '/a,/b'), { maxLength: 3 }),
);

/** Content and its codings, and the tags that are made of it. */
export const contents: readonly Property[] = [
  asyncProperty(
    'version/decoding: what was coded comes back, up to the limit and three codings',
    fc.tuple(content, fc.array(coding, { maxLength: 4 }), seeds),
    async ([bytes, chosen, seed]) => {
      const dice = new Dice(seed);
      // Only outermost can deflate without its wrapper be told from deflate with one.
      const codings = chosen.map((name, index) => (index < chosen.length - 1 ? name.toLowerCase() : name));
      const coded = codings.reduce<Uint8Array>((inner, name) => coders.get(name)?.(inner) ?? inner, bytes);
      const limit = dice.pick(bytes.length, 1000, Math.max(0, bytes.length - 1));
      const expected = codings.length <= 3 && limit >= bytes.length ? Buffer.from(bytes) : undefined;
      assert.deepEqual(await decoded(coded, codings.join(dice.pick(',', ', ')), limit, dice), expected);
      const hash = expected && hashContent(expected);
      assert.equal(await hashRepresentation(coded, codings.join(), { ignore: [], limit }), hash);
    },
    20,
  ),
  asyncProperty(
    'version/decoding: damaged content is decoded whole or not at all',
    fc.tuple(fc.uint8Array({ maxLength: 60 }), coding, seeds),
    async ([bytes, name, seed]) => {
      const dice = new Dice(seed);
      const coded = dice.roll(4) === 0 ? bytes : damaged(coders.get(name)?.(bytes) ?? bytes, dice);
      const expected = decodedAtOnce(coded, name);
      const isShort = expected !== undefined && expected.length <= 100;
      assert.deepEqual(await decoded(coded, name, 100, dice), isShort ? expected : undefined);
    },
    8,
  ),
  asyncProperty(
    'version/decoding: a small content that decodes to a huge one ends at the limit',
    fc.tuple(coding, fc.integer({ min: 1, max: 300_000 }), seeds),
    async ([name, limit, seed]) => {
      const coded = coders.get(name)?.(Buffer.alloc(300_001)) ?? Buffer.alloc(0);
      assert.equal(await decoded(coded, name, limit, new Dice(seed)), undefined);
    },
    100,
  ),
  property('version/decoding: names of codings', soup(codingPieces), (value) => {
    const members = value.split(',').map((member) => member.replace(/^[ \t]+|[ \t]+$/g, ''));
    const names = members.map((member) => member.toLowerCase()).filter((name) => !['', 'identity'].includes(name));
    assert.deepEqual(codingsOf(value), names);
    const kept = decodableCodings(value);
    const isKept = (member: string): boolean => {
      const name = /^[^;]*/.exec(member)?.[0].trim() ?? '';
      return known.test(name) && (name.toLowerCase() !== 'zstd' || 'createZstdDecompress' in zlib);
    };
    assert.equal(kept, members.filter(isKept).join(', ') || 'identity');
    assert.equal(decodableCodings(kept), kept);
  }),
  property(
    'version/tag: a tag has the form that it is known by',
    fc.tuple(content, soup(codingPieces, 5)),
    ([bytes, value]) => {
      const sum = createHash('sha256').update(bytes).digest('base64url').slice(0, 22);
      assert.equal(hashContent(bytes), sum);
      const tag = syntheticTag(sum, value);
      assert.equal(parseEntityTag(tag), tag);
      assert.match(tag, /^"im-[!#-~]+"$/, 'characters that any middlebox takes');
      assert.ok(isSynthetic(tag));
      assert.equal(syntheticHash(tag), sum);
      assert.equal(tag === `"im-${sum}"`, codingsOf(value).length === 0);
    },
  ),
  asyncProperty(
    'version/tag: content is hashed in passing as at once',
    fc.tuple(content, seeds),
    async ([bytes, seed]) => {
      const dice = new Dice(seed);
      const limit = dice.pick(bytes.length, Math.max(0, bytes.length - 1), 1000);
      const hasher = createContentHasher({ coding: dice.pick(undefined, 'identity', ''), limit });
      for (const chunk of chunksOf(bytes, dice)) await hasher.update(chunk);
      assert.equal(await hasher.digest(), bytes.length > limit ? undefined : hashContent(bytes));
    },
    2,
  ),
  property('version/tag: fingerprints tell settings apart', fc.tuple(settings, settings), ([one, other]) => {
    const meant = ([spec, ignore]: typeof one): string => JSON.stringify([spec, [...new Set(ignore)].sort()]);
    assert.equal(fingerprint(...one) === fingerprint(...other), meant(one) === meant(other));
  }),
  property(
    'version/trust: which native tags count',
    fc.tuple(nativeAnswer, kind, fc.integer({ min: 0, max: 4 * second })),
    ([answer, validator, received]) => {
      const tag = answer.etag?.trim() ?? '';
      const isTag = /^"[^"]*"$/.test(tag) && !tag.startsWith('"im-');
      const modified = answer.lastModified === undefined ? undefined : timeOf(answer.lastModified);
      const made = answer.date === undefined ? base + received : timeOf(answer.date);
      const isOld = modified !== undefined && made !== undefined && made - modified >= 2 * second;
      const counts =
        isTag && (validator === 'upstream' || (validator === 'auto' && (answer.lastModified === undefined || isOld)));
      assert.equal(usableNative(answer, validator, base + received), counts ? tag : undefined);
    },
  ),
];

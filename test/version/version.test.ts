import { createHash, randomBytes } from 'node:crypto';
import zlib from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import {
  createContentHasher,
  fingerprint,
  hashContent,
  hashRepresentation,
  headerVersionHash,
  isSynthetic,
  syntheticHash,
  syntheticTag,
} from '../../src/version/tag.js';
import { usableNative, type ValidatorKind } from '../../src/version/trust.js';

const hash22 = '-_AZaz09-_AZaz09-_AZaz';
const content = Buffer.from('{"title": "a", "at": 1}'.repeat(2000));
const mb = 1024 * 1024;

t.test('synthetic tags (V2)', async (t) => {
  const tags: [coding: string | undefined, tag: string][] = [
    [undefined, `"im-${hash22}"`],
    ['', `"im-${hash22}"`],
    ['identity', `"im-${hash22}"`],
    ['gzip', `"im-${hash22}-gzip"`],
    ['GZIP', `"im-${hash22}-gzip"`],
    [' br ,identity, gzip', `"im-${hash22}-br.gzip"`],
    ['a"b c', `"im-${hash22}-a_b_c"`],
  ];
  for (const [coding, tag] of tags) {
    t.equal(syntheticTag(hash22, coding), tag, `made: ${tag}`);
    t.equal(isSynthetic(tag), true, `recognised: ${tag}`);
    t.equal(syntheticHash(tag), hash22, `hash: ${tag}`);
  }
  const others = ['"abc"', `W/"im-${hash22}"`, `im-${hash22}`, `"IM-${hash22}"`, '*', ''];
  for (const tag of others) {
    t.equal(isSynthetic(tag), false, `not ours: ${tag}`);
    t.equal(syntheticHash(tag), undefined, `no hash: ${tag}`);
  }
  const broken = [
    '"im-"',
    '"im-abc"',
    `"im-${hash22}`,
    `"im-${hash22}x"`,
    `"im-${hash22}-"`,
    `"im-${hash22.slice(1)}!"`,
  ];
  for (const tag of broken) {
    t.equal(isSynthetic(tag), true, `of our form: ${tag}`);
    t.equal(syntheticHash(tag), undefined, `but without hash: ${tag}`);
  }
});

t.test('hashes', async (t) => {
  const sha256 = createHash('sha256').update(content).digest('base64url');
  t.equal(hashContent(content), sha256.slice(0, 22), 'content: a prefix of SHA-256 of 132 bits');
  t.equal(hashContent(new Uint8Array()), '47DEQpj8HBSa-_TImW-5JC', 'nothing is content too');

  const limit = mb;
  const version = await hashRepresentation(Buffer.from('{"v":"7"}'), undefined, { ignore: [], pointer: '/v', limit });
  const all = [headerVersionHash('"7"'), version, hashContent(Buffer.from('"7"')), fingerprint('"7"', [])];
  t.equal(new Set(all).size, all.length, 'one text has another hash as content, member, field or option');
  t.match(version, /^[\w-]{22}$/);
  t.match(headerVersionHash('ü'), /^[\w-]{22}$/);

  t.equal(fingerprint('auto', ['/a', '/b']), fingerprint('auto', ['/b', '/a', '/a']), 'the order of ignore is nothing');
  const options = [
    fingerprint('auto', []),
    fingerprint('auto', ['/a']),
    fingerprint('body', []),
    fingerprint('auto', ['/a', '/b']),
  ];
  t.equal(new Set(options).size, options.length, 'whatever makes other tags makes another fingerprint');
});

const codings: [coding: string, encode: (bytes: Buffer) => Buffer][] = [
  ['identity', (bytes) => bytes],
  ['gzip', (bytes) => zlib.gzipSync(bytes)],
  ['X-Gzip', (bytes) => zlib.gzipSync(bytes)],
  ['gzip', (bytes) => Buffer.concat([zlib.gzipSync(bytes.subarray(0, 100)), zlib.gzipSync(bytes.subarray(100))])],
  ['deflate', (bytes) => zlib.deflateSync(bytes)],
  ['deflate', (bytes) => zlib.deflateRawSync(bytes)],
  ['br', (bytes) => zlib.brotliCompressSync(bytes)],
  ['br, gzip', (bytes) => zlib.gzipSync(zlib.brotliCompressSync(bytes))],
  ['deflate, identity, gzip', (bytes) => zlib.gzipSync(zlib.deflateSync(bytes))],
];
const { zstdCompressSync } = zlib as typeof zlib & { zstdCompressSync?: (bytes: Buffer) => Buffer };
if (zstdCompressSync !== undefined) codings.push(['zstd', (bytes) => zstdCompressSync(bytes)]);

t.test('the hash is that of the decoded content, whatever the coding (V2)', async (t) => {
  for (const [coding, encode] of codings) {
    const bytes = encode(content);
    for (const size of [1000, 7, bytes.length]) {
      t.equal(await streamed(bytes, coding, content.length, size), hashContent(content), `${coding} by ${size} bytes`);
    }
    t.equal(await held(bytes, coding, content.length), hashContent(content), `${coding}, held`);
    t.equal(await streamed(bytes, coding, content.length - 1), undefined, `${coding}, a byte too long`);
    t.equal(await held(bytes, coding, content.length - 1), undefined, `${coding}, held, a byte too long`);
    t.equal(await streamed(Buffer.alloc(0), coding, 0), hashContent(Buffer.alloc(0)), `${coding}, empty`);
    t.equal(await held(Buffer.alloc(0), coding, 0), hashContent(Buffer.alloc(0)), `${coding}, held, empty`);
  }
});

t.test('no hash for what does not decode', async (t) => {
  const gzipped = zlib.gzipSync(content);
  const rows: [name: string, bytes: Buffer, coding: string][] = [
    ['unknown coding', content, 'compress'],
    ['one of two unknown', gzipped, 'exi, gzip'],
    ['too many codings', zlib.gzipSync(zlib.gzipSync(zlib.gzipSync(gzipped))), 'gzip, gzip, gzip, gzip'],
    ['not gzip', content, 'gzip'],
    ['not br', content, 'br'],
    ['not deflate', Buffer.alloc(1000, 0xff), 'deflate'],
    ['cut short', gzipped.subarray(0, -20), 'gzip'],
    ['without its checksum', gzipped.subarray(0, -8), 'gzip'],
    ['br cut short', zlib.brotliCompressSync(content).subarray(0, -2), 'br'],
    ['inner one cut short', zlib.gzipSync(gzipped.subarray(0, -20)), 'gzip, gzip'],
    ['the wrong order', zlib.gzipSync(zlib.brotliCompressSync(content)), 'gzip, br'],
  ];
  for (const [name, bytes, coding] of rows) {
    t.equal(await streamed(bytes, coding, mb), undefined, name);
    t.equal(await held(bytes, coding, mb), undefined, `${name}, held`);
  }
});

t.test('what follows the end of coded content never hangs', async (t) => {
  const rest = randomBytes(300_000);
  for (const [coding, encode] of codings.slice(1)) {
    const result = await streamed(Buffer.concat([encode(content), rest]), coding, content.length);
    t.ok(result === undefined || result === hashContent(content), `${coding}: no hash, or that of the content`);
  }
});

t.test('a bomb ends at the limit, and what comes after it is not kept', async (t) => {
  const bomb = zlib.gzipSync(Buffer.alloc(32 * mb));
  for (const bytes of [bomb, zlib.gzipSync(bomb)]) {
    const hasher = createContentHasher({ coding: bytes === bomb ? 'gzip' : 'gzip, gzip', limit: mb });
    await hasher.update(bytes);
    t.equal(await hasher.digest(), undefined);
    t.equal(hasher.update(bytes), undefined, 'more is dropped at once');
    t.equal(await hasher.digest(), undefined);
  }
});

t.test('the hasher asks to wait where the decoder cannot follow', async (t) => {
  const noise = randomBytes(mb);
  const hasher = createContentHasher({ coding: 'gzip', limit: mb });
  const pending = hasher.update(zlib.gzipSync(noise));
  t.type(pending, Promise);
  await pending;
  t.equal(await hasher.digest(), hashContent(noise));

  const plain = createContentHasher({ coding: undefined, limit: mb });
  t.equal(plain.update(noise), undefined, 'never where nothing is decoded');
  t.equal(await plain.digest(), hashContent(noise));
});

t.test('a destroyed hasher gives no hash and lets nobody wait', async (t) => {
  for (const coding of ['gzip', 'br, gzip', undefined, 'compress']) {
    const hasher = createContentHasher({ coding, limit: mb });
    const waiting = hasher.update(zlib.gzipSync(randomBytes(mb)));
    hasher.destroy();
    await waiting;
    t.equal(hasher.update(Buffer.from('x')), undefined);
    t.equal(await hasher.digest(), undefined, `${coding}`);
  }
  const unused = createContentHasher({ coding: 'gzip', limit: mb });
  unused.destroy();
  t.equal(await unused.digest(), undefined);
});

t.test('streamed and held content have one hash, however it is cut', async (t) => {
  const bytesOf = fc.uint8Array({ maxLength: 300 });
  const property = fc.asyncProperty(bytesOf, fc.constantFrom(...codings), fc.integer({ min: 1, max: 50 }), cut);
  await t.resolves(fc.assert(property));

  async function cut(bytes: Uint8Array, [coding, encode]: (typeof codings)[number], size: number): Promise<boolean> {
    const encoded = encode(Buffer.from(bytes));
    const expected = hashContent(bytes);
    return (await streamed(encoded, coding, mb, size)) === expected && (await held(encoded, coding, mb)) === expected;
  }
});

t.test('held JSON: what is ignored, and what is the version (V1, V3)', async (t) => {
  const hashOf = (text: string | Buffer, how: { ignore?: string[]; pointer?: string; coding?: string }) =>
    hashRepresentation(Buffer.from(text), how.coding, { ignore: [], limit: mb, ...how });
  const ignore = ['/at'];

  t.type(hashOf('{}', {}), 'string', 'not coded: in one go');
  t.type(hashOf('{}', { ignore }), 'string');
  t.equal(hashOf('{"a":1,"at":2}', { ignore }), hashOf('{ "at": 3, "a": 1.0 }', { ignore }));
  t.not(hashOf('{"a":1,"at":2}', { ignore }), hashOf('{"a":2,"at":2}', { ignore }));
  t.equal(hashOf('\ufeff{"a":1}', { ignore }), hashOf('{"a":1}', { ignore }), 'a byte order mark is no content');
  t.equal(
    await hashOf(zlib.gzipSync('{"a":1,"at":2}'), { ignore, coding: 'gzip' }),
    hashOf('{"a":1}', { ignore }),
    'the hash does not depend on the coding',
  );
  for (const raw of ['', 'no JSON', '{"a":9007199254740993}']) {
    t.equal(hashOf(raw, { ignore }), hashContent(Buffer.from(raw)), `as it is: ${raw}`);
  }
  const [invalid, other] = [Buffer.from([0x22, 0xff, 0x22]), Buffer.from([0x22, 0xfe, 0x22])];
  t.not(hashOf(invalid, { ignore }), hashOf(other, { ignore }), 'what is no UTF-8 is not made equal');

  const pointer = '/v';
  t.equal(hashOf('{"v":7,"a":1}', { pointer }), hashOf('{"a":2,"v":7}', { pointer }));
  t.not(hashOf('{"v":7}', { pointer }), hashOf('{"v":"7"}', { pointer }));
  t.not(hashOf('{"v":1700000000123456789}', { pointer }), hashOf('{"v":1700000000123456788}', { pointer }));
  for (const without of ['{}', '{"v":null}', 'no JSON', invalid]) {
    t.equal(hashOf(without, { pointer }), undefined, `no version in ${without}`);
  }
  t.equal(await hashOf(zlib.gzipSync('{"v":7}'), { pointer, coding: 'gzip' }), hashOf('{"v":7}', { pointer }));
});

t.test('which native tags may be used (V1, V6, V7)', async (t) => {
  const modified = 'Tue, 03 Nov 2026 10:00:00 GMT';
  const at = (seconds: number) => Date.UTC(2026, 10, 3, 10, 0, seconds);
  const rows: {
    name: string;
    etag?: string | undefined;
    lastModified?: string;
    date?: string;
    validator?: ValidatorKind;
    receivedAt?: number;
    usable: boolean;
  }[] = [
    { name: 'strong', usable: true },
    { name: 'strong with a comma', etag: '"a,b"', usable: true },
    { name: 'empty', etag: '""', usable: true },
    { name: 'none', etag: undefined, usable: false },
    { name: 'weak', etag: 'W/"a"', usable: false },
    { name: 'weak under upstream', etag: 'W/"a"', validator: 'upstream', usable: false },
    { name: 'unquoted', etag: 'a', usable: false },
    { name: 'two', etag: '"a", "b"', usable: false },
    { name: 'of our own form', etag: `"im-${hash22}"`, usable: false },
    { name: 'of our own form under upstream', etag: '"im-x"', validator: 'upstream', usable: false },
    { name: 'Date 2 s later', lastModified: modified, date: 'Tue, 03 Nov 2026 10:00:02 GMT', usable: true },
    { name: 'Date 1 s later', lastModified: modified, date: 'Tue, 03 Nov 2026 10:00:01 GMT', usable: false },
    { name: 'Date before', lastModified: modified, date: 'Tue, 03 Nov 2026 09:00:01 GMT', usable: false },
    { name: 'Date counts, not receipt', lastModified: modified, date: modified, receivedAt: at(59), usable: false },
    { name: 'no Date, received 2 s later', lastModified: modified, receivedAt: at(2), usable: true },
    { name: 'no Date, received 1.9 s later', lastModified: modified, receivedAt: at(1.9), usable: false },
    { name: 'unreadable Date', lastModified: modified, date: 'today', receivedAt: at(59), usable: false },
    { name: 'unreadable Last-Modified', lastModified: 'today', receivedAt: at(59), usable: false },
    { name: 'young under upstream', lastModified: modified, date: modified, validator: 'upstream', usable: true },
    { name: 'under body', validator: 'body', usable: false },
    { name: 'under json', validator: 'json', usable: false },
    { name: 'under header', validator: 'header', usable: false },
  ];
  for (const row of rows) {
    const etag = 'etag' in row ? row.etag : '"a"';
    const answer = { etag, lastModified: row.lastModified, date: row.date };
    const used = usableNative(answer, row.validator ?? 'auto', row.receivedAt ?? at(0));
    t.equal(used, row.usable ? etag : undefined, row.name);
  }
});

async function streamed(bytes: Buffer, coding: string, limit: number, size = 4096): Promise<string | undefined> {
  const hasher = createContentHasher({ coding, limit });
  for (let start = 0; start < bytes.length; start += size) await hasher.update(bytes.subarray(start, start + size));
  return hasher.digest();
}

async function held(bytes: Buffer, coding: string, limit: number): Promise<string | undefined> {
  return hashRepresentation(bytes, coding, { ignore: [], limit });
}

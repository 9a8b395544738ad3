import { createHash, createHmac, hash } from 'node:crypto';
import { type Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';
import { canonicalize, canonicalValueAt } from './canonical-json.js';

/** How every tag that the gate computes begins (V2). */
export const syntheticPrefix = '"im-';

/** Length of a hash in a tag: 132 bits of SHA-256 in base64url. */
const hashLength = 22;

/** More codings than this are not decoded: each costs a decoder, and nobody compresses four times. */
const mostCodings = 3;

/**
 * Whether an entity-tag in wire form is one that the gate computes, by its beginning (V2). What only begins like one
 * is also true: a native tag of that form would be taken for ours.
 */
export function isSynthetic(tag: string): boolean {
  return tag.startsWith(syntheticPrefix);
}

/**
 * The hash of a synthetic tag in wire form, which is the same in all codings (V2).
 *
 * @returns 22 characters; undefined where the tag is not of the form `"im-<hash>"` or `"im-<hash>-<coding>"`
 */
export function syntheticHash(tag: string): string | undefined {
  // The hash may contain hyphens itself, so it is cut by length.
  return /^"im-([\w-]{22})(?:-[^"]+)?"$/.exec(tag)?.[1];
}

/**
 * The synthetic tag of a representation, in wire form (V2).
 *
 * @param contentHash 22 characters of base64url
 * @param coding value of Content-Encoding; undefined or `identity` where the content is not coded
 */
export function syntheticTag(contentHash: string, coding: string | undefined): string {
  const codings = codingsOf(coding);
  // The field may hold anything, an entity-tag may not (RFC 9110 8.8.3).
  const suffix = codings.join('.').replace(/[^\w!#$%&'*+.^`|~-]/g, '_');
  return codings.length === 0 ? `${syntheticPrefix}${contentHash}"` : `${syntheticPrefix}${contentHash}-${suffix}"`;
}

/** The first 22 base64url characters of the content's SHA-256 (V2). */
export function hashContent(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'base64url').slice(0, hashLength);
}

/** Hash of the value of a response field that is the version (V1, `header:<name>`); never that of any content. */
export function headerVersionHash(value: string): string {
  return keyedHash('header', value);
}

/**
 * Short name of all that decides how tags are made (V2): what was learned under another one is no knowledge.
 *
 * @param validatorSpec the `validator` option as it is written, for example `json:/version`
 * @param ignore JSON Pointers, in any order
 */
export function fingerprint(validatorSpec: string, ignore: readonly string[]): string {
  return keyedHash('fingerprint', JSON.stringify([validatorSpec, ...new Set([...ignore].sort())]));
}

/** What makes the hash of a held representation: `ignore` (V3), or the member that is the version (V1). */
export interface HashOptions {
  /** JSON Pointers of the members left out; an empty list hashes the bytes. */
  readonly ignore: readonly string[];
  /** JSON Pointer of the value that is the version. */
  readonly pointer?: string | undefined;
  /** Longest decoded content, in bytes. */
  readonly limit: number;
}

/**
 * Hash of a representation whose content is held in memory (V1 to V3); in one go where it is not coded. Content that
 * is not JSON, or has no canonical form, is hashed as it is where members were to be left out.
 *
 * @param bytes the content as the upstream sent it
 * @param coding value of Content-Encoding
 * @returns 22 characters; undefined where the coding is unknown, the content does not decode or is longer than the
 *   limit, or the value at `pointer` is absent
 */
export function hashRepresentation(
  bytes: Uint8Array,
  coding: string | undefined,
  how: HashOptions,
): Promise<string | undefined> | string | undefined {
  if (codingsOf(coding).length === 0) return bytes.length > how.limit ? undefined : hashDecoded(bytes, how);
  return decodeAndHash(bytes, coding, how);
}

async function decodeAndHash(bytes: Uint8Array, coding: string | undefined, how: HashOptions) {
  const chunks: Uint8Array[] = [];
  const decoding = createDecoding(coding, how.limit, (chunk) => chunks.push(chunk));
  await decoding.update(bytes);
  return (await decoding.end()) ? hashDecoded(Buffer.concat(chunks), how) : undefined;
}

function hashDecoded(bytes: Uint8Array, how: HashOptions): string | undefined {
  if (how.pointer === undefined && how.ignore.length === 0) return hashContent(bytes);
  const text = decodeUtf8(bytes);
  if (how.pointer === undefined) {
    const canonical = text === undefined ? undefined : canonicalize(text, how.ignore);
    return hashContent(canonical === undefined ? bytes : Buffer.from(canonical));
  }
  const value = text === undefined ? undefined : canonicalValueAt(text, how.pointer);
  return value === undefined ? undefined : keyedHash('json', value);
}

/** Undefined for what is not UTF-8: replacement characters would make one text of two. */
function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

/** As long as a content's hash, but of another kind for each key: the same text under two keys has two hashes. */
function keyedHash(key: string, text: string): string {
  return createHmac('sha256', key).update(text).digest('base64url').slice(0, hashLength);
}

/** Hashes content that streams by. */
export interface ContentHasher {
  /**
   * Takes the next bytes as they come from the upstream. Where it returns a promise, the decoder has more than it can
   * do at once, and the next bytes should wait for it: that keeps memory flat. It never rejects.
   */
  update(chunk: Uint8Array): Promise<void> | undefined;
  /** After the last `update`: the hash; undefined where the coding is unknown, the content broken or too long. */
  digest(): Promise<string | undefined>;
  /** Gives up: stops decoding. */
  destroy(): void;
}

/**
 * Hashes content in passing, after content-decoding (V2, V5). What is decoded is never kept: a small content that
 * decodes to a huge one ends at the limit.
 *
 * @param options `coding`: value of Content-Encoding; `limit`: longest decoded content, in bytes
 */
export function createContentHasher(options: {
  readonly coding: string | undefined;
  readonly limit: number;
}): ContentHasher {
  const sha256 = createHash('sha256');
  const decoding = createDecoding(options.coding, options.limit, (chunk) => sha256.update(chunk));
  return {
    update: (chunk) => decoding.update(chunk),
    digest: async () => ((await decoding.end()) ? sha256.digest('base64url').slice(0, hashLength) : undefined),
    destroy: () => decoding.destroy(),
  };
}

/** The codings of a Content-Encoding value in the order in which they were applied, lower-cased, without `identity`. */
function codingsOf(coding: string | undefined): string[] {
  const members = (coding ?? '').split(',').map((member) => member.trim().toLowerCase());
  return members.filter((member) => member !== '' && member !== 'identity');
}

interface Decoding {
  update(chunk: Uint8Array): Promise<void> | undefined;
  /** Whether all content was decoded and taken. */
  end(): Promise<boolean>;
  destroy(): void;
}

type Take = (decoded: Uint8Array) => void;

function createDecoding(coding: string | undefined, limit: number, take: Take): Decoding {
  const codings = codingsOf(coding).reverse();
  let length = 0;
  const takeWithinLimit = (chunk: Uint8Array): boolean => {
    length += chunk.length;
    if (length > limit) return false;
    take(chunk);
    return true;
  };
  if (codings.length === 0) return new Passing(takeWithinLimit);
  const isKnown = codings.length <= mostCodings && codings.every((name) => decoders.has(name));
  return isKnown ? new Decoders(codings, takeWithinLimit) : new Passing(() => false, false);
}

/** Content that needs no decoder, or has a coding that is not known and so never is whole. */
class Passing implements Decoding {
  readonly #take: (chunk: Uint8Array) => boolean;
  #isWhole: boolean;

  constructor(take: (chunk: Uint8Array) => boolean, isWhole = true) {
    this.#take = take;
    this.#isWhole = isWhole;
  }

  update(chunk: Uint8Array): undefined {
    this.#isWhole &&= this.#take(chunk);
  }

  async end(): Promise<boolean> {
    return this.#isWhole;
  }

  destroy(): void {
    this.#isWhole = false;
  }
}

/**
 * Content that goes through one or more decoders. They are made at the first byte: an empty content has none, whatever
 * its coding, and is taken as an empty representation.
 */
class Decoders implements Decoding {
  readonly #codings: readonly string[];
  readonly #take: (chunk: Uint8Array) => boolean;
  #first: Transform | undefined;
  #whole: Promise<boolean> = Promise.resolve(true);
  #isOver = false;
  #drained: Promise<void> | undefined;

  /** `codings` in the order in which they are to be undone. */
  constructor(codings: readonly string[], take: (chunk: Uint8Array) => boolean) {
    this.#codings = codings;
    this.#take = take;
  }

  update(chunk: Uint8Array): Promise<void> | undefined {
    const [firstByte] = chunk;
    if (this.#isOver || firstByte === undefined) return undefined;
    this.#first ??= this.#start(firstByte);
    if (this.#first === undefined || this.#first.write(chunk)) return undefined;
    this.#drained ??= this.#untilDrained(this.#first);
    return this.#drained;
  }

  end(): Promise<boolean> {
    if (!this.#isOver) this.#first?.end();
    return this.#whole;
  }

  destroy(): void {
    this.#isOver = true;
    this.#whole = Promise.resolve(false);
    this.#first?.destroy();
  }

  #start(firstByte: number): Transform | undefined {
    const chain = this.#codings.flatMap(
      (name, index) => decoders.get(name)?.(index === 0 ? firstByte : undefined) ?? [],
    );
    const sink = new Writable({
      write: (chunk: Buffer, _encoding, done) =>
        done(this.#take(chunk) ? null : new RangeError('longer than the limit')),
    });
    this.#whole = pipeline([...chain, sink]).then(
      () => true,
      () => false,
    );
    void this.#whole.then(() => {
      this.#isOver = true;
    });
    return chain[0];
  }

  async #untilDrained(decoder: Transform): Promise<void> {
    await Promise.race([new Promise((resolve) => decoder.once('drain', resolve)), this.#whole]);
    this.#drained = undefined;
  }
}

/** Largest window that zstd content may ask for: 8 MB (RFC 9659). */
const zstdWindowLog = 23;

/** Part of node:zlib from Node 22.15 on. */
const { createZstdDecompress, constants } = zlib as typeof zlib & {
  createZstdDecompress?: (options: zlib.ZlibOptions & { params: Record<number, number> }) => Transform;
  constants: { ZSTD_d_windowLogMax?: number };
};

const decoderOptions = { chunkSize: 64 * 1024 };

/** Makes a decoder. The first byte of the coded content, where it is known, tells which kind of deflate it is. */
type MakeDecoder = (firstByte: number | undefined) => Transform;

const decoders = new Map<string, MakeDecoder>([
  ['gzip', () => zlib.createGunzip(decoderOptions)],
  ['x-gzip', () => zlib.createGunzip(decoderOptions)],
  ['br', () => zlib.createBrotliDecompress(decoderOptions)],
  ['deflate', createInflate],
]);
if (createZstdDecompress !== undefined) {
  const params = { [constants.ZSTD_d_windowLogMax ?? 100]: zstdWindowLog };
  decoders.set('zstd', () => createZstdDecompress({ ...decoderOptions, params }));
}

/** RFC 9110 8.4.1.2: some send it without the zlib wrapper, whose first byte names method 8 in its lower half. */
function createInflate(firstByte: number | undefined): Transform {
  const isWrapped = firstByte === undefined || (firstByte & 0x0f) === 8;
  return isWrapped ? zlib.createInflate(decoderOptions) : zlib.createInflateRaw(decoderOptions);
}

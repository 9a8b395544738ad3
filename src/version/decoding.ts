import { Transform, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';

/** More codings than this are not decoded: each costs a decoder, and nobody compresses four times. */
const mostCodings = 3;

/** The codings of a Content-Encoding value in the order in which they were applied, lower-cased, without `identity`. */
export function codingsOf(coding: string | undefined): string[] {
  const members = (coding ?? '').split(',').map((member) => member.trim().toLowerCase());
  return members.filter((member) => member !== '' && member !== 'identity');
}

/**
 * What of an Accept-Encoding can be decoded here (V2: a hash does not depend on the coding). `*` goes too: it may mean
 * anything.
 *
 * @param value of Accept-Encoding, lines joined with ", "
 * @returns the members that can be decoded as they were written; `identity` where none is left
 */
export function decodableCodings(value: string): string {
  const members = value.split(',').map((member) => member.trim());
  const kept = members.filter((member) => {
    const name = (member.split(';', 1)[0] ?? '').trim().toLowerCase();
    return name === 'identity' || decoders.has(name);
  });
  return kept.length === 0 ? 'identity' : kept.join(', ');
}

/** Content on its way through its decoders. */
export interface Decoding {
  update(chunk: Uint8Array): Promise<void> | undefined;
  /** Whether all content was decoded and taken. */
  end(): Promise<boolean>;
  destroy(): void;
}

type Take = (decoded: Uint8Array) => void;

/**
 * Undoes the content codings of a body that arrives in chunks (RFC 9110 8.4). What is decoded is handed on at once and
 * never kept.
 *
 * @param coding value of Content-Encoding
 * @param limit longest decoded content, in bytes; more ends the decoding, and so does what much more of it on the way
 * @param take gets each decoded chunk, in order
 */
export function createDecoding(coding: string | undefined, limit: number, take: Take): Decoding {
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
  return isKnown ? new Decoders(codings, limit, takeWithinLimit) : new Passing(() => false, false);
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
  readonly #limit: number;
  readonly #take: (chunk: Uint8Array) => boolean;
  #first: Transform | undefined;
  #whole: Promise<boolean> = Promise.resolve(true);
  #isOver = false;
  #drained: Promise<void> | undefined;

  /** `codings` in the order in which they are to be undone. */
  constructor(codings: readonly string[], limit: number, take: (chunk: Uint8Array) => boolean) {
    this.#codings = codings;
    this.#limit = limit;
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
    const chain = this.#codings.flatMap((name, index) => {
      const decoder = decoders.get(name)?.(index === 0 ? firstByte : undefined) ?? [];
      return index === 0 ? decoder : [createMeter(2 * this.#limit + codingOverhead)].concat(decoder);
    });
    const sink = new Writable({
      write: (chunk: Buffer, _encoding, done) => done(this.#take(chunk) ? null : tooLong()),
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

/** Coded content can be longer than the content, in bytes: it has a head of its own. */
const codingOverhead = 1024;

/** Passes so many bytes: the next decoder could take any number of them without giving one. */
function createMeter(limit: number): Transform {
  let length = 0;
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      length += chunk.length;
      if (length > limit) done(tooLong());
      else done(null, chunk);
    },
  });
}

function tooLong(): RangeError {
  return new RangeError('longer than the limit');
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

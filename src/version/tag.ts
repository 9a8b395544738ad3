import { createHash, createHmac, hash } from 'node:crypto';
import { canonicalize, canonicalValueAt } from './canonical-json.js';
import { codingsOf, createDecoding } from './decoding.js';

/** How every tag that the gate computes begins (V2). */
export const syntheticPrefix = '"im-';

/** Length of a hash in a tag: 132 bits of SHA-256 in base64url. */
const hashLength = 22;

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

/**
 * Hash of the value of a response field that is the version (V1, `header:<name>`); never that of any content. White space
 * around it is none of it (RFC 9110 5.5).
 */
export function headerVersionHash(value: string): string {
  return keyedHash('header', value.replace(/^[ \t]+/, '').replace(/(?<![ \t])[ \t]+$/, ''));
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
 * @param content as the upstream sent it, in one piece or several
 * @param coding value of Content-Encoding
 * @returns 22 characters; undefined where the coding is unknown, the content does not decode or is longer than the
 *   limit, or the value at `pointer` is absent
 */
export function hashRepresentation(
  content: Uint8Array | readonly Uint8Array[],
  coding: string | undefined,
  how: HashOptions,
): Promise<string | undefined> | string | undefined {
  const chunks = content instanceof Uint8Array ? [content] : content;
  if (codingsOf(coding).length > 0) return decodeAndHash(joined(chunks), coding, how);
  const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  if (length > how.limit) return undefined;
  return needsWhole(how) || chunks.length === 1 ? hashDecoded(joined(chunks), how) : hashChunks(chunks);
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  return chunks.length === 1 ? (chunks[0] as Uint8Array) : Buffer.concat(chunks);
}

function hashChunks(chunks: readonly Uint8Array[]): string {
  const sha256 = createHash('sha256');
  for (const chunk of chunks) sha256.update(chunk);
  return sha256.digest('base64url').slice(0, hashLength);
}

async function decodeAndHash(bytes: Uint8Array, coding: string | undefined, how: HashOptions) {
  if (!needsWhole(how)) {
    const hasher = createContentHasher({ coding, limit: how.limit });
    await hasher.update(bytes);
    return hasher.digest();
  }
  const chunks: Uint8Array[] = [];
  const decoding = createDecoding(coding, how.limit, (chunk) => chunks.push(chunk));
  await decoding.update(bytes);
  return (await decoding.end()) ? hashDecoded(Buffer.concat(chunks), how) : undefined;
}

/** Whether the decoded content has to be in memory all at once: it is parsed before it is hashed. */
function needsWhole(how: HashOptions): boolean {
  return how.pointer !== undefined || how.ignore.length > 0;
}

function hashDecoded(bytes: Uint8Array, how: HashOptions): string | undefined {
  if (!needsWhole(how)) return hashContent(bytes);
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

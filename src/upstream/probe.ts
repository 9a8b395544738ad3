import type { Clock } from '../http/clock.js';
import { FieldNames, fieldLine, type RawHeaders } from '../http/fields.js';
import { createContentHasher, hashRepresentation } from '../version/tag.js';
import type { ResponseBody, ResponseHead } from './call.js';
import { UpstreamError } from './errors.js';
import { discard, isStreamType } from './represent.js';

/** Fields of a write that a read of the same resource must not carry (W4). */
const notOfAProbe = new FieldNames([
  ...['if', 'range', 'expect', 'prefer', 'idempotency-key', 'cache-control', 'pragma', 'digest', 'repr-digest'],
  ...['depth', 'destination', 'overwrite', 'lock-token', 'timeout', 'trailer'],
]);

/** Fields that take the place of the client's own on a read of the gate's own. */
export interface Replacement {
  /** Flat list of the fields to send. */
  readonly fields: readonly string[];
  /** Whether the client's own field of this name, in lower case, is left out. */
  readonly replaces: (name: string) => boolean;
}

/**
 * The fields with which the gate reads a resource for itself: every field of the client's request but framing,
 * Content-*, conditions, Range, Expect, Prefer, Idempotency-Key and method overrides (W4), and no answer from a cache
 * (V10).
 *
 * @param raw end-to-end fields of the client's request
 * @param overrides names of method override fields
 */
export function probeFields(raw: RawHeaders, overrides: FieldNames, replacement: Replacement | undefined): string[] {
  const fields: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    const isDropped = notOfAProbe.has(name) || overrides.has(name) || ofContentOrCondition.test(name);
    if (!isDropped && replacement?.replaces(name.toLowerCase()) !== true) fields.push(name, raw[index + 1] as string);
  }
  if (replacement !== undefined) fields.push(...replacement.fields);
  fields.push('Cache-Control', 'no-cache', 'Pragma', 'no-cache');
  return fields;
}

const ofContentOrCondition = /^(?:content|if)-/i;

/** How a representation is hashed while it is read (V1 to V3). */
export interface Hashing {
  /** JSON Pointers left out. */
  readonly ignore: readonly string[];
  /** JSON Pointer of the value that is the version. */
  readonly pointer: string | undefined;
  /** Longest decoded content, in bytes. */
  readonly limit: number;
  /** Longest body that is kept in memory where it is needed whole, in bytes. */
  readonly keep: number;
}

/** A representation that was read to its end. */
export interface Representation {
  /** Its hash, which tags are made of; undefined where it cannot be told: too long, or not decodable. */
  readonly hash: string | undefined;
  /** Hash of its content as it is, without `ignore` or pointer (W10). */
  readonly contentHash: string | undefined;
  /** The bytes as they were sent, where they were asked for and not longer than `keep`. */
  readonly bytes: Buffer | undefined;
}

/**
 * Reads a response body to its end, for its hash (V5, W4, W10).
 *
 * @param body nobody else consumes it
 * @param wantsBytes whether the bytes are to be kept too
 * @param within milliseconds that it may take; it is given up after that
 * @returns undefined members where the body is longer than the limits, an endless stream, or slower than `within`
 * @throws {UpstreamError} where the body broke off
 */
export function readRepresentation(
  body: ResponseBody,
  head: ResponseHead,
  hashing: Hashing,
  wantsBytes: boolean,
  within: number,
  clock: Clock,
): Promise<Representation> {
  const nothing: Representation = { hash: undefined, contentHash: undefined, bytes: undefined };
  const announced = Number(fieldLine(head.rawHeaders, 'content-length') ?? 0);
  if (isStreamType(head) || announced > hashing.limit) {
    discard(body);
    return Promise.resolve(nothing);
  }
  const coding = fieldLine(head.rawHeaders, 'content-encoding');
  const hashesWhole = hashing.pointer !== undefined || hashing.ignore.length > 0;
  return new Promise((resolve, reject) => {
    const hasher = createContentHasher({ coding, limit: hashing.limit });
    let chunks: Buffer[] | undefined = wantsBytes || hashesWhole ? [] : undefined;
    let length = 0;
    const cancelTimer = clock.after(within, () => giveUp());
    const giveUp = (): void => {
      cancelTimer();
      hasher.destroy();
      resolve(nothing);
      body.abort();
    };
    const take = (chunk: Buffer): Promise<void> | undefined => {
      length += chunk.length;
      if (chunks !== undefined && length > hashing.keep) chunks = undefined;
      chunks?.push(chunk);
      return hasher.update(chunk);
    };
    const finish = async (): Promise<Representation> => {
      const contentHash = await hasher.digest();
      const bytes = chunks === undefined ? undefined : Buffer.concat(chunks);
      if (!hashesWhole) return { hash: contentHash, contentHash, bytes };
      const hash = bytes === undefined ? undefined : await hashRepresentation(bytes, coding, hashing);
      return { hash, contentHash, bytes: wantsBytes ? bytes : undefined };
    };
    body.consume({
      data(chunk) {
        if (length + chunk.length > hashing.limit) {
          giveUp();
          return false;
        }
        const busy = take(chunk);
        if (busy === undefined) return true;
        void busy.then(() => body.resume());
        return false;
      },
      end(last) {
        cancelTimer();
        if (last !== undefined) void take(last);
        finish().then(resolve, reject);
      },
      error(error) {
        cancelTimer();
        hasher.destroy();
        reject(
          error instanceof UpstreamError ? error : new UpstreamError('http_response_incomplete', error.message, true),
        );
      },
    });
  });
}

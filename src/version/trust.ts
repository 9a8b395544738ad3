import { isWeak, parseEntityTag } from '../http/entity-tag.js';
import { parseHttpDate } from '../http/http-date.js';
import { isSynthetic } from './tag.js';

/** Where versions come from: the `validator` option without its argument (V1). */
export type ValidatorKind = 'auto' | 'upstream' | 'body' | 'json' | 'header';

/**
 * How much later than its Last-Modified an answer must be for a tag beside it to count, in milliseconds. A tag made of
 * size and time in seconds may come again for other content of the same second (RFC 9110 8.8.2.2's reasoning, V7).
 */
const settledAfter = 2000;

/**
 * The upstream's own entity-tag of a representation, where it may be used to decide (V1, V6, V7): strong, well formed and
 * not of the form that the gate's own have. Under `auto`, beside a Last-Modified, only where the answer was made at least
 * 2 s after it; a date that cannot be read tells nothing, so the tag is not used.
 *
 * @param answer `etag`, `lastModified` and `date`: the values of the answer's fields
 * @param validator `body`, `json` and `header` use no native tags
 * @param receivedAt when the answer came, in milliseconds since the epoch; counts where it has no Date
 * @returns the tag in wire form
 */
export function usableNative(
  answer: {
    readonly etag: string | undefined;
    readonly lastModified: string | undefined;
    readonly date: string | undefined;
  },
  validator: ValidatorKind,
  receivedAt: number,
): string | undefined {
  if (validator !== 'auto' && validator !== 'upstream') return undefined;
  const tag = parseEntityTag(answer.etag);
  if (tag === undefined || isWeak(tag) || isSynthetic(tag)) return undefined;
  if (validator === 'upstream' || answer.lastModified === undefined) return tag;
  const modifiedAt = parseHttpDate(answer.lastModified, receivedAt);
  const madeAt = answer.date === undefined ? receivedAt : parseHttpDate(answer.date, receivedAt);
  if (modifiedAt === undefined || madeAt === undefined) return undefined;
  return madeAt - modifiedAt >= settledAfter ? tag : undefined;
}

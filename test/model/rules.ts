import { RequestBodyError, UpstreamError } from '../../src/upstream/errors.js';
import { hashContent, syntheticTag } from '../../src/version/tag.js';
import type { Client } from '../helpers/simulated-client.js';
import type { SentRequest, Version } from '../helpers/simulated-upstream.js';
import { limits } from './setting.js';

/** A tag that a client was given, and the content it came with. */
export interface Known {
  readonly tag: string;
  readonly content: string;
}

/** What a write asks for: `absent` is If-None-Match: *, `exists` is If-Match: *. */
export type Condition =
  | { readonly kind: 'none' }
  | { readonly kind: 'absent' }
  | { readonly kind: 'exists' }
  | { readonly kind: 'tags'; readonly names: readonly Known[] };

/** A request of a client, from its arrival on. */
export interface Operation {
  readonly id: string;
  readonly actor: number;
  readonly method: string;
  readonly path: string;
  readonly condition: Condition;
  /** The tag in If-None-Match of a read. */
  readonly revalidates: Known | undefined;
  readonly client: Client;
  readonly arrivedAt: number;
  leftAt: number | undefined;
  doneAt: number | undefined;
  /** When what led to its end began to happen. */
  decidedAt: number | undefined;
}

/** The time in which a write may take effect: from its first byte until its outcome is known and its rest is over. */
export interface Hold {
  readonly request: SentRequest;
  readonly operation: Operation;
  readonly from: number;
  /** Infinity where it is still on its way. */
  readonly to: number;
  /** Whether it may have changed anything: what was read before its end tells nothing any more (doubt). */
  readonly changes: boolean;
}

/** What a request told about a version: a read of a client or of the gate, or an answer to a write that counts (W9). */
export interface Reading {
  readonly request: SentRequest;
  readonly operation: Operation;
  readonly version: Version | undefined;
}

const safe = new Set(['GET', 'HEAD']);
const guarded = new Set(['PUT', 'PATCH', 'DELETE']);

/** Whether a request changes something and takes a lease for it. */
export function isGuarded({ method }: { readonly method: string }): boolean {
  return guarded.has(method);
}

export function isRead({ method }: { readonly method: string }): boolean {
  return safe.has(method);
}

/** How long the body of an answer took, in whole milliseconds: fractions only tell readings of the clock apart. */
export function bodyTime({ answeredAt = 0, deliveredAt = Number.POSITIVE_INFINITY }: SentRequest): number {
  return Math.floor(deliveredAt) - Math.floor(answeredAt);
}

/** The tag that the gate computes (V2). */
export function synthetic(content: string): string {
  return syntheticTag(hashContent(Buffer.from(content)), undefined);
}

/** W9's table and W11: how long a write rests after its end, and whether it may have changed anything. */
export function effectOf({ end }: SentRequest): { rest: number; changes: boolean } {
  if (end === undefined) return { rest: 0, changes: true };
  if (end instanceof RequestBodyError && end.reason === 'aborted') return { rest: 1000, changes: true };
  if (end instanceof UpstreamError && !end.sent) return { rest: 0, changes: false };
  if (end instanceof Error || [202, 408, 502, 504].includes(end)) return { rest: limits.quarantine, changes: true };
  const isRefusal = end >= 400 && end < 500 && ![404, 410, 412].includes(end);
  return { rest: 0, changes: !isRefusal };
}

/** Whether a write may replace this content, whatever tags stand for it; undefined: no representation. */
export function accepts(condition: Condition, content: string | undefined): boolean {
  if (condition.kind === 'none') return true;
  if (condition.kind === 'absent') return content === undefined;
  if (condition.kind === 'exists') return content !== undefined;
  return condition.names.some((known) => known.content === content && !known.tag.startsWith('W/'));
}

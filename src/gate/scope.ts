import type { Passage } from './passage.js';

/** The resources that a write concerns, by their keys. */
export interface Scope {
  /** What it takes a lease of (W3): its own resource first, Destination (I7), what its `If` has tags for (R5). */
  readonly leased: readonly string[];
  /** What it changes directly. COPY only reads its own resource (RFC 4918 9.8). */
  readonly written: readonly string[];
  /** What it changes besides (`invalidates`, W8). */
  readonly besides: readonly string[];
  /** Whether all that is leased is written, as nearly always: then the lease alone tells what is in doubt. */
  readonly isPlain: boolean;
}

/** @returns what a write leases, changes and changes besides; made when it is first asked for */
export function scopeOf(passage: Passage): Scope {
  passage.scope ??= findScope(passage);
  return passage.scope;
}

function findScope({ method, exchange, resource, destination, davIf }: Passage): Scope {
  if (destination === undefined && davIf === undefined) {
    const own = [resource.key];
    const besides = resource.invalidates.filter((key) => key !== resource.key);
    return { leased: own, written: own, besides, isPlain: true };
  }
  const named = destination === undefined ? [] : [destination.key];
  // With an override (I4) nobody knows which of the two methods it is.
  const copies = method === 'COPY' && exchange.method === 'COPY' && destination !== undefined;
  const leased = [...new Set([resource.key, ...named, ...(davIf?.keys ?? [])])];
  const written = [...new Set(copies ? named : [resource.key, ...named])];
  const besides = [...resource.invalidates, ...(destination?.invalidates ?? [])].filter((key) => !leased.includes(key));
  return { leased, written, besides, isPlain: leased.length === written.length };
}

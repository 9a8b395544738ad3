import { listMembers } from './fields.js';

/**
 * Whether a client would rather have HTML than JSON (RFC 9110 12.5.1). It must say so: HTML has to be named, by
 * `text/html` or `text/*`, with a higher weight than what JSON gets by name or by wildcard. Equal weights, `*` alone
 * and an absent field mean JSON.
 *
 * @param accept value of Accept, its lines joined with ", "
 */
export function prefersHtml(accept: string | undefined): boolean {
  if (accept === undefined || !namesHtml.test(accept)) return false;
  const weights = mediaRanges(accept);
  const html = weightOf(weights, ['text/html', 'text/*']);
  return html > weightOf(weights, ['application/problem+json', 'application/json', 'application/*', '*/*']);
}

/** What every Accept has that can prefer HTML: most have not. */
const namesHtml = /text\/(?:html|\*)/i;

/** Weights by media range in lower case. Parameters other than q do not matter here; the highest weight counts. */
function mediaRanges(accept: string): Map<string, number> {
  const weights = new Map<string, number>();
  for (const member of listMembers(accept)) {
    const [range = '', ...parameters] = member.split(';').map((part) => part.trim().toLowerCase());
    const given = parameters.find((parameter) => parameter.startsWith('q='));
    const weight = given === undefined ? 1 : Number(given.slice(2));
    // What is no number is no statement about preference.
    if (weight >= 0) weights.set(range, Math.max(weights.get(range) ?? 0, Math.min(weight, 1)));
  }
  return weights;
}

/** The weight of the most specific range that is there; 0, which is "not acceptable", where none is. */
function weightOf(weights: ReadonlyMap<string, number>, ranges: readonly string[]): number {
  const range = ranges.find((candidate) => weights.has(candidate));
  return range === undefined ? 0 : (weights.get(range) ?? 0);
}

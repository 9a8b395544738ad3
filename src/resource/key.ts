import { hash } from 'node:crypto';
import { copied } from '../http/copied.js';
import { decodeOctets, encodeComponent, encodePath, normalEncoding } from './percent.js';
import { type Target, withoutParams } from './target.js';

/** Which spellings are different resources (configuration key `identity`); false folds them into one key (I1). */
export interface IdentityOptions {
  readonly caseSensitive: boolean;
  readonly trailingSlash: boolean;
  readonly duplicateSlashes: boolean;
  readonly pathParams: boolean;
  readonly host: boolean;
  readonly pathHeaders: 'drop' | 'pass';
}

/** Which query parameters identify the resource: none, all, or the named ones (I1). */
export type QueryPolicy = 'ignore' | 'include' | readonly string[];

/** A longer key ends in a hash: what is kept of a resource must not grow with its URL. In characters. */
const longestKey = 256;
/** How much of such a key stays as it is, for people. */
const readablePart = 192;

/** Paths that no option changes: most of them, on a way that every request goes twice. */
const settled = /^(?:\/[a-z0-9_~-]+)+$/;

/**
 * Folds every spelling of a path that a backend might take for the same into one (I1): folding too much costs some
 * waiting, folding too little loses updates. So all percent-encoding that a server decodes is decoded, not only that of
 * unreserved characters (`/a%40b` is `/a@b` to nearly everyone), `%2F`, `%5C` and `%3B` separate like `/` and `;`, and
 * letters compare in Unicode's normal form C. What is encoded twice (`%252F`) is decoded once: a backend that decodes
 * twice has no defined URL space, and folding it would make a literal `%2F` in a name a separator.
 *
 * The result folds to itself, and serves as key and for matching routes.
 *
 * @param path path as the client wrote it
 * @returns ASCII, beginning with `/`
 */
export function foldPath(path: string, options: IdentityOptions): string {
  if (settled.test(path)) return path;
  const octets = decodeOctets(path).replaceAll('\\', '/');
  const parts = octets.startsWith('/') ? octets.slice(1).split('/') : octets.split('/');
  let segments = withoutDotSegments(parts.map((part) => foldSegment(part, options)));
  if (!options.duplicateSlashes) {
    const last = segments.length - 1;
    segments = segments.filter((segment, index) => segment !== '' || index === last);
  }
  while (!options.trailingSlash && segments.at(-1) === '') segments.pop();
  return `/${encodePath(segments.join('/'))}`;
}

/**
 * The key of the resource that a target identifies (I1, I5): folded path, then the query parameters that the policy
 * names, then the host in front where `identity.host` asks for it.
 *
 * @param target a target that `parseTarget` let pass
 * @param query the route's `query`
 * @param host host and port that the request is for: of the target in absolute-form, else the Host field
 * @returns ASCII without spaces; `[host]/path[?name=value&…]`, and of what would be longer than 256 characters the
 *   beginning, `#`, which no other key has in it, and the hash of all
 */
export function resourceKey(target: Target, query: QueryPolicy, options: IdentityOptions, host: string): string {
  const path = foldPath(target.path, options);
  const parameters = query === 'ignore' || target.query === undefined ? '' : foldQuery(target.query, query, options);
  const key = `${options.host ? foldHost(host) : ''}${path}${parameters === '' ? '' : `?${parameters}`}`;
  if (key.length > longestKey) return `${copied(key.slice(0, readablePart))}#${hash('sha256', key, 'base64url')}`;
  return target.raw.length > longestKey ? copied(key) : key;
}

/**
 * The URL of a view (I2): RFC 3986 6.2.2's normal form of path and query, without any of I1's further folding. The
 * order of the query stays.
 *
 * @param target a target that `parseTarget` let pass
 */
export function normalUrl(target: Target): string {
  if (target.query === undefined && settled.test(target.path)) return target.path;
  const segments = withoutDotSegments(normalEncoding(target.path).slice(1).split('/'));
  const query = target.query === undefined ? '' : `?${normalEncoding(target.query)}`;
  return `/${segments.join('/')}${query}`;
}

/**
 * Sorted `name=value` pairs. A parameter without `=` is one with an empty value, and `+` is a space. Letter case folds
 * as in the path, because servers that ignore it there ignore it in the names of parameters too.
 */
function foldQuery(query: string, policy: 'include' | readonly string[], options: IdentityOptions): string {
  const fold = (text: string): string => encodeComponent(foldLetters(decodeOctets(text), options.caseSensitive));
  const names = policy === 'include' ? undefined : new Set(policy.map((name) => fold(encodeURIComponent(name))));
  const pairs: string[] = [];
  for (const parameter of query.replaceAll('+', ' ').split('&')) {
    if (parameter === '') continue;
    const equals = parameter.indexOf('=');
    const name = fold(equals === -1 ? parameter : parameter.slice(0, equals));
    const value = fold(equals === -1 ? '' : parameter.slice(equals + 1));
    if (names === undefined || names.has(name)) pairs.push(`${name}=${value}`);
  }
  return pairs.sort().join('&');
}

/** Parameters go before letters fold, which depends on the whole segment, and after, because U+037E folds into `;`. */
function foldSegment(segment: string, { caseSensitive, pathParams }: IdentityOptions): string {
  if (pathParams) return foldLetters(segment, caseSensitive);
  return withoutParams(foldLetters(withoutParams(segment), caseSensitive));
}

/**
 * A host in one spelling (I5): hosts compare without case (RFC 9110 4.2.3), and a port that could be the scheme's
 * default counts as none.
 */
export function foldHost(host: string): string {
  return host
    .toLowerCase()
    .replace(/:(?:80|443)?$/, '')
    .replace(/\.(?=:|$)/, '');
}

/**
 * Letters in normal form C and, unless case matters, in one case: by way of both, because some letters have two lower
 * cases (σ, ς) and some two upper ones (ẞ, SS). What is not UTF-8 keeps its octets, but for the case of ASCII letters.
 */
function foldLetters(octets: string, caseSensitive: boolean): string {
  if (!/[\u0080-\u00ff]/.test(octets)) return caseSensitive ? octets : octets.toLowerCase();
  const text = Buffer.from(octets, 'latin1').toString('utf8');
  if (text.includes('\ufffd')) {
    return caseSensitive ? octets : octets.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
  }
  const folded = caseSensitive ? text : text.toLowerCase().toUpperCase().toLowerCase();
  return Buffer.from(folded.normalize('NFC'), 'utf8').toString('latin1');
}

/** RFC 3986 5.2.4 on the segments behind the first slash; an empty last one stands for a trailing slash. */
function withoutDotSegments(segments: readonly string[]): string[] {
  const kept: string[] = [];
  for (const [index, segment] of segments.entries()) {
    if (segment !== '.' && segment !== '..') {
      kept.push(segment);
      continue;
    }
    if (segment === '..') kept.pop();
    if (index === segments.length - 1) kept.push('');
  }
  return kept;
}

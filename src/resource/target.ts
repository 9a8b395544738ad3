import { copied } from '../http/copied.js';

/** A request-target that every parser reads the same way (I6). */
export interface Target {
  /** Path and query exactly as the client wrote them, in origin-form: what is forwarded (I3). */
  readonly raw: string;
  /** Path as the client wrote it, beginning with `/`. */
  readonly path: string;
  /** Query as the client wrote it, without its `?`; undefined where there is no `?`. */
  readonly query: string | undefined;
  /** Host and port of an absolute-form target, which then counts instead of the Host field (RFC 9112 3.2.2). */
  readonly authority: string | undefined;
}

export type TargetResult =
  | { readonly kind: 'target'; readonly target: Target }
  | { readonly kind: 'asterisk' }
  | { readonly kind: 'refused'; readonly reason: string };

/** As in RFC 3986 3.2.2 but for the comma, at which some would take it for a list of two. */
const authorityForm = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~!$&'()*+;=%]+)(?::[0-9]*)?$/;
const encodedBreak = /%0[0ad]/i;
const encodedSlash = /%2f/gi;
const encodedBackslash = /%5c/gi;
const anyEncodedSlash = /%2f|%5c/gi;
/** Encoded, or U+037E, which normal form C (I1) makes one: the only character that it turns into a delimiter. */
const otherSemicolon = /%3[bB]|(?:%[cC][dD]|\xcd)(?:%[bB][eE]|\xbe)/g;

/** Whether a text is a host with an optional port, as Host and an absolute-form target have it (RFC 9110 7.2). */
export function isAuthority(text: string): boolean {
  return authorityForm.test(text);
}

/**
 * Parses a request-target (RFC 9112 3.2) and refuses what two parsers could read differently (I6), because the gate
 * would guard one resource and the upstream write another.
 *
 * @param requestTarget as it stands in the request line: one octet per character
 * @returns the target in origin-form; `asterisk` for `*`; or `refused` with one sentence that says why
 */
export function parseTarget(requestTarget: string): TargetResult {
  if (requestTarget === '*') return { kind: 'asterisk' };
  const character = refusedCharacter(requestTarget);
  if (character !== undefined) return refused(`The request-target contains ${character}.`);
  if (requestTarget.startsWith('/')) return originForm(requestTarget, undefined);
  return absoluteForm(requestTarget);
}

function originForm(raw: string, authority: string | undefined): TargetResult {
  const mark = raw.indexOf('?');
  const path = mark === -1 ? raw : raw.slice(0, mark);
  const reason = ambiguity(path);
  if (reason !== undefined) return refused(reason);
  const query = mark === -1 ? undefined : raw.slice(mark + 1);
  return { kind: 'target', target: { raw, path, query, authority } };
}

/** RFC 9112 3.2.2, and RFC 9110 4.2.4 for user information, which must not be accepted from an untrusted source. */
function absoluteForm(requestTarget: string): TargetResult {
  const scheme = /^https?:\/\//i.exec(requestTarget)?.[0];
  if (scheme === undefined) return refused('The request-target begins with neither "/", "http://" nor "https://".');
  const rest = requestTarget.slice(scheme.length);
  const end = rest.search(/[/?]/);
  const authority = end === -1 ? rest : rest.slice(0, end);
  if (authority.includes('@')) return refused('The request-target carries user information before its host.');
  if (!isAuthority(authority)) return refused('The request-target names no valid host.');
  const pathAndQuery = end === -1 ? '' : rest.slice(end);
  // What is kept of one part must not keep the other.
  return originForm(copied(pathAndQuery.startsWith('/') ? pathAndQuery : `/${pathAndQuery}`), copied(authority));
}

function refusedCharacter(text: string): string | undefined {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code === 0x20) return 'a space';
    if (code < 0x20 || code === 0x7f) return 'a control character';
    if (code === 0x23) return 'a fragment ("#")';
    if (code === 0x5c) return 'a backslash';
    if (code > 0xff) return 'a character that is not one octet and must be percent-encoded';
  }
  return undefined;
}

/**
 * Why two servers could take a path for different ones, or undefined. Dots and semicolons count however they are
 * written. Whether an encoded slash or backslash is data or separates segments, and whether an empty segment is one
 * that `..` takes back, is up to the server: all readings must come to the same path.
 */
function ambiguity(path: string): string | undefined {
  if (!unusual.test(path)) return undefined;
  if (encodedBreak.test(path)) return 'The path contains an encoded NUL, CR or LF.';
  const plain = path.replace(/%2e/gi, '.').replace(otherSemicolon, ';');
  if (slashInParameters.test(plain)) {
    return 'The path has an encoded slash in ";" parameters, which some servers take away before they decode it.';
  }
  if (!plain.includes('..') && !plain.includes('.;')) return undefined;
  const resolved = new Set<string>();
  for (const reading of readings(plain)) {
    const segments = reading.slice(1).split('/');
    if (segments.some((segment) => segment.startsWith('.;') || segment.startsWith('..;'))) {
      return 'The path has a "." or ".." segment with ";" parameters, which only some servers take for a dot segment.';
    }
    for (const counted of [segments, segments.filter((segment) => withoutParams(segment) !== '')]) {
      const left = resolve(counted);
      if (left === undefined) return 'The path climbs above its root with ".." segments.';
      resolved.add(left);
    }
  }
  if (resolved.size === 1) return undefined;
  return 'The path has ".." beside an encoded slash or behind an empty segment, which servers resolve differently.';
}

/** Without any of these, which nearly every path is, there is one way to read it. */
const unusual = /[%\xcd]|\.[.;]/;

/** Linear: what stands between cannot begin again. */
const slashInParameters = /;[^/;]*%(?:2f|5c)/i;

function readings(path: string): Set<string> {
  return new Set([
    path,
    path.replace(encodedSlash, '/'),
    path.replace(encodedBackslash, '/'),
    path.replace(anyEncodedSlash, '/'),
  ]);
}

/** Takes dot segments out; undefined where they climb above the root. What is left is spelt so that it compares. */
function resolve(segments: readonly string[]): string | undefined {
  const kept: string[] = [];
  for (const segment of segments) {
    if (segment !== '..') {
      if (segment !== '.') kept.push(segment);
    } else if (kept.pop() === undefined) return undefined;
  }
  const spelt = kept.join('/').replace(anyEncodedSlash, '/').split('/').map(withoutParams);
  return spelt.filter((segment) => segment !== '' && segment !== '.').join('/');
}

/**
 * A segment without its parameters (RFC 3986 3.3), as servlet containers read it.
 *
 * @param segment of a path, in which `;` is not encoded
 */
export function withoutParams(segment: string): string {
  const semicolon = segment.indexOf(';');
  return semicolon === -1 ? segment : segment.slice(0, semicolon);
}

function refused(reason: string): TargetResult {
  return { kind: 'refused', reason };
}

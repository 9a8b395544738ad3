import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseTarget } from '../../src/resource/target.js';
import { type Property, property, soup } from './property.js';

/** What a path is made of where servers could differ. */
export const pathPieces = [
  ...['/', '//', '.', '..', '/..', '/../', '%2e', '%2E', '%2f', '%2F', '%5C', ';', '%3b', ';x=1', 'a', 'B', '%41', '%'],
  ...['%c3%a9', '\u00e9', '%E9', '%4', '%25', '%252f', '%20', '%3F', '~', '%00', '%0A', '%0d', ':', '*', '+', '%7e'],
];
const refusedPieces = ['#', '\\', ' ', '\t', '\u0000', '\u007f', '\u0107', '\r', '?'];
/** Any path that is made of them. */
export const path = soup(pathPieces, 12).map((text) => `/${text}`);
const anyTarget = fc.oneof(
  path,
  fc.tuple(path, soup([...pathPieces, ...refusedPieces], 3)).map((parts) => parts.join('')),
);

/** One of the servers that may stand behind the gate: what it takes for a slash, and for a segment. */
interface Server {
  readonly slashes: RegExp;
  /** Takes runs of slashes for one, with parameters between them or without. */
  readonly merges: boolean;
}

const servers: readonly Server[] = [/\//, /\/|%2f/i, /\/|%5c/i, /\/|%2f|%5c/i].flatMap((slashes) => [
  { slashes, merges: false },
  { slashes, merges: true },
]);

const plain = (segment: string): string => segment.replace(/;.*$/s, '');

/** The path that a server comes to, without parameters; undefined where it climbs above the root. */
function resolvedBy({ slashes, merges }: Server, dotted: string): string | undefined {
  const segments = dotted.slice(1).split(slashes);
  const kept: string[] = [];
  for (const segment of merges ? segments.filter((text) => plain(text) !== '') : segments) {
    if (segment === '..' && kept.pop() === undefined) return undefined;
    if (segment !== '.' && segment !== '..') kept.push(segment);
  }
  // Data or separator: what is left is compared as if all encoded slashes were slashes.
  const names = kept.flatMap((segment) => segment.split(/\/|%2f|%5c/i)).map(plain);
  return names.filter((name) => name !== '' && name !== '.').join('/');
}

/** Rule I6 in other words: nothing that is listed, and one path whoever reads it. */
function isUnambiguous(target: string): boolean {
  if (/[^\u0021-\u007e\u0080-\u00ff]|[#\\]/.test(target)) return false;
  const written = target.replace(/\?.*$/s, '');
  if (/%0[0aAdD]/.test(written)) return false;
  const dotted = written.replace(/%2e/gi, '.').replace(/%3b/gi, ';');
  if (/(?:\/|%2f|%5c)\.\.?;/i.test(dotted)) return false;
  // Parameters end at the next slash, or at the next one that is decoded first.
  const named = dotted.split('/').filter((segment) => segment.includes(';'));
  if (named.some((segment) => /%2f|%5c/i.test(segment.slice(segment.indexOf(';'))))) return false;
  // Without dots that could be a segment there is nothing to resolve.
  if (!/\.[.;]/.test(dotted)) return true;
  const paths = new Set(servers.map((server) => resolvedBy(server, dotted)));
  return paths.size === 1 && !paths.has(undefined);
}

const authority = fc.constantFrom('h', 'h:80', '[::1]:8', 'a.example', 'u@h', '', 'h:x', 'a b', 'a,b', '[::1', 'h:1:2');
const validAuthority = /^(?:h|h:80|\[::1\]:8|a\.example)$/;

/** Request-targets that every server reads the same way (I6). */
export const targets: readonly Property[] = [
  property('resource/target: what passes is one path to every server, and all of that passes', anyTarget, (text) => {
    const result = parseTarget(text);
    assert.equal(result.kind, isUnambiguous(text) ? 'target' : 'refused');
    if (result.kind === 'target') {
      const { raw, query, path: written } = result.target;
      assert.equal(raw, text);
      assert.equal(query === undefined ? written : `${written}?${query}`, text);
    }
    if (result.kind === 'refused') assert.match(result.reason, /^The [\u0020-\u007e]*\.$/);
  }),
  property(
    'resource/target: the absolute form is the same with a host before it',
    fc.tuple(fc.constantFrom('http://', 'HTTPS://', 'ftp://', 'ws:', ''), authority, anyTarget),
    ([scheme, host, text]) => {
      const result = parseTarget(`${scheme}${host}${text}`);
      if (scheme === '' && host === '') return;
      const isValid = /^https?:\/\/$/i.test(scheme) && validAuthority.test(host) && isUnambiguous(text);
      assert.equal(result.kind, isValid ? 'target' : 'refused');
      if (result.kind !== 'target') return;
      assert.equal(result.target.authority, host);
      assert.equal(result.target.raw, text);
    },
  ),
  property(
    'resource/target: any text',
    soup([...pathPieces, ...refusedPieces, 'http:', 'https://', '@', '[', ']']),
    (text) => {
      const result = parseTarget(text);
      if (result.kind === 'target') assert.ok(isUnambiguous(result.target.raw) && result.target.raw.startsWith('/'));
      assert.equal(result.kind === 'asterisk', text === '*');
    },
  ),
];

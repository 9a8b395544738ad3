import assert from 'node:assert/strict';
import fc from 'fast-check';
import { readAddress } from '../../src/config/addresses.js';
import { addressText, listenOptions } from '../../src/http/address.js';
import { type Problem, proxyStatus, renderProblem } from '../../src/http/problem.js';
import { type Property, property, soup } from './property.js';

const markup = [
  ...['<', '>', '&', '"', "'", '</', '/>', '<!--', '-->', '<script>', '</dd>', '</title>', '</style>', '<![CDATA['],
  ...['&lt;', '&amp', '&#60;', '&#x3c;', 'onload=', 'a', ' ', '\n', '\0', '\u00ff', '\u2028', '\ud83d\ude00', '\ud800'],
];
const text = soup(markup, 6);
const value = fc.oneof(
  text,
  fc.array(text, { maxLength: 2 }),
  fc.dictionary(text, text, { maxKeys: 2, noNullPrototype: true }),
  fc.boolean(),
);
const extension = text.map((name) => `x${name}`);
const problem: fc.Arbitrary<Problem> = fc
  .record({
    own: fc.record({ type: text, title: text, status: fc.constantFrom(400, 412, 502), detail: text }),
    next: fc.option(text, { nil: undefined }),
    received: fc.array(text, { maxLength: 3 }),
    extensions: fc.dictionary(extension, value, { maxKeys: 3, noNullPrototype: true }),
  })
  .map(({ own, next, received, extensions }) => ({
    ...own,
    received,
    ...(next !== undefined && { next }),
    ...extensions,
  }));

interface Page {
  readonly tags: readonly string[];
  readonly texts: readonly string[];
}

const entities = new Map([
  ['&lt;', '<'],
  ['&gt;', '>'],
  ['&amp;', '&'],
  ['&quot;', '"'],
  ['&#39;', "'"],
]);

/** The tags of a page, and what a reader sees between them but empty lines. A reference to a character that is none stays as it is. */
function parsePage(page: string): Page {
  const tags: string[] = [];
  const texts: string[] = [];
  for (const [token] of page.matchAll(/<[^>]*>|[^<]+|</g)) {
    if (token.startsWith('<')) tags.push(token);
    else if (!/^\n+$/.test(token))
      texts.push(token.replace(/&[#\w]*;?/g, (reference) => entities.get(reference) ?? reference));
  }
  return { tags, texts };
}

function textsOf({ title, status, detail, next, ...members }: Problem): string[] {
  const heading = `${status} ${title}`;
  const rows = Object.entries(members).flatMap(([name, member]) => [
    name,
    typeof member === 'string' ? member : JSON.stringify(member),
  ]);
  return [heading, heading, detail, next ?? '', ...rows].filter((shown) => !/^\n*$/.test(shown));
}

/** A problem with the same members, each as harmless as can be. */
function harmless(original: Problem): Problem {
  const names = Object.keys(original).filter((name) => name.startsWith('x'));
  const rest = Object.fromEntries(names.map((_, index) => [`x${index}`, 'a']));
  const next = original.next === undefined ? {} : { next: 'a' };
  return { type: 'a', title: 'a', status: 400, detail: 'a', received: [], ...next, ...rest };
}

/** A string of structured fields (RFC 8941 3.3.3) with its escapes undone; undefined where it is none. */
function unescaped(quoted: string): string | undefined {
  return /^"(?:[ !#-[\]-~]|\\["\\])*"$/.test(quoted) ? quoted.slice(1, -1).replace(/\\(.)/g, '$1') : undefined;
}

const host = fc.constantFrom('127.0.0.1', '::1', 'fd00::1', 'localhost', '0.0.0.0', 'a.example', '::ffff:10.0.0.1');
const port = fc.integer({ min: 0, max: 65_535 });

/** What the gate writes, made of what others sent. */
export const answers: readonly Property[] = [
  property('http/problem: no value leaves its place in the page', problem, (given) => {
    const { contentType, body } = renderProblem(given, 'text/html');
    assert.equal(contentType, 'text/html; charset=utf-8');
    const page = parsePage(body);
    assert.deepEqual(page.tags, parsePage(renderProblem(harmless(given), 'text/html').body).tags);
    const texts = page.texts.filter((shown) => !shown.startsWith('body{font:'));
    assert.deepEqual(texts, textsOf(given));
  }),
  property('http/problem: JSON with all members', problem, (given) => {
    const { contentType, body } = renderProblem(given, 'application/json');
    assert.equal(contentType, 'application/problem+json');
    assert.deepEqual(JSON.parse(body), given);
  }),
  property(
    'http/problem: Proxy-Status is a structured field',
    fc.oneof(fc.string({ unit: 'binary' }), soup([...markup, '\\', '\\"', '\r\n', '\t', '\u007f'])),
    (details) => {
      const [, quoted = ''] =
        /^ifmatch; error=http_request_denied; details=(.*)$/s.exec(proxyStatus('http_request_denied', details)) ?? [];
      const expected = [...details].map((character) => (/^[ -~]$/.test(character) ? character : '?')).join('');
      assert.equal(unescaped(quoted), expected);
    },
  ),
  property(
    'http/address: an address is shown as it is configured',
    fc.tuple(host, port, port),
    ([name, asked, bound]) => {
      const configured = { kind: 'tcp', host: name, port: asked } as const;
      const shown = addressText({ port: bound }, configured);
      assert.deepEqual(readAddress(shown), { kind: 'value', value: { kind: 'tcp', host: name, port: bound } });
      assert.deepEqual(listenOptions(configured), { host: name, port: asked });
      const unix = { kind: 'unix', path: `/run/${name}` } as const;
      assert.deepEqual(readAddress(addressText(unix.path, unix)), { kind: 'value', value: unix });
      assert.deepEqual(listenOptions(unix), { path: unix.path });
    },
  ),
];

import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Exchange } from '../../src/gate/exchange.js';
import { malformation } from '../../src/gate/malformation.js';
import {
  endToEnd,
  FieldNames,
  fieldLine,
  fieldValues,
  firstValue,
  listMembers,
  withoutFields,
} from '../../src/http/fields.js';
import { prefersHtml } from '../../src/http/negotiate.js';
import { anyCase, mutated, type Property, property, soup } from './property.js';

/** RFC 9110 7.6.1. */
const hopByHop = ['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade'];
/** What nobody may strip from a message by naming it in Connection. */
const decisive = [
  ...['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range', 'if', 'host', 'range'],
  ...['content-length', 'content-type', 'content-encoding', 'authorization', 'cookie', 'cache-control', 'expect'],
  ...['accept', 'accept-encoding', 'x-forwarded-for', 'x-forwarded-user', 'forwarded', 'etag', 'last-modified', 'date'],
  ...['age', 'vary', 'location', 'set-cookie', 'access-control-allow-origin', 'signature', 'prefer', 'via', 'origin'],
];
const ordinary = ['x-a', 'x-b', 'x-api-key', 'foo', 'ifmatch', 'etags', 'hosts', 'content', 'x-forwarded', 'trailers'];

interface Line {
  readonly name: string;
  readonly value: string;
  /** In lower case: the fields that a Connection line names. */
  readonly nominates: readonly string[];
}

const fieldName = fc.constantFrom(...hopByHop.slice(1), ...decisive, ...ordinary, ...ordinary, 'trailer');
const plainLine: fc.Arbitrary<Line> = fc.record({
  name: fieldName.chain(anyCase),
  value: fc.constantFrom('', '1', 'a, b', 'chunked', '"x'),
  nominates: fc.constant([]),
});
const connectionLine: fc.Arbitrary<Line> = fc
  .tuple(
    anyCase('Connection'),
    fc.array(fc.oneof(fieldName, fc.constantFrom('close', '', '"foo, x-a"')).chain(anyCase), { maxLength: 4 }),
    fc.constantFrom(',', ', ', ' ,,\t'),
  )
  .map(([name, members, between]) => ({
    name,
    value: members.join(between),
    nominates: members.map((member) => member.toLowerCase()),
  }));
const lines = fc.array(fc.oneof({ weight: 3, arbitrary: plainLine }, { weight: 1, arbitrary: connectionLine }), {
  maxLength: 10,
});

function survives(name: string, nominated: ReadonlySet<string>): boolean {
  if (hopByHop.includes(name)) return false;
  return name === 'trailer' || decisive.includes(name) || !nominated.has(name);
}

const listPieces = ['"', '\\', ',', ' ', '\t', 'a', 'b=', ';', '"a,b"', '\\"', '\u00ff', "'", '""'];

/** RFC 9110 5.6.1 and 5.6.4 as one pattern: runs of quoted strings, the last perhaps unclosed, and all but commas. */
const member = /(?:"(?:\\[\s\S]|[^"\\])*(?:"|\\?$)|[^",])+/g;

const json = ['application/problem+json', 'application/json', 'application/*', '*/*'];
const html = ['text/html', 'text/*'];
const mediaRange = fc.record({
  name: fc.constantFrom(...json, ...html, 'text/plain', 'image/png', 'application/xhtml+xml'),
  weight: fc.option(fc.constantFrom('0', '0.001', '0.5', '0.9', '1', '1.000', '0.'), { nil: undefined }),
  parameter: fc.constantFrom('', ';level=1', ';a="q=0, text/html"', ' ; charset=utf-8'),
});

const acceptPieces = [
  'text/html',
  '*/*',
  'text/*',
  ';',
  'q=',
  'Q=0.5',
  '=',
  '1',
  '0.5',
  '-1',
  'e9',
  ',',
  '"',
  '\\',
  ' ',
];

const authorities: readonly [text: string, valid: boolean][] = [
  ...['h', 'a.example:80', '[::1]:1', '127.0.0.1', 'a-b_c', 'h:', '%41', "a!$&'()*+;="].map(
    (text): [string, boolean] => [text, true],
  ),
  ...['a,b', 'a b', 'u@h', 'h:x', '[::1', '::1', 'h/x', 'h:1:2', '\u00e9', 'a\\b', '[]', 'h?', 'h#'].map(
    (text): [string, boolean] => [text, false],
  ),
];
const codings = ['chunked', 'Chunked', 'gzip', 'gzip, chunked', 'chunked, chunked', 'identity', '', 'xchunked', '"'];

const framed = fc.record({
  httpVersion: fc.constantFrom('1.1', '1.1', '1.1', '1.0', '1.0', '0.9', '2.0', '1.2'),
  hosts: fc.oneof(
    fc.tuple(fc.constantFrom(...authorities)),
    fc.array(fc.constantFrom(...authorities, ['', true] as [string, boolean]), { maxLength: 2 }),
  ),
  codings: fc.array(fc.constantFrom(...codings), { maxLength: 2 }),
  others: fc.constantFrom(0, 0, 0, 4, 4094, 4096, 4097),
});

/** RFC 9112 2.3, 3.2, 6.1: a request with one Host that is valid, and chunked or no coding. */
function isReadable({ httpVersion, hosts, codings: given }: typeof framed extends fc.Arbitrary<infer T> ? T : never) {
  if (httpVersion !== '1.1' && httpVersion !== '1.0') return false;
  if (hosts.length > 1 || (hosts.length === 0 && httpVersion === '1.1')) return false;
  if (hosts.some(([, valid]) => !valid)) return false;
  return given.length === 0 || (httpVersion === '1.1' && given.length === 1 && /^chunked$/i.test(given[0] ?? ''));
}

/** Fields, and what is read of them before anything else. */
export const fields: readonly Property[] = [
  property('http/fields: hop-by-hop fields and those that Connection names go, decisive ones stay', lines, (given) => {
    const raw = given.flatMap(({ name, value }) => [name, value]);
    const nominated = new Set(given.flatMap(({ nominates }) => nominates));
    const kept = given.filter(({ name }) => survives(name.toLowerCase(), nominated));
    assert.deepEqual(
      endToEnd(raw),
      kept.flatMap(({ name, value }) => [name, value]),
    );
  }),
  property('http/fields: fields by name', fc.tuple(lines, fieldName, fieldName), ([given, name, other]) => {
    const raw = given.flatMap((line) => [line.name, line.value]);
    const values = given.filter((line) => line.name.toLowerCase() === name).map(({ value }) => value);
    assert.deepEqual(fieldValues(raw, name), values);
    assert.equal(fieldLine(raw, name), values.length === 0 ? undefined : values.join(', '));
    assert.equal(firstValue(raw, name), values[0]);
    const rest = given.filter((line) => ![name, other].includes(line.name.toLowerCase()));
    assert.deepEqual(
      withoutFields(raw, new FieldNames([name, other])),
      rest.flatMap((line) => [line.name, line.value]),
    );
  }),
  property('http/fields: members of a list', soup(listPieces), (value) => {
    const members = (value.match(member) ?? []).map((text) => text.replace(/^[ \t]+|[ \t]+$/g, ''));
    assert.deepEqual(
      listMembers(value),
      members.filter((text) => text !== ''),
    );
  }),
  property('http/negotiate: HTML where it weighs more than JSON', fc.array(mediaRange, { maxLength: 5 }), (ranges) => {
    const texts = ranges.map(({ name, weight, parameter }) => {
      return `${name}${parameter}${weight === undefined ? '' : `; q=${weight}`}`;
    });
    const weightOf = (names: readonly string[]): number => {
      const name = names.find((candidate) => ranges.some((range) => range.name === candidate));
      const weights = ranges.filter((range) => range.name === name).map(({ weight }) => Number(weight ?? 1));
      return Math.max(0, ...weights);
    };
    assert.equal(prefersHtml(texts.join(', ').toUpperCase()), weightOf(html) > weightOf(json));
  }),
  property('http/negotiate: nothing outweighs JSON by name', soup(acceptPieces), (accept) => {
    // An unclosed quote would swallow what is added behind it, but not what is put before.
    assert.equal(prefersHtml(`application/problem+json, ${accept}`), false);
  }),
  property(
    'gate/malformation: one valid Host, and no coding but chunked',
    framed,
    (given) => {
      const rawHeaders = [
        ...given.hosts.flatMap(([text]) => ['Host', text]),
        ...given.codings.flatMap((text) => ['transfer-encoding', text]),
        ...Array.from({ length: given.others }, () => ['x', '']).flat(),
      ];
      const found = malformation({ httpVersion: given.httpVersion, rawHeaders } as unknown as Exchange);
      if (rawHeaders.length > 2 * 4096) assert.equal(found?.name, 'request-head-too-large');
      else assert.equal(found?.name, isReadable(given) ? undefined : 'malformed-request');
    },
    16,
  ),
  property('gate/malformation: no list of fields breaks it', fc.array(soup(listPieces, 4)), (rawHeaders) => {
    assert.equal(malformation({ httpVersion: '1.1', rawHeaders } as unknown as Exchange)?.name, 'malformed-request');
  }),
  property('http/fields: any value of Connection', mutated(soup(ordinary), listPieces), (value) => {
    const raw = ['Connection', value, 'If-Match', '"a"', 'Content-Length', '3', 'Host', 'h'];
    assert.deepEqual(endToEnd(raw), raw.slice(2));
  }),
];

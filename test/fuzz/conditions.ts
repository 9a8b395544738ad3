import assert from 'node:assert/strict';
import fc from 'fast-check';
import { isWeak, parseEntityTag, scanEntityTags, strongMatch, weakMatch } from '../../src/http/entity-tag.js';
import { type Current, evaluate, parsePreconditions } from '../../src/http/preconditions.js';
import { anyCase, Dice, mutated, type Property, property, seeds, soup } from './property.js';

interface Tag {
  readonly weak: boolean;
  readonly opaque: string;
}

/** Anything that may stand between the quotes of a field value that has passed an HTTP parser. */
const opaque = fc.string({ unit: fc.constantFrom(..."aAb0 ,\\*/W\t'\u00e9\u00a0\u00ff"), maxLength: 6 });
const tag: fc.Arbitrary<Tag> = fc.record({ weak: fc.boolean(), opaque });
const wire = ({ weak, opaque }: Tag): string => `${weak ? 'W/' : ''}"${opaque}"`;

const gap = fc.constantFrom('', ' ', ',', ', ,', '\t,', ' \t');
const separator = fc.constantFrom(',', ', ', ' ,', ',,', '\t, ,\t', ' , \t, ');
/** A list of entity-tags as RFC 9110 5.6.1 and 8.8.3 let one write it, and the tags that are in it. */
const list = fc
  .tuple(gap, fc.array(fc.tuple(tag, separator), { minLength: 1, maxLength: 6 }), gap)
  .map(([before, members, after]) => {
    const tags = members.map(([member]) => wire(member));
    const text = members.map(([, between], index) => (index === 0 ? '' : between) + tags[index]).join('');
    return { tags, text: before + text + after };
  });

const pieces = ['"', '""', '"a"', 'W/', 'w/"a"', 'W/"b"', '*', ',', ' ', '\t', '\\', 'a', '\u00a0', '\u00ff', '\\"'];
const anyValue = fc.oneof(
  soup(pieces),
  mutated(
    list.map(({ text }) => text),
    pieces,
  ),
);

/** The grammar once more, as patterns. */
const oneTag = /(?:W\/)?"[^"]*"/g;
const listForm = /^[ \t,]*(?:W\/)?"[^"]*"(?:[ \t]*,[ \t,]*(?:W\/)?"[^"]*")*[ \t,]*$/;
const starForm = /^[ \t,]*\*[ \t,]*$/;
const fieldForm = /^[ \t]*((?:W\/)?"[^"]*")[ \t]*$/;

/** A position is that of the first mistake: what stands before can be continued, what stands there continues nothing. */
function assertFirstMistake(value: string, position: number): void {
  assert.ok(position === 0 || position < value.length, 'a position in the value');
  const before = value.slice(0, position);
  const rest = value.slice(position);
  assert.ok(/^[ \t,]*$/.test(before) || listForm.test(before), 'a list as far as the mistake');
  if (/"[ \t]*$/.test(before)) assert.doesNotMatch(rest, /^,/, 'a comma is none');
  else if (rest[0] !== '*') assert.doesNotMatch(rest, /^(?:W\/)?"[^"]*"/, 'an entity-tag is none');
}

/** A current representation, and conditions on it. Times are whole seconds. */
interface Case {
  readonly method: string;
  readonly ifMatch: readonly Tag[] | '*' | undefined;
  readonly ifNoneMatch: readonly Tag[] | '*' | undefined;
  readonly ifModifiedSince: number | undefined;
  readonly ifUnmodifiedSince: number | undefined;
  readonly exists: boolean;
  readonly etag: Tag | undefined;
  readonly lastModified: number | undefined;
}

const fewTags = fc.record({ weak: fc.boolean(), opaque: fc.constantFrom('a', 'b', 'a,b') });
const tagCondition = fc.option(fc.oneof(fc.constant<'*'>('*'), fc.array(fewTags, { minLength: 1, maxLength: 3 })), {
  nil: undefined,
});
const second = fc.option(fc.integer({ min: 1, max: 3 }), { nil: undefined });
const anyCaseOfAll: fc.Arbitrary<Case> = fc.record({
  method: fc.constantFrom('GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'POST', 'OPTIONS', 'TRACE', 'LOCK'),
  ifMatch: tagCondition,
  ifNoneMatch: tagCondition,
  ifModifiedSince: second,
  ifUnmodifiedSince: second,
  exists: fc.boolean(),
  etag: fc.option(fewTags, { nil: undefined }),
  lastModified: second,
});

/** RFC 9110 13.2.2, step by step. */
function answerTo(given: Case): string {
  if (['CONNECT', 'OPTIONS', 'TRACE'].includes(given.method)) return 'proceed';
  const reads = given.method === 'GET' || given.method === 'HEAD';
  const { ifMatch, ifNoneMatch, ifModifiedSince, ifUnmodifiedSince, exists, etag } = given;
  const lastModified = exists ? given.lastModified : undefined;
  const isOpaque = (member: Tag): boolean => exists && etag !== undefined && etag.opaque === member.opaque;
  if (ifMatch !== undefined) {
    const holds =
      ifMatch === '*' ? exists : ifMatch.some((member) => isOpaque(member) && !member.weak && etag?.weak === false);
    if (!holds) return 'failed If-Match';
  } else if (ifUnmodifiedSince !== undefined && lastModified !== undefined && lastModified > ifUnmodifiedSince) {
    return 'failed If-Unmodified-Since';
  }
  if (ifNoneMatch !== undefined) {
    const holds = ifNoneMatch === '*' ? !exists : !ifNoneMatch.some(isOpaque);
    if (!holds) return reads ? 'not-modified If-None-Match' : 'failed If-None-Match';
  } else if (reads && ifModifiedSince !== undefined && lastModified !== undefined && lastModified <= ifModifiedSince) {
    return 'not-modified If-Modified-Since';
  }
  return 'proceed';
}

/** The fields of a request with these conditions: in any order, lists on one line or several. */
function fieldsOf(given: Case, dice: Dice): string[] {
  const fields: [string, string][] = [['Host', 'h']];
  const addTags = (name: string, condition: Case['ifMatch']): void => {
    if (condition === undefined) return;
    const tags = condition === '*' ? ['*'] : condition.map(wire);
    if (dice.roll(2) === 0) fields.push([name, tags.join(dice.pick(',', ', '))]);
    else fields.push(...tags.map((text): [string, string] => [name, text]));
  };
  const addDate = (name: string, time: number | undefined): void => {
    if (time !== undefined) fields.push([name, new Date(time * 1000).toUTCString()]);
  };
  addTags(dice.pick('If-Match', 'if-match'), given.ifMatch);
  addTags(dice.pick('If-None-Match', 'IF-NONE-MATCH'), given.ifNoneMatch);
  addDate('if-Modified-since', given.ifModifiedSince);
  addDate('If-Unmodified-Since', given.ifUnmodifiedSince);
  return dice.shuffled(fields).flat();
}

function currentOf({ exists, etag, lastModified }: Case): Current {
  const text = etag === undefined ? undefined : wire(etag);
  return {
    exists,
    strongMatch: (member) => text !== undefined && strongMatch(member, text),
    weakMatch: (member) => text !== undefined && weakMatch(member, text),
    lastModified: lastModified === undefined || !exists ? undefined : lastModified * 1000,
  };
}

const field = fc.tuple(
  fc.constantFrom('If-Match', 'If-None-Match', 'If-Range').chain(anyCase),
  fc.oneof(soup(pieces, 4), fc.constantFrom('"a"', 'W/"b"', '*')),
);

/** Conditions: what is in a list of entity-tags, and what it comes to. */
export const conditions: readonly Property[] = [
  property('http/entity-tag: a list is read as it was written', list, ({ text, tags }) => {
    assert.deepEqual(scanEntityTags(text), { kind: 'tags', tags });
  }),
  property('http/entity-tag: any value is what the grammar says', anyValue, (value) => {
    const result = scanEntityTags(value);
    if (starForm.test(value)) assert.deepEqual(result, { kind: 'any' });
    else if (listForm.test(value)) assert.deepEqual(result, { kind: 'tags', tags: value.match(oneTag) });
    else if (result.kind === 'malformed') assertFirstMistake(value, result.position);
    else assert.fail(`read as ${result.kind}`);
    assert.equal(parseEntityTag(value), fieldForm.exec(value)?.[1]);
  }),
  property('http/entity-tag: both comparisons', fc.tuple(tag, tag, seeds), ([one, another, seed]) => {
    const other = seed % 2 === 0 ? another : { ...another, opaque: one.opaque };
    const [a, b] = [wire(one), wire(other)];
    assert.equal(isWeak(a), one.weak);
    assert.equal(weakMatch(a, b), one.opaque === other.opaque);
    assert.equal(strongMatch(a, b), one.opaque === other.opaque && !one.weak && !other.weak);
    assert.equal(weakMatch(b, a), weakMatch(a, b));
    assert.equal(strongMatch(b, a), strongMatch(a, b));
  }),
  property('http/preconditions: lines of a field are one list', fc.array(field, { maxLength: 5 }), (fields) => {
    const joined = (name: string): string | undefined => {
      const values = fields.filter(([spelt]) => spelt.toLowerCase() === name).map(([, value]) => value);
      return values.length === 0 ? undefined : values.join(', ');
    };
    const parsed = parsePreconditions(fields.flat());
    const read = (name: string) => {
      const value = joined(name);
      return value === undefined ? { kind: 'absent' as const } : scanEntityTags(value);
    };
    const [match, noneMatch] = [read('if-match'), read('if-none-match')];
    const none = { kind: 'tags', tags: [] };
    assert.deepEqual(parsed.ifMatch, match.kind === 'malformed' ? none : match);
    assert.deepEqual(parsed.ifNoneMatch, noneMatch.kind === 'malformed' ? none : noneMatch);
    const wrong = match.kind === 'malformed' ? match : noneMatch.kind === 'malformed' ? noneMatch : undefined;
    assert.equal(parsed.malformed?.field, wrong && (wrong === match ? 'If-Match' : 'If-None-Match'));
    assert.equal(parsed.malformed?.position, wrong?.position);
  }),
  property('http/preconditions: the order of RFC 9110 13.2.2', fc.tuple(anyCaseOfAll, seeds), ([given, seed]) => {
    const parsed = parsePreconditions(fieldsOf(given, new Dice(seed)));
    assert.equal(parsed.malformed, undefined);
    const evaluation = evaluate(given.method, parsed, currentOf(given));
    const said = evaluation.result === 'proceed' ? 'proceed' : `${evaluation.result} ${evaluation.field}`;
    assert.equal(said, answerTo(given));
  }),
];

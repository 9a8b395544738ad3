import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { isWeak, parseEntityTag, scanEntityTags, strongMatch, weakMatch } from '../../src/http/entity-tag.js';
import { listMembers } from '../../src/http/fields.js';
import { parseHttpDate } from '../../src/http/http-date.js';
import { type Current, evaluate, parsePreconditions } from '../../src/http/preconditions.js';

/** A time in the form that is sent (RFC 9110 5.6.7). */
const imfFixdate = (ms: number): string => new Date(ms).toUTCString();

/** Anything that may stand between the quotes of a field value that has passed an HTTP parser. */
const opaque = fc.string({ unit: fc.constantFrom(..."aA0 ,\\*/W\t'\u00e9\u00ff") });
const entityTag = fc.tuple(fc.constantFrom('', 'W/'), opaque).map(([weak, inner]) => `${weak}"${inner}"`);
const separator = fc.constantFrom(',', ', ', ' ,', ',,', ' , \t, ');
const noise = fc.string({ unit: fc.constantFrom(...'"W/*,\\ aw\t') });

t.test('comparison (RFC 9110 8.8.3.2, its own table)', (t) => {
  const table: readonly [a: string, b: string, strong: boolean, weak: boolean][] = [
    ['W/"1"', 'W/"1"', false, true],
    ['W/"1"', 'W/"2"', false, false],
    ['W/"1"', '"1"', false, true],
    ['"1"', '"1"', true, true],
    ['"W/1"', 'W/"1"', false, false],
  ];
  for (const [a, b, strong, weak] of table) {
    t.strictSame([strongMatch(a, b), strongMatch(b, a)], [strong, strong], `${a} ${b} strong`);
    t.strictSame([weakMatch(a, b), weakMatch(b, a)], [weak, weak], `${a} ${b} weak`);
  }
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(entityTag, entityTag, (a, b) => {
        assert.equal(strongMatch(a, a), !isWeak(a));
        assert.ok(weakMatch(a, a));
        if (strongMatch(a, b)) assert.ok(weakMatch(a, b), 'strong implies weak');
      }),
    ),
  );
  t.end();
});

t.test('lists of entity-tags (W1)', (t) => {
  t.strictSame(scanEntityTags('"a,b", W/"c d"\t,, "\\"'), { kind: 'tags', tags: ['"a,b"', 'W/"c d"', '"\\"'] });
  for (const star of ['*', ' * ', '\t*', ',*,']) t.strictSame(scanEntityTags(star), { kind: 'any' }, star);
  const mistakes: readonly [value: string, position: number, says: RegExp][] = [
    ['', 0, /empty/],
    [' , ', 0, /empty/],
    ['abc', 0, /double quotes.*"abc"/],
    ['"a", b', 5, /double quotes/],
    ['"a", "b', 5, /never closed/],
    ['W/"b', 0, /never closed/],
    ['W/b', 0, /double quotes/],
    ['  w/"b"', 2, /upper-case W/],
    ['*, "a"', 0, /alone/],
    ['"a", *', 5, /alone/],
    ['"a" "b"', 4, /comma/],
    ['"a"b', 3, /comma/],
  ];
  for (const [value, position, says] of mistakes) {
    t.match(scanEntityTags(value), { kind: 'malformed', position, reason: says }, JSON.stringify(value));
  }
  t.end();
});

t.test('the scanner never throws, and places mistakes inside the value', (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.oneof(noise, fc.string(), fc.string({ unit: 'binary' })), (value) => {
        const list = scanEntityTags(value);
        if (list.kind === 'malformed') assert.ok(list.position === 0 || list.position < value.length, value);
        if (list.kind === 'tags') {
          assert.ok(list.tags.length > 0);
          for (const tag of list.tags) assert.match(tag, /^(?:W\/)?"[^"]*"$/);
        }
      }),
      { numRuns: 2000 },
    ),
  );
  t.end();
});

t.test('tags round-trip, alone and in lists', (t) => {
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(entityTag, { minLength: 1 }), separator, (tags, between) => {
        assert.deepEqual(scanEntityTags(tags.join(between)), { kind: 'tags', tags });
      }),
    ),
  );
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(entityTag, (tag) => {
        assert.equal(parseEntityTag(` ${tag}\t`), tag);
        assert.equal(parseEntityTag(`${tag}, ${tag}`), undefined, 'an ETag field has one');
      }),
    ),
  );
  for (const value of [undefined, '', 'a', '"a', 'a"', '*', 'w/"a"', 'W/a', '"a"b"', '"a"; x', ',"a"']) {
    t.equal(parseEntityTag(value), undefined, String(value));
  }
  t.end();
});

const second = Date.UTC(1994, 10, 6, 8, 49, 37);
const now = Date.UTC(2026, 10, 21);

t.test('dates (RFC 9110 5.6.7)', (t) => {
  const dates: readonly [value: string | undefined, expected: number | undefined][] = [
    ['Sun, 06 Nov 1994 08:49:37 GMT', second],
    ['Sunday, 06-Nov-94 08:49:37 GMT', second],
    ['Sun Nov  6 08:49:37 1994', second],
    ['Sun Nov 16 08:49:37 1994', second + 10 * 86_400_000],
    ['  Sun, 06 Nov 1994 08:49:37 GMT\t', second],
    ['Tue, 06 Nov 1994 08:49:37 GMT', second],
    ['Tuesday, 29-Feb-00 00:00:00 GMT', Date.UTC(2000, 1, 29)],
    ['Saturday, 21-Nov-76 00:00:00 GMT', Date.UTC(2076, 10, 21)],
    ['Monday, 22-Nov-76 00:00:00 GMT', Date.UTC(1976, 10, 22)],
    ['Wednesday, 31-Dec-25 23:59:59 GMT', Date.UTC(2025, 11, 31, 23, 59, 59)],
    ['Thu, 29 Feb 2024 00:00:00 GMT', Date.UTC(2024, 1, 29)],
    ['Fri, 31 Dec 9999 23:59:59 GMT', Date.UTC(9999, 11, 31, 23, 59, 59)],
    ['Thu, 01 Jan 1970 00:00:00 GMT', 0],
    ['Sat, 31 Dec 2016 23:59:60 GMT', Date.UTC(2017, 0, 1)],
    [undefined, undefined],
    ['', undefined],
    ['0', undefined],
    ['784111777', undefined],
    ['1994-11-06T08:49:37Z', undefined],
    ['Sun, 6 Nov 1994 08:49:37 GMT', undefined],
    ['Sun, 06 Nov 94 08:49:37 GMT', undefined],
    ['Sun, 06 Nov 1994 8:49:37 GMT', undefined],
    ['Sun, 06 Nov 1994 08:49 GMT', undefined],
    ['Sun, 06 Nov 1994 08:49:37', undefined],
    ['Sun, 06 Nov 1994 08:49:37 +0000', undefined],
    ['Sun, 06 Nov 1994 08:49:37 EST', undefined],
    ['Sun, 06 NOV 1994 08:49:37 GMT', undefined],
    ['Son, 06 Nov 1994 08:49:37 GMT', undefined],
    ['Sun, 06 Foo 1994 08:49:37 GMT', undefined],
    ['Sun, 00 Nov 1994 08:49:37 GMT', undefined],
    ['Sun, 31 Nov 1994 08:49:37 GMT', undefined],
    ['Wed, 29 Feb 2023 00:00:00 GMT', undefined],
    ['Sun, 06 Nov 1994 24:00:00 GMT', undefined],
    ['Sun, 06 Nov 1994 08:60:37 GMT', undefined],
    ['Sun, 06 Nov 1994 08:49:61 GMT', undefined],
    ['Sunday, 06 Nov 1994 08:49:37 GMT', undefined],
    ['Sun, 06-Nov-94 08:49:37 GMT', undefined],
    ['Sun Nov 06 08:49:37 GMT 1994', undefined],
    ['Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT', undefined],
    ['Sun, 06 Nov 1994 08:49:37 GMT\u0000', undefined],
  ];
  for (const [value, expected] of dates) t.equal(parseHttpDate(value, now), expected, String(value));
  t.end();
});

t.test('dates round-trip in all three forms', (t) => {
  const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.integer({ min: 0, max: Math.floor(Date.UTC(9999, 11, 31) / 1000) }), (seconds) => {
        const ms = seconds * 1000;
        const fixdate = imfFixdate(ms);
        assert.equal(parseHttpDate(fixdate, now), ms, fixdate);
        const [, day = '', month = '', year = '', time = ''] = fixdate.split(' ');
        const asctime = `${fixdate.slice(0, 3)} ${month} ${day.replace(/^0/, ' ')} ${time} ${year}`;
        assert.equal(parseHttpDate(asctime, now), ms, asctime);
        const rfc850 = `${days[new Date(ms).getUTCDay()]}, ${day}-${month}-${year.slice(2)} ${time} GMT`;
        const near = parseHttpDate(rfc850, ms);
        assert.equal(near, ms, `${rfc850}, read at that time`);
      }),
    ),
  );
  t.doesNotThrow(() =>
    fc.assert(fc.property(fc.string(), (value) => assert.ok(Number.isFinite(parseHttpDate(value, now) ?? 0)))),
  );
  t.end();
});

t.test('parsing the fields of a request', (t) => {
  t.strictSame(parsePreconditions(['Host', 'x']), {
    ifMatch: { kind: 'absent' },
    ifNoneMatch: { kind: 'absent' },
    ifModifiedSince: undefined,
    ifUnmodifiedSince: undefined,
    malformed: undefined,
  });
  const date = 'Sun, 06 Nov 1994 08:49:37 GMT';
  const all = ['if-match', '"a"', 'If-Match', '"b"', 'If-None-Match', '*', 'If-Modified-Since', date];
  t.strictSame(parsePreconditions([...all, 'If-Unmodified-Since', date]), {
    ifMatch: { kind: 'tags', tags: ['"a"', '"b"'] },
    ifNoneMatch: { kind: 'any' },
    ifModifiedSince: second,
    ifUnmodifiedSince: second,
    malformed: undefined,
  });
  const twice = parsePreconditions(['If-Unmodified-Since', date, 'If-Unmodified-Since', date]);
  t.equal(twice.ifUnmodifiedSince, undefined, 'two dates are none');
  const rfc850 = ['If-Unmodified-Since', 'Sunday, 06-Nov-94 08:49:37 GMT'];
  t.equal(parsePreconditions(rfc850, Date.UTC(2060, 0)).ifUnmodifiedSince, Date.UTC(2094, 10, 6, 8, 49, 37));
  t.match(parsePreconditions(['If-Match', '"a"', 'If-Match', 'b']), {
    ifMatch: { kind: 'tags', tags: [] },
    malformed: { field: 'If-Match', position: 5, reason: String },
  });
  t.end();
});

t.test('a condition that cannot be read lets no write through by itself', (t) => {
  const conditions = parsePreconditions(['If-Match', 'a', 'If-Unmodified-Since', imfFixdate(second)]);
  const current: Current = { exists: true, strongMatch: () => true, weakMatch: () => true, lastModified: second };
  t.strictSame(evaluate('PUT', conditions, current), { result: 'failed', field: 'If-Match' });
  t.end();
});

t.test('without a representation nothing matches, whatever its tags were', (t) => {
  const gone: Current = { exists: false, strongMatch: () => true, weakMatch: () => true, lastModified: undefined };
  t.strictSame(evaluate('PUT', parsePreconditions(['If-Match', '"a"']), gone), { result: 'failed', field: 'If-Match' });
  t.strictSame(evaluate('PUT', parsePreconditions(['If-None-Match', '"a"']), gone), { result: 'proceed' });
  t.end();
});

t.test('methods that select nothing ignore conditions (RFC 9110 13.2.1)', (t) => {
  const conditions = parsePreconditions(['If-Match', '"b"', 'If-None-Match', '*']);
  const current: Current = { exists: true, strongMatch: () => false, weakMatch: () => true, lastModified: second };
  for (const method of ['OPTIONS', 'TRACE', 'CONNECT']) {
    t.strictSame(evaluate(method, conditions, current), { result: 'proceed' }, method);
  }
  t.end();
});

/** RFC 9110 13.2.2 a second time, step by step in its own words, over what each condition comes to. */
function steps(
  method: string,
  given: Record<'match' | 'since' | 'noneMatch' | 'modified', boolean | undefined>,
): string {
  const reads = method === 'GET' || method === 'HEAD';
  if (given.match === false) return 'failed If-Match';
  if (given.match === undefined && given.since === false) return 'failed If-Unmodified-Since';
  if (given.noneMatch === false) return `${reads ? 'not-modified' : 'failed'} If-None-Match`;
  if (reads && given.noneMatch === undefined && given.modified === false) return 'not-modified If-Modified-Since';
  return 'proceed';
}

t.test('every combination of conditions, in the order of RFC 9110 13.2.2', (t) => {
  const truths = [undefined, true, false];
  const current: Current = {
    exists: true,
    strongMatch: (tag) => tag === '"now"',
    weakMatch: (tag) => weakMatch(tag, '"now"'),
    lastModified: second,
  };
  const field = (name: string, truth: boolean | undefined, whenTrue: string, whenFalse: string) =>
    truth === undefined ? [] : [name, truth ? whenTrue : whenFalse];
  const [before, same] = [imfFixdate(second - 1000), imfFixdate(second)];
  for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'POST']) {
    for (const match of truths) {
      for (const since of truths) {
        for (const noneMatch of truths) {
          for (const modified of truths) {
            const raw = [
              ...field('If-Match', match, '"x", "now"', '"x"'),
              ...field('If-Unmodified-Since', since, same, before),
              ...field('If-None-Match', noneMatch, '"x"', '"x", W/"now"'),
              ...field('If-Modified-Since', modified, before, same),
            ];
            const evaluation = evaluate(method, parsePreconditions(raw), current);
            const result = evaluation.result === 'proceed' ? 'proceed' : `${evaluation.result} ${evaluation.field}`;
            t.equal(result, steps(method, { match, since, noneMatch, modified }), `${method} ${raw.join(' ')}`);
          }
        }
      }
    }
  }
  t.end();
});

/**
 * Runs a parser on a stand-in for a string and counts the characters that it looks at or copies: the same on a busy
 * machine, which timings are not. A method that a parser starts to use must be added here.
 */
function charactersSeen(text: string, parse: (value: string) => unknown): number {
  let seen = 0;
  const methods = {
    indexOf(searched: string, from = 0) {
      const found = text.indexOf(searched, from);
      seen += (found === -1 ? text.length : found + searched.length) - from;
      return found;
    },
    slice(start: number, end = text.length) {
      seen += end - start;
      return text.slice(start, end);
    },
    startsWith(searched: string, from = 0) {
      seen += searched.length;
      return text.startsWith(searched, from);
    },
    trim() {
      seen += text.length;
      return text.trim();
    },
  };
  const counting: unknown = new Proxy(methods, {
    get(target, property, receiver) {
      if (property === 'length') return text.length;
      if (typeof property === 'symbol' || !/^\d+$/.test(property)) return Reflect.get(target, property, receiver);
      seen += 1;
      return text[Number(property)];
    },
  });
  parse(counting as string);
  return seen;
}

t.test('parsers are linear: they look at each character a few times, however long the value', (t) => {
  const parsers = { scanEntityTags, parseEntityTag, listMembers, parseHttpDate };
  const pieces = ['"a",', ',', ' ', '"', '"a', 'W/', 'W/"', '\\', '"\\', '* ', 'a ', '\t,', '""', 'W/"a" , ', 'Sun, '];
  const most = 9;
  for (const [name, parse] of Object.entries(parsers)) {
    for (const piece of pieces) {
      const value = piece.repeat(2000);
      const seen = charactersSeen(value, parse);
      t.ok(seen <= most * value.length, `${name} of ${JSON.stringify(piece)}: ${seen} of ${value.length}`);
    }
    t.doesNotThrow(() =>
      fc.assert(
        fc.property(noise, (value) => {
          assert.ok(charactersSeen(value, parse) <= most * (value.length + 2), value);
        }),
      ),
    );
  }
  t.equal(charactersSeen('"a"', scanEntityTags) > 0, true, 'the count counts');
  t.end();
});

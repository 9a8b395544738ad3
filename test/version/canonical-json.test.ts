import fc from 'fast-check';
import t from 'tap';
import { canonicalize, canonicalValueAt } from '../../src/version/canonical-json.js';

t.test('canonicalize gives the form of RFC 8785', async (t) => {
  const rows: [name: string, text: string, expected: string][] = [
    [
      'section 3.2.2, sample',
      String.raw`{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}`,
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    ],
    [
      'section 3.2.3, names in the order of their UTF-16 code units',
      String.raw`{"\u20ac":"Euro","\r":"CR","\ufb33":"Dalet","1":"One","\ud83d\ude00":"Emoji","\u0080":"Control","\u00f6":"o"}`,
      '{"\\r":"CR","1":"One","\u0080":"Control","ö":"o","€":"Euro","😀":"Emoji","\ufb33":"Dalet"}',
    ],
    ['nested containers', '[56, {"d": true, "10": null, "1": [ ]}]', '[56,{"1":[],"10":null,"d":true}]'],
    ['a scalar document', ' "a" ', '"a"'],
    ['null', 'null', 'null'],
    ['minus zero', '-0', '0'],
    ['the largest safe integer', '9007199254740991', '9007199254740991'],
    ['a larger integer that a double holds', '295147905179352830000', '295147905179352830000'],
    ['the same number in another spelling', '1.0e2', '100'],
    ['an empty name', '{"": 1}', '{"":1}'],
    ['a member called __proto__', '{"__proto__": {"a": 1}}', '{"__proto__":{"a":1}}'],
    ['the last of two members with one name', '{"a": 1, "a": 2}', '{"a":2}'],
    [
      'digits in a string',
      '{"a": "12345678901234567890, \\"9007199254740993"}',
      '{"a":"12345678901234567890, \\"9007199254740993"}',
    ],
    ['512 levels', '['.repeat(512) + ']'.repeat(512), '['.repeat(512) + ']'.repeat(512)],
  ];
  for (const [name, text, expected] of rows) t.equal(canonicalize(text, []), expected, name);
});

t.test('canonicalize refuses what has no form of its own', async (t) => {
  const rows: [name: string, text: string][] = [
    ['nothing', ''],
    ['no JSON', '{a: 1}'],
    ['a rest', '{} {}'],
    ['an integer that would be rounded', '9007199254740993'],
    ['the same in another spelling', '[9.007199254740993e15]'],
    ['a long integer', '{"id": 12345678901234567890}'],
    ['a fraction of more than 17 digits', '0.1234567890123456789'],
    ['too large', '1e400'],
    ['too small', '-1e-400'],
    ['a lone surrogate', String.raw`["\ud800"]`],
    ['a lone surrogate in a name', String.raw`{"\udc00": 1}`],
    ['513 levels', '['.repeat(513) + ']'.repeat(513)],
    ['a million levels', '['.repeat(1e6) + ']'.repeat(1e6)],
  ];
  for (const [name, text] of rows) t.equal(canonicalize(text, []), undefined, name);
});

t.test('canonicalize leaves out what ignore names (V3)', async (t) => {
  const rows: [name: string, text: string, ignore: string[], expected: string | undefined][] = [
    ['a member', '{"a": 1, "at": 5}', ['/at'], '{"a":1}'],
    ['a nested member', '{"meta": {"at": 5, "by": "x"}}', ['/meta/at'], '{"meta":{"by":"x"}}'],
    ['a member that is not there', '{"a": 1}', ['/b', '/a/b', '/a/b/c'], '{"a":1}'],
    ['escapes', '{"a/b": 1, "m~n": 2, "~1": 3}', ['/a~1b', '/m~0n'], '{"~1":3}'],
    ['~01 is ~1', '{"~1": 3, "/": 4}', ['/~01'], '{"/":4}'],
    ['an empty name', '{"": 1, "a": 2}', ['/'], '{"a":2}'],
    ['elements by their position in the text', '[0, 1, 2, 3]', ['/0', '/2'], '[1,3]'],
    ['members of an element', '[{"at": 1}, {"at": 2}]', ['/1/at'], '[{"at":1},{}]'],
    ['no element: a leading zero, the place after the last', '[0, 1]', ['/00', '/01', '/-', '/2'], '[0,1]'],
    ['not what is inherited', '{"a": 1}', ['/constructor', '/toString/name'], '{"a":1}'],
    ['not the whole document', '{"a": 1}', [''], '{"a":1}'],
    ['nothing that is no pointer', '{"a": 1}', ['a', '#/a', '/a~2'], '{"a":1}'],
    ['what would be refused', '{"a": 1, "ns": 1700000000123456789, "s": "\\ud800"}', ['/ns', '/s'], '{"a":1}'],
    ['but not elsewhere', '{"a": 1700000000123456789, "ns": 1}', ['/ns'], undefined],
  ];
  for (const [name, text, ignore, expected] of rows) t.equal(canonicalize(text, ignore), expected, name);
});

t.test('canonicalize keeps the value, and gives equal values one form', async (t) => {
  const property = fc.property(fc.jsonValue({ maxDepth: 4 }), (value) => {
    const text = JSON.stringify(value);
    const canonical = canonicalize(text, []);
    if (canonical === undefined) return /\\ud[89a-f]/i.test(text);
    return (
      canonicalize(JSON.stringify(JSON.parse(text), undefined, 3), []) === canonical &&
      canonicalize(canonical, []) === canonical &&
      JSON.stringify(sorted(JSON.parse(canonical))) === JSON.stringify(sorted(JSON.parse(text)))
    );
  });
  t.doesNotThrow(() => fc.assert(property));
});

t.test('canonicalize never makes one of two integers', async (t) => {
  const integers = fc.bigInt(-(10n ** 25n), 10n ** 25n);
  const property = fc.property(integers, fc.bigInt(1n, 5000n), (integer, more) => {
    const [a, b] = [canonicalize(String(integer), []), canonicalize(String(integer + more), [])];
    return a === undefined || a !== b;
  });
  t.doesNotThrow(() => fc.assert(property));
});

t.test('canonicalValueAt gives the value that is the version', async (t) => {
  const rows: [name: string, text: string, pointer: string, expected: string | undefined][] = [
    ['a number', '{"version": 7}', '/version', '7'],
    ['the same number', '{"version": 7.0}', '/version', '7'],
    ['a string', '{"version": "7"}', '/version', '"7"'],
    ['an object', '{"v": {"b": 1, "a": 2}}', '/v', '{"a":2,"b":1}'],
    ['an element', '{"v": [1, 2]}', '/v/1', '2'],
    ['the document', '[1]', '', '[1]'],
    ['false', '{"v": false}', '/v', 'false'],
    ['a time in nanoseconds, exactly', '{"v": 1700000000123456789}', '/v', '1700000000123456789'],
    ['absent', '{"v": 1}', '/w', undefined],
    ['null says that there is no version', '{"v": null}', '/v', undefined],
    ['inherited', '{"v": 1}', '/toString', undefined],
    ['below a scalar', '{"v": "abc"}', '/v/length', undefined],
    ['no JSON', 'v', '/v', undefined],
    ['no pointer', '{"v": 1}', 'v', undefined],
    ['a lone surrogate', String.raw`{"v": "a\ud800"}`, '/v', undefined],
    ['a rounded number within', '{"v": [1700000000123456789]}', '/v', undefined],
  ];
  for (const [name, text, pointer, expected] of rows) t.equal(canonicalValueAt(text, pointer), expected, name);
});

/** Members in one order, for comparison. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, member]) => [name, sorted(member)]);
}

import fc from 'fast-check';
import t from 'tap';
import { isFalse, scanDavIf, tellTerms } from '../../src/headers/dav-if.js';
import { type LenientMode, strictConditions } from '../../src/headers/lenient.js';

t.test('R5: the entity-tags of an If field', async (t) => {
  const rows: [value: string, terms: [text: string, isNegated: boolean, tag: string, resource?: string][]][] = [
    ['(["a"])', [['["a"]', false, '"a"']]],
    ['(<urn:x>)', []],
    ['(<urn:x> ["a"])', [['["a"]', false, '"a"']]],
    ['(Not ["a"])', [['Not ["a"]', true, '"a"']]],
    ['(nOt["a"])', [['nOt["a"]', true, '"a"']]],
    ['(Not <DAV:no-lock> [W/"a"])', [['[W/"a"]', false, 'W/"a"']]],
    [
      ' ( ["a"] ) (Not ["b"]["c"]) ',
      [
        ['["a"]', false, '"a"'],
        ['Not ["b"]', true, '"b"'],
        ['["c"]', false, '"c"'],
      ],
    ],
    [
      '<http://h/x> (["a"]) (["b"]) </y>(["c"])',
      [
        ['["a"]', false, '"a"', 'http://h/x'],
        ['["b"]', false, '"b"', 'http://h/x'],
        ['["c"]', false, '"c"', '/y'],
      ],
    ],
    // Between quotes everything is data.
    ['(["]) (<"])', [['["]) (<"]', false, '"]) (<"']]],
    ['([ "a" ])', [['[ "a" ]', false, '"a"']]],
  ];
  for (const [value, expected] of rows) {
    const scanned = scanDavIf(value);
    if (scanned.kind === 'malformed') {
      t.fail(`${value}: ${scanned.reason}`);
      continue;
    }
    const found = scanned.terms.map(({ start, end, isNegated, tag, resource }) => [
      value.slice(start, end),
      isNegated,
      tag,
      ...(resource === undefined ? [] : [resource]),
    ]);
    t.same(found, expected, value);
  }
});

t.test('R5: an If field that cannot be read', async (t) => {
  const rows: [value: string, position: number][] = [
    ['', 0],
    ['"a"', 0],
    ['["a"]', 0],
    ['()', 1],
    ['(["a"]', 6],
    ['(["a)', 1],
    ['([a])', 1],
    ['(Not)', 1],
    ['(Not Not ["a"])', 5],
    ['(<urn:x)', 1],
    ['(["a"]), (["b"])', 7],
    ['<http://h/x>', 12],
    ['(["a"]) <http://h/x> (["b"])', 8],
    ['(["a"]) x', 8],
  ];
  for (const [value, position] of rows) {
    const scanned = scanDavIf(value);
    t.equal(scanned.kind, 'malformed', JSON.stringify(value));
    if (scanned.kind === 'malformed')
      t.equal(scanned.position, position, `${JSON.stringify(value)}: ${scanned.reason}`);
  }
});

t.test('R5: a tag that is told is one that is true or false whatever the locks are', async (t) => {
  const rows: [value: string, current: string, told: string][] = [
    ['(["a"])', '"a"', '(Not <DAV:no-lock>)'],
    ['(["a"])', '"b"', '(<DAV:no-lock>)'],
    ['(Not ["a"])', '"a"', '(<DAV:no-lock>)'],
    ['(Not ["a"])', '"b"', '(Not <DAV:no-lock>)'],
    // What is true goes where its list has more.
    ['(<urn:x> ["a"])', '"a"', '(<urn:x> )'],
    ['(["a"] <urn:x>)', '"a"', '(<urn:x>)'],
    ['(["a"]<urn:x>)', '"a"', '(<urn:x>)'],
    ['(<urn:x> ["a"]) (["b"] Not ["c"])', '"b"', '(<urn:x> <DAV:no-lock>) (Not <DAV:no-lock>)'],
    ['(["a"] ["b"] ["c"])', '"b"', '(<DAV:no-lock> <DAV:no-lock>)'],
  ];
  for (const [value, current, told] of rows) {
    const scanned = scanDavIf(value);
    if (scanned.kind !== 'terms') throw new Error(value);
    const { terms, lists } = scanned;
    t.equal(
      tellTerms(value, terms, lists, ({ tag, isNegated }) => (tag === current) !== isNegated),
      told,
      value,
    );
  }
  const piece = fc.constantFrom('(', ')', '["a"]', '<u:x>', 'Not ', ' ', '[', '"', '</y>', '[W/"b"]');
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.boolean(), (pieces, holds) => {
      const value = pieces.join('');
      const scanned = scanDavIf(value);
      if (scanned.kind === 'malformed') return scanned.position <= value.length;
      const { terms, lists } = scanned;
      const again = scanDavIf(tellTerms(value, terms, lists, () => holds));
      const isTold = again.kind === 'terms' && again.terms.length === 0 && again.lists.length === lists.length;
      return isTold && isFalse(terms, lists, () => true) === false;
    }),
    { numRuns: 3000 },
  );
});

t.test('lenient: what is forgiven, and what is not', async (t) => {
  const all: LenientMode[] = ['weakened', 'gzip-suffix', 'unquoted'];
  const rows: [name: string, value: string, modes: LenientMode[], strict: string][] = [
    ['If-Match', 'W/"a"', [], 'W/"a"'],
    ['If-Match', 'W/"a"', ['weakened'], '"a"'],
    ['If-Match', 'W/"a", "b"', ['weakened'], '"a", "b"'],
    ['If-None-Match', 'W/"a"', ['weakened'], '"a"'],
    ['If-Match', '"a-gzip"', ['weakened', 'unquoted'], '"a-gzip"'],
    ['If-Match', '"a-gzip"', ['gzip-suffix'], '"a-gzip", "a"'],
    ['If-Match', '"a--gzip"', ['gzip-suffix'], '"a--gzip", "a-", "a"'],
    ['If-Match', '"a;br"', ['gzip-suffix'], '"a;br", "a"'],
    ['If-Match', '"a-gzip-gzip"', ['gzip-suffix'], '"a-gzip-gzip", "a-gzip"'],
    ['If-Match', '"-gzip"', ['gzip-suffix'], '"-gzip"'],
    ['If-Match', '"--gzip"', ['gzip-suffix'], '"--gzip", "-"'],
    ['If-Match', 'W/"-gzip"', ['gzip-suffix'], 'W/"-gzip"'],
    ['If-Match', '"agzip"', ['gzip-suffix'], '"agzip"'],
    ['If-None-Match', '"a-gzip"', ['gzip-suffix'], '"a-gzip", "a"'],
    ['If-None-Match', 'W/"a-gzip"', ['gzip-suffix'], 'W/"a-gzip", W/"a"'],
    ['If-Match', 'W/"a-gzip"', ['gzip-suffix'], 'W/"a-gzip", W/"a"'],
    ['If-Match', 'W/"a-gzip"', ['gzip-suffix', 'weakened'], '"a-gzip", "a"'],
    ['If-Match', 'a', ['weakened', 'gzip-suffix'], 'a'],
    ['If-Match', 'a', ['unquoted'], '"a"'],
    ['If-Match', 'a, "b"', ['unquoted'], '"a", "b"'],
    ['If-Match', 'W/a', ['unquoted'], 'W/"a"'],
    ['If-Match', 'W/a-gzip', all, '"a-gzip", "a"'],
    ['If-Match', '*', all, '*'],
    ['If-Match', '', all, ''],
    ['If-Match', 'a *', all, 'a *'],
    ['If-Match', 'a, *', all, 'a, *'],
    ['If-Match', 'a b', all, 'a b'],
    ['If-Match', '"a', all, '"a'],
    ['If-Match', 'a"', all, 'a"'],
    ['If-Match', 'W/', all, 'W/'],
    ['If-Match', 'a"b"', all, 'a"b"'],
    ['If-Range', 'W/"a"', all, 'W/"a"'],
  ];
  for (const [name, value, modes, strict] of rows) {
    t.same(strictConditions(['X', '1', name, value, 'Y', '2'], modes).at(-1), strict === value ? '2' : strict, value);
  }
  t.same(
    strictConditions(['If-Match', 'W/"a"', 'X', '1', 'if-match', '"b"'], all),
    ['X', '1', 'If-Match', '"a", "b"'],
    'the lines of one field are one list',
  );
  const raw = ['If-Match', '"a"', 'X', '1'];
  t.equal(strictConditions(raw, all), raw, 'nothing to forgive');
});

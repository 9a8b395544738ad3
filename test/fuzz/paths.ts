import assert from 'node:assert/strict';
import fc from 'fast-check';
import { foldHost, foldPath, type IdentityOptions, normalUrl, resourceKey } from '../../src/resource/key.js';
import { createLocator } from '../../src/resource/locate.js';
import { decodeOctets, encodeComponent, encodePath, normalEncoding } from '../../src/resource/percent.js';
import { parseTarget, type Target } from '../../src/resource/target.js';
import { Dice, type Property, property, seeds, soup } from './property.js';
import { path, pathPieces } from './targets.js';

const options: fc.Arbitrary<IdentityOptions> = fc.record({
  caseSensitive: fc.boolean(),
  trailingSlash: fc.boolean(),
  duplicateSlashes: fc.boolean(),
  pathParams: fc.boolean(),
  host: fc.boolean(),
  pathHeaders: fc.constant<'drop'>('drop'),
});

/** Letters: in each of its cases, the spellings that Unicode calls canonically equivalent. */
const letters: readonly (readonly (readonly string[])[])[] = [
  [['a'], ['A']],
  [['k'], ['K', '\u212a']],
  [
    ['\u00e9', 'e\u0301'],
    ['\u00c9', 'E\u0301'],
  ],
  [
    ['\u00e5', 'a\u030a'],
    ['\u00c5', 'A\u030a', '\u212b'],
  ],
  [['\u03c3'], ['\u03c2'], ['\u03a3']],
  [['\u00df'], ['\u1e9e'], ['ss'], ['SS']],
  ...['1', '-', '@', '%', ' ', '?', ':', '+'].map((text) => [[text]]),
];

interface Letter {
  readonly letter: number;
  readonly letterCase: number;
}

/** A path as a backend means it. What options call different spellings counts only where they are on. */
interface Meant {
  readonly segments: readonly {
    readonly letters: readonly Letter[];
    /** Empty segments before this one. */
    readonly doubled: boolean;
    readonly parameter: '' | 'x' | 'y';
  }[];
  readonly trailing: boolean;
}

const letter: fc.Arbitrary<Letter> = fc.record({ letter: fc.nat(letters.length - 1), letterCase: fc.nat(3) });
const segment = fc.record({
  letters: fc.array(letter, { minLength: 1, maxLength: 3 }),
  doubled: fc.boolean(),
  parameter: fc.constantFrom<'' | 'x' | 'y'>('', '', 'x', 'y'),
});
const meant: fc.Arbitrary<Meant> = fc.record({
  segments: fc.array(segment, { minLength: 1, maxLength: 3 }),
  trailing: fc.boolean(),
});

const caseOf = ({ letter: index, letterCase }: Letter): number => letterCase % (letters[index]?.length ?? 1);

/** The resource that is meant: equal for two paths exactly when their keys should be. */
function resourceOf({ segments, trailing }: Meant, how: IdentityOptions): string {
  const parts = segments.map(({ letters: word, doubled, parameter }) => [
    word.map((one) => [one.letter, how.caseSensitive && caseOf(one)]),
    how.duplicateSlashes && doubled,
    how.pathParams && parameter,
  ]);
  return JSON.stringify([parts, how.trailingSlash && trailing]);
}

/** Percent-encodes what must be, and some of what need not be. */
function encoded(text: string, dice: Dice): string {
  const octets = [...Buffer.from(text)].map((octet) => {
    const character = String.fromCharCode(octet);
    const hex = octet.toString(16).padStart(2, '0');
    const triplet = `%${dice.pick(hex, hex.toUpperCase())}`;
    return /[%? ]/.test(character) || dice.roll(4) === 0 ? triplet : character;
  });
  return octets.join('');
}

/** One of the spellings of a path that fold into one key. */
function spelled({ segments, trailing }: Meant, how: IdentityOptions, dice: Dice): string {
  const slash = (): string => dice.pick('/', '/', '/', '%2F', '%2f', '%5c', '%5C');
  const detour = (): string => dice.pick('', '', '', `.${slash()}`, `%2E${slash()}`, `d${slash()}..${slash()}`);
  const parts = segments.map(({ letters: word, doubled, parameter }, index) => {
    const name = word.map((one) => {
      const cases = letters[one.letter] ?? [];
      const [first = '', ...others] = cases[how.caseSensitive ? caseOf(one) : dice.roll(cases.length)] ?? [];
      return encoded(dice.pick(first, ...others), dice);
    });
    const isDoubled = how.duplicateSlashes ? doubled : dice.roll(4) === 0;
    const added = how.pathParams ? parameter : dice.pick('', '', 'z');
    const before = (index === 0 ? '/' : slash()) + (isDoubled ? slash() : '');
    return before + detour() + name.join('') + (added === '' ? '' : `${dice.pick(';', '%3b', '%3B')}${added}`);
  });
  const end = (how.trailingSlash ? trailing : dice.roll(2) === 0) ? slash() : '';
  return parts.join('') + end;
}

const asTarget = (raw: string, query?: string): Target => ({ raw, path: raw, query, authority: undefined });

const parameter = fc.record({
  name: fc.constantFrom('a', 'B', 'id', ''),
  value: fc.constantFrom('', '1', 'X', 'a b', '=&'),
});
const parameters = fc.array(parameter, { maxLength: 4 });
const queryPolicy = fc.constantFrom<('ignore' | 'include' | readonly string[])[]>(
  'ignore',
  'include',
  ['a'],
  ['id', 'B'],
);

function spelledQuery(list: readonly { readonly name: string; readonly value: string }[], dice: Dice): string {
  const spell = (text: string): string => encodeURIComponent(text).replaceAll('%20', dice.pick('+', '%20'));
  const pairs = list.map(({ name, value }) => (value === '' && name !== '' ? name : `${spell(name)}=${spell(value)}`));
  return dice.shuffled(pairs).join(dice.pick('&', '&&'));
}

/** The parameters that identify the resource, in one order. */
function meantQuery(
  list: readonly { name: string; value: string }[],
  policy: 'ignore' | 'include' | readonly string[],
  how: IdentityOptions,
) {
  const fold = (text: string): string => (how.caseSensitive ? text : text.toLowerCase());
  const named = policy === 'ignore' ? [] : policy === 'include' ? undefined : policy.map(fold);
  const counted = list.filter(({ name }) => named === undefined || named.includes(fold(name)));
  return JSON.stringify(counted.map(({ name, value }) => JSON.stringify([fold(name), fold(value)])).sort());
}

const octets = fc.string({
  unit: fc.constantFrom(...'aZ09-._~/;:@!$&\'()*+,=%?# \\"<>\u0000\u007f\u0080\u00e9\u00ff'),
});
const encodedText = soup(
  ['%', '%4', '%41', '%7e', '%7E', '%2f', '%C3', '\u00c3', 'a', '/', '%%34', '25', '\u0107', '?'],
  10,
);

/** Paths and their keys. */
export const paths: readonly Property[] = [
  property(
    'resource/key: the spellings of one path have one key',
    fc.tuple(meant, options, seeds, seeds),
    ([one, how, first, second]) => {
      const [a, b] = [spelled(one, how, new Dice(first)), spelled(one, how, new Dice(second))];
      const key = foldPath(a, how);
      assert.equal(foldPath(b, how), key, `${a} and ${b}`);
      assert.equal(foldPath(key, how), key, 'a key folds to itself');
      assert.match(key, /^\/[!-~]*$/);
    },
    2,
  ),
  property(
    'resource/key: different resources have different keys',
    fc.tuple(meant, meant, options, seeds),
    ([one, another, how, seed]) => {
      const dice = new Dice(seed);
      const [head, ...tail] = one.segments;
      // Half of the time two paths that differ in one place, if at all.
      const near = {
        ...one,
        segments: head === undefined ? [] : [{ ...head, letters: another.segments[0]?.letters ?? [] }, ...tail],
      };
      const other = dice.pick(another, near, { ...one, trailing: another.trailing });
      const isSame = resourceOf(one, how) === resourceOf(other, how);
      assert.equal(foldPath(spelled(one, how, dice), how) === foldPath(spelled(other, how, dice), how), isSame);
    },
    2,
  ),
  property(
    'resource/key: any path folds once and for all',
    fc.tuple(fc.oneof(path, fc.string({ unit: 'binary' })), options),
    ([text, how]) => {
      const key = foldPath(text, how);
      assert.match(key, /^\/[!-~]*$/);
      assert.equal(foldPath(key, how), key);
    },
  ),
  property(
    'resource/key: parameters that the policy names, in any order',
    fc.tuple(parameters, parameters, queryPolicy, options, seeds),
    ([one, another, policy, how, seed]) => {
      const dice = new Dice(seed);
      const other = dice.roll(2) === 0 ? another : one;
      const [a, b] = [one, other].map((list) => {
        const query = list.length === 0 ? dice.pick(undefined, '') : spelledQuery(list, dice);
        return resourceKey(asTarget('/d', query), policy, how, dice.pick('h', 'H:80', 'h.', 'h:443'));
      });
      assert.equal(a === b, meantQuery(one, policy, how) === meantQuery(other, policy, how), `${a} and ${b}`);
      assert.ok(a?.startsWith(how.host ? 'h/d' : '/d'));
    },
    2,
  ),
  property(
    'resource/key: the URL of a view is only normalised',
    fc.tuple(path, fc.option(encodedText)),
    ([text, query]) => {
      const target = { ...asTarget(text), query: query ?? undefined };
      const url = normalUrl(target);
      const [again = '', ...rest] = url.split('?');
      assert.equal(normalUrl({ ...asTarget(again), query: query === null ? undefined : rest.join('?') }), url);
      const exact = { caseSensitive: true, trailingSlash: true, duplicateSlashes: true, pathParams: true };
      const how: IdentityOptions = { ...exact, host: false, pathHeaders: 'drop' };
      if (!/%2f|%5c/i.test(text)) assert.equal(foldPath(again, how), foldPath(text, how));
    },
  ),
  property('resource/percent: encoding and decoding', fc.tuple(octets, encodedText), ([text, written]) => {
    assert.equal(decodeOctets(encodePath(text)), text);
    assert.equal(decodeOctets(encodeComponent(text)), text);
    assert.match(encodePath(text) + encodeComponent(text), /^[!-~]*$/);
    const asOctets = /[\u0100-\uffff]/.test(written) ? Buffer.from(written).toString('latin1') : written;
    const decoded = asOctets.replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
    assert.equal(decodeOctets(written), decoded);
    const normal = normalEncoding(written);
    assert.equal(decodeOctets(normal), decoded, 'the same octets');
    assert.equal(normalEncoding(normal), normal);
    assert.doesNotMatch(
      normal,
      /%(?![0-9A-F]{2})|%(?:4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A]|3[0-9]|2[DE]|5F|7E)|[\u0080-\u00ff]/,
    );
  }),
  property(
    'resource/locate: a Location leads to the key of its path',
    fc.tuple(
      meant,
      seeds,
      fc.constantFrom('h', 'H:80', 'up:1', 'other'),
      soup([...pathPieces, '?', '#', '\\', 'http://', 'h']),
      options,
    ),
    ([one, seed, host, reference, how]) => {
      const locator = createLocator({
        routes: [],
        policy: { query: 'ignore', invalidates: [] },
        // A URL parser leaves encoded slashes alone: which empty segments there are is not the same to all.
        identity: { ...how, duplicateSlashes: false },
        fingerprint: () => '',
        upstream: { authority: 'up:1', basePath: '/base' },
      });
      const target = asTarget('/here/x');
      // Raw octets above ASCII are none of a URI's (RFC 3986 2).
      const text = spelled(one, how, new Dice(seed)).replace(/[\u0080-\u00ff]/g, encodePath);
      if (parseTarget(text).kind === 'target') {
        const { key } = locator.locate(asTarget(text), 'h');
        const expected = host === 'other' ? undefined : key;
        assert.equal(locator.keyOf(`http://${host}${text}`, target, 'h'), expected);
        assert.equal(locator.keyOf(`https://up:1/base${text}`, target, 'h'), key);
      }
      const found = locator.keyOf(reference, target, 'h');
      assert.ok(found === undefined || found.startsWith(how.host ? 'h/' : '/'));
      assert.equal(foldHost('H.Example.:443'), 'h.example');
    },
    4,
  ),
];

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { canonicalize, canonicalValueAt } from '../../src/version/canonical-json.js';
import { Dice, mutated, type Property, property, seeds, soup } from './property.js';

/** A JSON value whose members have an order. */
type Tree =
  | { readonly kind: 'literal'; readonly text: 'null' | 'true' | 'false' }
  | { readonly kind: 'number'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'array'; readonly items: readonly Tree[] }
  | { readonly kind: 'object'; readonly members: readonly (readonly [name: string, value: Tree])[] };

const text = fc.oneof(
  soup(
    ['a', 'b', '"', '\\', '/', '\n', '\0', '\u001f', '\u007f', '\u00e9', '\u2028', '\ufb33', '\ud83d\ude00', 'é'],
    4,
  ),
  fc.constantFrom('at', '__proto__', '0', '1', '', 'a/b', 'm~n', '~1', 'constructor'),
);
const number = fc.oneof(
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(0, -0, 1e21, 1e-7, 5e-324, 1.7976931348623157e308, 9007199254740991, 0.1, 333333333.3333333),
);
const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3, depthSize: 'small' },
    fc.record({ kind: fc.constant('literal' as const), text: fc.constantFrom('null', 'true', 'false') }),
    number.map((value) => ({ kind: 'number' as const, value })),
    text.map((value) => ({ kind: 'string' as const, value })),
    fc.array(tie('tree'), { maxLength: 3 }).map((items) => ({ kind: 'array' as const, items })),
    fc
      .uniqueArray(fc.tuple(text, tie('tree')), { maxLength: 4, selector: ([name]) => name })
      .map((members) => ({ kind: 'object' as const, members })),
  ),
}));

/** ECMA-262 6.1.6.1.20, which RFC 8785 3.2.2.3 asks for, from the shortest digits. */
function numberForm(value: number): string {
  if (value === 0) return '0';
  const [, sign = '', first = '', rest = '', exponent = ''] =
    /^(-?)(\d)\.?(\d*)e(.*)$/.exec(value.toExponential()) ?? [];
  const digits = first + rest;
  const point = Number(exponent) + 1;
  if (point > 21 || point < -5) {
    const power = `${point > 0 ? '+' : '-'}${Math.abs(point - 1)}`;
    return `${sign}${first}${rest === '' ? '' : `.${rest}`}e${power}`;
  }
  if (point <= 0) return `${sign}0.${'0'.repeat(-point)}${digits}`;
  if (digits.length <= point) return sign + digits.padEnd(point, '0');
  return `${sign}${digits.slice(0, point)}.${digits.slice(point)}`;
}

const short = new Map([
  ['"', '\\"'],
  ['\\', '\\\\'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
]);

const hex = (unit: string): string => unit.charCodeAt(0).toString(16).padStart(4, '0');

/** RFC 8785 3.2.2.2. */
function stringForm(value: string): string {
  const written = value.split('').map((unit) => short.get(unit) ?? (unit < ' ' ? `\\u${hex(unit)}` : unit));
  return `"${written.join('')}"`;
}

/** Order of UTF-16 code units (RFC 8785 3.2.3). */
function byCodeUnits([one]: readonly [string, unknown], [other]: readonly [string, unknown]): number {
  const length = Math.min(one.length, other.length);
  for (let index = 0; index < length; index++) {
    const difference = one.charCodeAt(index) - other.charCodeAt(index);
    if (difference !== 0) return difference;
  }
  return one.length - other.length;
}

/** RFC 8785 once more. */
function canonical(value: Tree): string {
  if (value.kind === 'literal') return value.text;
  if (value.kind === 'number') return numberForm(value.value);
  if (value.kind === 'string') return stringForm(value.value);
  if (value.kind === 'array') return `[${value.items.map(canonical).join(',')}]`;
  const members = [...value.members].sort(byCodeUnits);
  return `{${members.map(([name, member]) => `${stringForm(name)}:${canonical(member)}`).join(',')}}`;
}

/** What `JSON.parse` gives, as a tree. */
function treeOf(value: unknown): Tree {
  if (Array.isArray(value)) return { kind: 'array', items: value.map(treeOf) };
  if (typeof value === 'number') return { kind: 'number', value };
  if (typeof value === 'string') return { kind: 'string', value };
  if (typeof value === 'object' && value !== null) {
    return { kind: 'object', members: Object.entries(value).map(([name, member]) => [name, treeOf(member)]) };
  }
  return { kind: 'literal', text: value === null ? 'null' : value ? 'true' : 'false' };
}

function spelledNumber(value: number, dice: Dice): string {
  const plain = Object.is(value, -0) ? '-0' : String(value);
  const spelt = dice.pick(plain, value.toExponential(), value.toExponential().replace('e+', 'E'));
  return dice.roll(3) > 0 ? spelt : spelt.replace(/^(-?\d+)(\.\d+)?/, (_, whole, rest = '.') => `${whole}${rest}00`);
}

function spelledString(value: string, dice: Dice): string {
  const units = value.split('').map((unit) => {
    const escaped = `\\u${dice.pick(hex(unit), hex(unit).toUpperCase())}`;
    const plain = short.get(unit) ?? (unit < ' ' ? escaped : unit);
    return dice.pick(plain, plain, plain, escaped, unit === '/' ? '\\/' : plain);
  });
  return `"${units.join('')}"`;
}

/** One of the texts that say the same: members in another order, some there twice, white space anywhere. */
function spelled(value: Tree, dice: Dice): string {
  const space = (): string => dice.pick('', '', ' ', '\n\t', '\r');
  if (value.kind === 'literal') return space() + value.text + space();
  if (value.kind === 'number') return space() + spelledNumber(value.value, dice) + space();
  if (value.kind === 'string') return space() + spelledString(value.value, dice) + space();
  if (value.kind === 'array')
    return `[${value.items.map((item) => spelled(item, dice)).join(',') || space()}]${space()}`;
  const members = dice.shuffled(value.members).flatMap(([name, member]) => {
    const written = `${space()}${spelledString(name, dice)}${space()}:${spelled(member, dice)}`;
    return dice.roll(8) === 0 ? [`${spelledString(name, dice)}: [1e400]`, written] : [written];
  });
  return `{${members.join(',') || space()}}`;
}

const escaped = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1');

/** Pointers to all values in a tree, the outermost first. */
function pointersOf(value: Tree, at = ''): string[] {
  const inner =
    value.kind === 'array'
      ? value.items.flatMap((item, index) => pointersOf(item, `${at}/${index}`))
      : value.kind === 'object'
        ? value.members.flatMap(([name, member]) => pointersOf(member, `${at}/${escaped(name)}`))
        : [];
  return [at, ...inner];
}

/** The value at a pointer. */
function valueAt(value: Tree, pointer: string, at = ''): Tree | undefined {
  if (at === pointer) return value;
  if (value.kind === 'array') {
    return value.items
      .map((item, index) => valueAt(item, pointer, `${at}/${index}`))
      .find((found) => found !== undefined);
  }
  if (value.kind !== 'object') return undefined;
  return value.members
    .map(([name, member]) => valueAt(member, pointer, `${at}/${escaped(name)}`))
    .find((found) => found !== undefined);
}

/** A tree without what pointers other than '' lead to. */
function without(value: Tree, pointers: ReadonlySet<string>, at = ''): Tree {
  const isKept = (_: unknown, index: number): boolean => !pointers.has(`${at}/${index}`);
  if (value.kind === 'array') {
    const items = value.items.map((item, index) => without(item, pointers, `${at}/${index}`));
    return { kind: 'array', items: items.filter(isKept) };
  }
  if (value.kind !== 'object') return value;
  const members = value.members
    .filter(([name]) => !pointers.has(`${at}/${escaped(name)}`))
    .map(([name, member]) => [name, without(member, pointers, `${at}/${escaped(name)}`)] as const);
  return { kind: 'object', members };
}

/** A decimal number: whole digits, and the power of ten that they count. */
interface Decimal {
  readonly digits: bigint;
  readonly power: number;
}

const decimal = fc
  .tuple(
    fc.constantFrom('', '-'),
    fc.oneof(fc.bigInt({ min: 0n, max: 10n ** 25n }), fc.bigInt({ min: 0n, max: 10n ** 6n })),
    fc.option(fc.stringMatching(/^\d{1,20}$/), { nil: undefined }),
    fc.option(fc.integer({ min: -40, max: 40 }), { nil: undefined }),
  )
  .map(([sign, whole, fraction, exponent]) => ({
    text: `${sign}${whole}${fraction === undefined ? '' : `.${fraction}`}${exponent === undefined ? '' : `e${exponent}`}`,
    exact: decimalOf(`${sign}${whole}${fraction ?? ''}`, (exponent ?? 0) - (fraction?.length ?? 0)),
  }));

function decimalOf(digits: string, power: number): Decimal {
  let [value, shifted] = [BigInt(digits), power];
  for (; value !== 0n && value % 10n === 0n; shifted++) value /= 10n;
  return { digits: value, power: value === 0n ? 0 : shifted };
}

function decimalOfDouble(value: number): Decimal {
  const [mantissa = '', exponent = '0'] = value.toExponential().split('e');
  const [whole = '', fraction = ''] = mantissa.split('.');
  return decimalOf(whole + fraction, Number(exponent) - fraction.length);
}

const lengthOf = ({ digits }: Decimal): number => String(digits).replace('-', '').length;
const isSame = (one: Decimal, other: Decimal): boolean => one.digits === other.digits && one.power === other.power;

const pieces = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '"a"',
  '1',
  '-',
  '0',
  '.5',
  'e9',
  'null',
  '\\u00',
  '\\',
  '\ud800',
  ' ',
];

/** RFC 8785 for versions (V1, V3). */
export const json: readonly Property[] = [
  property(
    'version/canonical-json: all spellings of a value have its form',
    fc.tuple(tree, seeds),
    ([value, seed]) => {
      const form = canonical(value);
      assert.equal(canonicalize(spelled(value, new Dice(seed)), []), form);
      assert.equal(canonicalize(form, []), form, 'the form is its own');
      assert.equal(canonical(treeOf(JSON.parse(form))), form, 'and has the same value');
    },
    2,
  ),
  property(
    'version/canonical-json: any text has the form of its value, or none',
    fc.oneof(
      soup(pieces),
      mutated(
        fc.tuple(tree, seeds).map(([value, seed]) => spelled(value, new Dice(seed))),
        pieces,
      ),
    ),
    (written) => {
      const form = canonicalize(written, []);
      let value: unknown;
      try {
        value = JSON.parse(written);
      } catch {
        assert.equal(form, undefined, 'no JSON has no form');
        return;
      }
      if (form !== undefined) assert.equal(form, canonical(treeOf(value)));
      else assert.match(written, /\\u[dD][89a-fA-F]|[\ud800-\udfff]|\d[\d.]{15}|\d[eE]/, 'no reason to refuse it');
    },
  ),
  property(
    'version/canonical-json: what pointers name is left out, or is the version',
    fc.tuple(tree, seeds, fc.array(fc.nat(), { maxLength: 3 })),
    ([value, seed, places]) => {
      const written = spelled(value, new Dice(seed));
      const all = pointersOf(value);
      const chosen = places.map((place) => all[place % all.length] ?? '');
      const kept = without(value, new Set(chosen.filter((pointer) => pointer !== '')));
      assert.equal(canonicalize(written, chosen), canonical(kept));
      const [pointer = '/none'] = chosen;
      const found = valueAt(value, pointer);
      const isVersion = found !== undefined && !(found.kind === 'literal' && found.text === 'null');
      assert.equal(canonicalValueAt(written, pointer), isVersion ? canonical(found) : undefined);
    },
    2,
  ),
  property(
    'version/canonical-json: no two numbers have one form',
    fc.tuple(decimal, seeds),
    ([{ text: one, exact }, seed]) => {
      const form = canonicalize(one, []);
      const double = Number(one);
      const isExact = isSame(exact, decimalOfDouble(double));
      // RFC 8785 rounds to a double: integers must be ones, and others have no more digits than a double can need.
      assert.equal(form !== undefined, isExact || (!Number.isInteger(double) && lengthOf(exact) <= 17), one);
      if (form !== undefined) assert.equal(form, numberForm(double));
      const other = one.replace(/\d(?=e|$)/, (digit) => String((Number(digit) + 1 + (seed % 9)) % 10));
      const isShort = lengthOf(exact) <= 15 || Number.isInteger(double);
      if (form !== undefined && isShort && Number(other) !== double)
        assert.notEqual(canonicalize(other, []), form, other);
    },
  ),
  property(
    'version/canonical-json: nesting',
    fc.tuple(fc.integer({ min: 500, max: 530 }), seeds),
    ([depth, seed]) => {
      const dice = new Dice(seed);
      const opened = Array.from({ length: depth }, () => dice.pick('[', '{"a":'));
      const closed = opened.map((open) => (open === '[' ? ']' : '}')).reverse();
      const written = `${opened.join('')}${opened.at(-1) === '[' ? '' : '1'}${closed.join('')}`;
      assert.equal(canonicalize(written, []), depth > 512 ? undefined : written);
      assert.equal(canonicalize(opened.join(''), []), undefined);
    },
    16,
  ),
];

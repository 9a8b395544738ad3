import assert from 'node:assert/strict';
import fc from 'fast-check';
import { loadConfig } from '../../src/config/load.js';
import { substitute as substituteVariables } from '../../src/config/substitute.js';
import { formatDuration, formatSize, readDuration, readSize } from '../../src/config/units.js';
import { compileRoutes, substitute } from '../../src/resource/policy.js';
import { mutated, type Property, property, soup } from './property.js';

const segment = fc.constantFrom('a', 'b', 'ab', ':x', ':y', 'a%20b');
const end = fc.constantFrom('', '', '/*', '/a*');
const pattern = fc
  .tuple(fc.array(segment, { maxLength: 3 }), end)
  .map(([segments, last]) => `${segments.map((text) => `/${text}`).join('')}${last}` || '/');
const asked = fc
  .array(fc.constantFrom('a', 'b', 'ab', 'abc', 'c', 'a%20b', '', ':x', '*'), { maxLength: 4 })
  .map((segments) => `/${segments.join('/')}`);

/** What a pattern's parameters are for a path; undefined where it does not match. */
function matched(one: string, path: string): Record<string, string> | undefined {
  const wanted = one === '/' ? [] : one.slice(1).split('/');
  const given = path === '/' ? [] : path.slice(1).split('/');
  const params = new Map<string, string>();
  for (const [index, text] of wanted.entries()) {
    const value = given[index];
    if (text.endsWith('*')) {
      const rest = given.slice(index).join('/');
      const prefix = text.slice(0, -1);
      if (!(value ?? '').startsWith(prefix)) return undefined;
      return Object.fromEntries([...params, ['*', rest.slice(prefix.length)]]);
    }
    if (text.startsWith(':') ? !value : value !== text) return undefined;
    if (text.startsWith(':')) params.set(text.slice(1), value ?? '');
  }
  return given.length === wanted.length ? Object.fromEntries(params) : undefined;
}

const variable = fc.record({
  name: fc.constantFrom('A', 'B_1', '_c', 'EMPTY', 'UNSET'),
  fallback: fc.option(fc.constantFrom('', 'x', '$', '{', ':-', 'a\nb'), { nil: undefined }),
  before: soup(['$a', '$$a', 'a', '}', '{{', ' '], 3),
});
const environment: Readonly<Record<string, string>> = { A: '1', B_1: '{A}', _c: '}', EMPTY: '' };

/** A reference to a variable. */
const reference = ['$', '{A}'].join('');

const yamlPieces = [
  ...[
    'upstream: http://h\n',
    'policy:\n',
    '  guard: required\n',
    'guard',
    ':',
    ' ',
    '\n',
    '- ',
    '  ',
    '&a ',
    '*a',
    '<<: *a',
  ],
  ...[
    '{',
    '}',
    '[',
    ']',
    '"',
    "'",
    '|',
    '>',
    '#',
    '!!js',
    '%',
    reference,
    '${',
    '\t',
    '---\n',
    '? ',
    'routes:\n',
    '  - path: /a\n',
  ],
  ...['limits: { header: 64kb }\n', '1e9', '0x1', '~', '\u0000', '\u00e9', '__proto__: 1\n', 'log:\n  level: info\n'],
];
const yaml = fc.oneof(
  soup(yamlPieces),
  mutated(
    fc.constant('upstream: http://h/b\npolicy: { guard: required, ignore: [/a] }\nroutes:\n  - path: /a/:id\n'),
    yamlPieces,
  ),
);

/** Patterns of routes, and the texts of a configuration. */
export const routes: readonly Property[] = [
  property(
    'resource/policy: the first pattern that matches',
    fc.tuple(fc.array(pattern, { maxLength: 6 }), asked),
    ([patterns, path]) => {
      const compiled = compileRoutes(
        patterns.map((one, value) => ({ path: one, value })),
        (text) => text,
      );
      const first = patterns.findIndex((one) => matched(one, path) !== undefined);
      const found = compiled.match(path);
      assert.equal(found?.value ?? -1, first);
      if (found === undefined) return;
      assert.deepEqual(found.params, matched(found.path, path));
      assert.ok(
        !compiled.unreachable.some(
          (hidden) => hidden.path === found.path && patterns.filter((one) => one === hidden.path).length === 1,
        ),
      );
      const isWhole = !found.path.endsWith('/*') || path.split('/').length >= found.path.split('/').length;
      const names = found.path.match(/:[a-z]/g) ?? [];
      // The later of two parameters with one name stands for both.
      if (isWhole && new Set(names).size === names.length) assert.equal(substitute(found.path, found.params), path);
    },
  ),
  property('config/substitute: variables and their defaults', fc.array(variable, { maxLength: 3 }), (parts) => {
    const text = parts
      .map(({ name, fallback, before }) => `${before}\${${name}${fallback === undefined ? '' : `:-${fallback}`}}`)
      .join('');
    const result = substituteVariables(text, environment);
    const values = parts.map(({ name, fallback }) =>
      fallback === undefined ? environment[name] : environment[name] || fallback,
    );
    if (values.includes(undefined)) {
      assert.equal(result.kind, 'wrong');
      return;
    }
    assert.equal(
      result.kind === 'replaced' && result.text,
      parts.map(({ before }, index) => before + values[index]).join(''),
    );
  }),
  property(
    'config/units: what is written is read',
    fc.tuple(fc.nat(2 ** 31 - 1), soup(['1', '0', 'm', 's', 'kb', 'b', '.', ' ', '-', 'e'], 5)),
    ([value, text]) => {
      assert.deepEqual(readDuration(formatDuration(value), { max: 2 ** 31 }), { kind: 'value', value });
      assert.deepEqual(readSize(formatSize(value)), { kind: 'value', value });
      if (readDuration(text).kind === 'value') assert.match(text, /^(?:0|\d+(?:ms|s|m|h))$/);
      if (readSize(text).kind === 'value') assert.match(text, /^\d+(?:b|kb|mb|gb)?$/);
    },
  ),
  property(
    'config/file: any text is a configuration or has its mistakes told by place',
    yaml,
    (text) => {
      const loaded = loadConfig({ flags: new Map([['config', 'f.yaml']]), env: { A: '1' }, readFile: () => text });
      if (loaded.kind === 'ok') assert.ok(Object.isFrozen(loaded.config) && loaded.config.upstream !== '');
      else
        assert.ok(
          loaded.errors.length > 0 && loaded.errors.every((line) => /^(?:f\.yaml|upstream|--upstream)/.test(line)),
          loaded.errors.join('\n'),
        );
    },
    300,
  ),
];

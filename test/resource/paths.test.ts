import fc from 'fast-check';
import t from 'tap';
import { foldPath, type IdentityOptions, normalUrl, type QueryPolicy, resourceKey } from '../../src/resource/key.js';
import { compileRoutes, substitute } from '../../src/resource/policy.js';
import { parseTarget, type Target } from '../../src/resource/target.js';

const folding: IdentityOptions = {
  caseSensitive: false,
  trailingSlash: false,
  duplicateSlashes: false,
  pathParams: false,
  host: false,
  pathHeaders: 'drop',
};
const exact: IdentityOptions = {
  ...folding,
  caseSensitive: true,
  trailingSlash: true,
  duplicateSlashes: true,
  pathParams: true,
};

function target(text: string): Target {
  const result = parseTarget(text);
  if (result.kind !== 'target') throw new Error(`not a target: ${text}`);
  return result.target;
}

/** Pieces that paths are made of where something can go wrong. */
const piece = fc.constantFrom(
  ...['/', '//', '.', '..', '%2e', '%2E', '%2f', '%5C', ';', '%3b', 'a', 'A', 'B%41', '%c3%89', 'é', '%E9', '%', '%4'],
  ...['%25', '%252f', '%%34', '1', '%20', '%3F', '%23', '~', '%7e', '%CD%BE', '%C4%B0', '%CE%A3', ':', '%3a', '*'],
);
const anyPath = fc.array(piece, { maxLength: 14 }).map((pieces) => `/${pieces.join('')}`);
const anyOptions = fc.record({
  caseSensitive: fc.boolean(),
  trailingSlash: fc.boolean(),
  duplicateSlashes: fc.boolean(),
  pathParams: fc.boolean(),
  host: fc.boolean(),
  pathHeaders: fc.constant<'drop'>('drop'),
});

t.test('I3: what every parser reads the same way travels as it is', async (t) => {
  const rows: [input: string, path: string, query: string | undefined, authority?: string][] = [
    ['/', '/', undefined],
    ['/docs/1', '/docs/1', undefined],
    ['/docs/1?', '/docs/1', ''],
    ['/a?b=c?d/../..', '/a', 'b=c?d/../..'],
    ['/a/./b', '/a/./b', undefined],
    ['/a/../b', '/a/../b', undefined],
    ['/a/%2e%2E/b', '/a/%2e%2E/b', undefined],
    ['/a//b', '/a//b', undefined],
    ['//x', '//x', undefined],
    ['/a//b/../c', '/a//b/../c', undefined],
    ['/a/..b', '/a/..b', undefined],
    ['/a%cd%be/..\xed\xbe', '/a%cd%be/..\xed\xbe', undefined],
    ['/a/...', '/a/...', undefined],
    ['/a/b..;x', '/a/b..;x', undefined],
    ['/a;x=1/b', '/a;x=1/b', undefined],
    ['/a;x=../b', '/a;x=../b', undefined],
    ['/100%', '/100%', undefined],
    ['/a%2Fb%5Cc', '/a%2Fb%5Cc', undefined],
    ['/a%2Fb/c/../d', '/a%2Fb/c/../d', undefined],
    ['/caf\xc3\xa9', '/caf\xc3\xa9', undefined],
    ['/a%20b%07', '/a%20b%07', undefined],
    ['/a?q=%00%0d%5c', '/a', 'q=%00%0d%5c'],
    ['/a/..', '/a/..', undefined],
  ];
  for (const [raw, path, query, authority] of rows) {
    t.same(parseTarget(raw), { kind: 'target', target: { raw, path, query, authority } }, raw);
  }
  t.same(parseTarget('*'), { kind: 'asterisk' });
});

t.test('RFC 9112 3.2.2: a target in absolute-form is brought into origin-form', async (t) => {
  const rows: [input: string, raw: string, authority: string][] = [
    ['http://example.com/a?b', '/a?b', 'example.com'],
    ['HTTPS://Example.com:8443/a/../b', '/a/../b', 'Example.com:8443'],
    ['http://[::1]:80', '/', '[::1]:80'],
    ['http://h?x=1', '/?x=1', 'h'],
  ];
  for (const [input, raw, authority] of rows) {
    const result = target(input);
    t.equal(result.raw, raw, input);
    t.equal(result.authority, authority, input);
  }
});

t.test('I6: what two parsers could read differently is refused', async (t) => {
  const rows: [input: string, reason: RegExp][] = [
    ['', /begins with neither/],
    ['docs/1', /begins with neither/],
    ['example.com:443', /begins with neither/],
    ['ftp://example.com/a', /begins with neither/],
    ['http:///a', /no valid host/],
    ['http://a b/', /a space/],
    ['http://[::1/a', /no valid host/],
    ['http://h:port/', /no valid host/],
    ['http://me:secret@h/', /user information/],
    ['http://h/a/../..', /climbs/],
    ['/x#frag', /fragment/],
    ['/x?q=#frag', /fragment/],
    ['/a\\b', /backslash/],
    ['/a?b=\\', /backslash/],
    ['/a b', /space/],
    ['/a?b c', /space/],
    ['/a\tb', /control/],
    ['/a\x7f', /control/],
    ['/a?\x01', /control/],
    ['/caf\u0107', /not one octet/],
    ['/a%00', /NUL/],
    ['/a%0d%0ab', /NUL, CR or LF/],
    ['/a/.;/b', /parameters/],
    ['/a/..;x/b', /parameters/],
    ['/a/%2e;/b', /parameters/],
    ['/a/%2E%2e;/b', /parameters/],
    ['/a/..%3Bx/b', /parameters/],
    // U+037E, which normal form C makes a semicolon.
    ['/a/..%cd%BEx/b', /parameters/],
    ['/a/.\xcd%be/b', /parameters/],
    ['/a/..\xcd\xbe', /parameters/],
    ['/a%CD%BEb%2Fc', /encoded slash/],
    ['/a%2f..;/b', /parameters/],
    ['/..', /climbs/],
    ['/../a', /climbs/],
    ['/a/../../b', /climbs/],
    ['/%2e%2e/x', /climbs/],
    ['/.%2E/x', /climbs/],
    ['/./../x', /climbs/],
    ['/a/%2e%2e%2f..%2fb', /climbs/],
    ['/..%2fx', /climbs/],
    ['/..%5cx', /climbs/],
    ['/a%5c..%5c..%5cb', /climbs/],
    // An empty segment is one for RFC 3986 and none for a server that merges slashes.
    ['//../x', /climbs/],
    ['/;x/../b', /climbs/],
    ['/a//../b', /resolve differently/],
    ['/a%2Fb/../c', /resolve differently/],
    ['/a%5Cb/../c', /resolve differently/],
    ['/a/b%2F..%2Fc', /resolve differently/],
    ['/a/b/..%2Fc', /resolve differently/],
  ];
  for (const [input, reason] of rows) {
    const result = parseTarget(input);
    t.equal(result.kind, 'refused', JSON.stringify(input));
    if (result.kind === 'refused') {
      t.match(result.reason, reason, JSON.stringify(input));
      t.match(result.reason, /^[A-Z][^\r\n]*\.$/, 'one sentence');
    }
  }
});

t.test('I6: a path that passes resolves alike however slashes are read', async (t) => {
  const resolve = (path: string): string => new URL(`http://h${path.replace(/\/+/g, '/')}`).pathname;
  fc.assert(
    fc.property(anyPath, (path) => {
      const result = parseTarget(path);
      if (result.kind !== 'target') return;
      t.equal(result.target.raw, path);
      const dotless = (text: string): string => foldPath(resolve(text.replace(/%2f|%5c/gi, '/')), folding);
      if (dotless(path) !== foldPath(resolve(path), folding)) t.fail(`two readings of ${path}`);
      if (/%0/.test(foldPath(path, folding))) t.fail(`break in ${path}`);
    }),
    { numRuns: 2000 },
  );
  t.pass('no path has two readings');
});

t.test('I1: spellings of one resource fold into one key', async (t) => {
  const rows: [folded: string, ...spellings: string[]][] = [
    ['/docs/1', '/docs/1', '/Docs/1', '/docs/1/', '//docs///1//', '/docs/./1', '/docs/x/../1', '/%64ocs/%31'],
    ['/docs/1', '/docs%2F1', '/docs%2f1', '/docs%5C1', '/docs%5c1', '/docs/1;v=2', '/docs;a/1;b;c', '/docs%3Ba/1'],
    ['/docs/1', '/docs/x%2F..%2F1', '/docs/x%5c%2e%2e/1', '/docs/y;/..;z/1', '/%44OCS/1'],
    ['/', '/', '', '//', '/.', '/a/..', '/;x', '/%2F'],
    ['/a@b:c', '/a@b:c', '/a%40b%3Ac', '/A%40B:C'],
    ['/100%25', '/100%', '/100%25'],
    ['/a%20b', '/a%20b', '/A%20b'],
    // Decoded once: a literal "%2F" in a name is no separator.
    ['/a%252fb', '/a%252Fb', '/a%252fb'],
    ['/caf%C3%A9', '/caf\xc3\xa9', '/caf%c3%a9', '/CAF%C3%89', '/cafe%CC%81'],
    ['/%CF%83a', '/%CE%A3a', '/%CF%82a'],
    ['/%E9', '/%e9', '/\xe9'],
    ['/a%3Fb%23', '/a%3fb%23'],
    ['/a%E9b', '/A%E9B'],
    ['/%C3%A9', '/%C3%89;%E9', '/%C3%89%CD%BEx', '/%E9/../%C3%89'],
  ];
  for (const [folded, ...spellings] of rows) {
    for (const spelling of spellings) t.equal(foldPath(spelling, folding), folded, spelling);
  }
});

t.test('I1: each option undoes one folding and no other', async (t) => {
  const rows: [option: keyof IdentityOptions, path: string, folded: string][] = [
    ['caseSensitive', '/Docs//%41;x/', '/Docs/A'],
    ['caseSensitive', '/CAF%C3%89', '/CAF%C3%89'],
    ['caseSensitive', '/A%E9', '/A%E9'],
    ['trailingSlash', '/Docs//1;x/', '/docs/1/'],
    ['trailingSlash', '/docs/1//', '/docs/1/'],
    ['trailingSlash', '/docs/1/.', '/docs/1/'],
    ['duplicateSlashes', '/Docs//1;x/', '/docs//1'],
    ['duplicateSlashes', '//', '/'],
    ['pathParams', '/Docs//1;X/', '/docs/1;x'],
    ['pathParams', '/docs/1%3BX', '/docs/1;x'],
  ];
  for (const [option, path, folded] of rows) t.equal(foldPath(path, { ...folding, [option]: true }), folded, path);
  t.equal(foldPath('/A//b;C/%7e/', exact), '/A//b;C/~/');
});

t.test('I1: folding is idempotent, and folds no less than its parts', async (t) => {
  fc.assert(
    fc.property(anyPath, anyOptions, (path, options) => {
      const folded = foldPath(path, options);
      if (foldPath(folded, options) !== folded) return false;
      // A dot segment with parameters is one only where they are taken away first: I6 lets none pass.
      const passes = parseTarget(path).kind === 'target';
      return !passes || foldPath(foldPath(path, exact), folding) === foldPath(path, folding);
    }),
    { numRuns: 5000 },
  );
  for (let code = 0x80; code < 0x3000; code++) {
    const folded = foldPath(`/${encodeURIComponent(String.fromCodePoint(code))}`, folding);
    if (foldPath(folded, folding) !== folded) t.fail(`U+${code.toString(16)}`);
  }
  t.pass('idempotent');
});

t.test('I1: percent-encoding any octet of a path changes no key', async () => {
  fc.assert(
    fc.property(fc.stringMatching(/^\/[A-Za-z0-9/.;:@~_-]{0,12}$/), fc.nat(), (path, at) => {
      const index = at % path.length;
      const encoded = `%${path.charCodeAt(index).toString(16)}`;
      return foldPath(`${path.slice(0, index)}${encoded}${path.slice(index + 1)}`, folding) === foldPath(path, folding);
    }),
  );
});

t.test('I1, I5: the key of a resource', async (t) => {
  const rows: [key: string, target: string, query: QueryPolicy, options?: Partial<IdentityOptions>, host?: string][] = [
    ['/doc', '/doc?id=1', 'ignore'],
    ['/doc', '/doc?', 'include'],
    ['/doc?a=2&b=1', '/doc?b=1&a=2', 'include'],
    ['/doc?a=&b=', '/doc?b&a=&', 'include'],
    ['/doc?a=1&a=2', '/doc?a=2&a=1', 'include'],
    ['/doc?a=b%20c', '/doc?a=b+c', 'include'],
    ['/doc?a=b%20c', '/doc?a=b%20c', 'include'],
    ['/doc?a=b%2Bc', '/doc?a=b%2bc', 'include'],
    ['/doc?a=b%3Dc', '/doc?a=b=c', 'include'],
    ['/doc?id=1', '/doc?x=2&%69d=1', ['id']],
    ['/doc?id=1', '/doc?ID=1', ['id']],
    ['/doc', '/doc?ID=1', ['id'], { caseSensitive: true }],
    ['/doc?%C3%A9=1', '/doc?\xc3\xa9=1', ['é']],
    ['/doc', '/doc?x=1', ['id']],
    ['/doc', '/doc', 'ignore', {}, 'a.example'],
    ['a.example/doc', '/doc', 'ignore', { host: true }, 'A.Example:80'],
    ['a.example/doc', '/doc', 'ignore', { host: true }, 'a.example.'],
    ['a.example:8080/doc', '/doc', 'ignore', { host: true }, 'a.example.:8080'],
    ['[::1]/doc', '/doc', 'ignore', { host: true }, '[::1]:443'],
  ];
  for (const [key, text, query, options, host] of rows) {
    t.equal(resourceKey(target(text), query, { ...folding, ...options }, host ?? 'h'), key, text);
  }
});

t.test('I1: a key is never long', async (t) => {
  const keyOf = (text: string, query: QueryPolicy = 'ignore'): string => resourceKey(target(text), query, folding, 'h');
  const long = `/docs/${'a'.repeat(60_000)}`;
  t.equal(keyOf(`/${'a'.repeat(255)}`), `/${'a'.repeat(255)}`, 'up to 256 characters it is as it is');
  t.match(keyOf(long), /^\/docs\/a{186}#[\w-]{43}$/, 'then it ends in a hash');
  t.equal(keyOf(long.toUpperCase()), keyOf(long), 'of what is folded');
  t.not(keyOf(`${long}b`), keyOf(long), 'and of all of it');
  t.not(keyOf(`/docs?a=${long}1`, 'include'), keyOf(`/docs?a=${long}2`, 'include'));
  t.equal(keyOf(`/docs?${long}`), '/docs', 'what does not count makes no difference');
});

t.test('I2: the URL of a view is the normal form of RFC 3986 and nothing more', async (t) => {
  const rows: [normal: string, text: string][] = [
    ['/Docs/1/', '/Docs/1/'],
    ['/a//b', '/a//b'],
    ['/a/c', '/a/./b/../c'],
    ['/a/', '/a/b/..'],
    ['/a~%2F%5C', '/%61%7e%2f%5c'],
    ['/a;x?b=2&a=%2B+', '/a;x?b=2&a=%2b+'],
    ['/a?', '/a?'],
    ['/caf%C3%A9?%E9', '/caf\xc3\xa9?\xe9'],
    ['/100%25', '/100%'],
    ['/%2541', '/%%341'],
  ];
  for (const [normal, text] of rows) t.equal(normalUrl(target(text)), normal, text);
  t.not(normalUrl(target('/docs/1')), normalUrl(target('/docs/1/')));
  fc.assert(
    fc.property(anyPath, (path) => {
      const result = parseTarget(path);
      if (result.kind !== 'target') return true;
      const normal = normalUrl(result.target);
      return normalUrl({ ...result.target, path: normal }) === normal;
    }),
  );
});

const fold = (path: string): string => foldPath(path, folding);

t.test('routes: the first match wins', async (t) => {
  const paths = ['/docs/new', '/docs/:id', '/Docs/:id/parts/*', '/:any/new', '/files/img*', '/', '/straße/:id'];
  const routes = compileRoutes(
    paths.map((path) => ({ path, value: path })),
    fold,
  );
  const rows: [path: string, route: string | undefined, params?: Record<string, string>][] = [
    ['/', '/'],
    ['/docs/new', '/docs/new'],
    ['/DOCS/7/', '/docs/:id', { id: '7' }],
    ['/docs/7/parts/1/2', '/Docs/:id/parts/*', { id: '7', '*': '1/2' }],
    ['/docs/7/parts', '/Docs/:id/parts/*', { id: '7', '*': '' }],
    ['/other/new', '/:any/new', { any: 'other' }],
    ['/files/img/1', '/files/img*', { '*': '/1' }],
    ['/files/image.png', undefined],
    ['/files/img7', '/files/img*', { '*': '7' }],
    ['/stra%C3%9Fe/1', '/straße/:id', { id: '1' }],
    ['/docs', undefined],
    ['/docs/7/8', undefined],
  ];
  for (const [path, route, params = {}] of rows) {
    const match = routes.match(fold(path));
    t.same(match, route === undefined ? undefined : { value: route, path: route, params }, path);
  }
});

t.test('routes: a route behind one that takes all its paths cannot be reached', async (t) => {
  const unreachable = (...paths: string[]): string[] =>
    compileRoutes(
      paths.map((path) => ({ path, value: 0 })),
      fold,
    ).unreachable.map(({ path, by }) => `${path} < ${by}`);
  t.same(unreachable('/docs/:id', '/docs/new'), ['/docs/new < /docs/:id']);
  t.same(unreachable('/docs/new', '/docs/:id', '/docs/:key'), ['/docs/:key < /docs/:id']);
  t.same(unreachable('/docs', '/Docs/'), ['/Docs/ < /docs']);
  t.same(unreachable('/docs/*', '/docs', '/docs/:id', '/docs/a/*', '/doc'), [
    '/docs < /docs/*',
    '/docs/:id < /docs/*',
    '/docs/a/* < /docs/*',
  ]);
  t.same(unreachable('/a/img*', '/a/img1', '/a/im*', '/a/:x', '/a/imga*'), ['/a/img1 < /a/img*', '/a/imga* < /a/img*']);
  t.same(unreachable('/*', '/'), ['/ < /*']);
  t.same(unreachable('/docs/:id', '/docs/*', '/:x/1'), []);
});

t.test('routes: the tree agrees with trying one pattern after the other', async () => {
  const segment = fc.constantFrom('a', 'b', ':x', ':y', 'ab');
  const pattern = fc
    .tuple(fc.array(segment, { maxLength: 3 }), fc.constantFrom('', '/*', '/a*'))
    .map(([segments, end]) => `/${segments.join('/')}${segments.length === 0 ? end.slice(1) : end}`);
  const asked = fc.array(fc.constantFrom('a', 'b', 'ab', 'c'), { maxLength: 4 }).map((parts) => `/${parts.join('/')}`);
  const matches = (path: string, one: string): boolean => {
    const source = one
      .replace(/:[a-z]/g, '[^/]+')
      .replace(/\/\*$/, '(?:/.*)?')
      .replace(/a\*$/, 'a.*');
    return new RegExp(`^${source === '' ? '/' : source}$`).test(path) || (one === '/*' && path === '/');
  };
  fc.assert(
    fc.property(fc.array(pattern, { maxLength: 8 }), asked, (patterns, path) => {
      const routes = compileRoutes(
        patterns.map((one, value) => ({ path: one, value })),
        (text) => foldPath(text, { ...folding, pathParams: true }),
      );
      const expected = patterns.findIndex((one) => matches(path, one));
      if (
        routes.unreachable.some(
          ({ path: one }) => patterns.indexOf(one) === expected && expected === patterns.lastIndexOf(one),
        )
      ) {
        return false;
      }
      return (routes.match(path)?.value ?? -1) === expected;
    }),
    { numRuns: 3000 },
  );
});

t.test('substitute: other resources that a write changes', async (t) => {
  t.equal(substitute('/docs/:id', { id: '7' }), '/docs/7');
  t.equal(substitute('/docs', { id: '7' }), '/docs');
  t.equal(substitute('/x/:a/:b/:a', { a: '1', b: '%20' }), '/x/1/%20/1');
  t.equal(substitute('/copy/*', { '*': 'a/b' }), '/copy/a/b');
  t.equal(substitute('/docs/:toString', {}), '/docs/:toString');
  t.equal(substitute('/docs/:id', { id: 'a*', '*': 'x' }), '/docs/a*');
});

import fc from 'fast-check';
import t from 'tap';
import { allowConditional, createCorsMemory, exposeEtag } from '../../src/headers/cors.js';
import { type ForwardedOptions, requestFields, responseVia } from '../../src/headers/forwarded.js';
import { methodOverride, overrideFields, withoutMethodParameter } from '../../src/headers/override.js';

t.test('I4: method overrides', async (t) => {
  const rows: [expected: string, raw: string[], query?: string][] = [
    ['none', []],
    ['none', ['X-HTTP-Method-Override', '']],
    ['none', ['X-HTTP-Method-Override', ' , ']],
    ['none', ['X-Method', 'PUT'], 'method=PUT&_Method=PUT&_method='],
    ['PUT', ['X-HTTP-Method-Override', ' put ']],
    ['DELETE', ['x-method-override', 'Delete']],
    ['PATCH', ['X-HTTP-METHOD', 'PATCH']],
    ['PUT', ['X_HTTP_Method_Override', 'PUT']],
    ['PUT', ['X-HTTP_Method', 'PUT']],
    ['PUT', [], '_method=put'],
    ['PUT', [], 'a=b&%5Fmetho%64=%50UT'],
    ['PUT', [], '_METHOD=+PUT&x=%'],
    ['PUT', [], 'a;_method=PUT;b'],
    ['PUT', [], '.method=PUT&%20_method=put&+METHOD=Put'],
    ['none', [], '._method=PUT&x.method=PUT&?_method=PUT'],
    ['PUT', ['X-HTTP-Method', 'PUT', 'X-Method-Override', 'put'], '_method=Put'],
    ['PUT', ['X-HTTP-Method', 'PUT, put']],
    ['PUT,DELETE', ['X-HTTP-Method', 'PUT', 'X-HTTP-Method', 'DELETE']],
    ['PUT,DELETE', ['X-HTTP-Method', 'PUT, DELETE']],
    ['PUT,DELETE', ['X-HTTP-Method', 'PUT'], '_method=DELETE'],
    ['GET,PUT', [], '_method=GET&_METHOD=PUT'],
  ];
  for (const [expected, raw, query] of rows) {
    const override = methodOverride(raw, query);
    const found =
      override.kind === 'none' ? 'none' : override.kind === 'method' ? override.method : override.methods.join();
    t.equal(found, expected, `${raw.join(': ')} ${query}`);
    t.equal(override.kind === 'conflict', expected.includes(','));
  }
  const long = `_method=PUT${'&a'.repeat(30_000)}`;
  for (const [query, rest] of [
    [undefined, undefined],
    ['', ''],
    ['_method=PUT', undefined],
    ['_method', undefined],
    ['a=_method&b;_method=PUT;c&&d', 'a=_method&b;c&&d'],
    ['.method=PUT&+_method&%20method=x&_method%00y;z', 'z'],
    ['method=PUT&_methods&x.method&?_method', 'method=PUT&_methods&x.method&?_method'],
    [long, long.slice('_method=PUT&'.length)],
  ] as const) {
    t.equal(withoutMethodParameter(query), rest, `${query?.slice(0, 60)} without`);
  }
  t.equal(overrideFields.size, 16);
  for (const name of ['x-http-method-override', 'x_method-override', 'x_http_method']) t.ok(overrideFields.has(name));
});

const context = {
  clientHost: 'api.example',
  upstreamHost: 'backend:3000',
  remoteAddress: '192.0.2.7',
  protocol: 'https' as const,
  requestId: 'id-1',
  httpVersion: '1.1',
};
const options: ForwardedOptions = { host: 'preserve', forwarded: 'append', via: 'response', pathHeaders: 'drop' };
const off: ForwardedOptions = { ...options, forwarded: 'off' };
const requestId = ['X-Request-Id', 'id-1'];
const added = ['X-Forwarded-For', '192.0.2.7', 'X-Forwarded-Proto', 'https', 'X-Forwarded-Host', 'api.example'];

t.test('fields that the upstream gets', async (t) => {
  const rows: [what: string, raw: string[], options: ForwardedOptions, expected: string[], changed?: object][] = [
    [
      'defaults',
      ['HOST', 'api.example', 'b', '2', 'A', '1', 'b', '3'],
      options,
      ['HOST', 'api.example', 'b', '2', 'A', '1', 'b', '3', ...added, ...requestId],
    ],
    [
      'host: upstream',
      ['a', '1', 'hOst', 'x'],
      { ...off, host: 'upstream' },
      ['a', '1', 'hOst', 'backend:3000', ...requestId],
    ],
    ['host: a name', ['Host', 'x'], { ...off, host: 'name.example' }, ['Host', 'name.example', ...requestId]],
    ['RFC 9112 3.2.2: the target names the host', ['Host', 'x'], off, ['Host', 'api.example', ...requestId]],
    ['one Host', ['Host', 'x', 'host', 'y'], off, ['Host', 'api.example', ...requestId]],
    ['no Host', ['A', '1'], off, ['Host', 'backend:3000', 'A', '1', ...requestId], { clientHost: '' }],
    [
      'append: one line',
      ['Host', 'x', 'x-forwarded-for', '10.0.0.1', 'X-Forwarded-Proto', 'http', 'X-Forwarded-Host', 'w'],
      options,
      [
        'Host',
        'api.example',
        'x-forwarded-for',
        '10.0.0.1, 192.0.2.7',
        'X-Forwarded-Proto',
        'http',
        'X-Forwarded-Host',
        'w',
        ...requestId,
      ],
    ],
    [
      'append: the last of two lines',
      ['Host', 'x', 'X-Forwarded-For', 'a', 'Z', '', 'X-Forwarded-For', 'b'],
      options,
      [
        'Host',
        'api.example',
        'X-Forwarded-For',
        'a',
        'Z',
        '',
        'X-Forwarded-For',
        'b, 192.0.2.7',
        ...added.slice(2),
        ...requestId,
      ],
    ],
    [
      'append: an empty line',
      ['Host', 'x', 'X-Forwarded-For', ''],
      options,
      ['Host', 'api.example', ...added, ...requestId],
    ],
    [
      'append: IPv4 on a dual-stack socket',
      ['Host', 'x'],
      options,
      ['Host', 'api.example', ...added, ...requestId],
      { remoteAddress: '::ffff:192.0.2.7' },
    ],
    [
      'append: IPv6',
      ['Host', 'x'],
      options,
      ['Host', 'api.example', 'X-Forwarded-For', '::1', ...added.slice(2), ...requestId],
      { remoteAddress: '::1' },
    ],
    [
      'append: a unix socket',
      ['Host', 'x'],
      options,
      ['Host', 'api.example', ...added.slice(2), ...requestId],
      { remoteAddress: '' },
    ],
    [
      'append: a unix socket behind a proxy',
      ['Host', 'x', 'X-Forwarded-For', 'a'],
      options,
      ['Host', 'api.example', 'X-Forwarded-For', 'a', ...added.slice(2), ...requestId],
      { remoteAddress: '' },
    ],
    [
      'append: no host known',
      ['Host', ''],
      options,
      ['Host', 'backend:3000', ...added.slice(0, 4), ...requestId],
      { clientHost: '' },
    ],
    [
      'replace',
      ['X-Forwarded-For', 'a', 'x_forwarded_host', 'b', 'Host', 'x', 'X-Forwarded-Proto', 'c', 'X-Forwarded-Port', '1'],
      { ...options, forwarded: 'replace' },
      ['Host', 'api.example', 'X-Forwarded-Port', '1', ...added, ...requestId],
    ],
    ['off', ['Host', 'x', 'X-Forwarded-For', 'a'], off, ['Host', 'api.example', 'X-Forwarded-For', 'a', ...requestId]],
    [
      'A3: one request id',
      ['Host', 'x', 'x-request-id', 'a', 'X-REQUEST-ID', 'b', 'X_Request_Id', 'c'],
      off,
      ['Host', 'api.example', ...requestId],
    ],
    [
      'I4: path fields dropped',
      ['Host', 'x', 'X-Original-URL', '/a', 'x_rewrite_url', '/b'],
      off,
      ['Host', 'api.example', ...requestId],
    ],
    [
      'I4: path fields passed',
      ['Host', 'x', 'X-Original-URL', '/a'],
      { ...off, pathHeaders: 'pass' },
      ['Host', 'api.example', 'X-Original-URL', '/a', ...requestId],
    ],
    [
      'via: both',
      ['Host', 'x', 'Via', '1.0 a'],
      { ...off, via: 'both' },
      ['Host', 'api.example', 'Via', '1.0 a', ...requestId, 'Via', '1.1 ifmatch'],
    ],
    ['via: off', ['Host', 'x'], { ...off, via: 'off' }, ['Host', 'api.example', ...requestId]],
  ];
  for (const [what, raw, chosen, expected, changed] of rows) {
    t.same(requestFields(raw, { ...context, ...changed }, chosen), expected, what);
  }
});

t.test('order and spelling of all other fields survive', async (t) => {
  const field = fc.tuple(fc.constantFrom('A', 'a', 'Cookie', 'X-Forwarded-User', 'If-Match', 'Forwarded'), fc.string());
  fc.assert(
    fc.property(fc.array(field), (fields) => {
      const raw = ['Host', 'api.example', ...fields.flat()];
      t.same(requestFields(raw, context, options).slice(0, raw.length), raw);
    }),
    { numRuns: 200 },
  );
});

t.test('RFC 9110 7.6.3: Via of answers', async (t) => {
  const raw = ['Via', '1.1 a', 'B', '1'];
  t.same(responseVia(raw, '1.0', options), [...raw, 'Via', '1.0 ifmatch']);
  t.same(responseVia(raw, '1.1', { ...options, via: 'both' }), [...raw, 'Via', '1.1 ifmatch']);
  t.same(responseVia(raw, '1.1', { ...options, via: 'off' }), raw);
});

const allow = ['Access-Control-Allow-Origin', 'https://a'];
const credentials = [...allow, 'access-control-allow-credentials', 'true'];
const expose = 'Access-Control-Expose-Headers';
const allowed = 'Access-Control-Allow-Headers';
const conditional = 'If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, If-Range';

t.test('R6: ETag and the conditional fields for other origins', async (t) => {
  const rows: [change: (raw: readonly string[]) => string[], raw: string[], expected: string[]][] = [
    [exposeEtag, ['ETag', '"a"'], ['ETag', '"a"']],
    [exposeEtag, allow, [...allow, expose, 'ETag']],
    [exposeEtag, [...allow, expose, 'X-A'], [...allow, expose, 'X-A, ETag']],
    [
      exposeEtag,
      [expose, 'X-A', ...allow, 'EXPOSE', '', expose, ''],
      [expose, 'X-A', ...allow, 'EXPOSE', '', expose, 'ETag'],
    ],
    [exposeEtag, [...allow, expose.toLowerCase(), 'X-A, etag'], [...allow, expose.toLowerCase(), 'X-A, etag']],
    [exposeEtag, [...allow, expose, '*'], [...allow, expose, '*']],
    [exposeEtag, [...credentials, expose, '*'], [...credentials, expose, '*, ETag']],
    [exposeEtag, [expose, 'X-A'], [expose, 'X-A']],
    [allowConditional, ['Allow', 'GET'], ['Allow', 'GET']],
    [allowConditional, allow, [...allow, allowed, conditional]],
    [
      allowConditional,
      [...allow, allowed, 'content-type,if-match , IF-RANGE'],
      [...allow, allowed, 'content-type,if-match , IF-RANGE, If-None-Match, If-Modified-Since, If-Unmodified-Since'],
    ],
    [allowConditional, [...allow, allowed, '*'], [...allow, allowed, '*']],
    [allowConditional, [...credentials, allowed, '*'], [...credentials, allowed, `*, ${conditional}`]],
  ];
  for (const [change, raw, expected] of rows) {
    t.same(change(raw), expected, `${change.name} ${raw.join(' ')}`);
    t.same(change(expected), expected, 'twice is once');
  }
});

t.test('R6: answers of the gate say what the upstream last said', async (t) => {
  const memory = createCorsMemory(2);
  const exposed = [expose, 'ETag, Retry-After, Proxy-Status, X-Request-Id'];
  t.same(memory.replay('/a', 'https://a'), []);
  memory.learn('/a', 'https://a', ['X', '1', ...credentials, 'vary', 'Origin', expose, 'X-A']);
  t.same(memory.replay('/a', 'https://a'), [...credentials, 'vary', 'Origin', ...exposed]);
  t.same(memory.replay('/b', 'https://a'), [], 'another route');
  t.same(memory.replay('/a', 'https://b'), [], 'another origin');
  t.same(memory.replay('/a', undefined), []);
  memory.learn('/a', undefined, ['Access-Control-Allow-Origin', '*']);
  t.same(memory.replay('/a', undefined), [], 'not asked from another origin');

  memory.learn('/a', 'https://a', allow);
  t.same(memory.replay('/a', 'https://a'), [...allow, ...exposed], 'the last counts');
  memory.learn('/a', 'https://a', ['ETag', '"a"']);
  t.same(memory.replay('/a', 'https://a'), [], 'permission withdrawn');

  const long = `https://${'a'.repeat(60_000)}`;
  memory.learn('/a', long, allow);
  t.same(memory.replay('/a', long), [], 'no browser has such an origin: it would only fill the memory');
  memory.learn('/a', 'https://a', [...allow, 'Vary', long]);
  t.same(memory.replay('/a', 'https://a'), [], 'nor are fields without end remembered');

  memory.learn('/1', 'o', allow);
  memory.learn('/2', 'o', allow);
  memory.replay('/1', 'o');
  memory.learn('/3', 'o', allow);
  t.same(
    ['/1', '/2', '/3'].filter((route) => memory.replay(route, 'o').length > 0),
    ['/1', '/3'],
    'the least recently used is forgotten',
  );
});

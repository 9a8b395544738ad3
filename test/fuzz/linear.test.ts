import t, { type Test } from 'tap';
import type { Exchange } from '../../src/gate/exchange.js';
import { malformation } from '../../src/gate/malformation.js';
import { allowConditional, exposeEtag } from '../../src/headers/cors.js';
import { requestFields } from '../../src/headers/forwarded.js';
import { methodOverride, withoutMethodParameter } from '../../src/headers/override.js';
import { parseEntityTag, scanEntityTags } from '../../src/http/entity-tag.js';
import { endToEnd, listMembers } from '../../src/http/fields.js';
import { parseHttpDate } from '../../src/http/http-date.js';
import { prefersHtml } from '../../src/http/negotiate.js';
import { parsePreconditions } from '../../src/http/preconditions.js';
import { proxyStatus, renderProblem } from '../../src/http/problem.js';
import { boundCredential } from '../../src/resource/credential.js';
import { createIdentifier } from '../../src/resource/identity.js';
import { foldHost, foldPath, normalUrl, resourceKey } from '../../src/resource/key.js';
import { createLocator } from '../../src/resource/locate.js';
import { selectingOf, selectsSame } from '../../src/resource/selecting.js';
import { isAuthority, parseTarget, type Target } from '../../src/resource/target.js';
import { canonicalize, canonicalValueAt } from '../../src/version/canonical-json.js';
import { codingsOf, decodableCodings } from '../../src/version/decoding.js';
import { syntheticHash, syntheticTag } from '../../src/version/tag.js';
import { growthOf, mostGrowth } from './growth.js';

const identity = {
  ...{ caseSensitive: false, trailingSlash: false, duplicateSlashes: false, pathParams: false, host: true },
  pathHeaders: 'drop' as const,
};
const target = (path: string, query?: string): Target => ({ raw: path, path, query, authority: undefined });
const policy = { query: 'include' as const, invalidates: ['/x/*', '/:a/:b'] };
const locator = createLocator({
  routes: [
    { path: '/a/:id/*', policy },
    { path: '/:a/:b/:c', policy },
    { path: '/*', policy },
  ],
  policy,
  identity,
  fingerprint: () => '',
  upstream: { authority: 'up', basePath: '/base' },
});
const identify = createIdentifier(Buffer.from('secret'));
const forwarding = { host: 'preserve', forwarded: 'append', via: 'both', pathHeaders: 'drop' } as const;
const context = {
  clientHost: 'h',
  upstreamHost: 'u',
  remoteAddress: '::1',
  protocol: 'http',
  requestId: 'i',
  httpVersion: '1.1',
} as const;
const problem = { type: '', title: '', status: 400, detail: '' };

type Parsers = Readonly<Record<string, (text: string) => unknown>>;

/** Values of fields. */
const ofValues: Parsers = {
  scanEntityTags,
  parseEntityTag,
  parseHttpDate,
  listMembers,
  prefersHtml,
  parsePreconditions: (text) =>
    parsePreconditions(['If-Match', text, 'If-None-Match', text, 'If-Modified-Since', text]),
  endToEnd: (text) => endToEnd(['Connection', text, 'X', '1']),
  renderProblem: (text) => renderProblem({ ...problem, detail: text, instance: text }, 'text/html'),
  proxyStatus: (text) => proxyStatus('x', text),
  exposeEtag: (text) => exposeEtag(['Access-Control-Allow-Origin', '*', 'Access-Control-Expose-Headers', text]),
  authorization: (text) => boundCredential(['Authorization', `Digest ${text}`], undefined),
  signature: (text) => boundCredential(['Signature-Input', text, 'Signature', text], undefined),
  vary: (text) => selectingOf(['Accept', text], text),
  codingsOf,
  decodableCodings,
  syntheticTag: (text) => syntheticTag('a'.repeat(22), text),
  syntheticHash: (text) => syntheticHash(`"im-${text}`),
};
/** What a value repeats that is meant to be hard. */
const valuePieces = [
  ...['"', '"a",', '"a', 'W/', 'W/"', ',', ', ', ' ', '\t', '\\', '"\\', '*', ';', '=', 'q=0.5,', 'text/html;q=0.1,'],
  ...['a', '<', '&lt;', 'Sun, ', 'keyid="a";', '\u00e9', 'a b'],
];

/** Parts of a URL. */
const ofUrls: Parsers = {
  methodOverride: (text) => methodOverride(['X-HTTP-Method', text], text),
  withoutMethodParameter,
  presigned: (text) => boundCredential([], `x-amz-credential&${text}`),
  parseTarget: (text) => parseTarget(`/${text}`),
  absoluteForm: (text) => parseTarget(`http://${text}`),
  isAuthority,
  foldPath: (text) => foldPath(`/${text}`, identity),
  foldHost,
  resourceKey: (text) => resourceKey(target('/', text), 'include', identity, text),
  normalUrl: (text) => normalUrl(target(`/${text}`, text)),
  locate: (text) => locator.locate(target(`/${text}`), 'h'),
  keyOf: (text) => locator.keyOf(text, target('/a/b'), 'h'),
};
const urlPieces = [
  ...[
    '%',
    '%2f',
    '%2e',
    '%2e%2e%2f',
    '.',
    '..',
    '../',
    './',
    '/',
    'a/../',
    ';/',
    '.;',
    '&',
    'a=b&',
    '_method=a&',
    'a/',
  ],
  ...['?', '+', ':', ':8', '[', '@', '-', 'A', '\u00e9', '%c3%a9', 'e%cc%81', '%cc%81', '\\', ' '],
];

/** Many fields, and how long a list of them takes. */
const ofFields: Readonly<Record<string, (raw: readonly string[]) => unknown>> = {
  parsePreconditions,
  endToEnd: (raw) => endToEnd(raw),
  malformation: (raw) => malformation({ httpVersion: '1.1', rawHeaders: raw } as unknown as Exchange),
  requestFields: (raw) => requestFields(raw, context, forwarding),
  methodOverride: (raw) => methodOverride(raw, undefined),
  allowConditional: (raw) => allowConditional(raw),
  identify: (raw) => identify(raw, 'h', 'auto'),
  boundCredential: (raw) => boundCredential(raw, undefined),
  selectsSame: (raw) => selectsSame(raw, selectingOf(raw, 'Origin, Cookie')),
};

/** One of many lines; all of them, or each with another name or value. */
const lines: readonly ((index: number) => readonly [name: string, value: string])[] = [
  () => ['If-Match', '"a"'],
  () => ['Connection', 'X-Hop'],
  (index) => ['Connection', `X-${index}`],
  (index) => [`X-${index}`, ''],
  () => ['X-HTTP-Method', 'PUT'],
  (index) => ['X-HTTP-Method', `PUT${index}`],
  () => ['X-Forwarded-For', '::1'],
  () => ['Authorization', 'Digest a'],
  () => ['Signature-Input', 'a;keyid="b"'],
  () => ['Accept', 'a'],
  () => ['Access-Control-Allow-Headers', 'x'],
  () => ['Access-Control-Allow-Origin', '*'],
  () => ['Host', ''],
];

/** JSON that repeats something, begun and ended so that it can be read. */
const documents: readonly (readonly [before: string, piece: string, after: string])[] = [
  ['[', '1.5,', '1]'],
  ['[', '1e5,', '1]'],
  ['[', '12345678901234567,', '1]'],
  ['[', '"\\u0041\\"",', '1]'],
  ['"', '\\"', '"'],
  ['"', '\\\\', '"'],
  ['1', '0', ''],
  ['0.', '0', '1'],
  ['1e', '0', '1'],
  ['{"a":{"b":1', ',"b":1e1', '}}'],
  ['', ' ', '1e1'],
  ['', '[', ''],
  ['', '{"a":', ''],
  ['[', '[[]],', '1]'],
];

/** A text as it comes from a socket; one that was put together would be copied when it is first read. */
function written(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}

/** Fails where a parser takes more than its share of time for eight times the input. */
function assertLinear(t: Pick<Test, 'ok'>, name: string, prepare: (repetitions: number) => () => unknown): void {
  const growth = growthOf(prepare);
  t.ok(growth < mostGrowth, `${name}: ${growth.toFixed(1)} times the time for eight times the input`);
}

for (const [parsers, pieces] of [
  [ofValues, valuePieces],
  [ofUrls, urlPieces],
] as const) {
  for (const [name, parse] of Object.entries(parsers)) {
    t.test(`${name}: long texts`, async (t) => {
      for (const piece of pieces) {
        assertLinear(t, JSON.stringify(piece), (repetitions) => {
          const text = written(piece.repeat(repetitions));
          // Once more with an end that a pattern may not have hoped for.
          const other = written(`${text}x`);
          return () => [parse(text), parse(other)];
        });
      }
    });
  }
}

for (const [name, parse] of Object.entries(ofFields)) {
  t.test(`${name}: many fields`, async (t) => {
    for (const line of lines) {
      assertLinear(t, line(0).join(': '), (repetitions) => {
        const raw = Array.from({ length: repetitions }, (_, index) => line(index)).flat();
        return () => parse(raw);
      });
    }
  });
}

t.test('canonical JSON: long and deep documents', async (t) => {
  for (const [before, piece, after] of documents) {
    assertLinear(t, `${before}${piece}…${after}`, (repetitions) => {
      const text = written(before + piece.repeat(repetitions) + after);
      return () => [canonicalize(text, ['/a/b', '/0']), canonicalValueAt(text, '/a')];
    });
  }
  assertLinear(t, 'many names', (repetitions) => {
    const members = Array.from({ length: repetitions }, (_, index) => `"${(index * 7919) % repetitions}":${index}e0`);
    const text = `{${members.join()}}`;
    return () => canonicalize(text, ['/a', '/1']);
  });
});

t.test('the measure tells linear from quadratic', async (t) => {
  const linear = (text: string) => text.split(',').map((member) => member.trim());
  /** The same, but each step copies the rest. */
  const quadratic = (text: string) => {
    const members: string[] = [];
    for (let rest = text; rest !== ''; rest = [...rest.slice(2)].join('')) members.push(rest.slice(0, 1));
    return members;
  };
  const growth = (parse: (text: string) => unknown, attempts?: number) => {
    const prepare = (repetitions: number) => {
      const text = written('a,'.repeat(repetitions));
      return () => parse(text);
    };
    return growthOf(prepare, attempts);
  };
  t.ok(growth(linear) < mostGrowth);
  t.ok(growth(quadratic, 2) > mostGrowth);
  // A pattern that looks for an end from every beginning.
  t.ok(growth((text) => /[a,]*x/.test(text), 2) > mostGrowth);
});

import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import {
  endToEnd,
  FieldNames,
  fieldLine,
  fieldValues,
  firstValue,
  hasField,
  listMembers,
  passableRequestTrailers,
  passableTrailers,
  withoutFields,
} from '../../src/http/fields.js';
import { prefersHtml } from '../../src/http/negotiate.js';
import { type Problem, proxyStatus, renderProblem } from '../../src/http/problem.js';

const raw = ['Host', 'a', 'X-List', '1', 'x-LIST', '2, 3', 'Empty', '', 'X-List', ''];

t.test('names are found in any case, and by their whole length', async (t) => {
  const long = 'x-'.padEnd(40, 'a');
  const names = new FieldNames(['te', 'etag', 'content-length', long]);
  for (const name of ['te', 'TE', 'ETag', 'Content-Length', long.toUpperCase()]) t.ok(names.has(name), name);
  // Some are as long as one that is there; all names from 31 characters on count as equally long.
  for (const name of ['', 't', 'to', 'etags', 'content_length', `${long}a`, long.slice(1)])
    t.notOk(names.has(name), name);
  t.notOk(new FieldNames([]).has(''));
});

t.test('fields by name, whatever their case', (t) => {
  t.strictSame(fieldValues(raw, 'x-list'), ['1', '2, 3', '']);
  t.strictSame(fieldValues(raw, 'none'), []);
  t.strictSame(fieldValues(['Odd'], 'odd'), [], 'a name without a value is no field');
  t.equal(fieldLine(raw, 'x-list'), '1, 2, 3, ');
  t.equal(fieldLine(raw, 'empty'), '');
  t.equal(fieldLine(raw, 'none'), undefined);
  t.equal(firstValue(raw, 'x-list'), '1');
  t.equal(firstValue(raw, 'x-lis'), undefined);
  t.equal(hasField(raw, 'empty'), true);
  t.equal(hasField(raw, '1'), false, 'a value is no name');
  t.strictSame(withoutFields(raw, new FieldNames(['x-list'])), ['Host', 'a', 'Empty', '']);
  t.strictSame(withoutFields(raw, new FieldNames([])), raw);
  t.end();
});

const lists: readonly [value: string, members: readonly string[]][] = [
  ['', []],
  [' , ,\t,', []],
  ['a', ['a']],
  ['a, b ,c', ['a', 'b', 'c']],
  ['a,"b,c",d', ['a', '"b,c"', 'd']],
  ['"a\\",b",c', ['"a\\",b"', 'c']],
  ['"a\\\\",b', ['"a\\\\"', 'b']],
  ['a="x, y";q=1, b', ['a="x, y";q=1', 'b']],
  ['a\\,b', ['a\\', 'b']],
  ['a,"b,c', ['a', '"b,c']],
  ['"a\\', ['"a\\']],
];

t.test('list members (RFC 9110 5.6.1)', (t) => {
  for (const [value, members] of lists) t.strictSame(listMembers(value), members, JSON.stringify(value));
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.string(), (value) =>
        listMembers(value).every((member) => member !== '' && member === member.trim()),
      ),
    ),
  );
  const member = fc.stringMatching(/^[a-z0-9=;]{1,8}$/);
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.array(member), fc.constantFrom(',', ', ', ' ,\t', ',,'), (members, separator) => {
        assert.deepEqual(listMembers(members.join(separator)), members);
      }),
    ),
  );
  t.end();
});

interface Stripped {
  readonly title: string;
  readonly before: readonly string[];
  readonly kept: readonly string[];
}

const stripped: readonly Stripped[] = [
  { title: 'nothing to drop', before: ['Host', 'a', 'ETag', '"a"'], kept: ['Host', 'a', 'ETag', '"a"'] },
  {
    title: 'hop-by-hop fields, nominated or not',
    before: [
      ...['Connection', 'close', 'Keep-Alive', 'timeout=5', 'Proxy-Connection', 'x', 'TE', 'trailers'],
      ...['Transfer-Encoding', 'chunked', 'UPGRADE', 'websocket', 'Accept', '*/*'],
    ],
    kept: ['Accept', '*/*'],
  },
  {
    title: 'Trailer announces what is passed on',
    before: ['Trailer', 'Digest', 'X', '1', 'Connection', 'trailer'],
    kept: ['Trailer', 'Digest', 'X', '1'],
  },
  {
    title: 'nominated fields',
    before: [
      'connection',
      'X-Hop, close',
      'x-hop',
      '1',
      'Connection',
      'HTTP2-Settings',
      'HTTP2-Settings',
      'x',
      'Y',
      '2',
    ],
    kept: ['Y', '2'],
  },
  {
    title: 'proxy authentication is for whoever asked',
    before: ['Proxy-Authenticate', 'Basic', 'Proxy-Authorization', 'x', 'Connection', 'proxy-authorization'],
    kept: ['Proxy-Authenticate', 'Basic', 'Proxy-Authorization', 'x'],
  },
];

t.test('end-to-end fields (RFC 9110 7.6.1)', (t) => {
  for (const { title, before, kept } of stripped) t.strictSame(endToEnd(before), kept, title);
  const decisive = [
    ...['If-Match', 'if-none-match', 'If-Modified-Since', 'If-Unmodified-Since', 'If-Range', 'If', 'Host'],
    ...['Content-Length', 'Content-Type', 'Content-Encoding', 'Authorization', 'Cookie', 'Cache-Control', 'Expect'],
    ...['Range', 'Origin', 'Accept', 'Accept-Encoding', 'X-Forwarded-For', 'Forwarded', 'Idempotency-Key', 'Vary'],
    ...['ETag', 'Last-Modified', 'Date', 'Age', 'Location', 'Set-Cookie', 'Access-Control-Allow-Origin'],
  ];
  for (const name of decisive) {
    const list = ['Connection', `close, ${name.toUpperCase()}`, name, 'x'];
    t.strictSame(endToEnd(list), [name, 'x'], `Connection cannot strip ${name}`);
  }
  const names = fc.array(fc.constantFrom('Connection', 'X-Hop', 'If-Match', 'TE', 'Trailer', 'Y'));
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(names, (list) => {
        const once = endToEnd(list.flatMap((name) => [name, 'x-hop']));
        assert.deepEqual(endToEnd(once), once, 'a second time changes nothing');
      }),
    ),
  );
  t.end();
});

t.test('trailers that are passed on (RFC 9110 6.5.1)', async (t) => {
  const rows: [name: string, ofAnswer: boolean, ofRequest: boolean][] = [
    ['X-Checksum', true, true],
    ['Server-Timing', true, true],
    ['Content-Length', false, false],
    ['ETag', false, false],
    ['Transfer-Encoding', false, false],
    ['Connection', false, false],
    // What decisions rest on stands in the head of a request, or nowhere.
    ['If-Match', true, false],
    ['Authorization', true, false],
    ['Content-MD5', true, false],
    ['X-Forwarded-For', true, false],
    ['X-HTTP-Method-Override', true, false],
    ['X_Method_Override', true, false],
    ['X-Original-URL', true, false],
    ['If_Match', true, false],
    ['Content.Length', true, false],
    ['Transfer_Encoding', true, false],
    ['Depth', true, false],
  ];
  for (const [name, ofAnswer, ofRequest] of rows) {
    const raw = [name, 'x', 'Y', '1'];
    t.strictSame(passableTrailers(raw), ofAnswer ? raw : ['Y', '1'], `${name} behind an answer`);
    t.strictSame(passableRequestTrailers(raw), ofRequest ? raw : ['Y', '1'], `${name} behind a request`);
  }
});

const accepts: readonly [accept: string | undefined, html: boolean][] = [
  [undefined, false],
  ['', false],
  ['*/*', false],
  ['application/json', false],
  ['application/problem+json', false],
  ['text/html', true],
  ['TEXT/HTML;charset=utf-8', true],
  ['text/*', true],
  ['text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8', true],
  ['text/html, application/json', false],
  ['text/html, */*', false],
  ['text/html;q=0.5, application/json;q=0.9', false],
  ['text/html; q=0.9, application/json; q=0.5', true],
  ['text/html;q=0.9, application/problem+json;q=0.5, */*', true],
  ['text/html;q=0.9, application/*;q=0.95', false],
  ['text/html;q=0, text/*', false],
  ['text/html;q=0', false],
  ['text/html;q=x', false],
  ['text/html;q=9, application/json', false],
  ['text/plain', false],
  ['application/json;profile="text/html, text/html"', false],
];

t.test('HTML only for those who prefer it (A1)', (t) => {
  for (const [accept, html] of accepts) t.equal(prefersHtml(accept), html, String(accept));
  t.end();
});

const problem: Problem = {
  type: 'about:blank',
  title: 'Precondition <Failed>',
  status: 412,
  detail: 'If-Match named "a" & \'b\'',
  precondition: 'If-Match',
  received: ['"<script>alert(1)</script>"'],
  current: { etag: '"c"' },
  next: 'Fetch <it> again',
};

t.test('problems (A1)', (t) => {
  const json = renderProblem(problem, undefined);
  t.equal(json.contentType, 'application/problem+json');
  t.strictSame(JSON.parse(json.body), problem);

  const html = renderProblem(problem, 'text/html');
  t.equal(html.contentType, 'text/html; charset=utf-8');
  for (const text of [
    '<h1>412 Precondition &lt;Failed&gt;</h1>',
    'If-Match named &quot;a&quot; &amp; &#39;b&#39;',
    'Fetch &lt;it&gt; again',
    '<dt>received</dt>',
    '&lt;script&gt;alert(1)&lt;/script&gt;',
  ]) {
    t.ok(html.body.includes(text), text);
  }
  t.notMatch(html.body, /<script|src=|href=|url\(|@import/, 'it runs and loads nothing');
  t.end();
});

t.test('no value can leave its place in the page', (t) => {
  const tags = (page: string) => page.match(/<[^>]*>/g)?.join('');
  const empty = { type: '', title: '', status: 400, detail: '', instance: '', next: '' };
  const expected = tags(renderProblem(empty, 'text/html').body);
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.string(), (value) => {
        const filled = { ...empty, type: value, title: value, detail: value, instance: value, next: value };
        assert.equal(tags(renderProblem(filled, 'text/html').body), expected);
      }),
    ),
  );
  t.end();
});

t.test('Proxy-Status (RFC 9209)', (t) => {
  t.equal(
    proxyStatus('http_request_denied', 'If-Match: "a\\b"'),
    'ifmatch; error=http_request_denied; details="If-Match: \\"a\\\\b\\""',
  );
  t.equal(proxyStatus('x', 'caf\u00e9\r\n\t\u007f😀'), 'ifmatch; error=x; details="caf??????"');
  t.doesNotThrow(() =>
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (details) => {
        assert.match(proxyStatus('x', details), /^ifmatch; error=x; details="(?:[ !#-[\]-~]|\\["\\])*"$/);
      }),
    ),
  );
  t.end();
});

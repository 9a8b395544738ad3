/**
 * What attackers send, as data: hostile.test.ts plays each row against a running gate. `\r\n` is always written out; a
 * text is one octet per character.
 */

/** A request whose end two servers could see in different places. */
export interface FramingRow {
  readonly why: string;
  /** Whole request head but for method, target and Host; ends without an empty line. */
  readonly fields: string;
  readonly body: string;
  /**
   * `400`: refused, and the connection is closed. `cut`: the same, where some versions of Node close it without a word.
   * Anything else is what the backend sees of it behind its request line: framing field and body. What follows it on
   * the connection then comes to the backend as a request of its own.
   */
  readonly expect: string;
  readonly version?: string;
  readonly method?: string;
}

/** A whole request that must never come to the backend as one. */
export const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n';

const chunked = 'Transfer-Encoding: chunked\r\n';
const one = '1\r\nb\r\n0\r\n\r\n';
const seenOne = 'transfer-encoding: chunked\r\n\r\n1\r\nb\r\n0\r\n\r\n';
const seenLength = (body: string): string => `content-length: ${body.length}\r\n\r\n${body}`;

const codings = (rows: readonly (readonly [why: string, value: string, expect?: string])[]): FramingRow[] =>
  rows.map(([why, value, expect = '400']) => ({ why, fields: `Transfer-Encoding:${value}\r\n`, body: one, expect }));

const lengths = (rows: readonly (readonly [why: string, value: string, expect?: string])[]): FramingRow[] =>
  rows.map(([why, value, expect = '400']) => ({ why, fields: `Content-Length: ${value}\r\n`, body: 'b', expect }));

const heads = (rows: readonly (readonly [why: string, fields: string, expect?: string])[]): FramingRow[] =>
  rows.map(([why, fields, expect = '400']) => ({ why, fields, body: one, expect }));

const bodies = (rows: readonly (readonly [why: string, body: string, expect?: string])[]): FramingRow[] =>
  rows.map(([why, body, expect = '400']) => ({ why, fields: chunked, body, expect }));

export const framing: readonly FramingRow[] = [
  {
    ...{ why: 'CL.TE', fields: `Content-Length: 6\r\n${chunked}`, expect: '400' },
    body: '0\r\n\r\nG',
  },
  {
    ...{ why: 'TE.CL', fields: `${chunked}Content-Length: 4\r\n`, expect: '400' },
    body: `23\r\n${smuggled}\r\n0\r\n\r\n`,
  },
  { why: 'CL.TE with a length of zero', fields: `Content-Length: 0\r\n${chunked}`, body: one, expect: '400' },
  { why: 'TE in HTTP/1.0', fields: chunked, body: one, version: '1.0', expect: '400' },
  ...codings([
    ['TE: a tab before it is white space', '\tchunked', seenOne],
    ['TE: in capitals', ' CHUNKED', seenOne],
    ['TE: a tab behind it', ' chunked\t'],
    ['TE: a vertical tab before it', ' \x0bchunked'],
    ['TE: a vertical tab behind it', ' chunked\x0b'],
    ['TE: a form feed behind it', ' chunked\x0c'],
    ['TE: a no-break space before it', ' \xa0chunked'],
    ['TE: xchunked', ' xchunked'],
    ['TE: chunked, identity', ' chunked, identity'],
    ['TE: identity, chunked', ' identity, chunked'],
    ['TE: identity', ' identity'],
    ['TE: gzip, chunked', ' gzip, chunked'],
    ['TE: a comma behind it', ' chunked,'],
    ['TE: a parameter', ' chunked;q=1'],
    ['TE: in quotes', ' "chunked"'],
    ['TE: in two lines, the other first', ' identity\r\nTransfer-Encoding: chunked'],
    ['TE: in two lines, the other last', ' chunked\r\nTransfer-Encoding: identity'],
    ['TE: twice', ' chunked\r\nTransfer-Encoding: chunked'],
    ['TE: folded', '\r\n chunked'],
    ['TE: nothing in it', '', 'cut'],
  ]),
  ...heads([
    ['TE: a space before the colon', 'Transfer-Encoding : chunked\r\n'],
    ['TE: a tab before the colon', 'Transfer-Encoding\t: chunked\r\n'],
    ['TE: a CR before the colon', 'Transfer-Encoding\r: chunked\r\n'],
    ['TE: NUL in the name', 'Transfer-Encoding\0: chunked\r\n'],
    ['TE: an octet above 7F in the name', 'Transfer-Encoding\xff: chunked\r\n'],
    ['TE: in a folded line', `X: a\r\n ${chunked}`],
    ['TE: behind a bare LF', `X: a\n${chunked}`],
    ['TE: behind a bare CR', `X: a\r${chunked}`],
    ['a head that ends with a bare LF', `${chunked}\n`],
    ['a folded first line', ` X: a\r\n${chunked}`],
    ['two framings that Connection names', `Connection: Transfer-Encoding\r\nContent-Length: 1\r\n${chunked}`],
    ['TE that Connection names', `Connection: Transfer-Encoding\r\n${chunked}`, seenOne],
  ]),
  ...lengths([
    ['CL: twice', '1\r\nContent-Length: 1'],
    ['CL: two that differ', '1\r\nContent-Length: 2'],
    ['CL: a list', '1, 1'],
    ['CL: a plus', '+1'],
    ['CL: a minus', '-1'],
    ['CL: hexadecimal', '0x1'],
    ['CL: an exponent', '1e0'],
    ['CL: a separator', '1_0'],
    ['CL: a space inside', '1 0'],
    ['CL: a superscript digit', '\xb9'],
    ['CL: 2 to the 64th and one', '18446744073709551617'],
    ['CL: twenty digits', '99999999999999999999'],
    ['CL: nothing in it', ''],
    ['CL: zeros before it, which are no octal', '0001', seenLength('b')],
    ['CL: a space behind it', '1 ', seenLength('b')],
    ['CL that Connection names', '1\r\nConnection: Content-Length', seenLength('b')],
  ]),
  ...bodies([
    ['chunk: extensions go', '1;a=b;c="d;e"\r\nb\r\n0;x\r\n\r\n', seenOne],
    ['chunk: zeros before the size', '00000000000000000001\r\nb\r\n000\r\n\r\n', seenOne],
    ['chunk: a bare LF behind the size', '1\nb\r\n0\r\n\r\n'],
    ['chunk: a bare CR behind the size', '1\rb\r\n0\r\n\r\n'],
    ['chunk: a bare LF behind the data', '1\r\nb\n0\r\n\r\n'],
    ['chunk: nothing behind the data', '1\r\nb0\r\n\r\n'],
    ['chunk: other octets behind the data', '1\r\nbXX0\r\n\r\n'],
    ['chunk: a bare LF at the end', '1\r\nb\r\n0\r\n\n'],
    ['chunk: a bare LF behind the last size', '1\r\nb\r\n0\n\r\n'],
    ['chunk: a bare LF in an extension', '1;a\nb\r\nb\r\n0\r\n\r\n'],
    ['chunk: a bare LF in a quoted extension', '1;a="\n"\r\nb\r\n0\r\n\r\n'],
    ['chunk: a bare LF behind the semicolon', `2;\nxx\r\n${smuggled.length.toString(16)}\r\n0\r\n\r\n${smuggled}`],
    ['chunk: a bare CR in an extension', '1;a\rb\r\nb\r\n0\r\n\r\n'],
    ['chunk: an extension of 20 kB', `1;${'a'.repeat(20_000)}\r\nb\r\n0\r\n\r\n`],
    ['chunk: a space behind the size', '1 \r\nb\r\n0\r\n\r\n'],
    ['chunk: a space before the size', ' 1\r\nb\r\n0\r\n\r\n'],
    ['chunk: 0x', '0x1\r\nb\r\n0\r\n\r\n'],
    ['chunk: a plus', '+1\r\nb\r\n0\r\n\r\n'],
    ['chunk: a minus', '-1\r\nb\r\n0\r\n\r\n'],
    ['chunk: 2 to the 64th and one', '10000000000000001\r\nb\r\n0\r\n\r\n'],
    ['chunk: no size', '\r\nb\r\n0\r\n\r\n'],
    ['chunk: a request as trailers', `1\r\nb\r\n0\r\n${smuggled}`],
    ['chunk: a length as trailer', '1\r\nb\r\n0\r\nContent-Length: 7\r\n\r\n'],
    [
      'chunk: conditions as trailers go',
      '1\r\nb\r\n0\r\nIf-Match: "none"\r\nX: y\r\n\r\n',
      seenOne.replace(/\r\n$/, 'X: y\r\n\r\n'),
    ],
  ]),
  ...['POST', 'PUT', 'PATCH', 'DELETE', 'GET', 'OPTIONS', 'PROPFIND', 'LOCK'].map((method) => ({
    ...{ why: `a request as the body of ${method}`, method, body: smuggled, expect: seenLength(smuggled) },
    fields: `Content-Length: ${smuggled.length}\r\n`,
  })),
  {
    ...{ why: 'a request as the body of one that asks for h2c', method: 'POST', expect: seenLength(smuggled) },
    fields: `Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: ${smuggled.length}\r\n`,
    body: smuggled,
  },
];

/** An answer of the backend, and what the client may see of it. */
export interface AnswerRow {
  readonly why: string;
  readonly bytes: string;
  /** Of all that the client gets. */
  readonly expect: RegExp;
  /** The same for a write, whose answer is not held back. */
  readonly expectWrite?: RegExp;
  /** The backend closes its connection behind it. */
  readonly closes?: boolean;
}

/** A whole answer that must never come to a client as one. */
export const poison = 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison';

const answer = (fields: string, body: string, status = '200 OK'): string =>
  `HTTP/1.1 ${status}\r\n${fields}\r\n${body}`;
const unreadable =
  /^HTTP\/1\.1 502 [\s\S]*\r\nProxy-Status: ifmatch; error=http_(?:protocol_error|response_incomplete);/;
const broken = /^HTTP\/1\.1 200 OK\r\n(?![\s\S]*\r\n0\r\n\r\n)/;
const ok = /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\n(?:2\r\n)?ok(?:\r\n0\r\n\r\n)?$/;
const sized = 'Content-Length: 2\r\n';
const coded = 'Transfer-Encoding: chunked\r\n';

const answers = (expect: RegExp, rows: readonly (readonly [why: string, bytes: string])[]): AnswerRow[] =>
  rows.map(([why, bytes]) => ({ why, bytes, expect }));

export const backendAnswers: readonly AnswerRow[] = [
  ...answers(ok, [
    ['as it should be', answer(sized, 'ok')],
    ['a second answer behind it', `${answer(sized, 'ok')}${poison}`],
    ['a second answer behind a chunked one', `${answer(coded, '2\r\nok\r\n0\r\n\r\n')}${poison}`],
    ['TE: a tab before it', answer('Transfer-Encoding:\tchunked\r\n', '2\r\nok\r\n0\r\n\r\n')],
    ['chunk extensions', answer(coded, '2;a="b"\r\nok\r\n0;x\r\n\r\n')],
    ['empty lines before it', `\r\n\r\n${answer(sized, 'ok')}`],
    ['octets above 7F', answer(`X: \x85\xff\r\n${sized}`, 'ok')],
  ]),
  ...answers(unreadable, [
    ['CL.TE', answer(`Content-Length: 5\r\n${coded}`, `0\r\n\r\n${poison}`)],
    ['TE.CL', answer(`${coded}Content-Length: 5\r\n`, `0\r\n\r\n${poison}`)],
    ['TE: xchunked', answer('Transfer-Encoding: xchunked\r\n', '2\r\nok\r\n0\r\n\r\n')],
    ['TE: chunked, identity', answer('Transfer-Encoding: chunked, identity\r\n', '2\r\nok\r\n0\r\n\r\n')],
    ['TE: a vertical tab', answer('Transfer-Encoding: \x0bchunked\r\n', '2\r\nok\r\n0\r\n\r\n')],
    ['TE: twice', answer(`${coded}${coded}`, '2\r\nok\r\n0\r\n\r\n')],
    ['TE: nothing in it', answer(`Transfer-Encoding:\r\n${sized}`, 'ok')],
    ['CL: twice', answer(`${sized}${sized}`, 'ok')],
    ['CL: two that differ', answer(`${sized}Content-Length: 60\r\n`, `ok${poison}`)],
    ['CL: a list', answer('Content-Length: 2, 2\r\n', 'ok')],
    ['CL: a plus', answer('Content-Length: +2\r\n', 'ok')],
    ['CL: a minus', answer('Content-Length: -2\r\n', 'ok')],
    ['CL: hexadecimal', answer('Content-Length: 0x2\r\n', 'ok')],
    ['CL: twenty digits', answer('Content-Length: 99999999999999999999\r\n', 'ok')],
    ['CL: a space before the colon', answer('Content-Length : 2\r\n', 'ok')],
    ['bare LF everywhere', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok'],
    ['a field behind a bare LF', answer(`X: a\nSet-Cookie: poison\r\n${sized}`, 'ok')],
    ['a field behind a bare CR', answer(`X: a\rSet-Cookie: poison\r\n${sized}`, 'ok')],
    ['a reason phrase with a bare LF', answer(sized, 'ok', '200 a\nSet-Cookie: poison')],
    ['a reason phrase with a bare CR', answer(sized, 'ok', '200 a\rSet-Cookie: poison')],
    ['NUL in a value', answer(`X: a\0b\r\n${sized}`, 'ok')],
    ['ESC in a value', answer(`X: a\x1bb\r\n${sized}`, 'ok')],
    ['a folded line', answer(`X: a\r\n Set-Cookie: poison\r\n${sized}`, 'ok')],
    ['a status of four digits', answer(sized, 'ok', '2000 OK')],
    ['HTTP/0.9', 'hello'],
  ]),
  ...[
    ['a bare LF behind a chunk size', '2\nok\r\n0\r\n\r\n'],
    ['a bare LF behind chunk data', '2\r\nok\n0\r\n\r\n'],
    ['a chunk size that is none', '2x\r\nok\r\n0\r\n\r\n'],
    ['a length as trailer', '2\r\nok\r\n0\r\nContent-Length: 7\r\n\r\n'],
  ].map(([why = '', body = '']) => ({ why, bytes: answer(coded, body), expect: unreadable, expectWrite: broken })),
  {
    why: '100 twice',
    bytes: `HTTP/1.1 100 Continue\r\n\r\n${answer(sized, 'ok')}`,
    expect: /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/,
  },
  {
    ...{ why: '101 that nobody asked for', expect: /^HTTP\/1\.1 502 / },
    bytes: `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n${poison}`,
  },
  {
    ...{ why: 'a reason phrase with a control character', bytes: answer(sized, 'ok', '200 a\x01b') },
    expect: /^HTTP\/1\.1 200 \r\n/,
  },
  {
    ...{ why: '204 with a body', bytes: answer('Content-Length: 6\r\n', 'poison', '204 No Content') },
    expect: /^HTTP\/1\.1 204 No Content\r\n(?![\s\S]*Content-Length)/i,
  },
  {
    ...{ why: '103 with a length', expect: /^HTTP\/1\.1 103 Early Hints\r\n(?!Content-Length)/ },
    bytes: `HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n${answer(sized, 'ok')}`,
  },
  {
    ...{ why: 'a status below 100', bytes: answer(sized, 'ok', '099 X'), expect: /^HTTP\/1\.1 502 / },
  },
  {
    ...{ why: 'a report that is not of the gate', expect: /^HTTP\/1\.1 200 OK\r\n(?![\s\S]*Ifmatch-Report)/i },
    bytes: answer(`Ifmatch-Report: 412; if-match\r\n${sized}`, 'ok'),
  },
  {
    why: 'TE: a tab behind it',
    bytes: answer('Transfer-Encoding: chunked\t\r\n', '2\r\nok\r\n0\r\n\r\n'),
    expect: /^HTTP\/1\.1 (?:502 |200 OK[\s\S]*\r\n\r\n2\r\nok\r\n0\r\n\r\n$)/,
    closes: true,
  },
  {
    why: 'fields as trailers that may be none (RFC 9110 6.5.1)',
    bytes: answer(coded, '2\r\nok\r\n0\r\nETag: "t"\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'),
    expect: /\r\n0\r\n\r\n$/,
  },
];

/** Two ways to name one resource. */
export interface SpellingRow {
  readonly why: string;
  readonly first: string;
  readonly second: string;
  /** Method and fields of the second request, where they are not PUT and none. */
  readonly method?: string;
  readonly fields?: string;
  /** Whether the rules take them for two resources. */
  readonly apart?: boolean;
}

export const spellings: readonly SpellingRow[] = [
  { why: 'the same', first: '/docs/1', second: '/docs/1' },
  { why: 'letter case', first: '/docs/a', second: '/DOCS/A' },
  { why: 'an encoded letter', first: '/docs/a', second: '/docs/%61' },
  { why: 'an encoded capital', first: '/docs/a', second: '/docs/%41' },
  { why: 'hex digits in the other case', first: '/docs/%2a', second: '/docs/%2A' },
  { why: 'encoded sub-delims', first: '/docs/a@b', second: '/docs/a%40b' },
  { why: 'a trailing slash', first: '/docs/1', second: '/docs/1/' },
  { why: 'trailing slashes', first: '/docs/1', second: '/docs/1///' },
  { why: 'slashes inside', first: '/docs/1', second: '//docs///1' },
  { why: 'an encoded slash', first: '/docs/1', second: '/docs%2F1' },
  { why: 'an encoded backslash', first: '/docs/1', second: '/docs%5c1' },
  { why: 'parameters', first: '/docs/1', second: '/docs/1;v=2' },
  { why: 'parameters of the parent', first: '/docs/1', second: '/docs;jsessionid=x/1' },
  { why: 'an encoded semicolon', first: '/docs/1', second: '/docs/1%3Bv=2' },
  { why: 'a single dot', first: '/docs/1', second: '/docs/./1' },
  { why: 'two dots', first: '/docs/1', second: '/docs/2/../1' },
  { why: 'two encoded dots', first: '/docs/1', second: '/docs/2/%2e%2E/1' },
  { why: 'a dot at the end', first: '/docs/1', second: '/docs/1/.' },
  { why: 'an unknown parameter', first: '/docs/1', second: '/docs/1?x' },
  { why: 'the order of parameters', first: '/docs/1?a=1&b=2', second: '/docs/1?b=2&a=1' },
  { why: 'an empty query', first: '/docs/1', second: '/docs/1?' },
  { why: 'absolute-form', first: '/docs/1', second: 'http://a/docs/1' },
  { why: 'absolute-form of another host', first: '/docs/1', second: 'http://b:81/docs/1' },
  { why: 'another X-Forwarded-Host', first: '/docs/1', second: '/docs/1', fields: 'X-Forwarded-Host: b\r\n' },
  { why: 'NFC and NFD', first: '/docs/%C3%A9', second: '/docs/e%CC%81' },
  { why: 'NFD and capital NFC', first: '/docs/e%CC%81', second: '/docs/%C3%89' },
  { why: 'two lower-case sigmas', first: '/docs/%CF%83', second: '/docs/%CF%82' },
  { why: 'a percent sign that is none', first: '/docs/100%', second: '/docs/100%25' },
  { why: 'an override', first: '/docs/1', second: '/docs/1', method: 'POST', fields: 'X_HTTP_METHOD: PUT\r\n' },
  { why: 'an override in the query', first: '/docs/1', second: '/docs/1?_method=put', method: 'POST' },
  { why: 'another method', first: '/docs/1', second: '/docs/1', method: 'PATCH' },
  { why: 'a condition alone', first: '/docs/1', second: '/docs/1', method: 'LOCK' },
  { why: 'all at once', first: '/docs/a/1', second: 'http://b//DOCS;x/.%2f2/../%41%2F1;v/?y' },
  { why: 'encoded twice', first: '/docs/1', second: '/docs/%2531', apart: true },
  { why: 'an encoded question mark', first: '/docs/1', second: '/docs/1%3Fx', apart: true },
  { why: 'compatibility characters', first: '/docs/1', second: '/docs/%EF%BC%91', apart: true },
  { why: 'overlong UTF-8', first: '/docs/1', second: '/docs%C0%AF1', apart: true },
];

/** The conditions of a PUT, and what becomes of it; the tag of the backend is `"t"` where the row has no other. */
export interface ConditionRow {
  readonly why: string;
  readonly fields: string;
  /** `412`, `400`, `431`, or `forwarded`, which is with these fields as they are. */
  readonly expect: string;
  readonly tag?: string;
}

const match = (value: string): string => `If-Match: ${value}\r\n`;
/** Ten thousand different tags of so many characters; none of them is `t`. */
const tags = (length: number): string[] =>
  Array.from({ length: 10_000 }, (_, index) => `"${index.toString(36).padStart(length, 'x')}"`);

export const conditions: readonly ConditionRow[] = [
  { why: '10000 tags, none current', fields: match(tags(3).join()), expect: '412' },
  { why: '10000 tags, the last is current', fields: match(`${tags(3).join()},"t"`), expect: 'forwarded' },
  { why: '10000 tags, the last is malformed', fields: match(`${tags(3).join()},"t`), expect: '400' },
  { why: '10000 tags that are longer than a head may be', fields: match(tags(5).join()), expect: '431' },
  { why: '10000 lines', fields: match('"t"').repeat(10_000), expect: '431' },
  { why: '3000 lines, none current', fields: match('"x"').repeat(3000), expect: '412' },
  { why: '3000 lines, one current', fields: match('"x"').repeat(2999) + match('"t"'), expect: 'forwarded' },
  { why: '60000 commas', fields: match(`${','.repeat(60_000)}"t"`), expect: 'forwarded' },
  { why: '60000 quotes', fields: match('"'.repeat(60_000)), expect: '400' },
  { why: '60000 stars', fields: match('*'.repeat(60_000)), expect: '400' },
  { why: 'a tag of 60000 characters', fields: match(`"${'t'.repeat(60_000)}"`), expect: '412' },
  { why: 'a backslash escapes no quote', fields: match('"t\\", "t"'), expect: 'forwarded' },
  { why: 'a backslash at the end', fields: match('"t\\"'), tag: '"t\\"', expect: 'forwarded' },
  { why: 'obs-text', fields: match('"\xe9\xff\x85"'), tag: '"\xe9\xff\x85"', expect: 'forwarded' },
  { why: 'obs-text that differs', fields: match('"\xe9"'), tag: '"\xe8"', expect: '412' },
  { why: 'one octet of a tag in UTF-8', fields: match('"\xc3"'), tag: '"\xc3\xa9"', expect: '412' },
  { why: 'commas and spaces inside', fields: match('"a, b", "c"'), tag: '"a, b"', expect: 'forwarded' },
  { why: 'a half of such a tag', fields: match('"a", " b"'), tag: '"a", " b"', expect: '412' },
  { why: 'the empty tag', fields: match('""'), tag: '""', expect: 'forwarded' },
  { why: 'the empty tag is not any', fields: match('""'), expect: '412' },
  { why: 'a weak form', fields: match('W/"t"'), expect: '412' },
  { why: 'a weak form of the weak tag', fields: match('W/"t"'), tag: 'W/"t"', expect: '412' },
  { why: 'a strong form of the weak tag', fields: match('"t"'), tag: 'W/"t"', expect: '412' },
  { why: 'w/', fields: match('w/"t"'), expect: '400' },
  { why: 'W/W/', fields: match('W/W/"t"'), expect: '400' },
  { why: '* and a tag', fields: match('*, "t"'), expect: '400' },
  { why: 'a tag and *', fields: match('"t", *'), expect: '400' },
  { why: '* in a line of its own', fields: match('"t"') + match('*'), expect: '400' },
  { why: '* in quotes', fields: match('"*"'), expect: '412' },
  { why: '* between spaces', fields: match(' \t* \t'), expect: 'forwarded' },
  { why: 'no quotes', fields: match('t'), expect: '400' },
  { why: 'no closing quote', fields: match('"t'), expect: '400' },
  { why: 'a quote that the next line closes', fields: match('"t') + match('"'), expect: '412' },
  { why: 'single quotes', fields: match("'t'"), expect: '400' },
  { why: 'full-width quotes', fields: match('\xef\xbc\x82t\xef\xbc\x82'), expect: '400' },
  { why: 'nothing', fields: match(''), expect: '400' },
  { why: 'a tag like one of the gate', fields: match('"im-"'), expect: '412' },
  { why: 'a tag like one of the gate, as native one', fields: match('"im-x"'), tag: '"im-x"', expect: '412' },
  { why: 'prototype pollution', fields: match('"__proto__", "constructor"'), expect: '412' },
  { why: 'another name in CGI', fields: 'If_Match: "x"\r\n', expect: 'forwarded' },
  { why: 'both conditions', fields: `${match('"t"')}If-None-Match: "t"\r\n`, expect: '412' },
  { why: 'If-None-Match: 10000 tags', fields: `If-None-Match: ${tags(3).join()}\r\n`, expect: 'forwarded' },
  { why: 'If-None-Match: the last is current', fields: `If-None-Match: ${tags(3).join()},W/"t"\r\n`, expect: '412' },
  {
    why: 'a date of 60000 characters',
    fields: `If-Unmodified-Since: ${'Mon, '.repeat(12_000)}\r\n`,
    expect: 'forwarded',
  },
];

/** A request that tries to be another one for the backend than for the gate. */
export interface MaskRow {
  readonly why: string;
  readonly method: string;
  readonly target?: string;
  readonly fields: string;
  /** Status that the client gets; 200 comes from the backend. */
  readonly status: number;
  /** Lines that the backend sees, in lower case. */
  readonly sees?: readonly string[];
  /** What the backend must not see, in lower case. */
  readonly never?: readonly string[];
}

const overridden = (fields: string, status = 428): MaskRow => ({ why: fields.trim(), method: 'POST', fields, status });
const pathField = (name: string): MaskRow => ({
  ...{ why: name, method: 'GET', fields: `${name}: /admin\r\n`, status: 200 },
  never: ['/admin'],
});

/** Under `guard: required`, where a guarded write without a condition gets 428. */
export const masks: readonly MaskRow[] = [
  ...[
    'X-HTTP-Method-Override',
    'X-Method-Override',
    'X-HTTP-Method',
    'x-http_method-OVERRIDE',
    'X_METHOD_OVERRIDE',
  ].map((name) => overridden(`${name}: PUT\r\n`)),
  overridden('X-HTTP-Method: \t delete \t\r\n'),
  overridden('X-HTTP-Method: , PATCH,\r\n'),
  overridden('X-HTTP-Method: PUT\r\nX_HTTP_Method: put\r\n'),
  overridden('X-HTTP-Method: PUT\r\nX-HTTP-Method: DELETE\r\n', 400),
  overridden('X-HTTP-Method: PUT, POST\r\n', 400),
  overridden('X-HTTP-Method: POST\r\n', 200),
  ...[
    ...['?_method=PUT', '?_METHOD=put', '?a&_method=%50UT', '?%5fmethod=PUT', '?_method=+put'],
    // What PHP makes a name of, and what takes ; for &.
    ...['?.method=PUT', '?+_method=PUT', '?%20method=PUT', '?+%2Emethod=PUT', '?_method%00x=PUT'],
    ...['?a;_method=PUT', '?_method=PUT;a', '?a=b;c&_method=PUT;_method=put'],
  ].map((query) => ({
    ...{ why: query, method: 'POST', target: `/x${query}`, fields: '', status: 428 },
  })),
  { why: 'it never lowers', method: 'DELETE', fields: 'X-HTTP-Method: GET\r\n', status: 428 },
  { why: 'a read that is a write', method: 'GET', fields: 'X-HTTP-Method: PUT\r\n', status: 428 },
  {
    ...{ why: 'an override that Connection names is none for anybody', method: 'POST', status: 200 },
    fields: 'Connection: X-HTTP-Method\r\nX-HTTP-Method: PUT\r\n',
    never: ['x-http-method'],
  },
  {
    why: 'Connection: If-Match, stale',
    method: 'PUT',
    fields: 'Connection: If-Match\r\nIf-Match: "x"\r\n',
    status: 412,
  },
  {
    ...{ why: 'Connection: If-Match, current', method: 'PUT', fields: 'Connection: If-Match\r\nIf-Match: "t"\r\n' },
    ...{ status: 200, sees: ['if-match: "t"'] },
  },
  {
    ...{ why: 'Connection: If-None-Match', method: 'PUT', status: 412 },
    fields: 'Connection: close, if-none-match\r\nIf-None-Match: *\r\n',
  },
  {
    ...{ why: 'Connection names what identifies', method: 'GET', status: 200 },
    fields:
      'Connection: Host, Authorization, Cookie, Forwarded, X-Forwarded-For, X-Real-IP, X-Request-Id, Origin, Accept\r\n' +
      'Authorization: Basic x\r\nCookie: c=1\r\nForwarded: for=1\r\nX-Forwarded-For: 192.0.2.1\r\nX-Real-IP: 192.0.2.1\r\n' +
      'X-Request-Id: mine\r\nOrigin: http://a\r\nAccept: x/y\r\n',
    sees: [
      ...['host: a', 'authorization: basic x', 'cookie: c=1', 'forwarded: for=1', 'x-real-ip: 192.0.2.1'],
      ...['x-forwarded-for: 192.0.2.1, 127.0.0.1', 'x-request-id: mine', 'origin: http://a', 'accept: x/y'],
    ],
    never: ['connection: host'],
  },
  {
    ...{ why: 'Connection names a range, and what is its own', method: 'GET', status: 200 },
    fields:
      'Connection: Range, X-Own\r\nRange: bytes=0-1\r\nX-Own: 1\r\nKeep-Alive: 1\r\nProxy-Connection: x\r\nTE: trailers\r\n',
    sees: ['range: bytes=0-1'],
    never: ['x-own', 'keep-alive: 1', 'proxy-connection', 'te: '],
  },
  ...['X-Original-URL', 'X-Rewrite-URL', 'x_original-url', 'X_REWRITE_URL'].map(pathField),
  { why: 'two Hosts', method: 'GET', fields: 'Host: b\r\n', status: 400 },
  { why: 'an unknown expectation', method: 'GET', fields: 'Expect: 200-ok\r\n', status: 417 },
  { why: 'one that contains the known one', method: 'GET', fields: 'Expect: x 100-continue\r\n', status: 417 },
  { why: 'one beside the known one', method: 'PUT', fields: 'Expect: 100-continue, x\r\n', status: 417 },
  { why: 'a fragment', method: 'GET', target: '/x#y', fields: '', status: 400 },
  { why: 'a backslash', method: 'GET', target: '/x\\y', fields: '', status: 400 },
  { why: 'dots with parameters', method: 'GET', target: '/x/..;/y', fields: '', status: 400 },
  { why: 'dots behind an encoded slash', method: 'GET', target: '/x/a%2f../y', fields: '', status: 400 },
  { why: 'dots behind an empty segment', method: 'GET', target: '/x//../y', fields: '', status: 400 },
  { why: 'above the root', method: 'GET', target: '/x/%2e%2e/%2e%2e/y', fields: '', status: 400 },
  { why: 'an encoded NUL', method: 'GET', target: '/x%00', fields: '', status: 400 },
  { why: 'an encoded CR and LF', method: 'GET', target: '/x%0D%0ASet-Cookie:%20a', fields: '', status: 400 },
  { why: 'absolute-form: user information', method: 'GET', target: 'http://a@b/x', fields: '', status: 400 },
  { why: 'absolute-form: another scheme', method: 'GET', target: 'file:///x', fields: '', status: 400 },
  {
    ...{ why: 'absolute-form counts, not Host', method: 'GET', target: 'http://b/x', fields: '', status: 200 },
    ...{ sees: ['get /x http/1.1', 'host: b'], never: ['host: a'] },
  },
];

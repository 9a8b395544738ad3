/**
 * RFC 9110 section 13 as data, with the rules of docs/rules.md beside it. The same rows judge the pure functions
 * (pure.test.ts) and a running gate on a socket (socket.test.ts). Ids are stable: a row may go, its id is not reused.
 */
export interface Row {
  readonly id: string;
  readonly rule: string;
  readonly title: string;
  /** `{hash}` in a field value stands for the hash of the stored body in its synthetic tag (V2). */
  readonly request: { readonly method: string; readonly headers: readonly string[]; readonly body?: string };
  /** What the backend has; null: no current representation. */
  readonly stored: Stored | null;
  readonly policy?: PolicyOverrides;
  readonly expect: Expectation;
  /** Where only one kind of test can tell, because a rule departs from the RFC's own table; both without. */
  readonly only?: 'pure' | 'socket';
}

export interface Stored {
  readonly body: string;
  /** The upstream's own ETag, in wire form. */
  readonly etag?: string;
  readonly lastModified?: string;
}

export interface PolicyOverrides {
  readonly guard?: 'required' | 'optional' | 'off';
  readonly mode?: 'enforce' | 'report';
  readonly validator?: { readonly kind: 'auto' | 'upstream' | 'body' };
}

/** `status` is what the client gets: on `forward` the answer of a backend without version checks. */
export interface Expectation {
  readonly decision: 'forward' | 'not-modified' | 'refuse';
  readonly status: number;
  readonly precondition?: string;
}

type Short = readonly [id: string, title: string, headers: readonly string[], expect: Expectation, rest?: Partial<Row>];

interface Group {
  readonly rule: string;
  readonly method: string;
  readonly stored: Stored | null;
  readonly policy?: PolicyOverrides;
  readonly only?: 'pure' | 'socket';
}

/** Writes out rows that have rule, method and stored representation in common; a row may replace any of them. */
function rowsOf({ method, ...common }: Group, shorts: readonly Short[]): Row[] {
  return shorts.map(([id, title, headers, expect, rest]) => ({
    id,
    title,
    request: bodyless.has(method) ? { method, headers } : { method, headers, body: 'new content' },
    ...common,
    expect,
    ...rest,
  }));
}

const bodyless: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE']);

const body = 'stored content';
const none = null;
const plain: Stored = { body };
const tagged = (etag: string): Stored => ({ body, etag });
const stored = (etag: string): { stored: Stored } => ({ stored: tagged(etag) });
const upstream: PolicyOverrides = { validator: { kind: 'upstream' } };
const required: PolicyOverrides = { guard: 'required' };

const forward: Expectation = { decision: 'forward', status: 204 };
const created: Expectation = { decision: 'forward', status: 201 };
const missing: Expectation = { decision: 'forward', status: 404 };
const content: Expectation = { decision: 'forward', status: 200 };
const notModified: Expectation = { decision: 'not-modified', status: 304 };
const unconditional: Expectation = { decision: 'refuse', status: 428 };
const failed = (precondition: string): Expectation => ({ decision: 'refuse', status: 412, precondition });
const malformed = (precondition: string): Expectation => ({ decision: 'refuse', status: 400, precondition });

const noMatch = failed('If-Match');
const match = failed('If-None-Match');
const modified = failed('If-Unmodified-Since');
const badMatch = malformed('If-Match');
const badNoneMatch = malformed('If-None-Match');

// The three forms of one date (RFC 9110 5.6.7), a second more and a second less.
const date = 'Sun, 06 Nov 1994 08:49:37 GMT';
const later = 'Sun, 06 Nov 1994 08:49:38 GMT';
const earlier = 'Sun, 06 Nov 1994 08:49:36 GMT';
const date850 = 'Sunday, 06-Nov-94 08:49:37 GMT';
const earlier850 = 'Sunday, 06-Nov-94 08:49:36 GMT';
const dateC = 'Sun Nov  6 08:49:37 1994';
const earlierC = 'Sun Nov  6 08:49:36 1994';
const dated: Stored = { body, lastModified: date };
const both: Stored = { body, etag: '"a"', lastModified: date };

/** 22 base64url characters that are the hash of nothing stored here. */
const stale = '"im-AAAAAAAAAAAAAAAAAAAAAA"';
const im = '"im-{hash}"';

const ifMatch = rowsOf({ rule: 'RFC 9110 13.1.1; W6', method: 'PUT', stored: tagged('"a"') }, [
  ['IM-001', 'a comma inside the quotes is data', ['If-Match', '"a,b"'], forward, stored('"a,b"')],
  ['IM-002', 'the halves of a tag with a comma are no tags', ['If-Match', '"a", "b"'], noMatch, stored('"a,b"')],
  ['IM-003', 'the current tag', ['If-Match', '"a"'], forward],
  ['IM-004', 'another tag', ['If-Match', '"b"'], noMatch],
  ['IM-005', '* with a representation', ['If-Match', '*'], forward],
  ['IM-006', '* without a representation', ['If-Match', '*'], noMatch, { stored: none }],
  ['IM-007', 'a tag without a representation', ['If-Match', '"a"'], noMatch, { stored: none }],
  ['IM-008', 'first of a list', ['If-Match', '"a", "b"'], forward],
  ['IM-009', 'last of a list', ['If-Match', '"b", "c", "a"'], forward],
  ['IM-010', 'none of a list', ['If-Match', '"b", "c", "d"'], noMatch],
  ['IM-011', 'a list without spaces', ['If-Match', '"b","a"'], forward],
  ['IM-012', 'a list with tabs and many spaces', ['If-Match', '"b" \t ,\t  "a"'], forward],
  ['IM-013', 'a weak form of the current strong tag', ['If-Match', 'W/"a"'], noMatch],
  ['IM-014', 'a weak and the strong tag in one list', ['If-Match', 'W/"a", "a"'], forward],
  ['IM-015', 'tags are case-sensitive', ['If-Match', '"A"'], noMatch],
  ['IM-016', 'no prefix match', ['If-Match', '"ab"'], noMatch],
  ['IM-017', 'spaces inside the quotes count', ['If-Match', '" a "'], noMatch],
  ['IM-018', 'the empty tag', ['If-Match', '""'], forward, stored('""')],
  ['IM-019', 'the empty tag is not any tag', ['If-Match', '""'], noMatch],
  ['IM-020', 'a quoted star is a tag', ['If-Match', '"*"'], noMatch],
  ['IM-021', 'a quoted star is the current tag', ['If-Match', '"*"'], forward, stored('"*"')],
  ['IM-022', 'the field name in another case', ['if-MATCH', '"b"'], noMatch],
]);

const otherMethods = [
  ...rowsOf({ rule: 'RFC 9110 13.1.1; W6', method: 'DELETE', stored: tagged('"a"') }, [
    ['IM-023', 'DELETE with the current tag', ['If-Match', '"a"'], forward],
    ['IM-024', 'DELETE with another tag', ['If-Match', '"b"'], noMatch],
    ['IM-025', 'DELETE without a representation', ['If-Match', '*'], noMatch, { stored: none }],
  ]),
  ...rowsOf({ rule: 'RFC 9110 13.1.1; W6', method: 'PATCH', stored: tagged('"a"') }, [
    ['IM-030', 'PATCH with the current tag', ['If-Match', '"a"'], forward],
    ['IM-031', 'PATCH with another tag', ['If-Match', '"b"'], noMatch],
    ['IM-032', 'PATCH without a representation', ['If-Match', '"a"'], noMatch, { stored: none }],
  ]),
  ...rowsOf({ rule: 'RFC 9110 13.1.1; W: guarded by its condition', method: 'POST', stored: tagged('"a"') }, [
    ['IM-033', 'POST with the current tag', ['If-Match', '"a"'], forward],
    ['IM-034', 'POST with another tag', ['If-Match', '"b"'], noMatch],
    ['IM-035', 'POST with If-None-Match: *', ['If-None-Match', '*'], match],
    ['IM-036', 'POST without conditions', [], forward],
    ['IM-037', 'POST with an old date', ['If-Unmodified-Since', earlier], modified, { stored: both }],
  ]),
];

const scanning = rowsOf({ rule: 'RFC 9110 8.8.3; W1', method: 'PUT', stored: tagged('"a"') }, [
  ['SCAN-001', 'a backslash is data', ['If-Match', '"a\\b"'], forward, stored('"a\\b"')],
  ['SCAN-002', 'a backslash escapes no quote', ['If-Match', '"a\\"'], forward, stored('"a\\"')],
  ['SCAN-003', 'two backslashes are two', ['If-Match', '"a\\\\b"'], noMatch, stored('"a\\b"')],
  ['SCAN-004', 'obs-text is data', ['If-Match', '"caf\u00e9"'], forward, stored('"caf\u00e9"')],
  ['SCAN-005', 'a space inside is data, and may match nothing', ['If-Match', '"a b"'], noMatch],
  ['SCAN-006', 'a list of tags with commas', ['If-Match', '"x,y", "a,b,", ",c"'], forward, stored('"a,b,"')],
  ['SCAN-007', 'a comma alone is a tag', ['If-Match', '","'], forward, stored('","')],
  ['SCAN-008', 'something like a weak prefix inside', ['If-Match', '"W/x"'], forward, stored('"W/x"')],
  ['SCAN-009', 'empty members are skipped', ['If-Match', ', ,"b",, "a",'], forward],
  ['SCAN-010', 'several field lines are one list', ['If-Match', '"b"', 'If-Match', '"a"'], forward],
  ['SCAN-011', 'several lines, none current', ['If-Match', '"b"', 'if-match', '"c"'], noMatch],
  ['SCAN-012', 'the first line counts as well', ['If-Match', '"a"', 'X-Other', '1', 'If-Match', '"b"'], forward],
  ['SCAN-013', 'an empty line beside another', ['If-Match', '', 'If-Match', '"a"'], forward],
  ['SCAN-014', 'a comma in one of several lines', ['If-Match', '"x"', 'If-Match', '"a,b"'], forward, stored('"a,b"')],
  ['SCAN-015', 'an apostrophe is data', ['If-Match', '"it\'s"'], forward, stored('"it\'s"')],
  ['SCAN-016', 'a long tag', ['If-Match', `"${'x'.repeat(2000)}"`], noMatch],
  ['SCAN-017', 'many tags', ['If-Match', `${'"x",'.repeat(500)}"a"`], forward],
]);

const malformedMatch = rowsOf({ rule: 'RFC 9110 13.1.1; W1', method: 'PUT', stored: tagged('"a"') }, [
  ['BAD-001', 'no quotes', ['If-Match', 'a'], badMatch],
  ['BAD-002', 'an opening quote only', ['If-Match', '"a'], badMatch],
  ['BAD-003', 'a closing quote only', ['If-Match', 'a"'], badMatch],
  ['BAD-004', 'one quote', ['If-Match', '"'], badMatch],
  ['BAD-005', 'single quotes', ['If-Match', "'a'"], badMatch],
  ['BAD-006', 'an empty value', ['If-Match', ''], badMatch],
  ['BAD-007', 'commas only', ['If-Match', ', ,'], badMatch],
  ['BAD-008', 'a weak prefix in lower case', ['If-Match', 'w/"a"'], badMatch],
  ['BAD-009', 'a weak prefix without quotes', ['If-Match', 'W/a'], badMatch],
  ['BAD-010', 'a weak prefix alone', ['If-Match', 'W/'], badMatch],
  ['BAD-011', 'a space after the weak prefix', ['If-Match', 'W/ "a"'], badMatch],
  ['BAD-012', 'a weak tag that is not closed', ['If-Match', 'W/"a'], badMatch],
  ['BAD-013', '* before a tag', ['If-Match', '*, "a"'], badMatch],
  ['BAD-014', '* after a tag', ['If-Match', '"a", *'], badMatch],
  ['BAD-015', '* twice', ['If-Match', '*, *'], badMatch],
  ['BAD-016', '* in one line, a tag in another', ['If-Match', '*', 'If-Match', '"a"'], badMatch],
  ['BAD-017', 'two stars', ['If-Match', '**'], badMatch],
  ['BAD-018', 'tags without a comma', ['If-Match', '"b" "a"'], badMatch],
  ['BAD-019', 'tags that touch', ['If-Match', '"b""a"'], badMatch],
  ['BAD-020', 'a semicolon between tags', ['If-Match', '"a"; "b"'], badMatch],
  ['BAD-021', 'a good tag first does not help', ['If-Match', '"a", b'], badMatch],
  ['BAD-022', 'quotes escaped for JSON', ['If-Match', '\\"a\\"'], badMatch],
  ['BAD-023', 'the word null', ['If-Match', 'null'], badMatch],
  ['BAD-024', 'malformed comes before absent', ['If-Match', 'a'], badMatch, { stored: none }],
  ['BAD-025', 'malformed comes before 428', ['If-Match', 'a'], badMatch, { policy: required }],
  ['BAD-026', 'If-None-Match without quotes', ['If-None-Match', 'a'], badNoneMatch],
  ['BAD-027', 'If-None-Match with * and a tag', ['If-None-Match', '*, "b"'], badNoneMatch],
  ['BAD-028', 'If-None-Match that is empty', ['If-None-Match', ''], badNoneMatch],
  ['BAD-029', 'a good If-Match, a bad If-None-Match', ['If-Match', '"a"', 'If-None-Match', 'b'], badNoneMatch],
  ['BAD-030', 'both are bad: If-Match is named', ['If-None-Match', 'b', 'If-Match', 'a'], badMatch],
  ['BAD-031', 'a stale If-Match, a bad If-None-Match', ['If-Match', '"z"', 'If-None-Match', 'b'], badNoneMatch],
]);

const ifNoneMatch = rowsOf({ rule: 'RFC 9110 13.1.2; W6', method: 'PUT', stored: tagged('"a"') }, [
  ['INM-001', '* with a representation', ['If-None-Match', '*'], match],
  ['INM-002', '* without one: a create', ['If-None-Match', '*'], created, { stored: none }],
  ['INM-003', 'the current tag', ['If-None-Match', '"a"'], match],
  ['INM-004', 'another tag', ['If-None-Match', '"b"'], forward],
  ['INM-005', 'weak comparison: W/ of the current tag', ['If-None-Match', 'W/"a"'], match],
  ['INM-006', 'one of a list', ['If-None-Match', '"b", "a"'], match],
  ['INM-007', 'none of a list', ['If-None-Match', '"b", "c"'], forward],
  ['INM-008', 'a tag without a representation', ['If-None-Match', '"a"'], created, { stored: none }],
  ['INM-009', 'several lines', ['If-None-Match', '"b"', 'If-None-Match', '"a"'], match],
  ['INM-010', 'a comma inside the quotes', ['If-None-Match', '"a,b"'], match, stored('"a,b"')],
  ['INM-011', 'half of a tag with a comma', ['If-None-Match', '"a"'], forward, stored('"a,b"')],
  ['INM-012', 'a quoted star is not any', ['If-None-Match', '"*"'], forward],
  ['INM-013', 'a weak current tag', ['If-None-Match', 'W/"a"'], match, { ...stored('W/"a"'), policy: upstream }],
  ['INM-014', 'strong form of a weak one', ['If-None-Match', '"a"'], match, { ...stored('W/"a"'), policy: upstream }],
  ['INM-015', 'the opaque parts differ', ['If-None-Match', 'W/"b"'], forward],
  ['INM-016', 'the date beside it is ignored', ['If-None-Match', '"b"', 'If-Modified-Since', date], forward],
]);

const readNoneMatch = [
  ...rowsOf({ rule: 'RFC 9110 13.1.2; R1', method: 'GET', stored: tagged('"a"') }, [
    ['INM-030', 'GET with the current tag', ['If-None-Match', '"a"'], notModified],
    ['INM-031', 'GET with another tag', ['If-None-Match', '"b"'], content],
    ['INM-032', 'GET with a list', ['If-None-Match', '"b", "a"'], notModified],
    ['INM-033', 'GET with *', ['If-None-Match', '*'], notModified],
    ['INM-034', 'GET of what is not there', ['If-None-Match', '*'], missing, { stored: none }],
    ['INM-035', 'GET with the synthetic tag', ['If-None-Match', im], notModified, { stored: plain }],
    ['INM-036', 'GET with a stale synthetic tag', ['If-None-Match', stale], content, { stored: plain }],
    [
      'INM-037',
      'GET with a list of synthetic tags',
      ['If-None-Match', `${stale}, ${im}`],
      notModified,
      { stored: plain },
    ],
    [
      'INM-038',
      'GET with lines of them',
      ['If-None-Match', stale, 'If-None-Match', im],
      notModified,
      { stored: plain },
    ],
    ['INM-039', 'GET without conditions', [], content],
    ['INM-040', 'GET weak, by the RFC alone', ['If-None-Match', 'W/"a"'], notModified, { only: 'pure' }],
    ['INM-041', 'GET weak: R1 gives a usable tag', ['If-None-Match', 'W/"a"'], content, { only: 'socket' }],
    ['INM-042', 'GET that is malformed', ['If-None-Match', 'a'], content],
  ]),
  ...rowsOf({ rule: 'RFC 9110 13.1.2; R1, V5', method: 'HEAD', stored: tagged('"a"') }, [
    ['INM-050', 'HEAD with the current tag', ['If-None-Match', '"a"'], notModified],
    ['INM-051', 'HEAD with another tag', ['If-None-Match', '"b"'], content],
    ['INM-052', 'HEAD with the synthetic tag', ['If-None-Match', im], notModified, { stored: plain }],
    ['INM-053', 'HEAD with a stale synthetic tag', ['If-None-Match', stale], content, { stored: plain }],
  ]),
];

const ifUnmodifiedSince = rowsOf({ rule: 'RFC 9110 13.1.4; W6', method: 'PUT', stored: dated, policy: upstream }, [
  ['IUS-001', 'the same second', ['If-Unmodified-Since', date], forward],
  ['IUS-002', 'a later date', ['If-Unmodified-Since', later], forward],
  ['IUS-003', 'an earlier date', ['If-Unmodified-Since', earlier], modified],
  ['IUS-004', 'the same second, RFC 850', ['If-Unmodified-Since', date850], forward],
  ['IUS-005', 'an earlier date, RFC 850', ['If-Unmodified-Since', earlier850], modified],
  ['IUS-006', 'the same second, asctime', ['If-Unmodified-Since', dateC], forward],
  ['IUS-007', 'an earlier date, asctime', ['If-Unmodified-Since', earlierC], modified],
  ['IUS-008', 'years earlier', ['If-Unmodified-Since', 'Thu, 01 Jan 1970 00:00:00 GMT'], modified],
  ['IUS-009', 'in the far future', ['If-Unmodified-Since', 'Fri, 31 Dec 9999 23:59:59 GMT'], forward],
  ['IUS-010', 'no date: ignored', ['If-Unmodified-Since', 'yesterday'], forward],
  ['IUS-011', 'a number: ignored', ['If-Unmodified-Since', '0'], forward],
  ['IUS-012', 'ISO 8601: ignored', ['If-Unmodified-Since', '1994-11-06T08:49:36Z'], forward],
  ['IUS-013', 'another zone: ignored', ['If-Unmodified-Since', 'Sun, 06 Nov 1994 08:49:36 +0000'], forward],
  ['IUS-014', 'UTC for GMT: ignored', ['If-Unmodified-Since', 'Sun, 06 Nov 1994 08:49:36 UTC'], forward],
  ['IUS-015', 'the wrong case: ignored', ['If-Unmodified-Since', 'sun, 06 nov 1994 08:49:36 gmt'], forward],
  ['IUS-016', 'a day that is none: ignored', ['If-Unmodified-Since', 'Sun, 31 Feb 1994 08:49:36 GMT'], forward],
  ['IUS-017', 'an hour that is none: ignored', ['If-Unmodified-Since', 'Sun, 06 Nov 1994 24:00:00 GMT'], forward],
  ['IUS-018', 'an empty value: ignored', ['If-Unmodified-Since', ''], forward],
  ['IUS-019', 'a wrong day name counts', ['If-Unmodified-Since', 'Mon, 06 Nov 1994 08:49:36 GMT'], modified],
  ['IUS-020', 'no Last-Modified: ignored', ['If-Unmodified-Since', earlier], forward, stored('"a"')],
  ['IUS-021', 'no representation: ignored', ['If-Unmodified-Since', earlier], created, { stored: none }],
  ['IUS-022', 'under auto', ['If-Unmodified-Since', earlier], modified, { policy: {} }],
  ['IUS-023', 'under auto, the same second', ['If-Unmodified-Since', date], forward, { policy: {} }],
  [
    'IUS-024',
    'a Last-Modified that is no date: ignored',
    ['If-Unmodified-Since', earlier],
    forward,
    { stored: { body, etag: '"a"', lastModified: 'yesterday' } },
  ],
]);

const deletedSince = rowsOf({ rule: 'RFC 9110 13.1.4; W6', method: 'DELETE', stored: dated, policy: upstream }, [
  ['IUS-030', 'DELETE of the same second', ['If-Unmodified-Since', date], forward],
  ['IUS-031', 'DELETE of an earlier date', ['If-Unmodified-Since', earlier], modified],
]);

const ifModifiedSince = [
  ...rowsOf({ rule: 'RFC 9110 13.1.3', method: 'GET', stored: dated, policy: upstream }, [
    ['IMS-001', 'the same second', ['If-Modified-Since', date], notModified],
    ['IMS-002', 'a later date', ['If-Modified-Since', later], notModified],
    ['IMS-003', 'an earlier date', ['If-Modified-Since', earlier], content],
    ['IMS-004', 'asctime', ['If-Modified-Since', dateC], notModified, { only: 'pure' }],
    ['IMS-005', 'RFC 850', ['If-Modified-Since', date850], notModified, { only: 'pure' }],
    ['IMS-006', 'no date: ignored', ['If-Modified-Since', 'yesterday'], content],
    ['IMS-007', 'no Last-Modified: ignored', ['If-Modified-Since', date], content, stored('"a"')],
    ['IMS-008', 'no representation', ['If-Modified-Since', date], missing, { stored: none }],
  ]),
  ...rowsOf({ rule: 'RFC 9110 13.1.3', method: 'HEAD', stored: dated, policy: upstream }, [
    ['IMS-010', 'HEAD, the same second', ['If-Modified-Since', date], notModified],
    ['IMS-011', 'HEAD, an earlier date', ['If-Modified-Since', earlier], content],
  ]),
  ...rowsOf({ rule: 'RFC 9110 13.1.3: GET and HEAD only', method: 'PUT', stored: dated, policy: upstream }, [
    ['IMS-020', 'PUT ignores it', ['If-Modified-Since', date], forward],
    ['IMS-021', 'PUT ignores a later date', ['If-Modified-Since', later], forward],
  ]),
  ...rowsOf({ rule: 'RFC 9110 13.1.3: GET and HEAD only', method: 'DELETE', stored: dated, policy: upstream }, [
    ['IMS-022', 'DELETE ignores it', ['If-Modified-Since', date], forward],
  ]),
];

const precedence = [
  ...rowsOf({ rule: 'RFC 9110 13.2.2; W6', method: 'PUT', stored: both, policy: upstream }, [
    [
      'ORD-001',
      'If-Match holds, the old date is ignored',
      ['If-Match', '"a"', 'If-Unmodified-Since', earlier],
      forward,
    ],
    ['ORD-002', 'If-Match fails, the good date is ignored', ['If-Match', '"b"', 'If-Unmodified-Since', date], noMatch],
    ['ORD-003', 'the order of fields does not count', ['If-Unmodified-Since', earlier, 'If-Match', '"a"'], forward],
    ['ORD-004', 'If-Match: * over the date', ['If-Match', '*', 'If-Unmodified-Since', earlier], forward],
    ['ORD-005', 'If-Match and If-None-Match hold', ['If-Match', '"a"', 'If-None-Match', '"b"'], forward],
    ['ORD-006', 'If-Match holds, If-None-Match fails', ['If-Match', '"a"', 'If-None-Match', '"a"'], match],
    ['ORD-007', 'If-Match fails first', ['If-None-Match', '"a"', 'If-Match', '"b"'], noMatch],
    ['ORD-008', 'both *, with a representation', ['If-Match', '*', 'If-None-Match', '*'], match],
    ['ORD-009', 'both *, without', ['If-Match', '*', 'If-None-Match', '*'], noMatch, { stored: none }],
    [
      'ORD-010',
      'the date fails before If-None-Match',
      ['If-Unmodified-Since', earlier, 'If-None-Match', '"a"'],
      modified,
    ],
    ['ORD-011', 'the date holds, If-None-Match fails', ['If-Unmodified-Since', date, 'If-None-Match', '*'], match],
    ['ORD-012', 'the date and If-None-Match hold', ['If-Unmodified-Since', date, 'If-None-Match', '"b"'], forward],
    ['ORD-013', 'a bad date beside a stale tag', ['If-Match', '"b"', 'If-Unmodified-Since', 'x'], noMatch],
    [
      'ORD-014',
      'all four hold or are ignored',
      ['If-Match', '"a"', 'If-Unmodified-Since', earlier, 'If-None-Match', '"b"', 'If-Modified-Since', later],
      forward,
    ],
  ]),
  ...rowsOf({ rule: 'RFC 9110 13.2.2', method: 'GET', stored: both, policy: upstream }, [
    ['ORD-020', 'a stale tag over an equal date', ['If-None-Match', '"b"', 'If-Modified-Since', date], content],
    [
      'ORD-021',
      'the current tag over an old date',
      ['If-None-Match', '"a"', 'If-Modified-Since', earlier],
      notModified,
    ],
    ['ORD-022', 'GET with a stale If-Match', ['If-Match', '"b"'], noMatch],
    ['ORD-023', 'GET with the current If-Match', ['If-Match', '"a"'], content],
    ['ORD-024', 'GET with an old If-Unmodified-Since', ['If-Unmodified-Since', earlier], modified],
  ]),
  ...rowsOf({ rule: 'RFC 9110 13.2.2; R1', method: 'GET', stored: dated }, [
    ['ORD-030', 'a stale synthetic tag, an equal date', ['If-None-Match', stale, 'If-Modified-Since', date], content],
    ['ORD-031', 'the synthetic tag, an old date', ['If-None-Match', im, 'If-Modified-Since', earlier], notModified],
  ]),
];

const preconditionRequired = [
  ...rowsOf({ rule: 'RFC 6585 3; W2', method: 'PUT', stored: both, policy: required }, [
    ['REQ-001', 'no condition', [], unconditional],
    ['REQ-002', 'no condition and no representation', [], unconditional, { stored: none }],
    ['REQ-003', 'If-Match with the current tag', ['If-Match', '"a"'], forward],
    ['REQ-004', 'If-Match with another tag', ['If-Match', '"b"'], noMatch],
    ['REQ-005', 'If-Match: * is a deliberate override', ['If-Match', '*'], forward],
    ['REQ-006', 'If-Match with a weak tag counts, and fails', ['If-Match', 'W/"a"'], noMatch],
    ['REQ-007', 'If-None-Match: * creates', ['If-None-Match', '*'], created, { stored: none }],
    ['REQ-008', 'If-None-Match: * with a representation', ['If-None-Match', '*'], match],
    ['REQ-009', 'If-None-Match with a tag is not enough', ['If-None-Match', '"b"'], unconditional],
    ['REQ-010', 'a date that holds', ['If-Unmodified-Since', date], forward],
    ['REQ-011', 'a date that fails', ['If-Unmodified-Since', earlier], modified],
    ['REQ-012', 'an invalid date is none', ['If-Unmodified-Since', 'yesterday'], unconditional],
    ['REQ-013', 'If-Modified-Since is not enough', ['If-Modified-Since', date], unconditional],
    ['REQ-014', 'an invalid date beside a tag', ['If-Unmodified-Since', 'x', 'If-Match', '"a"'], forward],
    ['REQ-015', 'a synthetic tag counts', ['If-Match', im], forward, { stored: plain }],
    ['REQ-016', 'V8: a date without Last-Modified', ['If-Unmodified-Since', date], unconditional, { stored: plain }],
    ['REQ-017', 'If-None-Match and a date', ['If-None-Match', '"b"', 'If-Unmodified-Since', date], forward],
  ]),
  ...rowsOf({ rule: 'RFC 6585 3; W2', method: 'PATCH', stored: both, policy: required }, [
    ['REQ-030', 'PATCH without a condition', [], unconditional],
  ]),
  ...rowsOf({ rule: 'RFC 6585 3; W2', method: 'DELETE', stored: both, policy: required }, [
    ['REQ-031', 'DELETE without a condition', [], unconditional],
    ['REQ-032', 'DELETE with If-Match: *', ['If-Match', '*'], forward],
  ]),
  ...rowsOf({ rule: 'W2: guarded writes only', method: 'POST', stored: both, policy: required }, [
    ['REQ-033', 'POST without a condition is not guarded', [], forward],
  ]),
  ...rowsOf({ rule: 'W2: guarded writes only', method: 'GET', stored: both, policy: required }, [
    ['REQ-034', 'GET without a condition', [], content],
  ]),
];

const synthetic = [
  ...rowsOf({ rule: 'V2; W6', method: 'PUT', stored: plain }, [
    ['SYN-001', 'the synthetic tag', ['If-Match', im], forward],
    ['SYN-002', 'a stale synthetic tag', ['If-Match', stale], noMatch],
    ['SYN-003', 'the tag of a coding', ['If-Match', '"im-{hash}-gzip"'], forward],
    ['SYN-004', 'the tag of another coding', ['If-Match', '"im-{hash}-br"'], forward],
    ['SYN-005', 'a stale hash with a coding', ['If-Match', '"im-AAAAAAAAAAAAAAAAAAAAAA-gzip"'], noMatch],
    ['SYN-006', 'the weak form never matches', ['If-Match', 'W/"im-{hash}"'], noMatch],
    ['SYN-007', 'more characters are another hash', ['If-Match', '"im-{hash}A"'], noMatch],
    ['SYN-008', 'the hash without its prefix', ['If-Match', '"{hash}"'], noMatch],
    ['SYN-009', 'one of a list', ['If-Match', `${stale}, ${im}`], forward],
    ['SYN-010', 'a native tag that is none', ['If-Match', '"a"'], noMatch],
    ['SYN-011', 'If-None-Match with the tag', ['If-None-Match', im], match],
    ['SYN-012', 'If-None-Match with its weak form', ['If-None-Match', 'W/"im-{hash}"'], match],
    ['SYN-013', 'If-None-Match with its coding', ['If-None-Match', '"im-{hash}-gzip"'], match],
    ['SYN-014', 'If-None-Match with a stale one', ['If-None-Match', stale], forward],
    ['SYN-015', 'the tag without a representation', ['If-Match', stale], noMatch, { stored: none }],
    ['SYN-016', 'the empty body has a tag', ['If-Match', im], forward, { stored: { body: '' } }],
    ['SYN-017', 'it beats an old date', ['If-Match', im, 'If-Unmodified-Since', earlier], forward, { stored: dated }],
    ['SYN-018', 'no conditions', [], forward],
    ['SYN-019', 'no conditions, no representation', [], created, { stored: none }],
  ]),
  ...rowsOf({ rule: 'V6; W6', method: 'PUT', stored: tagged('W/"a"') }, [
    ['SYN-030', 'a weak native tag never satisfies', ['If-Match', 'W/"a"'], noMatch],
    ['SYN-031', 'nor does its strong form', ['If-Match', '"a"'], noMatch],
    ['SYN-032', 'auto: the synthetic tag in its place does', ['If-Match', im], forward],
    ['SYN-033', 'upstream: weak never satisfies', ['If-Match', 'W/"a"'], noMatch, { policy: upstream }],
    ['SYN-034', 'upstream: nor its strong form', ['If-Match', '"a"'], noMatch, { policy: upstream }],
    ['SYN-035', '* needs no tag', ['If-Match', '*'], forward],
  ]),
  ...rowsOf({ rule: 'V1', method: 'PUT', stored: tagged('"a"'), policy: { validator: { kind: 'body' } } }, [
    ['SYN-040', 'body: the synthetic tag', ['If-Match', im], forward],
    ['SYN-041', 'body: the native tag is none', ['If-Match', '"a"'], noMatch],
  ]),
  ...rowsOf({ rule: 'V1, V7', method: 'PUT', stored: both }, [
    ['SYN-050', 'auto: a native tag with an old date is trusted', ['If-Match', '"a"'], forward],
    ['SYN-051', 'auto: another one', ['If-Match', '"b"'], noMatch],
  ]),
  ...rowsOf({ rule: 'V2; W6', method: 'DELETE', stored: plain }, [
    ['SYN-060', 'DELETE with the synthetic tag', ['If-Match', im], forward],
    ['SYN-061', 'DELETE with a stale one', ['If-Match', stale], noMatch],
    ['SYN-062', 'DELETE of what is not there', [], missing, { stored: none }],
  ]),
  ...rowsOf({ rule: 'V2; W6', method: 'PATCH', stored: plain }, [
    ['SYN-063', 'PATCH with the synthetic tag', ['If-Match', im], forward],
    ['SYN-064', 'PATCH with a stale one', ['If-Match', stale], noMatch],
  ]),
];

const modes = [
  ...rowsOf({ rule: 'guard: off', method: 'PUT', stored: tagged('"a"'), policy: { guard: 'off' } }, [
    ['OFF-001', 'a stale tag passes', ['If-Match', '"b"'], forward],
    ['OFF-002', 'a malformed one passes', ['If-Match', 'b'], forward],
    ['OFF-003', 'If-None-Match: * passes', ['If-None-Match', '*'], forward],
  ]),
  ...rowsOf({ rule: 'W14', method: 'PUT', stored: tagged('"a"'), policy: { mode: 'report' } }, [
    ['REP-001', 'a stale tag is forwarded', ['If-Match', '"b"'], forward],
    ['REP-002', 'a malformed one is forwarded', ['If-Match', 'b'], forward],
    ['REP-003', 'a good one is forwarded', ['If-Match', '"a"'], forward],
    [
      'REP-004',
      'no condition under required is forwarded',
      [],
      forward,
      { policy: { mode: 'report', guard: 'required' } },
    ],
  ]),
];

export const rows: readonly Row[] = [
  ...ifMatch,
  ...otherMethods,
  ...scanning,
  ...malformedMatch,
  ...ifNoneMatch,
  ...readNoneMatch,
  ...ifUnmodifiedSince,
  ...deletedSince,
  ...ifModifiedSince,
  ...precedence,
  ...preconditionRequired,
  ...synthetic,
  ...modes,
];

/** The row with `{hash}` replaced in its request's field values. */
export function withHash(row: Row, hash: string): Row {
  const headers = row.request.headers.map((value) => value.replaceAll('{hash}', hash));
  return { ...row, request: { ...row.request, headers } };
}

import { chunked, exchange, type Point, request, response } from './point.js';

const latin = 'caf\xe9 \xff\x80';
const long = 'v'.repeat(7000);
const many = Array.from({ length: 150 }, (_, index) => `X-Field-${index}: ${index}`);

const requestFields: readonly Point[] = [
  {
    id: 'request-fields',
    title: 'Request fields: spelling, order, duplicates',
    run: exchange({
      sends: ['GET', 'DELETE', 'OPTIONS'].map((method) =>
        request(`${method} /x`, [
          'x-LOWER: 1',
          'X-Dup: a',
          'Accept: text/html;q=0.5, */*',
          'x-dup: b',
          'User-Agent: some/1 (thing)',
          'Cookie: a=1',
          'Accept-Encoding: gzip, br',
          'Authorization: Basic x',
          'X-Dup: c, d',
          'Referer: http://b.example/',
          'Origin: http://b.example',
          'Cache-Control: max-age=0',
          'Max-Forwards: 3',
          'ACCEPT-language: de',
        ]),
      ),
    }),
  },
  {
    id: 'cookie-lines',
    title: 'Several lines of Cookie',
    run: exchange({ sends: request('GET /x', ['Cookie: a=1', 'X-Between: 1', 'Cookie: b=2']) }),
  },
  {
    id: 'host-place',
    title: 'Spelling and place of Host (left out of all other points)',
    places: /^host/i,
    run: exchange({ sends: 'GET /x HTTP/1.1\r\nX-First: 1\r\nhOST: A.example:81\r\nX-Last: 1\r\n\r\n' }),
  },
  {
    id: 'request-framing-fields',
    title: 'Spelling and place of Content-Length and Transfer-Encoding in requests (left out of all other points)',
    places: /^(?:content|transfer)/i,
    run: exchange({
      sends: [
        request('PUT /x', ['X-First: 1', 'content-LENGTH: 2', 'X-Last: 1'], 'ab'),
        request('POST /x', ['X-First: 1', 'transfer-ENCODING: chunked', 'X-Last: 1'], chunked(['ab'])),
      ],
    }),
  },
  {
    id: 'request-obs-text',
    title: 'Octets above 0x7F in request fields',
    run: exchange({ sends: request('GET /x', [`X-Latin: ${latin}`, 'X-Utf-8: \xc3\xa9']) }),
  },
  {
    id: 'request-empty-values',
    title: 'Empty values in requests',
    run: exchange({ sends: request('GET /x', ['X-Empty:', 'X-Spaces:  ', 'Accept:', 'X-Empty:']) }),
  },
  {
    id: 'request-long-value',
    title: 'A request field of 7000 octets',
    run: exchange({ sends: request('GET /x', [`X-Long: ${long}`]) }),
  },
  { id: 'request-many-fields', title: '150 request fields', run: exchange({ sends: request('GET /x', many) }) },
  {
    id: 'request-odd-names',
    title: 'Names with `_` and other rare characters in requests',
    run: exchange({ sends: request('GET /x', ['X_Under: 1', "X!#$%&'*+.^`|~: 1", '1: 2']) }),
  },
  {
    id: 'request-hop',
    title: 'Fields of one hop go from requests',
    run: exchange({
      sends: request('GET /x', [
        'Connection: X-Hop, keep-alive',
        'X-Hop: gone',
        'connection: x-other',
        'X-Other: gone',
        'Keep-Alive: timeout=77',
        'Proxy-Connection: keep-alive',
        'TE: trailers',
        'X-Kept: 1',
      ]),
    }),
  },
];

const responseFields: readonly Point[] = [
  {
    id: 'response-fields',
    title: 'Response fields: spelling, order, duplicates (Set-Cookie, Link, WWW-Authenticate, Via)',
    run: exchange({
      sends: ['GET', 'DELETE', 'GET'].map((method) => request(`${method} /x`)),
      answers: ['200 OK', '201 Created', '401 Unauthorized'].map((status) =>
        response(
          status,
          [
            'x-LOWER: 1',
            'Set-Cookie: a=1; Path=/',
            'X-Order: 1',
            'Set-Cookie: b=2; Expires=Wed, 09 Jun 2027 10:18:14 GMT',
            'Link: </a>; rel=next',
            'WWW-Authenticate: Basic realm="a, b"',
            'set-cookie: c=3',
            'Link: </b>; rel=prev',
            'WWW-Authenticate: Digest realm="x", nonce="y"',
            'Vary: Accept',
            'vary: Cookie',
            'Via: 1.0 inner',
            'Cache-Control: no-cache',
            'Accept-Ranges: bytes',
            'Location: /elsewhere?a=%2F',
          ],
          'body',
        ),
      ),
    }),
  },
  {
    id: 'response-date-server',
    title: 'Date and Server of the backend (left out of all other points)',
    marks: true,
    run: exchange({
      sends: request('GET /x'),
      answers: response('200 OK', ['Date: Sat, 01 Jan 2022 00:00:00 GMT', 'Server: Own/1'], 'body'),
    }),
  },
  {
    id: 'response-framing-fields',
    title: 'Spelling and place of Content-Length and Transfer-Encoding in responses (left out of all other points)',
    places: /^(?:content|transfer)/i,
    run: exchange({
      sends: [request('GET /x'), request('DELETE /x')],
      answers: [
        'HTTP/1.1 200 OK\r\nX-First: 1\r\ncontent-LENGTH: 2\r\nX-Last: 1\r\n\r\nab',
        `HTTP/1.1 200 OK\r\nX-First: 1\r\ntransfer-ENCODING: chunked\r\nX-Last: 1\r\n\r\n${chunked(['ab'])}`,
      ],
    }),
  },
  {
    id: 'response-obs-text',
    title: 'Octets above 0x7F in response fields',
    run: exchange({
      sends: request('GET /x'),
      answers: response(
        '200 OK',
        [`X-Latin: ${latin}`, 'Content-Disposition: attachment; filename="\xc3\xa9"'],
        'body',
      ),
    }),
  },
  {
    id: 'response-empty-values',
    title: 'Empty values in responses',
    run: exchange({
      sends: request('GET /x'),
      answers: response('200 OK', ['X-Empty:', 'X-Spaces:  ', 'X-Empty:', 'Allow:'], 'body'),
    }),
  },
  {
    id: 'response-long-value',
    title: 'A response field of 7000 octets',
    run: exchange({ sends: request('GET /x'), answers: response('200 OK', [`X-Long: ${long}`], 'body') }),
  },
  {
    id: 'response-many-fields',
    title: '150 response fields',
    run: exchange({ sends: request('GET /x'), answers: response('200 OK', many, 'body') }),
  },
  {
    id: 'response-odd-names',
    title: 'Names with `_` and other rare characters in responses',
    run: exchange({
      sends: request('GET /x'),
      answers: response('200 OK', ['X_Under: 1', "X!#$%&'*+.^`|~: 1", '1: 2'], 'body'),
    }),
  },
  {
    id: 'response-hop',
    title: 'Fields of one hop go from responses',
    run: exchange({
      sends: request('GET /x'),
      answers: response(
        '200 OK',
        [
          'Connection: X-Hop, keep-alive',
          'X-Hop: gone',
          'Keep-Alive: timeout=77, max=9',
          'Proxy-Connection: keep-alive',
          'X-Kept: 1',
        ],
        'body',
      ),
    }),
  },
];

const statuses = [
  ['200', '200 Very Well, Thank You'],
  ['299', '299 Odd'],
  ['302', '302 Found'],
  ['404', '404 '],
  ['418', "418 I'm a teapot"],
  ['421', '421 Misdirected Request'],
  ['451', '451 Unavailable For Legal Reasons'],
  ['500', '500 Oh no'],
  ['503', '503 Busy'],
  ['599', '599 Worse'],
  ['999', '999 Request denied'],
] as const;

/** Names, values and lines of fields, and status lines. */
export const fieldPoints: readonly Point[] = [
  ...requestFields,
  ...responseFields,
  ...statuses.map(([id, status]) => ({
    id: `status-${id}`,
    title: `Status line \`${status}\``,
    run: exchange({
      sends: [request('GET /x'), request('POST /x', ['Content-Length: 0'])],
      answers: response(status, ['Location: /elsewhere', 'Retry-After: 1'], 'body'),
    }),
  })),
  {
    id: 'reason-obs-text',
    title: 'A reason phrase with octets above 0x7F',
    run: exchange({ sends: request('DELETE /x'), answers: response('200 \xc3\x89t\xe9', [], 'body') }),
  },
];

import type { Field, Message } from './messages.js';

/** Which end of the proxy has received a message. */
export type Side = 'backend' | 'client';

/** A difference that the gate may make. */
export interface Permitted {
  readonly what: string;
  readonly reason: string;
  /** Whether a field that a message has is one of these; `request` is what it answers. */
  readonly field?: (side: Side, field: Field, message: Message, request: string) => boolean;
  /** Whether a request at the backend is one of these; `before` is the one before it. */
  readonly request?: (request: Message, before: Message | undefined) => boolean;
}

const isNamed = ([name]: Field, pattern: RegExp): boolean => pattern.test(name);

/** All that may differ; every difference that none of these takes away is a defect. */
export const permitted: readonly Permitted[] = [
  {
    what: '`X-Forwarded-For`, `-Proto` and `-Host` on requests',
    reason: 'the backend cannot see the client any more',
    field: (side, field) => side === 'backend' && isNamed(field, /^x-forwarded-(?:for|proto|host)$/i),
  },
  {
    what: '`X-Request-Id` on requests and responses',
    reason: 'log lines of both sides can be joined (A3)',
    field: (_, field) => isNamed(field, /^x-request-id$/i),
  },
  {
    what: '`Via: 1.1 ifmatch` on responses',
    reason: 'it tells the answers of the upstream from those of the gate',
    field: (side, field) => side === 'client' && isNamed(field, /^via$/i) && field[1] === '1.1 ifmatch',
  },
  {
    what: '`ETag` on the 200 of a guarded GET or HEAD',
    reason: 'what the gate is for (V1)',
    field: (side, field, { start }, request) =>
      side === 'client' &&
      isNamed(field, /^etag$/i) &&
      field[1].startsWith('"im-') &&
      start.startsWith('200 ') &&
      /^(?:GET|HEAD) /.test(request),
  },
  {
    what: '304 on a guarded GET or HEAD whose condition names what the client has',
    reason: 'what ETags are for (R1); it takes a condition, so that no point meets it',
  },
  {
    what: 'reads of the gate before a write with a condition (probe) and after it (refresh)',
    reason: 'the version has to be known (W4, W10); no point meets them either',
  },
  {
    what: 'a GET behind a HEAD whose answer tells no tag',
    reason: 'its content is hashed for the ETag (V5)',
    request: ({ start }, before) => start.startsWith('GET ') && before?.start === `HEAD ${start.slice('GET '.length)}`,
  },
];

/** A difference that the gate makes although it would rather not. */
export interface Limit {
  readonly what: string;
  readonly reason: string;
  /** The points in which it shows, by id, with the differences in words. */
  readonly points: Readonly<Record<string, readonly string[]>>;
}

/** What the gate cannot do: the points in which these show must show these, and no others may show any. */
export const limits: readonly Limit[] = [
  {
    what: '`Host`, `Content-Length` and `Transfer-Encoding` are written by the HTTP libraries',
    reason: 'in their own spelling and place, with the same meaning',
    points: {
      'host-place': ['request: `host first` instead of `hOST behind X-First`'],
      'request-framing-fields': [
        'request: `content-length behind X-Request-Id` instead of `content-LENGTH behind X-First`',
        'request: `transfer-encoding behind X-Request-Id` instead of `transfer-ENCODING behind X-First`',
      ],
      'response-framing-fields': [
        'response: `Transfer-Encoding behind Keep-Alive` instead of `transfer-ENCODING behind X-First`',
      ],
    },
  },
  {
    what: '`Expect: 100-continue` is answered by the gate',
    reason:
      'its decision comes before the body (W13); undici sends no Expect, so that the upstream cannot refuse early',
    points: {
      'expect-continue': ['request: `expect` gone'],
      'expect-refused': ['0 requests instead of 1', 'interim 100 instead of none', '0 answers instead of 1'],
    },
  },
  {
    what: 'the head of a request with a body goes on with the first octets of that body',
    reason: 'undici sends it then; of a guarded write the first `limits.holdRequest` (64 kB) are received before (W3)',
    points: {
      'request-head-first': ['the head comes: no'],
      'request-drip-write': [
        'one comes before the next is sent: no',
        'not reached: two comes before the next is sent: yes',
        '0 requests instead of 1',
        '0 answers instead of 1',
      ],
    },
  },
  {
    what: 'a request whose answer is whole before its body is not sent to its end',
    reason:
      'undici gives up its connection then; of a guarded write the client is told that nobody knows what became of it',
    points: {
      'early-answer': [
        'the rest reaches the backend: no',
        'request: body of 4 octets instead of 8',
        'request: breaks off',
      ],
    },
  },
  {
    what: 'a client that ends its side of the connection behind its request is taken for one that has gone',
    reason: 'most that do have; Node cannot tell',
    points: { 'half-close': ['0 answers instead of 1'] },
  },
  {
    what: 'octets above 0x7F in a request-target, and methods that Node does not know, are refused with 400',
    reason: 'Node’s parser refuses them; the former are no valid URL (RFC 3986)',
    points: {
      'target-raw-utf-8': ['0 requests instead of 2', '1 answers instead of 2', '400 instead of 200'],
      'method-brew': ['0 requests instead of 2', '1 answers instead of 2', '400 instead of 200'],
    },
  },
];

/** What HTTP itself asks of whoever stands between, or leaves to each connection: no difference that anybody can count on. */
export const hopRules: readonly { readonly what: string; readonly reason: string }[] = [
  {
    what: '`Connection` and what it nominates, `Keep-Alive`, `Proxy-Connection`, `TE` and, but for tunnels, `Upgrade` go',
    reason: 'RFC 9110 7.6.1; each connection has its own `Connection` and `Keep-Alive`',
  },
  { what: 'the version of a message is that of its sender', reason: 'RFC 9110 6.2' },
  { what: 'spaces around field values are no part of them', reason: 'RFC 9110 5.5' },
  { what: 'sizes of chunks and their extensions', reason: 'RFC 9112 7.1' },
  {
    what: 'a response that ends with its connection comes chunked to a client of HTTP/1.1',
    reason: 'RFC 9112 6.3: the client sees where it breaks off',
  },
  {
    what: 'a client of HTTP/1.0 gets neither chunks nor trailers nor interim answers',
    reason: 'RFC 9112 6.1, RFC 9110 15.2',
  },
  { what: 'a request of HTTP/1.0 without `Host` gets one', reason: 'RFC 9112 3.2: the hop speaks HTTP/1.1' },
  {
    what: 'a target in absolute form goes on in origin form, with its host in `Host`',
    reason: 'RFC 9112 3.2.1, 3.2.2',
  },
  {
    what: 'a response to HEAD says nothing of chunks',
    reason: 'RFC 9112 6.1: Transfer-Encoding belongs to one connection; there is nothing in chunks here',
  },
  { what: 'a response without `Date` may get one', reason: 'RFC 9110 6.6.1' },
];

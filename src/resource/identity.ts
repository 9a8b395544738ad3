import { createHmac, hash } from 'node:crypto';
import type { RawHeaders } from '../http/fields.js';
import { type BoundCredential, boundCredential } from './credential.js';
import { normalUrl } from './key.js';
import type { Target } from './target.js';

/** Who asks, without any value that a credential could be made of (I2). */
export interface Identity {
  /** Keyed hash in base64url; equal for two requests exactly when they come with the same credentials. */
  readonly id: string;
  /** Whether the credentials are good for this request only, so that a probe cannot carry them (W4). */
  readonly bound: boolean;
}

/** Request fields that never tell who asks (I2), in lower case and with `-` for `_`. */
const harmless: ReadonlySet<string> = new Set([
  // The connection and the framing (RFC 9110 7.6.1, RFC 9112 6); Host is counted apart.
  ...['connection', 'host', 'keep-alive', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'],
  ...['http2-settings', 'max-forwards', 'via'],
  // What is asked for, and how it is to be answered.
  ...['accept', 'cache-control', 'date', 'depth', 'destination', 'digest', 'dnt', 'expect', 'idempotency-key', 'if'],
  ...['lock-token', 'origin', 'overwrite', 'pragma', 'prefer', 'priority', 'range', 'referer', 'repr-digest'],
  ...['save-data', 'timeout', 'upgrade-insecure-requests', 'user-agent', 'x-requested-with'],
  ...['x-http-method', 'x-http-method-override', 'x-method-override'],
  // Trace context and ids of the request.
  ...['b3', 'baggage', 'traceparent', 'tracestate', 'uber-trace-id', 'x-amzn-trace-id', 'x-cloud-trace-context'],
  ...['x-correlation-id', 'x-request-id'],
  // The way it took. The other X-Forwarded-* count: oauth2-proxy and its like hand the user on in X-Forwarded-User,
  // -Email, -Groups, -Preferred-Username and -Access-Token.
  ...['cdn-loop', 'cf-connecting-ip', 'cf-ray', 'fastly-client-ip', 'forwarded', 'true-client-ip', 'x-client-ip'],
  ...['x-forwarded-for', 'x-forwarded-host', 'x-forwarded-method', 'x-forwarded-path', 'x-forwarded-port'],
  ...['x-forwarded-prefix', 'x-forwarded-proto', 'x-forwarded-protocol', 'x-forwarded-scheme', 'x-forwarded-server'],
  ...['x-forwarded-ssl', 'x-forwarded-uri', 'x-real-ip'],
  // Companions of a signature, new with every request; what they say of the signer is in the key id.
  ...['signature', 'signature-input', 'x-amz-content-sha256', 'x-amz-date', 'x-amz-user-agent'],
]);

const harmlessPrefixes: readonly string[] = [
  ...['accept-', 'content-', 'if-', 'sec-', 'want-'],
  ...['x-b3-', 'x-datadog-', 'amz-sdk-', 'x-amz-checksum-', 'x-amz-sdk-'],
];

/** Hosts whose identity without credentials is remembered; it is the only one that is. */
const rememberedHosts = 1000;
/** What is remembered of them must not grow with what clients send. In characters. */
const longestHost = 512;
/** 22 characters of base64url are 132 bits. */
const idLength = 22;

/**
 * Makes the function that tells who sent a request (I2): a keyed hash over Host and every field that could carry a
 * credential. Fields count in any order, those of one name in theirs. Where the credential is bound to the request, its
 * key id stands for it, and what AWS signs along (`X-Amz-*`, but a security token) is left out.
 *
 * @param secret key of the hash: random for one process, the same in all gates that share a store
 * @returns function of the request's fields, its host, the route's `credentials` (`auto`, or the only fields that
 *   count) and its raw query, in which a presigned URL has its credential
 */
export function createIdentifier(
  secret: Buffer,
): (raw: RawHeaders, host: string, credentials: 'auto' | readonly string[], query?: string) => Identity {
  const anonymous = new Map<string, Identity>();
  const digest = (parts: readonly string[]): string =>
    createHmac('sha256', secret).update(unambiguous(parts)).digest('base64url').slice(0, idLength);

  return (raw, host, credentials, query) => {
    const bound = boundCredential(raw, query);
    const counted = countedFields(raw, credentials, bound);
    const name = host.toLowerCase();
    if (bound === undefined && counted.length === 0) {
      const remembered = anonymous.get(name);
      if (remembered !== undefined) return remembered;
      if (anonymous.size >= rememberedHosts) anonymous.clear();
      const identity = { id: digest([name]), bound: false };
      if (name.length <= longestHost) anonymous.set(name, identity);
      return identity;
    }
    const signer = bound === undefined ? ['', ''] : [bound.scheme, bound.keyId];
    return { id: digest([name, ...signer, ...counted.flat()]), bound: bound !== undefined };
  };
}

/**
 * Id of a view (I2): the URL in normal form and who asks; with the selecting fields it tells what an observation is
 * worth to a request (W4). Of a presigned URL the parameters that sign one request are left out.
 *
 * @param key of the resource, where it is known: views are told apart within one
 * @returns who asks, where the URL is the key itself; else 43 characters of base64url, which no URL with a secret in its
 *   query can be read from
 */
export function viewId(target: Target, identity: Identity, key?: string): string {
  const url = normalUrl(identity.bound ? withoutSignature(target) : target);
  if (url === key) return identity.id;
  return hash('sha256', `${identity.id} ${url}`, 'base64url');
}

/** Pairs of name (lower case) and value that count, sorted by name. */
function countedFields(
  raw: RawHeaders,
  credentials: 'auto' | readonly string[],
  bound: BoundCredential | undefined,
): [string, string][] {
  const named = credentials === 'auto' ? undefined : new Set(credentials.map((name) => name.toLowerCase()));
  const counted: [string, string][] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const written = raw[index] ?? '';
    if (named === undefined && isHarmless(written)) continue;
    const name = written.toLowerCase();
    if (named !== undefined && !named.has(name)) continue;
    if (bound !== undefined && isCovered(name, raw[index + 1] ?? '', bound)) continue;
    counted.push([name, raw[index + 1] ?? '']);
  }
  return counted.sort(([one], [other]) => (one < other ? -1 : Number(one > other)));
}

/** Parts with their lengths, so that none can pass for two. */
function unambiguous(parts: readonly string[]): string {
  return parts.map((part) => `${part.length}:${part}`).join('');
}

/** Names as they were sent, and whether they are harmless: the same few come with every request. */
const judged = new Map<string, boolean>();
const mostJudged = 1000;
const longestJudged = 64;

function isHarmless(name: string): boolean {
  const known = judged.get(name);
  if (known !== undefined) return known;
  const folded = name.toLowerCase().replaceAll('_', '-');
  const isOne = harmless.has(folded) || harmlessPrefixes.some((prefix) => folded.startsWith(prefix));
  if (judged.size >= mostJudged) judged.clear();
  if (name.length <= longestJudged) judged.set(name, isOne);
  return isOne;
}

/** Whether the key id of a bound credential stands for this field. */
function isCovered(name: string, value: string, bound: BoundCredential): boolean {
  if (name === 'authorization') return value.trim().toLowerCase().startsWith(`${bound.scheme} `);
  if (name === 'signature' || name === 'signature-input') return true;
  return bound.scheme.startsWith('aws4-') && name.startsWith('x-amz-') && name !== 'x-amz-security-token';
}

/** The same target without the parameters that sign one request of a presigned URL. */
export function withoutSignature(target: Target): Target {
  if (target.query === undefined) return target;
  const kept = target.query.split('&').filter((parameter) => !/^x-amz-/i.test(parameter));
  const query = kept.length === 0 ? undefined : kept.join('&');
  return { ...target, query, raw: query === undefined ? target.path : `${target.path}?${query}` };
}

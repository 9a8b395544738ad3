import { allowConditional, exposeEtag } from '../headers/cors.js';
import { endToEnd, FieldNames, fieldLine, hasField, withoutFields } from '../http/fields.js';
import type { ResponseBody, ResponseHead } from '../upstream/call.js';
import { LeaseOverError, RequestBodyError, UpstreamError } from '../upstream/errors.js';
import type { Held } from '../upstream/represent.js';
import type { Answer } from './exchange.js';
import { nativeTag } from './learn.js';
import { type Passage, refuse } from './passage.js';

/** What becomes of the ETag of an upstream's answer: it stays, or this tag takes its place (undefined: none). */
export type TagChange = 'keep' | { readonly etag: string | undefined };

/** Methods that ask for nothing to be changed (RFC 9110 9.2.1; WebDAV's and QUERY among them). */
export const safeMethods: ReadonlySet<string> = new Set([
  ...['GET', 'HEAD', 'OPTIONS', 'TRACE', 'PROPFIND', 'REPORT', 'SEARCH', 'QUERY'],
]);

const entityTag = new FieldNames(['etag']);

/** What only the gate says (A3, W14). */
const gateOwned = new FieldNames(['x-request-id', 'ifmatch-report']);

/** Fields that describe a body or only make sense with one; a 304 carries none of them (RFC 9110 15.4.5). */
const ofTheBody = new FieldNames([
  ...['content-length', 'content-type', 'content-encoding', 'content-language', 'content-range', 'content-md5'],
  ...['content-digest', 'repr-digest', 'digest', 'trailer'],
]);

/**
 * The upstream's answer as the client gets it: names, order and duplicates of its fields as they came, hop-by-hop
 * fields removed.
 *
 * @param body what is left of the body: streaming, held, or none
 */
export function relay(
  passage: Passage,
  head: ResponseHead,
  body: Extract<Held, { kind: 'whole' }> | ResponseBody | undefined,
  tag: TagChange = 'keep',
): Answer {
  passage.record.status = head.status;
  const whole = body !== undefined && 'chunks' in body ? body : undefined;
  return {
    status: head.status,
    statusText: head.statusText,
    rawHeaders: relayedFields(passage, head, tag),
    body: whole === undefined ? (body as ResponseBody | undefined) : whole.chunks,
    trailers: whole?.trailers,
    release: whole?.release,
    runsOn: !safeMethods.has(passage.method),
  };
}

/**
 * V6, V7: a tag that readers would not be given must not reach a writer either.
 *
 * @param head of the upstream's answer to a write
 */
export function writersTag(passage: Passage, head: ResponseHead): TagChange {
  const isGiven = passage.resource.policy.validator.kind === 'upstream' || nativeTag(passage, head) !== undefined;
  return isGiven ? 'keep' : { etag: undefined };
}

/** The gate's 304 on an upstream's 200, with the fields that RFC 9110 15.4.5 asks for. */
export function notModified(passage: Passage, head: ResponseHead, tag: TagChange): Answer {
  passage.record.status = 304;
  const rawHeaders = withoutFields(relayedFields(passage, head, tag), ofTheBody);
  return { status: 304, statusText: undefined, rawHeaders, body: undefined };
}

function relayedFields({ parts, exchange, resource, fields }: Passage, head: ResponseHead, tag: TagChange): string[] {
  let raw = endToEnd(head.rawHeaders, gateOwned);
  if (tag !== 'keep') raw = withEntityTag(raw, tag.etag);
  // RFC 9110 15.5.22: without it this answer would not say what is to be spoken instead.
  const protocols = head.status === 426 ? fieldLine(head.rawHeaders, 'upgrade') : undefined;
  if (protocols !== undefined) raw.push('Upgrade', protocols, 'Connection', 'Upgrade');
  if (resource.policy.guard !== 'off') {
    // Many servers leave the permission out of their errors: those say nothing about the others.
    const isGood = head.status < 300 || head.status === 304;
    if (isGood) parts.cors.learn(resource.route, fieldLine(fields, 'origin'), raw);
    raw = exposeEtag(raw);
    const isPreflight = exchange.method === 'OPTIONS' && hasField(fields, 'access-control-request-method');
    if (isPreflight) raw = allowConditional(raw);
  }
  return parts.inbound(raw);
}

function withEntityTag(raw: string[], etag: string | undefined): string[] {
  const rest = withoutFields(raw, entityTag);
  if (etag !== undefined) rest.push('ETag', etag);
  return rest;
}

/**
 * The answer where forwarding failed: because of the upstream, or because the client's body did not come (W3).
 *
 * @param outcome what this means for a write; undefined where the request was none
 * @returns undefined where the client is gone
 * @throws what is neither: a mistake in the gate
 */
export function failure(
  passage: Passage,
  error: unknown,
  outcome: 'not-sent' | 'unknown' | undefined,
): Answer | undefined {
  // W15: given up before anything of it was sent.
  if (error instanceof UpstreamError && outcome === 'not-sent' && passage.exchange.isGone) return undefined;
  if (error instanceof UpstreamError) return upstreamProblem(passage, error, outcome);
  if (!(error instanceof RequestBodyError)) throw error;
  passage.record.error = error.message;
  if (error.reason === 'aborted') return undefined;
  return refuse(passage, 'slow-request', {
    detail: `${error.message}.`,
    next: 'Send the whole body without long pauses.',
    ...(outcome !== undefined && { outcome }),
    close: true,
  });
}

/**
 * The answer where the upstream could not be asked, or did not answer: 502 or 504 (W9, W11).
 *
 * @param outcome what this means for a write; undefined where the request was none
 */
export function upstreamProblem(
  passage: Passage,
  error: UpstreamError,
  outcome: 'not-sent' | 'unknown' | undefined,
): Answer {
  passage.record.error = error.message;
  if (error instanceof LeaseOverError) return leaseOver(passage, outcome);
  // W9: what never reached the upstream is a failure to reach it, however long that took.
  const name = error.timedOut && error.sent ? 'upstream-timeout' : 'upstream-failed';
  const consequence = {
    'not-sent': ' Nothing was changed.',
    unknown: ' Whether the write took effect is not known.',
    none: '',
  }[outcome ?? 'none'];
  return refuse(passage, name, {
    detail: `${detailOf(error)}${consequence}`,
    next:
      outcome === 'unknown'
        ? 'Fetch the resource to see whether the write took effect before you send it again.'
        : 'Try again later.',
    error: error.type,
    ...(outcome !== undefined && { outcome }),
  });
}

/** S2: the gate itself gave the write up, because its lease would not have outlived it. */
function leaseOver(passage: Passage, outcome: 'not-sent' | 'unknown' | undefined): Answer {
  const detail = 'The lease of the resource could not be kept for as long as the write would have taken.';
  if (outcome !== 'unknown') {
    const next = 'Retry with backoff; nothing was changed.';
    return refuse(passage, 'store-unavailable', {
      detail,
      next,
      retryAfter: 1,
      outcome: 'not-sent',
      decidedBy: 'store',
    });
  }
  const next = 'Fetch the resource to see whether the write took effect before you send it again.';
  return refuse(passage, 'lease-lost', { detail, next, outcome, decidedBy: 'store' });
}

/** In words that tell the client nothing about the network behind the gate. */
function detailOf(error: UpstreamError): string {
  if (error.timedOut) return 'The upstream did not answer in time.';
  return error.type.startsWith('http_response') || error.type === 'http_protocol_error'
    ? 'The upstream gave no answer that could be passed on.'
    : 'The upstream could not be reached, or broke the connection off.';
}

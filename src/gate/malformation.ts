import { fieldLine, firstValue, hasField, type RawHeaders } from '../http/fields.js';
import { isAuthority } from '../resource/target.js';
import type { ProblemName } from './answers.js';
import type { Exchange } from './exchange.js';

/** Fields that a request may have: each costs time in every step, and nobody sends so many in good faith. */
const mostFields = 4096;

/** What makes a request unreadable, and what it is called. */
export interface Malformation {
  readonly name: ProblemName;
  readonly detail: string;
}

/**
 * What two servers could read differently before they come to the target (RFC 9112 2.3, 3.2, 6.1), and what costs more
 * than it may.
 *
 * @returns undefined where there is nothing of that kind
 */
export function malformation({ httpVersion, rawHeaders }: Exchange): Malformation | undefined {
  if (rawHeaders.length > 2 * mostFields) {
    return { name: 'request-head-too-large', detail: `The request has more than ${mostFields} fields.` };
  }
  const detail =
    versionFault(httpVersion) ?? hostFault(httpVersion, rawHeaders) ?? framingFault(httpVersion, rawHeaders);
  return detail === undefined ? undefined : { name: 'malformed-request', detail };
}

function versionFault(httpVersion: string): string | undefined {
  const known = httpVersion === '1.1' || httpVersion === '1.0';
  return known ? undefined : `The request is of HTTP/${httpVersion}, not HTTP/1.1.`;
}

function hostFault(httpVersion: string, rawHeaders: RawHeaders): string | undefined {
  const host = firstValue(rawHeaders, 'host');
  if (fieldLine(rawHeaders, 'host') !== host) return 'The request has more than one Host field.';
  if (host === undefined) return httpVersion === '1.1' ? 'The request has no Host field.' : undefined;
  return host === '' || isAuthority(host) ? undefined : 'The Host field names no valid host.';
}

/** The gate frames bodies anew: it must know all of the coding that they come in. */
function framingFault(httpVersion: string, rawHeaders: RawHeaders): string | undefined {
  if (!hasField(rawHeaders, 'transfer-encoding')) return undefined;
  if (httpVersion === '1.0') return 'A request of HTTP/1.0 has no Transfer-Encoding.';
  const isChunked = chunked.test(fieldLine(rawHeaders, 'transfer-encoding') ?? '');
  return isChunked ? undefined : 'The only Transfer-Encoding that can be read is chunked.';
}

/** HTTP's white space is these two characters (RFC 9110 5.6.3); JavaScript knows more. */
const chunked = /^[ \t]*chunked[ \t]*$/i;

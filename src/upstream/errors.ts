/** Proxy error types of RFC 9209 section 2.3 that the gate can meet on its way to the upstream. */
export type UpstreamErrorType =
  | 'dns_error'
  | 'connection_refused'
  | 'connection_timeout'
  | 'connection_terminated'
  | 'connection_limit_reached'
  | 'connection_read_timeout'
  | 'connection_write_timeout'
  | 'tls_protocol_error'
  | 'tls_certificate_error'
  | 'http_response_timeout'
  | 'http_response_incomplete'
  | 'http_protocol_error'
  | 'destination_unavailable';

/**
 * A request to the upstream that did not come to its regular end.
 */
export class UpstreamError extends Error {
  readonly code = 'UPSTREAM_FAILED';
  /** RFC 9209 proxy error type. */
  readonly type: UpstreamErrorType;
  /** Whether any byte of the request may have reached the upstream: if not, nothing can have changed (W9). */
  readonly sent: boolean;

  constructor(type: UpstreamErrorType, message: string, sent: boolean, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'UpstreamError';
    this.type = type;
    this.sent = sent;
  }

  /** Whether the upstream was too slow rather than broken: 504, not 502. */
  get timedOut(): boolean {
    return this.type.endsWith('_timeout');
  }
}

/** A write whose lease is over, or nearly, is not sent, or not any further (S2). */
export function uncovered(sent: boolean): UpstreamError {
  return new LeaseOverError('connection_terminated', 'the lease was over before the request was', sent);
}

/** Not the upstream's fault. */
export class LeaseOverError extends UpstreamError {}

/** The client's request body did not come to its end: it went away, or it was slower than it may be (W3, W11). */
export class RequestBodyError extends Error {
  readonly code = 'REQUEST_BODY_FAILED';
  readonly reason: 'aborted' | 'too-slow';

  constructor(reason: 'aborted' | 'too-slow', message: string) {
    super(message);
    this.name = 'RequestBodyError';
    this.reason = reason;
  }
}

const byCode: Readonly<Record<string, UpstreamErrorType>> = {
  ENOTFOUND: 'dns_error',
  EAI_AGAIN: 'dns_error',
  ECONNREFUSED: 'connection_refused',
  EHOSTUNREACH: 'destination_unavailable',
  ENETUNREACH: 'destination_unavailable',
  ENOENT: 'destination_unavailable',
  ETIMEDOUT: 'connection_timeout',
  UND_ERR_CONNECT_TIMEOUT: 'connection_timeout',
  UND_ERR_HEADERS_OVERFLOW: 'http_protocol_error',
  EPROTO: 'tls_protocol_error',
};

/**
 * Names what went wrong on the way to the upstream.
 *
 * @param error what undici or the socket reported
 * @param sent whether a byte of the request may have been written
 * @param hasHead whether the response head had been received
 * @returns an error with an RFC 9209 type; the message never contains more than the cause's own
 */
export function upstreamError(error: unknown, sent: boolean, hasHead: boolean): UpstreamError {
  if (error instanceof UpstreamError) return error;
  const { name, code = '', message } = error as { name: string; code?: string; message: string };
  return new UpstreamError(errorType(name, code, hasHead), message, sent, error);
}

function errorType(name: string, code: string, hasHead: boolean): UpstreamErrorType {
  const known = byCode[code];
  if (known !== undefined) return known;
  // undici's parser errors have no code, and a head with two framings is reported as a body of the wrong length.
  const isUnreadable =
    name === 'HTTPParserError' || code === 'UND_ERR_RES_CONTENT_LENGTH_MISMATCH' || code.startsWith('HPE_');
  if (isUnreadable) return hasHead ? 'http_response_incomplete' : 'http_protocol_error';
  if (code.startsWith('CERT_') || code.includes('_CERT') || code.startsWith('ERR_TLS_CERT')) {
    return 'tls_certificate_error';
  }
  if (code.startsWith('ERR_SSL') || code.startsWith('ERR_TLS')) return 'tls_protocol_error';
  return hasHead ? 'http_response_incomplete' : 'connection_terminated';
}

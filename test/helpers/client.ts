import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request as httpRequest } from 'node:http';
import { connect } from 'node:net';

export interface RequestOptions {
  method?: string;
  /** Request-target as it goes on the wire; without one, path and query of the URL. */
  path?: string;
  /** Flat list name, value, … which keeps spelling, order and duplicates, or a record. Host is added where missing. */
  headers?: readonly string[] | Readonly<Record<string, string>>;
  body?: string | Buffer;
  signal?: AbortSignal;
}

export interface Answer {
  status: number;
  statusMessage: string;
  rawHeaders: string[];
  headers: IncomingHttpHeaders;
  body: Buffer;
  trailers: NodeJS.Dict<string>;
  /** 1xx answers that came first, 100 included. */
  informational: { status: number; rawHeaders: string[] }[];
}

/** Methods whose requests say nothing about a body where they have none (RFC 9110 8.6). */
const bodiless: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT']);

/**
 * Sends one HTTP/1.1 request on a connection of its own. With `Expect: 100-continue` the body waits for the 100.
 * Rejects where no whole answer comes.
 */
export function request(url: string, options: RequestOptions = {}): Promise<Answer> {
  const target = new URL(url);
  const method = options.method ?? 'GET';
  const headers = headerList(options, method, target.host);
  return new Promise<Answer>((resolve, reject) => {
    const outgoing = httpRequest({
      agent: false,
      host: target.hostname,
      port: target.port,
      method,
      path: options.path ?? target.pathname + target.search,
      headers,
      ...(options.signal && { signal: options.signal }),
    });
    const informational: Answer['informational'] = [];
    outgoing.on('information', ({ statusCode, rawHeaders }) => informational.push({ status: statusCode, rawHeaders }));
    outgoing.on('error', reject);
    outgoing.on('response', (incoming) => {
      collect(incoming, informational)
        .then(resolve, reject)
        .finally(() => outgoing.destroy());
    });
    if (!has(headers, 'expect')) outgoing.end(options.body);
    else {
      outgoing.on('continue', () => outgoing.end(options.body));
      outgoing.flushHeaders();
    }
  });
}

/**
 * Writes bytes to a TCP connection and returns all that came until the other side closed it, as latin1. The bytes
 * should ask for that (`Connection: close`), or be malformed enough to get it.
 */
export function rawRequest(port: number, bytes: string | Buffer): Promise<string> {
  return new Promise<string>((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    const chunks: Buffer[] = [];
    socket.on('data', (chunk) => chunks.push(chunk));
    socket.on('error', reject);
    socket.on('close', () => resolve(Buffer.concat(chunks).toString('latin1')));
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  });
}

/**
 * Asks the gate for something that it answers itself, whatever its upstream does: what has reached it before this has
 * been seen by it when this resolves.
 */
export async function roundTrip(port: number): Promise<void> {
  await rawRequest(port, 'GET * HTTP/1.1\r\nHost: a\r\n\r\n');
}

function headerList({ headers = [], body }: RequestOptions, method: string, host: string): string[] {
  const list = Array.isArray(headers) ? [...headers] : Object.entries(headers).flat();
  if (!has(list, 'host')) list.unshift('Host', host);
  const length = Buffer.byteLength(body ?? '');
  const framed = has(list, 'content-length') || has(list, 'transfer-encoding');
  if (!framed && (body !== undefined || !bodiless.has(method))) list.push('Content-Length', String(length));
  return list;
}

function has(list: readonly string[], name: string): boolean {
  return list.some((entry, index) => index % 2 === 0 && entry.toLowerCase() === name);
}

async function collect(incoming: IncomingMessage, informational: Answer['informational']): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  return {
    status: incoming.statusCode ?? 0,
    statusMessage: incoming.statusMessage ?? '',
    rawHeaders: incoming.rawHeaders,
    headers: incoming.headers,
    body: Buffer.concat(chunks),
    trailers: incoming.trailers,
    informational,
  };
}

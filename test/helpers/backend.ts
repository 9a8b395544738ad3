import { once } from 'node:events';
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a test gives: whoever cleans up after it. */
export interface Owner {
  teardown(action: () => unknown): unknown;
}

/** A request as the backend saw it. It is recorded when its head arrives; the body is there when `complete` is true. */
export interface RecordedRequest {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingHttpHeaders;
  body: Buffer;
  complete: boolean;
}

/** Answers one request. Called when its body has arrived, or with `early` at its head. */
export type Handler = (request: RecordedRequest, response: ServerResponse, incoming: IncomingMessage) => unknown;

export interface Backend {
  readonly url: string;
  readonly port: number;
  /** All requests so far, in order of their heads. */
  readonly requests: readonly RecordedRequest[];
  /** Resolves once this many request heads have arrived. */
  arrived(count: number): Promise<void>;
}

/**
 * Lets a server listen on a free loopback port; it is closed with all its connections when the test ends.
 *
 * @returns the port
 */
export async function serve(t: Owner, server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(async () => {
    const closed = once(server, 'close');
    server.close();
    server.closeAllConnections();
    await closed;
  });
  return (server.address() as AddressInfo).port;
}

/**
 * Starts a scripted server on a free loopback port; it is closed with all its connections when the test ends.
 *
 * @param options `early`: the handler is called at the request head, while the body may still be on its way
 */
export async function startBackend(t: Owner, handler: Handler, options: { early?: boolean } = {}): Promise<Backend> {
  const requests: RecordedRequest[] = [];
  const waiting = new Set<() => void>();
  const server = createServer((incoming, response) => {
    const request = record(incoming);
    requests.push(request);
    for (const check of waiting) check();
    if (options.early) handler(request, response, incoming);
    const chunks: Buffer[] = [];
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
    incoming.on('end', () => {
      request.body = Buffer.concat(chunks);
      request.complete = true;
      if (!options.early) handler(request, response, incoming);
    });
  });
  // Older versions of Node cut long heads off, newer ones refuse them.
  server.maxHeadersCount = 0;
  const port = await serve(t, server);
  const arrived = (count: number) =>
    new Promise<void>((resolve) => {
      const check = () => {
        if (requests.length < count) return;
        waiting.delete(check);
        resolve();
      };
      waiting.add(check);
      check();
    });
  return { url: `http://127.0.0.1:${port}`, port, requests, arrived };
}

function record(incoming: IncomingMessage): RecordedRequest {
  const { method = '', url = '', rawHeaders, headers } = incoming;
  return { method, url, rawHeaders, headers, body: Buffer.alloc(0), complete: false };
}

export interface Document {
  body: string;
  /** Native entity-tag in wire form; every write gives a new one of the same strength. */
  etag?: string;
  /** Last-Modified; every write sets it to the time of the write. */
  lastModified?: string;
  contentType?: string;
}

/**
 * A handler for documents by path: GET, HEAD, PUT, DELETE, and PATCH and POST, which append. It never checks the
 * version that a write was made for.
 *
 * @param initial documents by path without query
 * @param options `conditionalReads`: GET and HEAD honour conditions against the native validators
 * @returns the handler, with the documents as they are in `stored`
 */
export function documents(
  initial: Readonly<Record<string, Document>>,
  options: { conditionalReads?: boolean } = {},
): Handler & { readonly stored: ReadonlyMap<string, Document> } {
  const stored = new Map(Object.entries(initial));
  let writes = 0;
  const write = (path: string, found: Document | undefined, body: string, contentType: string | undefined) => {
    const next: Document = { ...found, body };
    if (contentType !== undefined) next.contentType = contentType;
    if (found?.etag !== undefined) next.etag = `${isWeak(found.etag) ? 'W/' : ''}"write-${++writes}"`;
    if (found?.lastModified !== undefined) next.lastModified = new Date().toUTCString();
    stored.set(path, next);
  };
  const handler: Handler = (request, response) => {
    const path = request.url.split('?', 1)[0] ?? '';
    const found = stored.get(path);
    const contentType = request.headers['content-type'];
    switch (request.method) {
      case 'GET':
      case 'HEAD':
        return read(request, response, found, options.conditionalReads === true);
      case 'PUT':
        write(path, found, request.body.toString(), contentType);
        return end(response, found ? 204 : 201);
      case 'PATCH':
      case 'POST':
        if (found) write(path, found, found.body + request.body.toString(), undefined);
        return end(response, found ? 204 : 404);
      case 'DELETE':
        return end(response, stored.delete(path) ? 204 : 404);
      default:
        return end(response, 405);
    }
  };
  return Object.assign(handler, { stored });
}

function read(
  request: RecordedRequest,
  response: ServerResponse,
  found: Document | undefined,
  conditional: boolean,
): unknown {
  if (!found) return end(response, 404);
  if (found.etag !== undefined) response.setHeader('ETag', found.etag);
  if (found.lastModified !== undefined) response.setHeader('Last-Modified', found.lastModified);
  const status = conditional ? conditionalStatus(request.headers, found) : 200;
  if (status !== 200) return end(response, status);
  response.writeHead(200, {
    'Content-Type': found.contentType ?? 'text/plain',
    'Content-Length': Buffer.byteLength(found.body),
  });
  return response.end(request.method === 'HEAD' ? undefined : found.body);
}

/** As simple backends do it: lists split at every comma, dates as `Date.parse` reads them. */
function conditionalStatus(headers: IncomingHttpHeaders, found: Document): number {
  const modified = Date.parse(found.lastModified ?? '');
  const tag = found.etag ?? '';
  const match = headers['if-match'];
  if (match !== undefined) {
    if (match !== '*' && (isWeak(tag) || !members(match).includes(tag))) return 412;
  } else if (modified > Date.parse(headers['if-unmodified-since'] ?? '')) return 412;
  const noneMatch = headers['if-none-match'];
  if (noneMatch !== undefined) {
    return noneMatch === '*' || members(noneMatch).map(opaque).includes(opaque(tag)) ? 304 : 200;
  }
  return modified <= Date.parse(headers['if-modified-since'] ?? '') ? 304 : 200;
}

function members(list: string): string[] {
  return list.split(',').map((member) => member.trim());
}

function isWeak(tag: string): boolean {
  return tag.startsWith('W/');
}

function opaque(tag: string): string {
  return isWeak(tag) ? tag.slice(2) : tag;
}

function end(response: ServerResponse, status: number): void {
  response.writeHead(status);
  response.end();
}

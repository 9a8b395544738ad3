import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createDocuments, type Documents, mergePatch, parseObject } from './documents.js';

/** Longest request body, in bytes. */
const longestBody = 1024 * 1024;

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

interface Answer {
  readonly status: number;
  readonly body: string;
  /** `application/json` where none is given. */
  readonly type?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a resource does with each of its methods; the body is `''` for those that have none. */
interface Resource {
  /** Media types that its PUT, POST or PATCH takes. */
  readonly accepts: Readonly<Record<string, readonly string[]>>;
  readonly methods: Readonly<Record<string, (body: string) => Answer>>;
}

/**
 * Starts the demo's backend: a JSON API that knows nothing of versions. It sends neither ETag nor Last-Modified,
 * ignores all preconditions, and lets the last writer win, as the APIs do that ifmatch stands in front of.
 *
 * `GET /docs`, `POST /docs`, and GET, HEAD, PUT, PATCH (RFC 7396) and DELETE of `/docs/:id`; documents 1 to 3 exist.
 * PUT stores its body byte for byte, which allows the gate to tell the writer the new ETag (RFC 9110 9.3.4, W10).
 * `GET /` is the editor page.
 *
 * @param options where to listen: any free port of 127.0.0.1 unless told otherwise
 * @returns the base URL without a trailing slash, and a function that stops the backend and ends its connections
 * @throws the error of `listen`, for example EADDRINUSE
 */
export async function startDemoBackend(
  options: { host?: string; port?: number } = {},
): Promise<{ url: string; close(): Promise<void> }> {
  const documents = createDocuments();
  const pages = await loadPages();
  const server = createServer((request, response) => {
    answer(documents, pages, request)
      .then((result) => send(request, response, result))
      // Only the client's own going away in the middle of its body ends here: there is nobody left to answer.
      .catch(() => response.destroy());
  });
  server.listen(options.port ?? 0, options.host ?? '127.0.0.1');
  await once(server, 'listening');
  return {
    url: urlOf(server),
    close() {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeAllConnections();
      return closed;
    },
  };
}

function urlOf(server: Server): string {
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The demo backend listens on no TCP port.');
  return `http://${address.family === 'IPv6' ? `[${address.address}]` : address.address}:${address.port}`;
}

async function answer(
  documents: Documents,
  pages: ReadonlyMap<string, Resource>,
  request: IncomingMessage,
): Promise<Answer> {
  const path = (request.url ?? '/').split('?', 1)[0] ?? '/';
  const resource = pages.get(path) ?? (path === '/docs' ? collection(documents) : member(documents, path));
  if (resource === undefined) return refusal(404, `There is nothing at ${path}.`);
  const method = request.method === 'HEAD' ? 'GET' : (request.method ?? 'GET');
  const handle = Object.hasOwn(resource.methods, method) ? resource.methods[method] : undefined;
  if (handle === undefined) return methodNotAllowed(resource, method);
  const accepted = resource.accepts[method];
  if (accepted === undefined) return handle('');
  const unsupported = unsupportedContent(request, accepted);
  if (unsupported !== undefined) return unsupported;
  const body = await readBody(request);
  return typeof body === 'string' ? handle(body) : body;
}

function methodNotAllowed(resource: Resource, method: string): Answer {
  const methods = Object.keys(resource.methods).flatMap((name) => (name === 'GET' ? ['GET', 'HEAD'] : [name]));
  const allow = methods.join(', ');
  return { ...refusal(405, `${method} is not possible here: ${allow}.`), headers: { Allow: allow } };
}

function collection(documents: Documents): Resource {
  return {
    accepts: { POST: ['application/json'] },
    methods: {
      GET: () => ({ status: 200, body: documents.list() }),
      POST: (body) => {
        const content = parseObject(body);
        if ('error' in content) return refusal(400, content.error);
        const { id, text } = documents.add(content.value);
        return { status: 201, body: text, headers: { Location: `/docs/${id}` } };
      },
    },
  };
}

function member(documents: Documents, path: string): Resource | undefined {
  const id = /^\/docs\/([\w.~-]{1,64})$/.exec(path)?.[1];
  if (id === undefined) return undefined;
  const missing = refusal(404, `There is no document ${id}.`);
  return {
    accepts: { PUT: ['application/json'], PATCH: ['application/merge-patch+json', 'application/json'] },
    methods: {
      GET: () => {
        const text = documents.get(id);
        return text === undefined ? missing : { status: 200, body: text };
      },
      PUT: (body) => {
        const content = parseObject(body);
        if ('error' in content) return refusal(400, content.error);
        return { status: documents.put(id, body) ? 201 : 200, body };
      },
      PATCH: (body) => patch(documents, id, body) ?? missing,
      DELETE: () => (documents.remove(id) ? { status: 204, body: '' } : missing),
    },
  };
}

function patch(documents: Documents, id: string, body: string): Answer | undefined {
  const text = documents.get(id);
  if (text === undefined) return undefined;
  const changes = parseObject(body);
  if ('error' in changes) return refusal(400, changes.error);
  const patched = JSON.stringify(mergePatch(JSON.parse(text), changes.value));
  documents.put(id, patched);
  return { status: 200, body: patched };
}

function refusal(status: number, error: string): Answer {
  return { status, body: JSON.stringify({ error }) };
}

function unsupportedContent(request: IncomingMessage, accepted: readonly string[]): Answer | undefined {
  const type = request.headers['content-type']?.split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (!accepted.includes(type)) return refusal(415, `The Content-Type must be ${accepted.join(' or ')}.`);
  const coding = request.headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (coding !== 'identity') return refusal(415, 'The body must be sent without a Content-Encoding.');
  return undefined;
}

/** The body as text, or the refusal of one that is too long or not UTF-8. */
async function readBody(request: IncomingMessage): Promise<string | Answer> {
  const chunks: Buffer[] = [];
  let length = 0;
  // A body that is too long is read to its end all the same: a client that is still sending may not read the answer.
  for await (const chunk of request as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length <= longestBody) chunks.push(chunk);
  }
  if (length > longestBody) return refusal(413, `The body is longer than ${longestBody} bytes.`);
  try {
    return decoder.decode(Buffer.concat(chunks));
  } catch {
    return refusal(400, 'The body is not UTF-8.');
  }
}

function send(request: IncomingMessage, response: ServerResponse, { status, body, type, headers }: Answer): void {
  // What was not read of the request is discarded, so that the connection can serve the next one.
  request.resume();
  const content = Buffer.from(body);
  const framing =
    status === 204 ? {} : { 'Content-Type': type ?? 'application/json', 'Content-Length': content.length };
  response.writeHead(status, { ...framing, ...headers });
  response.end(request.method === 'HEAD' || status === 204 ? undefined : content);
}

/** The editor page: four files beside this one, in `src` as in `dist`. */
async function loadPages(): Promise<Map<string, Resource>> {
  const files = [
    { path: '/', name: 'index.html', type: 'text/html; charset=utf-8' },
    { path: '/editor.css', name: 'editor.css', type: 'text/css; charset=utf-8' },
    { path: '/editor.js', name: 'editor.js', type: 'text/javascript; charset=utf-8' },
    { path: '/icon.svg', name: 'icon.svg', type: 'image/svg+xml' },
  ];
  const headers = {
    'Content-Security-Policy': "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
  };
  const pages = new Map<string, Resource>();
  for (const { path, name, type } of files) {
    const body = await readFile(new URL(`page/${name}`, import.meta.url), 'utf8');
    pages.set(path, { accepts: {}, methods: { GET: () => ({ status: 200, body, type, headers }) } });
  }
  return pages;
}

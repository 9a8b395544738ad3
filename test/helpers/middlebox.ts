import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';
import { startApache } from './apache.js';
import type { Handler, Owner } from './backend.js';
import { startNginx } from './nginx.js';

/**
 * Starts nginx as a reverse proxy that compresses whatever it may; where it does, it makes strong tags weak.
 *
 * @param upstream URL without a trailing slash
 * @returns the base URL without a trailing slash
 * @throws where it does not start; call `hasNginx` first
 */
export async function startCompressingNginx(t: Owner, upstream: string): Promise<string> {
  const { url } = await startNginx(t, () => ({
    http: 'gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;',
    server: `location / { proxy_pass ${upstream}; proxy_http_version 1.1; proxy_set_header Connection ""; }`,
  }));
  return url;
}

/**
 * Starts Apache as a reverse proxy that compresses text; where it does, it puts `-gzip` behind the tag, as by default.
 *
 * @param upstream URL without a trailing slash
 * @returns the base URL without a trailing slash
 * @throws where it does not start; call `hasApache` first
 */
export async function startCompressingApache(t: Owner, upstream: string): Promise<string> {
  const { url } = await startApache(t, () => ({
    modules: ['filter', 'deflate', 'proxy', 'proxy_http'],
    directives: `
AddOutputFilterByType DEFLATE text/plain
DeflateAlterETag AddSuffix
ProxyPass "/" "${upstream}/"`,
  }));
  return url;
}

/** How a backend may code what it sends. */
export const codings = {
  gzip: (content: string): Buffer => gzipSync(content),
  br: (content: string): Buffer => brotliCompressSync(content),
  deflate: (content: string): Buffer => deflateSync(content),
} as const;

export type Coding = keyof typeof codings;

/** One document without versions, for GET and PUT; it comes in the coding that Accept-Encoding names, if any. */
export function codedDocument(initial: string): Handler & { content(): string } {
  let content = initial;
  const handler: Handler = ({ method, headers, body }, response) => {
    if (method === 'PUT') {
      content = body.toString();
      return response.writeHead(204).end();
    }
    const asked = headers['accept-encoding'];
    const coding = asked !== undefined && asked in codings ? (asked as Coding) : undefined;
    const sent = coding === undefined ? Buffer.from(content) : codings[coding](content);
    response.setHeader('Vary', 'Accept-Encoding');
    if (coding !== undefined) response.setHeader('Content-Encoding', coding);
    response.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': sent.length });
    return response.end(sent);
  };
  return Object.assign(handler, { content: () => content });
}

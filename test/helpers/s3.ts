import { mkdtemp, rm, utimes } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import aws4 from 'aws4';
import { type Owner, serve } from './backend.js';
import { type Answer, request } from './client.js';

/** The part of s3rver that is used here; it has no types of its own. */
interface S3rver {
  readonly logger: { readonly exceptions: { unhandle(): void }; close(): void };
  configureBuckets(): Promise<unknown>;
  callback(): RequestListener;
}

type S3rverClass = new (options: {
  directory: string;
  silent: boolean;
  configureBuckets: readonly { name: string }[];
}) => S3rver;

const S3rver = createRequire(import.meta.url)('s3rver') as S3rverClass;

/** The only key pair that s3rver knows. */
const credentials = { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' };

/** A request that reached s3rver. */
export interface S3Request {
  readonly method: string;
  readonly headers: IncomingMessage['headers'];
  readonly signature: 'none' | 'valid' | 'wrong';
}

export interface S3 {
  readonly url: string;
  /** All requests so far. */
  readonly requests: readonly S3Request[];
  /** Makes an object of the bucket one that was written an hour ago. */
  age(key: string): Promise<void>;
}

/**
 * Starts s3rver with the bucket `bucket` in a temporary folder, on a free loopback port; both are gone when the test
 * ends. s3rver takes any Signature 4 of a key that it knows, so they are verified before it gets them, as S3 would:
 * 403 where one is wrong. What is not signed may read, as in a bucket that is public.
 */
export async function startS3(t: Owner): Promise<S3> {
  const directory = await mkdtemp(join(tmpdir(), 'ifmatch-s3-'));
  const app = new S3rver({ directory, silent: true, configureBuckets: [{ name: 'bucket' }] });
  await app.configureBuckets();
  const handle = app.callback();
  const requests: S3Request[] = [];
  const server = createServer((incoming, response) => {
    const signature = verify(incoming);
    requests.push({ method: incoming.method ?? '', headers: incoming.headers, signature });
    const allowed = signature === 'valid' || (signature === 'none' && /^(?:GET|HEAD)$/.test(incoming.method ?? ''));
    return allowed ? handle(incoming, response) : refuse(incoming, response);
  });
  // Called in reverse: the server is closed first.
  t.teardown(async () => {
    app.logger.exceptions.unhandle();
    app.logger.close();
    await rm(directory, { recursive: true });
  });
  const port = await serve(t, server);
  return {
    url: `http://127.0.0.1:${port}`,
    requests,
    age(key) {
      const time = new Date(Date.now() - 3_600_000);
      return utimes(join(directory, 'bucket', `${key}._S3rver_object`), time, time);
    },
  };
}

function refuse(incoming: IncomingMessage, response: ServerResponse): void {
  incoming.resume();
  response
    .writeHead(403, { 'Content-Type': 'application/xml' })
    .end('<Error><Code>SignatureDoesNotMatch</Code></Error>');
}

/** Makes the signature of a request that has arrived once more, from all that its SignedHeaders name. */
function verify({ method = '', url = '', headers }: IncomingMessage): S3Request['signature'] {
  const { authorization } = headers;
  if (authorization === undefined) return 'none';
  const names = /SignedHeaders=([^,]*)/.exec(authorization)?.[1]?.split(';') ?? [];
  const signed = Object.fromEntries(
    names.flatMap((name) => (headers[name] === undefined ? [] : [[name, headers[name]]])),
  );
  const again = aws4.sign({ service: 's3', region: 'us-east-1', method, path: url, headers: signed }, credentials);
  return again.headers?.Authorization === authorization ? 'valid' : 'wrong';
}

export interface S3RequestOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/** Sends a request with an AWS Signature 4 that covers Host, path, content and all fields but Expect, as the SDKs do. */
export function signedRequest(
  url: string,
  { method = 'GET', headers = {}, body }: S3RequestOptions = {},
): Promise<Answer> {
  const { host, pathname } = new URL(url);
  const own = { Host: host, 'Content-Type': 'text/plain', ...headers };
  const options = { service: 's3', region: 'us-east-1', method, path: pathname, headers: own };
  const signed = aws4.sign({ ...options, ...(body !== undefined && { body }) }, credentials);
  const fields = Object.entries(signed.headers ?? {}).map(([name, value]) => [name, String(value)]);
  return request(url, { method, headers: fields.flat(), ...(body !== undefined && { body }) });
}

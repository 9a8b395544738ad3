import { createHash } from 'node:crypto';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { readFileSync } from 'node:fs';
import type { ClientRequest } from 'node:http';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import t, { type Test } from 'tap';
import { loadConfig } from '../../src/config/load.js';
import { type GateSettings, startGate } from '../helpers/gate.js';
import { type S3, startS3 } from '../helpers/s3.js';

/**
 * The same backend as in s3.test.ts, with the client that people use. It signs Host, path, query and all fields but
 * Expect, reads and writes an object at two URLs (`?x-id=GetObject`, `?x-id=PutObject`), and waits for a 100 before it
 * sends more than 2 MB.
 */

type Settings = Pick<GateSettings, 'policy' | 'config'>;

/** Who may read is found out by Referer here, because s3rver knows no tokens. */
const probe = { headers: { referer: 'the gate' } };

/** What docs/guarantees.md advises for such a store. */
const advised: Settings = { policy: { validator: { kind: 'upstream' }, probe } };

/** The same as a whole: what config/examples/signed.yaml says of resources. */
function example(): Settings {
  const loaded = loadConfig({
    flags: new Map([['config', 'signed.yaml']]),
    env: { PROBE_TOKEN: 'token' },
    readFile: (name) => readFileSync(new URL(`../../config/examples/${name}`, import.meta.url), 'utf8'),
  });
  if (loaded.kind === 'invalid') throw new Error(loaded.errors.join('\n'));
  const { policy, identity } = loaded.config;
  return { policy: { ...policy, probe }, config: { identity } };
}

const Bucket = 'bucket';
const stale = '"00000000000000000000000000000000"';
const tagOf = (content: string | Buffer): string => `"${createHash('md5').update(content).digest('hex')}"`;

interface Upload {
  readonly status: number | undefined;
  readonly etag: string | undefined;
  /** Of the gate, where it refused. */
  readonly proxyStatus: string | undefined;
  readonly attempts: number | undefined;
}

interface Client {
  readonly s3: S3;
  readonly sdk: S3Client;
  put(Key: string, Body: string | Buffer, conditions?: Partial<PutObjectCommandInput>): Promise<Upload>;
  get(Key: string): Promise<string | undefined>;
}

async function startClient(t: Test, settings: Settings): Promise<Client> {
  const s3 = await startS3(t);
  const gate = await startGate(t, { upstream: s3.url, ...settings });
  const sdk = new S3Client({
    endpoint: gate.url,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: 'S3RVER', secretAccessKey: 'S3RVER' },
  });
  t.teardown(() => sdk.destroy());
  return {
    s3,
    sdk,
    put: (Key, Body, conditions = {}) =>
      uploaded(sdk.send(new PutObjectCommand({ Bucket, Key, Body, ContentType: 'text/plain', ...conditions }))),
    get: async (Key) => (await sdk.send(new GetObjectCommand({ Bucket, Key }))).Body?.transformToString(),
  };
}

interface Told {
  readonly $metadata?: { readonly httpStatusCode?: number | undefined; readonly attempts?: number | undefined };
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> };
  readonly ETag?: string | undefined;
}

/** The client throws where the status is not 2xx; what it knows of the answer is in what it throws. */
async function uploaded(sent: Promise<Told>): Promise<Upload> {
  const told = await sent.catch((thrown: Told) => thrown);
  return {
    status: told.$metadata?.httpStatusCode,
    etag: told.ETag,
    proxyStatus: told.$response?.headers?.['proxy-status'],
    attempts: told.$metadata?.attempts,
  };
}

function accepted(t: Test, upload: Upload, content: string | Buffer, why: string): void {
  t.match(upload, { status: 200, etag: tagOf(content) }, why);
}

function refused(t: Test, upload: Upload, why: string): void {
  t.match(upload, { status: 412, proxyStatus: /^ifmatch;/, attempts: 1 }, why);
}

/** Every request of the client's reached s3rver as it was signed; what is not signed are the gate's own reads. */
function signaturesHold(t: Test, { requests }: S3): void {
  t.notOk(
    requests.some(({ signature }) => signature === 'wrong'),
    'Host, path, query and fields arrive as they were signed',
  );
  const unsigned = requests.filter(({ signature }) => signature === 'none');
  t.ok(unsigned.every(({ method, headers }) => headers.referer === 'the gate' && /^(?:GET|HEAD)$/.test(method)));
}

t.test('conditional puts, which s3rver ignores, are checked', async (t) => {
  const { s3, sdk, put, get } = await startClient(t, advised);
  accepted(t, await put('k', 'one', { IfNoneMatch: '*' }), 'one', 'IfNoneMatch on what is not there');
  const writes = () => s3.requests.filter(({ method }) => method === 'PUT' || method === 'DELETE').length;
  const before = writes();
  refused(t, await put('k', 'lost', { IfNoneMatch: '*' }), 'IfNoneMatch on what is there');
  t.equal(await get('k'), 'one');

  const { ETag } = await sdk.send(new HeadObjectCommand({ Bucket, Key: 'k' }));
  t.equal(ETag, tagOf('one'));
  refused(t, await put('k', 'lost', { IfMatch: stale }), 'IfMatch with a stale tag');
  t.equal(writes(), before, 'nothing of them was forwarded');
  accepted(t, await put('k', 'two', { IfMatch: tagOf('one') }), 'two', 'IfMatch with the current tag');
  refused(t, await put('k', 'lost', { IfMatch: tagOf('one') }), 'the same once more');
  const removed = (tag: string) => uploaded(sdk.send(new DeleteObjectCommand({ Bucket, Key: 'k', IfMatch: tag })));
  refused(t, await removed(tagOf('one')), 'IfMatch of a deletion, stale');
  t.equal(await get('k'), 'two');
  t.equal((await removed(tagOf('two'))).status, 204, 'and current');
  refused(t, await put('k', 'lost', { IfMatch: tagOf('two') }), 'what is gone has no tag');
  accepted(t, await put('k', 'three'), 'three', 'without a condition anything goes');
  refused(t, await put('k', 'lost', { IfNoneMatch: '*' }), 'and is noticed');
  t.equal(await get('k'), 'three');
  signaturesHold(t, s3);
});

t.test('an upload that waits for 100 (Continue) is refused before it is sent', async (t) => {
  const { s3, put, get } = await startClient(t, advised);
  const sent: { expect: unknown; connectionBytes: number | undefined }[] = [];
  const listener = (message: unknown) => {
    const { request } = message as { request: ClientRequest };
    sent.push({ expect: request.getHeader('expect'), connectionBytes: request.socket?.bytesWritten });
  };
  subscribe('http.client.response.finish', listener);
  t.teardown(() => unsubscribe('http.client.response.finish', listener));
  const big = Buffer.alloc(2_100_000, 'x');

  refused(t, await put('big', big, { IfMatch: stale }), 'a stale one');
  accepted(t, await put('big', big, { IfNoneMatch: '*' }), big, 'one to create');
  t.same(
    sent.map(({ expect }) => expect),
    ['100-continue', '100-continue'],
  );
  t.ok(Number(sent[0]?.connectionBytes) < 10_000, 'only the head of the first was sent');
  t.ok(Number(sent[1]?.connectionBytes) > big.length);
  t.equal(await get('big'), big.toString());
  signaturesHold(t, s3);
});

async function multipart(t: Test, settings: Settings): Promise<void> {
  const { s3, sdk, put, get } = await startClient(t, settings);
  accepted(t, await put('parts', 'one'), 'one', 'what it replaces');
  const target = { Bucket, Key: 'parts' };
  const { UploadId } = await sdk.send(new CreateMultipartUploadCommand(target));
  const bodies = [Buffer.alloc(5 * 1024 * 1024, '1'), Buffer.from('2')];
  const Parts = await Promise.all(
    bodies.map(async (Body, index) => {
      const PartNumber = index + 1;
      const { ETag } = await sdk.send(new UploadPartCommand({ ...target, UploadId, PartNumber, Body }));
      t.equal(ETag, tagOf(Body));
      return { PartNumber, ETag };
    }),
  );
  t.equal(await get('parts'), 'one');
  accepted(t, await put('parts', 'two', { IfMatch: tagOf('one') }), 'two', 'until it is complete, nothing changes');
  const { ETag = '' } = await sdk.send(
    new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }),
  );
  t.equal(await get('parts'), Buffer.concat(bodies).toString());
  refused(t, await put('parts', 'lost', { IfMatch: tagOf('two') }), 'then the tag is another');
  accepted(t, await put('parts', 'three', { IfMatch: ETag }), 'three', 'which its answer has told');
  signaturesHold(t, s3);
}

t.test('a multipart upload is a write as any other', (t) => multipart(t, advised));

t.test('also as config/examples/signed.yaml has it', (t) => multipart(t, example()));

t.test('keys that have to be encoded arrive as they were signed (I3)', async (t) => {
  const { s3, sdk, put, get } = await startClient(t, advised);
  const keys = ['a b', 'a+b', 'a%b', 'a%2Fb', 'a=b&c', 'x/y/z', 'ä/日本.txt', "it's (1)!*~"];
  for (const key of keys) {
    accepted(t, await put(key, key, { IfNoneMatch: '*' }), key, key);
    refused(t, await put(key, 'lost', { IfNoneMatch: '*' }), key);
    t.equal(await get(key), key);
  }
  const { Contents = [] } = await sdk.send(new ListObjectsV2Command({ Bucket }));
  t.same(Contents.map(({ Key }) => Key).sort(), [...keys].sort());
  signaturesHold(t, s3);
});

t.test('a tag without quotes (lenient: [unquoted]) is forwarded as it was signed', async (t) => {
  const bare = tagOf('one').slice(1, -1);
  const strict = await startClient(t, advised);
  accepted(t, await strict.put('k', 'one'), 'one', 'what there is');
  t.match(await strict.put('k', 'lost', { IfMatch: bare }), { status: 400, proxyStatus: /double quotes/ });
  t.equal(await strict.get('k'), 'one');

  const { s3, put, get } = await startClient(t, { policy: { ...advised.policy, lenient: ['unquoted'] } });
  accepted(t, await put('k', 'one'), 'one', 'what there is');
  accepted(t, await put('k', 'two', { IfMatch: bare }), 'two', 'it counts as the tag');
  refused(t, await put('k', 'lost', { IfMatch: bare }), 'once');
  t.equal(await get('k'), 'two');
  signaturesHold(t, s3);
});

t.test('under the defaults not even what the client itself has read decides', async (t) => {
  const { s3, put, get } = await startClient(t, {});
  accepted(t, await put('k', 'one'), 'one', 'without a condition');
  await s3.age('k');
  t.equal(await get('k'), 'one');
  const answer = await put('k', 'two', { IfMatch: tagOf('one') });
  t.match(
    answer,
    { status: 502, proxyStatus: /^ifmatch;.*cannot be used a second time/ },
    'it was read at another URL',
  );
  t.equal(await get('k'), 'one');
});

import { gunzipSync } from 'node:zlib';
import t, { type Test } from 'tap';
import type { Policy } from '../../src/config/schema.js';
import { hasApache } from '../helpers/apache.js';
import { documents, startBackend } from '../helpers/backend.js';
import { type Answer, request } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';
import {
  type Coding,
  codedDocument,
  codings,
  startCompressingApache,
  startCompressingNginx,
} from '../helpers/middlebox.js';
import { hasNginx } from '../helpers/nginx.js';

/**
 * Servers that compress change tags on their way: nginx makes strong ones weak, Apache puts the coding behind them. What
 * comes back in If-Match is then no tag that the gate has given, but for V2, and what `lenient` forgives.
 */

const native = '"abc"';
/** Apache sends as it is what does not get shorter. */
const long = (word: string): string => `${word} `.repeat(100);
const content = long('initial');

interface Scene {
  /** Of the gate; `/strict/*` is under the defaults, `/lenient/*` under the policy given. */
  readonly url: string;
  stored(path: string): string | undefined;
  /** If-Match as the backend had it with the last write. */
  forwarded(): string | undefined;
}

/** The gate before documents that have tags of their own (`native`, and `weak`), or none (`synthetic`). */
async function startScene(t: Test, lenient: Policy['lenient']): Promise<Scene> {
  const kinds = { native: { etag: native }, weak: { etag: `W/${native}` }, synthetic: {} };
  const paths = ['strict', 'lenient'].flatMap((folder) =>
    Object.entries(kinds).map(([name, tag]) => [`/${folder}/${name}`, { body: content, ...tag }]),
  );
  const store = documents(Object.fromEntries(paths));
  const backend = await startBackend(t, store);
  const gate = await startGate(t, { upstream: backend.url, routes: [{ path: '/lenient/*', policy: { lenient } }] });
  return {
    url: gate.url,
    stored: (path) => store.stored.get(path)?.body,
    forwarded: () => backend.requests.findLast(({ method }) => method === 'PUT')?.headers['if-match'],
  };
}

const gzipped = { 'Accept-Encoding': 'gzip' };

/** Reads what comes compressed. */
async function read(t: Test, url: string, expected: string = content): Promise<string> {
  const { status, headers, body } = await request(url, { headers: gzipped });
  t.same([status, headers['content-encoding']], [200, 'gzip']);
  t.equal(gunzipSync(body).toString(), expected);
  return headers.etag ?? '';
}

function put(url: string, tag: string, body: string, headers: Readonly<Record<string, string>> = gzipped) {
  return request(url, { method: 'PUT', headers: { ...headers, 'If-Match': tag }, body });
}

function refused(t: Test, { status, headers }: Answer, why: string): void {
  t.equal(status, 412, why);
  t.match(headers['proxy-status'], /^ifmatch;/, 'by the gate');
}

/** Writes with what was read, is refused with the same tag, and writes with what is read then. */
async function overtakenOnce(t: Test, scene: Scene, base: string, path: string): Promise<string | undefined> {
  const tag = await read(t, base + path);
  t.equal((await put(base + path, tag, long('first'))).status, 204, `${path}: ${tag} is current`);
  const travelled = scene.forwarded();
  refused(t, await put(base + path, tag, 'lost'), `${path}: ${tag} is stale`);
  t.equal(scene.stored(path), long('first'));
  const next = await read(t, base + path, long('first'));
  t.not(next, tag);
  t.equal((await put(base + path, next, long('second'))).status, 204, `${path}: ${next} is current`);
  t.equal(scene.stored(path), long('second'));
  return travelled;
}

t.test('nginx before the gate makes its tags weak', async (t) => {
  if (!hasNginx(t)) return;
  const scene = await startScene(t, ['weakened']);
  const base = await startCompressingNginx(t, scene.url);

  for (const name of ['native', 'synthetic']) {
    const path = `/strict/${name}`;
    const tag = await read(t, base + path);
    t.match(tag, name === 'native' ? `W/${native}` : /^W\/"im-[\w-]{22}"$/);
    const headers = { ...gzipped, 'If-None-Match': tag };
    const { status } = await request(base + path, { headers });
    t.equal(status, name === 'native' ? 200 : 304, 'of its own tags the gate knows the weak form, too (R1)');
    const answer = await put(base + path, tag, 'lost');
    refused(t, answer, `${path}: a weak tag satisfies no If-Match`);
    t.equal(scene.stored(path), content);
    t.equal(answer.headers.etag, tag.slice(2), 'nginx does not compress refusals');
    t.equal((await put(base + path, answer.headers.etag ?? '', 'first')).status, 204, 'whose tag is strong');
  }

  await t.test('lenient: [weakened]', async (t) => {
    t.equal(await overtakenOnce(t, scene, base, '/lenient/native'), native, 'the backend is asked for its own tag');
    t.equal(await overtakenOnce(t, scene, base, '/lenient/synthetic'), undefined);
    t.equal(await overtakenOnce(t, scene, base, '/lenient/weak'), undefined, 'of which readers got a synthetic tag');
    const own = `W/${native}`;
    refused(t, await put(`${base}/strict/weak`, own, 'lost'), 'the backend’s own weak tag');
    const other = await startScene(t, ['weakened']);
    refused(t, await put(`${other.url}/lenient/weak`, own, 'lost'), 'was no strong one before (V6)');
    t.equal(other.stored('/lenient/weak'), content);
  });
});

t.test('Apache before the gate puts the coding behind its tags', async (t) => {
  if (!hasApache(t)) return;
  const scene = await startScene(t, ['gzip-suffix']);
  const base = await startCompressingApache(t, scene.url);

  t.match(await read(t, `${base}/strict/synthetic`), /^"im-[\w-]{22}-gzip"$/);
  t.equal(await overtakenOnce(t, scene, base, '/strict/synthetic'), undefined, 'which the gate knows anyway (V2)');

  const url = `${base}/strict/native`;
  t.equal(await read(t, url), '"abc-gzip"');
  refused(t, await put(url, '"abc-gzip"', 'lost'), 'a tag that the backend never gave');
  t.equal(scene.stored('/strict/native'), content);
  t.equal((await put(url, native, 'first')).status, 204);

  await t.test('lenient: [gzip-suffix]', async (t) => {
    const travelled = await overtakenOnce(t, scene, base, '/lenient/native');
    t.ok(travelled?.split(', ').includes(native), `the backend is asked for its own tag, too: ${travelled}`);
    t.equal(await overtakenOnce(t, scene, base, '/lenient/synthetic'), undefined);
  });
});

t.test('a client that leaves the quotes away', async (t) => {
  const { url, stored, forwarded } = await startScene(t, ['unquoted']);
  const bare = async (path: string) => (await request(url + path)).headers.etag?.slice(1, -1) ?? '';

  for (const name of ['native', 'synthetic']) {
    const path = `/strict/${name}`;
    const answer = await put(url + path, await bare(path), 'lost');
    t.equal(answer.status, 400, path);
    t.match(JSON.parse(answer.body.toString()), { type: /:malformed-precondition$/, detail: /double quotes/ });
    t.equal(stored(path), content);
  }

  await t.test('lenient: [unquoted]', async (t) => {
    for (const name of ['native', 'synthetic']) {
      const path = `/lenient/${name}`;
      const tag = await bare(path);
      t.equal((await put(url + path, tag, long('first'))).status, 204, `${path}: ${tag} is current`);
      t.equal(forwarded(), name === 'native' ? native : undefined);
      refused(t, await put(url + path, tag, 'lost'), `${path}: ${tag} is stale`);
      t.equal(stored(path), long('first'));
      t.equal((await put(url + path, `"${await bare(path)}"`, 'second')).status, 204, 'with quotes it is the same');
      t.equal((await put(url + path, 'never, "closed', 'lost')).status, 400, 'what cannot be read even so');
    }
  });
});

t.test('nginx between the gate and the backend makes the backend’s tags weak', async (t) => {
  if (!hasNginx(t)) return;
  const store = documents({ '/doc': { body: content, etag: native } });
  const backend = await startBackend(t, store);
  const gate = await startGate(t, { upstream: await startCompressingNginx(t, backend.url) });
  const url = `${gate.url}/doc`;
  const scene: Scene = {
    url,
    stored: (path) => store.stored.get(path)?.body,
    forwarded: () => backend.requests.findLast(({ method }) => method === 'PUT')?.headers['if-match'],
  };

  const tag = await read(t, url);
  t.match(tag, /^"im-[\w-]{22}-gzip"$/, 'so readers get strong ones of the gate’s own');
  t.equal((await request(url, { headers: { ...gzipped, 'If-None-Match': tag } })).status, 304);
  t.equal(await overtakenOnce(t, scene, gate.url, '/doc'), undefined);

  const coded = await read(t, url, long('second'));
  t.equal((await put(url, coded, 'third', {})).status, 204, 'the writer need not ask for the coding of the reader');
  refused(t, await put(url, coded, 'lost', {}), 'nor does it help');

  const plain = (await request(url)).headers.etag ?? '';
  t.match(plain, /^"write-/, 'who does not ask for gzip gets the backend’s own tag');
  t.equal((await put(url, plain, 'fourth')).status, 204, 'which is good for who does, too');
  t.equal(scene.forwarded(), plain);
  refused(t, await put(url, plain, 'lost'), 'once');
  t.equal(scene.stored('/doc'), 'fourth');
});

const allCodings = [undefined, ...(Object.keys(codings) as Coding[])];

function accepting(coding: Coding | undefined): Readonly<Record<string, string>> {
  return coding === undefined ? {} : { 'Accept-Encoding': coding };
}

/** Reads in every coding. */
async function tagsOfAll(t: Test, url: string, expected: string): Promise<string[]> {
  const tags: string[] = [];
  for (const coding of allCodings) {
    const { headers, body } = await request(url, { headers: accepting(coding) });
    t.same([headers['content-encoding'], headers.vary], [coding, 'Accept-Encoding']);
    t.same(body, coding === undefined ? Buffer.from(expected) : codings[coding](expected), 'the upstream’s octets');
    tags.push(headers.etag ?? '');
  }
  return tags;
}

t.test('a backend that compresses: tags differ by coding, and any of them matches', async (t) => {
  const document = codedDocument(content);
  const backend = await startBackend(t, document);
  const gate = await startGate(t, { upstream: backend.url });
  const url = `${gate.url}/doc`;
  let current = content;
  for (const [index, coding] of allCodings.entries()) {
    const tags = await tagsOfAll(t, url, current);
    t.same(
      tags.map((tag) => /^"im-[\w-]{22}(.*)"$/.exec(tag)?.[1]),
      ['', '-gzip', '-br', '-deflate'],
    );
    t.equal(new Set(tags.map((tag) => tag.slice(0, 26))).size, 1, 'of one content');
    const tag = tags[index] ?? '';
    const writer = allCodings[(index + 1) % allCodings.length];
    current = `${current}, changed by the writer that had read ${coding}`;
    t.equal((await put(url, tag, current, accepting(writer))).status, 204, `${tag} of a writer that accepts ${writer}`);
    for (const stale of tags) refused(t, await put(url, stale, 'lost', accepting(writer)), `${stale} is stale`);
    t.equal(document.content(), current);
  }
  t.notOk(
    backend.requests.some(({ headers }) => headers['if-match'] !== undefined),
    'the backend hears nothing of it',
  );
});

t.test(
  'a backend that compresses: who has one coding is not told that another is the same (RFC 9110 8.8.3.3)',
  async (t) => {
    const backend = await startBackend(t, codedDocument(content));
    const gate = await startGate(t, { upstream: backend.url });
    const url = `${gate.url}/doc`;
    const tags = await tagsOfAll(t, url, content);
    for (const [index, tag] of tags.entries()) {
      for (const [asked, coding] of allCodings.entries()) {
        const headers = { ...accepting(coding), 'If-None-Match': tag };
        const answer = await request(url, { headers });
        t.equal(answer.status, asked === index ? 304 : 200, `If-None-Match: ${tag} of who accepts ${coding}`);
        t.equal(answer.headers.etag, tags[asked]);
      }
    }
  },
);

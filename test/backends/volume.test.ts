import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import t, { type Test } from 'tap';
import { documents, startBackend } from '../helpers/backend.js';
import { request } from '../helpers/client.js';
import { type GateProcess, startGateProcess } from '../helpers/gate-process.js';
import { receive, Source, type StreamingBackend, startStreamingBackend } from '../helpers/streaming-backend.js';

/**
 * What the gate needs when there is much of something: long bodies both ways, peers that do not read, many resources.
 * The gate runs in a process of its own, so that its memory can be told from the test's.
 */

const megabyte = 1024 * 1024;
const gigabyte = 1024 * megabyte;

/** What the gate's resident memory may grow by, whatever passes through. */
const growthAllowed = 64 * megabyte;

/** What may be on its way between two ends of which one does not read: the kernel's buffers of two connections. */
const inFlightAllowed = 32 * megabyte;

/** Clients that do not read, at once. */
const resting = 16;

t.setTimeout(180_000);

async function get(url: string): Promise<IncomingMessage> {
  const outgoing = httpRequest(url, { agent: false });
  outgoing.end();
  const [response] = (await once(outgoing, 'response')) as [IncomingMessage];
  return response;
}

/** Sends a long body. @returns the status of the answer */
async function send(
  url: string,
  method: string,
  headers: Readonly<Record<string, string>>,
  source: Source,
  length: number,
): Promise<number> {
  const outgoing = httpRequest(url, { agent: false, method, headers });
  const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>;
  await Promise.all([answered, pipeline(source.stream(length), outgoing)]);
  const [response] = await answered;
  response.resume();
  await once(response, 'end');
  return response.statusCode ?? 0;
}

/** A gate before a backend, whose memory is measured from when it has served a few small requests. */
async function startMeasured(t: Test, backend: StreamingBackend): Promise<GateProcess> {
  const gate = await startGateProcess(t, backend.url, { LIMITS_UPSTREAM_CONNECTIONS: String(resting + 4) });
  for (let number = 0; number < 100; number += 1) await request(`${gate.url}/small`);
  const baseline = gate.measureFromNow();
  if (baseline !== undefined) t.comment(`the gate has ${inMegabytes(baseline)} before`);
  return gate;
}

function boundsMemory(t: Test, gate: GateProcess): void {
  const growth = gate.growth();
  if (growth === undefined) {
    t.pass('memory', { skip: 'only Linux tells the peak of another process' });
    return;
  }
  t.comment(`and ${inMegabytes(growth)} more at most so far`);
  t.ok(growth < growthAllowed, `the gate's memory grew by less than ${inMegabytes(growthAllowed)}`);
}

function inMegabytes(bytes: number): string {
  return `${Math.round(bytes / megabyte)} MB`;
}

t.test('long bodies', async (t) => {
  const backend = await startStreamingBackend(t);
  const gate = await startMeasured(t, backend);

  await t.test('1 GB to the client', async (t) => {
    t.equal(await receive(await get(`${gate.url}/${gigabyte}`)), gigabyte, 'arrives whole');
    boundsMemory(t, gate);
  });

  await t.test('half of that to the upstream, in chunks and without a condition', async (t) => {
    t.equal(await send(`${gate.url}/posted`, 'POST', {}, new Source(), gigabyte / 2), 204, 'is answered');
    t.equal(backend.received, gigabyte / 2, 'arrives whole');
    boundsMemory(t, gate);
  });

  await t.test('as much with a length and a condition', async (t) => {
    const headers = { 'If-Match': '"1"', 'Content-Length': String(gigabyte / 2) };
    t.equal(await send(`${gate.url}/${gigabyte}`, 'PUT', headers, new Source(), gigabyte / 2), 204, 'is answered');
    t.equal(backend.received, gigabyte / 2, 'arrives whole');
    boundsMemory(t, gate);
  });
});

/** Lets other requests pass the gate, a batch at a time, until something is so after a batch. */
async function meanwhile(gate: GateProcess, isSo: () => boolean): Promise<void> {
  for (let batch = 0; batch < 50; batch += 1) {
    for (let number = 0; number < 50; number += 1) await request(`${gate.url}/small`);
    if (isSo()) return;
  }
  throw new Error('it never came to that');
}

/** Whether a counter has moved, and then not since it was last asked. */
function atRest(counter: () => number): () => boolean {
  let last = 0;
  return () => {
    const before = last;
    last = counter();
    return last > 0 && last === before;
  };
}

t.test('peers that do not read', async (t) => {
  const backend = await startStreamingBackend(t);
  const gate = await startMeasured(t, backend);
  const length = 256 * megabyte;

  await t.test('clients: the upstream is paused, and goes on or is left', async (t) => {
    const reading = await get(`${gate.url}/${length}`);
    await meanwhile(
      gate,
      atRest(() => backend.source.produced),
    );
    t.comment(`the backend had sent ${inMegabytes(backend.source.produced)} to one`);
    t.ok(backend.source.produced < inFlightAllowed, 'the upstream is paused');

    const leaving: IncomingMessage[] = [];
    for (let number = 1; number < resting; number += 1) leaving.push(await get(`${gate.url}/${length}`));
    await meanwhile(
      gate,
      atRest(() => backend.source.produced),
    );
    t.comment(`and ${inMegabytes(backend.source.produced)} to ${resting}`);
    t.ok(backend.source.produced < resting * inFlightAllowed, 'so it is for many of them');
    t.equal(backend.giving, resting, 'all of them are still open');
    boundsMemory(t, gate);

    for (const response of leaving) response.destroy();
    await meanwhile(gate, () => backend.giving === 1);
    t.pass('who goes away leaves nothing open at the upstream');
    t.equal(await receive(reading), length, 'who reads at last gets all of it');
    boundsMemory(t, gate);
  });

  await t.test('an upstream: the client is paused, and goes on', async (t) => {
    const source = new Source();
    const answer = send(`${gate.url}/held`, 'PUT', { 'Content-Length': String(length) }, source, length);
    await meanwhile(
      gate,
      atRest(() => source.produced),
    );
    t.comment(`the client had sent ${inMegabytes(source.produced)}`);
    t.ok(source.produced < inFlightAllowed, 'the client is paused');
    backend.release?.();
    t.equal(await answer, 204, 'is answered when the upstream reads');
    t.equal(backend.received, length, 'and all of it arrives in the end');
    boundsMemory(t, gate);
  });
});

t.test('10,000 resources where 100 may be kept', async (t) => {
  const count = 10_000;
  const kept = 100;
  const path = (number: number) => `/items/${number}`;
  const contents = Array.from({ length: count }, (_, number) => [path(number), { body: `item ${number}` }]);
  const handler = documents(Object.fromEntries(contents));
  const backend = await startBackend(t, handler);
  // What is known decides, so that a probe shows what is not known any more; refreshes would count as probes.
  const settings = { LIMITS_RESOURCES: String(kept), RECHECK: 'never', POLICY_REFRESH: 'never' };
  const gate = await startGateProcess(t, backend.url, settings);

  async function read(number: number): Promise<string> {
    const answer = await fetch(gate.url + path(number));
    await answer.text();
    return answer.headers.get('etag') ?? '';
  }

  async function write(url: string, number: number, body: string, headers: Record<string, string>): Promise<number> {
    const answer = await fetch(url + path(number), { method: 'PUT', headers, body });
    await answer.text();
    return answer.status;
  }

  /** Writes of many numbers, one after the other. @returns the statuses that there were, and the probes they took */
  async function writeAll(numbers: readonly number[], tags: ReadonlyMap<number, string>) {
    const before = await gate.metric('ifmatch_probes_total');
    const statuses = new Set<number>();
    for (const number of numbers) {
      statuses.add(await write(gate.url, number, `written ${number}`, { 'If-Match': tags.get(number) ?? '' }));
    }
    return { statuses: [...statuses], probes: (await gate.metric('ifmatch_probes_total')) - before };
  }

  const tags = new Map<number, string>();
  const entries: number[] = [];
  let next = 0;
  async function pass(): Promise<void> {
    for (let number = next++; number < count; number = next++) {
      // Every tenth is a write without a condition, which takes a shared lease and probes nothing.
      if (number % 10 === 9) await write(gate.url, number, `item ${number}, changed`, {});
      else tags.set(number, await read(number));
      if (number % 1000 === 0) entries.push(await gate.metric('ifmatch_store_entries'));
    }
  }

  await Promise.all(Array.from({ length: 16 }, pass));
  entries.push(await gate.metric('ifmatch_store_entries'));
  t.comment(`resources kept meanwhile: ${entries.join(', ')}`);
  t.equal(backend.requests.length, count, 'every request reached the backend once');
  t.equal(Math.max(...entries), kept, 'as many as may be kept, and never more');
  t.equal(await gate.metric('ifmatch_leases'), 0, 'no lease is left');
  t.equal(await gate.metric('ifmatch_probes_total'), 0, 'nothing was probed');
  t.equal(new Set(tags.values()).size, count * 0.9, 'every content has its own tag');

  // All of them long evicted.
  const fresh = Array.from({ length: 20 }, (_, index) => index * 400);
  const stale = fresh.map((number) => number + 1);
  for (const number of stale) await write(backend.url, number, `by somebody else ${number}`, {});
  t.same(
    await writeAll(fresh, tags),
    { statuses: [204], probes: fresh.length },
    'evicted and fresh: a probe, and made',
  );
  t.same(await writeAll(stale, tags), { statuses: [412], probes: stale.length }, 'evicted and stale: a probe and 412');
  t.ok(
    fresh.every((number) => handler.stored.get(path(number))?.body === `written ${number}`),
    'these were written',
  );
  t.ok(
    stale.every((number) => handler.stored.get(path(number))?.body === `by somebody else ${number}`),
    'these were not',
  );

  const known = fresh.map((number) => number + 2);
  for (const number of known) tags.set(number, await read(number));
  t.same(await writeAll(known, tags), { statuses: [204], probes: 0 }, 'what is still known takes no probe');
  t.equal(await gate.metric('ifmatch_store_entries'), kept, 'and still no more are kept');
});

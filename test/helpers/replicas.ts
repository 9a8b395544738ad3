import { setTimeout as delay } from 'node:timers/promises';
import { type Backend, type Owner, startBackend } from './backend.js';
import { type Answer, type RequestOptions, request } from './client.js';
import { type GateProcess, startGateProcess } from './gate-process.js';
import type { Replacement } from './history.js';

/** How clients name the API, whichever gate they were led to: a gate tells clients apart by Host, too (I2). */
const host = 'api.test';

/** Longest wait for gates that trust a store, in milliseconds. */
const patience = 30_000;

/** Settings of all gates that share a store. */
export function sharing(url: string): Readonly<Record<string, string>> {
  return { STORE: url, STORE_NAMESPACE: 'replicas', STORE_SECRET: 'the same in all replicas' };
}

/**
 * Starts gates in processes of their own before one upstream.
 *
 * @param settings as `startGateProcess` takes them, the same for all or by number
 */
export function startReplicas(
  t: Owner,
  upstream: string,
  count: number,
  settings: Readonly<Record<string, string>> | ((index: number) => Readonly<Record<string, string>>),
): Promise<GateProcess[]> {
  const settingsOf = typeof settings === 'function' ? settings : () => settings;
  return Promise.all(Array.from({ length: count }, (_, index) => startGateProcess(t, upstream, settingsOf(index))));
}

/** A request to one of the gates, or to their upstream, as a client behind a load balancer sends it. */
export function ask(url: string, options: Omit<RequestOptions, 'headers'> & { headers?: Record<string, string> } = {}) {
  return request(url, { ...options, headers: { Host: host, ...options.headers } });
}

/** Reads a resource, and writes it back for the version that was read. @returns the answer to the write */
export async function writeBack(url: string, contentType = 'application/json'): Promise<Answer> {
  const { headers, body } = await ask(url);
  const { etag = '"none"' } = headers;
  return ask(url, { method: 'PUT', headers: { 'If-Match': etag, 'Content-Type': contentType }, body });
}

/**
 * Waits until each gate takes a write: none does for a while after it finds a store that knows nothing, as all leases
 * may have been lost with what it knew.
 *
 * @param path of a resource that nobody else writes
 */
export async function untilTrusted(gates: readonly GateProcess[], path: string): Promise<void> {
  const end = performance.now() + patience;
  for (const gate of gates) {
    for (;;) {
      const { status, body } = await writeBack(gate.url + path);
      if (status >= 200 && status <= 299) break;
      if (status !== 503 || performance.now() > end) throw new Error(`no write: ${status} ${body}`);
      await delay(50);
    }
  }
}

/** What a client is told of its write: that it took effect; that nothing of it did; neither. */
export type Fate = 'succeeded' | 'refused' | 'unknown';

/** @param answer to a write, or why there is none */
export async function fateOf(answer: Promise<Pick<Answer, 'status' | 'body'>>): Promise<Fate> {
  try {
    const { status, body } = await answer;
    if (status >= 200 && status <= 299) return 'succeeded';
    if (status === 412) return 'refused';
    return JSON.parse(body.toString()).outcome === 'not-sent' ? 'refused' : 'unknown';
  } catch (error) {
    // Nobody was there to take the write.
    return (error as NodeJS.ErrnoException).code === 'ECONNREFUSED' ? 'refused' : 'unknown';
  }
}

/** The answer in what a connection has brought. */
export function answerIn(text: string): { status: number; body: Buffer } {
  const end = text.indexOf('\r\n\r\n');
  if (end === -1) throw new Error(`no answer: ${text}`);
  return { status: Number(text.split(' ', 2)[1]), body: Buffer.from(text.slice(end + 4), 'latin1') };
}

/** Numbers from 0 to 1, the same ones for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface TextBackend extends Backend {
  /** The content at a path. */
  text(path: string): string | undefined;
}

/** A backend of texts that checks nothing, and takes its time for writes. */
export async function startSlowBackend(
  t: Owner,
  random: () => number,
  initial: Readonly<Record<string, string>>,
): Promise<TextBackend> {
  const texts = new Map(Object.entries(initial));
  const backend = await startBackend(t, async ({ method, url, body }, response) => {
    if (method === 'GET') return response.end(texts.get(url));
    await delay(random() * 20);
    texts.set(url, body.toString());
    await delay(random() * 20);
    return response.writeHead(204).end();
  });
  return { ...backend, text: (path) => texts.get(path) };
}

/** How many clients a turmoil has. */
const clients = 6;

/** One write of a contest, whatever became of it. */
export interface Attempt extends Replacement {
  readonly fate: Fate;
  /** Number of the fault in which its answer came. */
  readonly during: number;
}

/** Clients that change one text until they are told to stop: each reads through one gate, and writes through another. */
export class Turmoil {
  readonly attempts: Attempt[] = [];
  readonly #places: readonly { readonly gate: GateProcess }[];
  readonly #path: string;
  /** Number of the fault that is going on. */
  during = 0;
  #over = false;

  /** @param places that a gate may leave to another one */
  constructor(places: readonly { readonly gate: GateProcess }[], path: string) {
    this.#places = places;
    this.#path = path;
  }

  get successes(): number {
    return this.attempts.filter(({ fate }) => fate === 'succeeded').length;
  }

  /** @returns ends it: nobody begins anything more; resolves when all that has begun is over */
  start(): () => Promise<void> {
    const running = Promise.all(Array.from({ length: clients }, (_, client) => this.#run(client)));
    return async () => {
      this.#over = true;
      await running;
    };
  }

  /** Waits until this many more writes have succeeded. @returns false where they do not in ten seconds */
  async recovered(more: number): Promise<boolean> {
    const goal = this.successes + more;
    const end = performance.now() + 10_000;
    while (this.successes < goal && performance.now() < end) await delay(20);
    return this.successes >= goal;
  }

  #urlOf(number: number): string {
    return `${this.#places[number % this.#places.length]?.gate.url}${this.#path}`;
  }

  async #run(client: number): Promise<void> {
    for (let number = 1; !this.#over; number += 1) {
      const reading = await this.#read(client);
      const read = reading.body.toString();
      const written = `${Number.parseInt(read, 10) + 1} ${client}.${number}`;
      const headers = { 'If-Match': reading.headers.etag ?? '"none"' };
      const fate = await fateOf(ask(this.#urlOf(client + 1), { method: 'PUT', headers, body: written }));
      this.attempts.push({ client, read, written, fate, during: this.during });
      // A client that is refused because of a fault would be again, for as long as that lasts.
      if (fate !== 'succeeded') await delay(10);
    }
  }

  /** Tries one gate after the other until one answers soon. */
  async #read(client: number): ReturnType<typeof ask> {
    for (let number = client; ; number += 1) {
      const answer = await ask(this.#urlOf(number), { signal: AbortSignal.timeout(300) }).catch(() => undefined);
      if (answer?.status === 200) return answer;
    }
  }
}

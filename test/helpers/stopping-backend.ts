import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { type Backend, type Owner, type RecordedRequest, startBackend } from './backend.js';

/**
 * Where a backend can be stopped: a read has arrived and nothing was looked up yet; its answer is made and not sent; of a
 * write the head has arrived; all of it, and nothing was changed yet; it has taken effect and is not answered.
 */
export type Moment = 'read arrived' | 'read made' | 'write begun' | 'write arrived' | 'write applied';

/** A request that stands still, or will. */
export interface Stop {
  /** Resolves once it stands still. */
  readonly reached: Promise<void>;
  /** Lets it go on; also before it was reached. */
  release(): void;
}

export interface StoppingBackend extends Backend {
  /** The content at a path. */
  text(path: string): string | undefined;
  /** Changes the content without any request: somebody writes around the gate. */
  change(path: string, text: string): void;
  /** Stops the next request for this path that comes to this moment. */
  stop(path: string, moment: Moment): Stop;
  /** How many writes to this path have arrived so far. */
  writes(path: string): number;
}

interface Stored {
  readonly text: string;
  readonly changedAt: number;
}

/**
 * Starts a backend for texts that keeps its state, and stands still where a test says so. GET, HEAD, PUT, and POST, which
 * appends. The first segment of a path says how it tells versions apart:
 *
 * - `plain`: not at all
 * - `stamped`: not at all, and each answer is JSON with another `servedAt`, in another order (`stamp` makes a body)
 * - `tagged`: strong entity-tags made of the content, but If-Match is ignored
 * - `checked`: the same, and If-Match is honoured in the moment of the change
 * - `dated`: as `checked`, with Last-Modified
 *
 * @param options `now`: milliseconds since the epoch, for Date and Last-Modified; `onMoment`: sees all that is passed;
 *   `cacheControl`: a field of all answers to reads
 */
export async function startStoppingBackend(
  t: Owner,
  options: { now?: () => number; onMoment?: (moment: Moment, path: string) => void; cacheControl?: string } = {},
): Promise<StoppingBackend> {
  const { now = Date.now, onMoment, cacheControl } = options;
  const stored = new Map<string, Stored>();
  const stops = new Map<string, () => Promise<void>>();
  const change = (path: string, text: string): void => void stored.set(path, { text, changedAt: now() });
  let answers = 0;

  async function pass(moment: Moment, path: string): Promise<void> {
    onMoment?.(moment, path);
    const stop = stops.get(`${moment} ${path}`);
    stops.delete(`${moment} ${path}`);
    await stop?.();
  }

  async function read({ method, url }: RecordedRequest, response: ServerResponse): Promise<void> {
    await pass('read arrived', url);
    const found = stored.get(url);
    answers += 1;
    const body = found === undefined ? '' : kindOf(url) === 'stamped' ? stamp(found.text, answers) : found.text;
    const headers = { ...validators(url, found), Date: date(now()), 'Content-Length': Buffer.byteLength(body) };
    if (cacheControl !== undefined) response.setHeader('Cache-Control', cacheControl);
    await pass('read made', url);
    response.writeHead(found === undefined ? 404 : 200, headers).end(method === 'HEAD' ? undefined : body);
  }

  /** @returns the status */
  function apply({ url, method, headers, body }: RecordedRequest): number {
    const found = stored.get(url);
    const expected = headers['if-match'];
    const checks = kindOf(url) === 'checked' || kindOf(url) === 'dated';
    if (checks && expected !== undefined && !expected.includes(validators(url, found).ETag ?? 'none')) return 412;
    const text = kindOf(url) === 'stamped' ? (JSON.parse(body.toString()) as Text).text : body.toString();
    change(url, method === 'POST' ? (found?.text ?? '') + text : text);
    return 204;
  }

  async function write(request: RecordedRequest, response: ServerResponse, incoming: IncomingMessage): Promise<void> {
    const whole = new Promise((resolve) => incoming.once('end', resolve));
    await pass('write begun', request.url);
    await whole;
    await pass('write arrived', request.url);
    const status = apply(request);
    await pass('write applied', request.url);
    response.writeHead(status, { Date: date(now()) }).end();
  }

  const backend = await startBackend(
    t,
    (request, response, incoming) =>
      request.method === 'GET' || request.method === 'HEAD'
        ? read(request, response)
        : write(request, response, incoming),
    { early: true },
  );
  return {
    ...backend,
    text: (path) => stored.get(path)?.text,
    change,
    stop(path, moment) {
      let release = (): void => undefined;
      const released = new Promise<void>((resolve) => {
        release = resolve;
      });
      const reached = new Promise<void>((resolve) => {
        stops.set(`${moment} ${path}`, () => {
          resolve();
          return released;
        });
      });
      return { reached, release: () => release() };
    },
    writes: (path) => backend.requests.filter(({ url, method }) => url === path && /^P/.test(method)).length,
  };
}

interface Text {
  readonly text: string;
}

/** A `stamped` representation. @param servedAt also says in which order its members come */
export function stamp(text: string, servedAt: number): string {
  return JSON.stringify(servedAt % 2 === 0 ? { servedAt, text } : { text, servedAt }, null, servedAt % 3);
}

/** The entity-tag that `tagged`, `checked` and `dated` give a content. */
export function contentTag(text: string): string {
  return `"${createHash('sha256').update(text).digest('hex').slice(0, 16)}"`;
}

function kindOf(path: string): string {
  return path.split('/', 2)[1] ?? '';
}

function validators(path: string, found: Stored | undefined): { ETag?: string; 'Last-Modified'?: string } {
  const kind = kindOf(path);
  if (found === undefined || kind === 'plain' || kind === 'stamped') return {};
  const tag = { ETag: contentTag(found.text) };
  return kind === 'dated' ? { ...tag, 'Last-Modified': date(found.changedAt) } : tag;
}

function date(time: number): string {
  return new Date(time).toUTCString();
}

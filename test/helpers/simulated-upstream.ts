import type fc from 'fast-check';
import type { Clock } from '../../src/http/clock.js';
import { fieldLine } from '../../src/http/fields.js';
import type { BodyConsumer, Call, ResponseHead } from '../../src/upstream/call.js';
import { UpstreamError, type UpstreamErrorType } from '../../src/upstream/errors.js';
import type { SendableBody, Upstream, UpstreamRequest } from '../../src/upstream/forward.js';
import { RequestStream } from '../../src/upstream/request-body.js';
import { hashContent, syntheticTag } from '../../src/version/tag.js';

/**
 * What the backend knows of versions: nothing, weak tags, strong ones on reads, or strong ones on reads and in the
 * answers to writes. It never checks one.
 */
export type BackendKind = 'none' | 'weak' | 'native' | 'upstream';

/** What goes wrong with one request. */
export type Fault =
  /** No byte of it leaves the gate. */
  | { readonly kind: 'refused' }
  /** No answer comes; where `applies`, the request takes effect before or after the gate has given it up. */
  | { readonly kind: 'broken'; readonly error: UpstreamErrorType; readonly applies: boolean }
  /** Another status than the right one. */
  | { readonly kind: 'answered'; readonly status: number; readonly applies: boolean }
  /** The answer's body breaks off. */
  | { readonly kind: 'cut' };

/** A request that the gate sent; `id` is that of the client's request. Times of the simulation's clock. */
export interface SentRequest {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly sentAt: number;
  /** When the head came, or the failure. */
  answeredAt: number | undefined;
}

/** A write that took effect. Contents are unique in a simulation; undefined: no representation. */
export interface AppliedWrite {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
  readonly at: number;
}

export interface SimulatedUpstream extends Upstream {
  readonly documents: Map<string, string>;
  readonly requests: readonly SentRequest[];
  readonly applied: readonly AppliedWrite[];
  /** Most requests that waited for their heads at one time. */
  readonly mostInFlight: number;
  /** The tag in wire form that a reader of this content gets through the gate. */
  tagOf(content: string): string;
}

export interface SimulatedUpstreamOptions {
  readonly kind: BackendKind;
  readonly documents: Readonly<Record<string, string>>;
  readonly scheduler: fc.Scheduler;
  readonly clock: Clock;
  /** What goes wrong with a request; asked when it is sent. */
  readonly fault?: ((request: SentRequest) => Fault | undefined) | undefined;
  /** Runs in the step in which a request is carried out; `write` changes another document as a side effect. */
  readonly onApply?: ((request: SentRequest, write: (path: string, content: string) => void) => void) | undefined;
}

/**
 * A backend in memory behind an `Upstream`. Every request goes through the steps connect, apply, answer and body, each
 * of which happens when the scheduler says so.
 */
export function createSimulatedUpstream(options: SimulatedUpstreamOptions): SimulatedUpstream {
  const { kind, scheduler, clock } = options;
  const documents = new Map(Object.entries(options.documents));
  const requests: SentRequest[] = [];
  const applied: AppliedWrite[] = [];
  let mostInFlight = 0;

  const nativeTag = (content: string): string => `${kind === 'weak' ? 'W/' : ''}"v-${content}"`;

  function write(request: SentRequest, path: string, after: string | undefined): void {
    const { id, method } = request;
    applied.push({ id, method, path, before: documents.get(path), after, at: clock.now() });
    if (after === undefined) documents.delete(path);
    else documents.set(path, after);
  }

  /** Carries a request out. @returns its right answer */
  function apply(request: SentRequest, body: string): { head: ResponseHead; body: string } {
    const { method, path } = request;
    const found = documents.get(path);
    const isRead = method === 'GET' || method === 'HEAD';
    const isMissing = found === undefined && method !== 'PUT';
    if (!isRead && !isMissing) write(request, path, contentAfter(method, found, body));
    options.onApply?.(request, (other, content) => write(request, other, content));
    const content = isRead ? found : documents.get(path);
    const isTagged = content !== undefined && (isRead ? kind !== 'none' : kind === 'upstream');
    const rawHeaders = isTagged ? ['ETag', nativeTag(content)] : [];
    const success = isRead ? 200 : found === undefined ? 201 : 204;
    const head = { status: isMissing ? 404 : success, statusText: '', rawHeaders };
    return { head, body: method === 'GET' ? (content ?? '') : '' };
  }

  return {
    authority: 'upstream.test',
    documents,
    requests,
    applied,
    get mostInFlight() {
      return mostInFlight;
    },
    tagOf: (content) =>
      kind === 'native' || kind === 'upstream'
        ? nativeTag(content)
        : syntheticTag(hashContent(Buffer.from(content)), undefined),
    call(sent: UpstreamRequest) {
      const request: SentRequest = {
        id: fieldLine(sent.rawHeaders, 'x-request-id') ?? '',
        method: sent.method,
        path: sent.target,
        sentAt: clock.now(),
        answeredAt: undefined,
      };
      requests.push(request);
      mostInFlight = Math.max(mostInFlight, requests.filter(({ answeredAt }) => answeredAt === undefined).length);
      const step = (name: string) =>
        scheduler.schedule(Promise.resolve(), `${request.id} ${request.method} ${request.path}: ${name}`);
      const call = new SimulatedCall(() => {
        request.answeredAt ??= clock.now();
      });
      void call.run(sent.body, options.fault?.(request), step, (body) => apply(request, body));
      return call;
    },
    close: async () => {},
  };
}

function contentAfter(method: string, found: string | undefined, body: string): string | undefined {
  if (method === 'DELETE') return undefined;
  return method === 'PUT' ? body : `${found}+${body}`;
}

/** One request on its way; each step waits for its turn. */
class SimulatedCall implements Call {
  readonly head: Promise<ResponseHead>;
  readonly sent: Promise<void>;
  wholeRequestSent = false;
  failure: Error | undefined;
  readonly #onAnswered: () => void;
  #resolveHead: (head: ResponseHead) => void = () => {};
  #rejectHead: (error: Error) => void = () => {};
  #resolveSent: () => void = () => {};
  #consumer: BodyConsumer | undefined;
  #body: Buffer | undefined;
  #isOver = false;

  constructor(onAnswered: () => void) {
    this.#onAnswered = onAnswered;
    this.head = new Promise((resolve, reject) => {
      this.#resolveHead = resolve;
      this.#rejectHead = reject;
    });
    this.head.catch(() => {});
    this.sent = new Promise((resolve) => {
      this.#resolveSent = resolve;
    });
  }

  async run(
    body: SendableBody | undefined,
    fault: Fault | undefined,
    step: (name: string) => Promise<void>,
    apply: (body: string) => { head: ResponseHead; body: string },
  ): Promise<void> {
    // An upload that breaks off reaches no backend that waits for the whole of it.
    const whole = this.#receive(body);
    await step('connect');
    if (fault?.kind === 'refused') return this.#fail(new UpstreamError('connection_refused', 'refused', false));
    const content = await whole;
    if (content === undefined) return;
    this.wholeRequestSent = true;
    this.#resolveSent();
    if (fault?.kind === 'broken') {
      const { applies, error } = fault;
      if (applies) void step('apply, sooner or later').then(() => apply(content));
      await step('break');
      return this.#fail(new UpstreamError(error, error, true));
    }
    await step('apply');
    const isAnswered = fault?.kind === 'answered';
    const answer = isAnswered && !fault.applies ? undefined : apply(content);
    await step('answer');
    this.#onAnswered();
    if (isAnswered) this.#resolveHead({ status: fault.status, statusText: '', rawHeaders: [] });
    else if (answer !== undefined) this.#resolveHead(answer.head);
    await step('body');
    if (fault?.kind === 'cut') return this.#fail(new UpstreamError('http_response_incomplete', 'cut', true));
    this.#body = Buffer.from(isAnswered ? '' : (answer?.body ?? ''));
    this.#deliver();
  }

  consume(consumer: BodyConsumer): void {
    this.#consumer = consumer;
    if (this.failure !== undefined) consumer.error(this.failure);
    else this.#deliver();
  }

  resume(): void {}

  /** What was sent may still take effect: nobody tells the backend in time. */
  abort(): void {
    this.#fail(new UpstreamError('connection_terminated', 'given up', true));
  }

  /** @returns the whole request body, or undefined where the call failed before its end */
  #receive(body: SendableBody | undefined): Promise<string | undefined> {
    if (body === undefined) return Promise.resolve('');
    if (!(body instanceof RequestStream)) return Promise.resolve(body.bytes.toString());
    return new Promise((resolve) => {
      const chunks: Buffer[] = [];
      body.onFailure = (error) => {
        this.#fail(error);
        resolve(undefined);
      };
      body.on('data', (chunk: Buffer) => chunks.push(chunk));
      body.on('end', () => resolve(Buffer.concat(chunks).toString()));
    });
  }

  #deliver(): void {
    if (this.#isOver || this.#body === undefined || this.#consumer === undefined) return;
    this.#isOver = true;
    if (this.#body.length > 0) this.#consumer.data(this.#body);
    this.#consumer.end(undefined, []);
  }

  #fail(error: Error): void {
    if (this.#isOver || this.failure !== undefined) return;
    this.failure = error;
    this.#onAnswered();
    this.#resolveSent();
    this.#rejectHead(error);
    this.#consumer?.error(error);
  }
}

import type { Clock } from '../../src/http/clock.js';
import type { BodyConsumer, Call, ResponseHead } from '../../src/upstream/call.js';
import { UpstreamError, type UpstreamErrorType } from '../../src/upstream/errors.js';
import type { SendableBody } from '../../src/upstream/forward.js';
import { RequestStream } from '../../src/upstream/request-body.js';

/** What goes wrong with one request. */
export type Fault =
  /** No byte of it leaves the gate. */
  | { readonly kind: 'refused' }
  /**
   * No answer comes; where `applies`, the request takes effect before or after the gate has given it up. `hangs`: there is
   * no error either, until the gate gives up by the clock.
   */
  | {
      readonly kind: 'broken';
      readonly error: UpstreamErrorType;
      readonly applies: boolean;
      readonly hangs?: boolean;
    }
  /** Another status than the right one; `late`: what applies does so at any time after the request was sent. */
  | { readonly kind: 'answered'; readonly status: number; readonly applies: boolean; readonly late?: boolean }
  /** The answer's body breaks off. */
  | { readonly kind: 'cut' };

interface RightAnswer {
  readonly head: ResponseHead;
  readonly body: string;
}

/** What a call meets on its way. */
export interface CallSurroundings {
  readonly fault: Fault | undefined;
  /** Resolves when it is the step's turn. */
  readonly step: (name: string) => Promise<unknown>;
  /** Carries the request out. */
  readonly apply: (body: string) => RightAnswer;
  /** Told the status of the head, or why none came. */
  readonly onEnd: (end: number | Error) => void;
  /** Told when the whole body of the answer has gone out. */
  readonly onDelivered: () => void;
  /** How long a connection, and then the head, may take; undefined: for ever. */
  readonly patience: { readonly clock: Clock; readonly ms: number } | undefined;
}

/** One request on its way; each step waits for its turn. */
export class SimulatedCall implements Call {
  readonly head: Promise<ResponseHead>;
  readonly sent: Promise<void>;
  wholeRequestSent = false;
  failure: Error | undefined;
  readonly #around: CallSurroundings;
  #resolveHead: (head: ResponseHead) => void = () => {};
  #rejectHead: (error: Error) => void = () => {};
  #resolveSent: () => void = () => {};
  #stopTimer: () => void = () => {};
  #isConnected = false;
  #upload: RequestStream | undefined;
  #consumer: BodyConsumer | undefined;
  #body: Buffer | undefined;
  #isOver = false;

  constructor(around: CallSurroundings) {
    this.#around = around;
    this.head = new Promise((resolve, reject) => {
      this.#resolveHead = resolve;
      this.#rejectHead = reject;
    });
    this.head.catch(() => {});
    this.sent = new Promise((resolve) => {
      this.#resolveSent = resolve;
    });
  }

  async run(body: SendableBody | undefined): Promise<void> {
    const { fault, step, apply } = this.#around;
    // An upload that breaks off reaches no backend that waits for the whole of it.
    const whole = this.#receive(body);
    this.#giveUpLater('connection_timeout');
    await step('connect');
    // Who has given up connecting sends nothing any more.
    if (this.#isUnsent()) return;
    this.#stopTimer();
    this.#isConnected = true;
    if (fault?.kind === 'refused') return this.#fail(new UpstreamError('connection_refused', 'refused', false));
    const content = await whole;
    if (content === undefined) return;
    this.wholeRequestSent = true;
    this.#resolveSent();
    if (this.failure === undefined) this.#giveUpLater('http_response_timeout');
    if (fault?.kind === 'broken') {
      if (fault.applies) this.#applyLate(content);
      if (fault.hangs) return;
      await step('break');
      return this.#fail(new UpstreamError(fault.error, fault.error, true));
    }
    await step('apply');
    const answer = isRight(fault) ? apply(content) : undefined;
    if (fault?.kind === 'answered' && fault.applies && fault.late) this.#applyLate(content);
    await this.#answer(answer, fault);
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

  abortUnsent(): void {
    if (!this.#isConnected) this.#fail(new UpstreamError('connection_terminated', 'given up', false));
  }

  async #answer(right: RightAnswer | undefined, fault: Fault | undefined): Promise<void> {
    const { step, onEnd } = this.#around;
    const isOther = fault?.kind === 'answered';
    const head = isOther ? { status: fault.status, statusText: '', rawHeaders: [] } : right?.head;
    await step('answer');
    this.#stopTimer();
    if (head !== undefined) {
      onEnd(head.status);
      this.#resolveHead(head);
    }
    await step('body');
    if (fault?.kind === 'cut') return this.#fail(new UpstreamError('http_response_incomplete', 'cut', true));
    this.#body = Buffer.from(isOther ? '' : (right?.body ?? ''));
    this.#around.onDelivered();
    this.#deliver();
  }

  #applyLate(content: string): void {
    const { step, apply } = this.#around;
    void step('apply, sooner or later').then(() => apply(content));
  }

  #giveUpLater(error: UpstreamErrorType): void {
    const { patience } = this.#around;
    if (patience === undefined) return;
    const sent = error !== 'connection_timeout';
    this.#stopTimer = patience.clock.after(patience.ms, () => this.#fail(new UpstreamError(error, error, sent)));
  }

  #isUnsent(): boolean {
    return !this.#isConnected && this.failure instanceof UpstreamError && !this.failure.sent;
  }

  /** @returns the whole request body, or undefined where the call failed before its end */
  #receive(body: SendableBody | undefined): Promise<string | undefined> {
    if (body === undefined) return Promise.resolve('');
    if (!(body instanceof RequestStream)) return Promise.resolve(body.bytes.toString());
    this.#upload = body;
    body.beginSending();
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
    this.#stopTimer();
    this.#around.onEnd(error);
    this.#upload?.destroy();
    this.#resolveSent();
    this.#rejectHead(error);
    this.#consumer?.error(error);
  }
}

/** Whether the request is carried out before its answer. */
function isRight(fault: Fault | undefined): boolean {
  return fault?.kind !== 'answered' || (fault.applies && fault.late !== true);
}

import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import type { Answer, Exchange } from '../../src/gate/exchange.js';
import type { Gate } from '../../src/gate/gate.js';
import { fieldLine } from '../../src/http/fields.js';
import type { ResponseBody } from '../../src/upstream/call.js';
import type { VirtualClock } from './clock.js';

/** What a client asks for. */
export interface ClientRequest {
  /** Also the request id; unique in a simulation, and the body of a write. */
  readonly id: string;
  readonly method: string;
  readonly path: string;
  /** Content that the client has read and names by its tag in If-Match; `null`: If-None-Match: *; absent: neither. */
  readonly base?: string | null | undefined;
  /** The tag that it was given for that, where it is not the usual one. */
  readonly tag?: string | undefined;
  /** Further fields: name, value, … */
  readonly headers?: readonly string[];
  readonly body?: string;
  /** The last byte of the body comes when `finishBody` is called. */
  readonly slowBody?: boolean;
}

/** A client and what became of it. */
export interface Client {
  readonly request: ClientRequest;
  /** Resolves when the answer has been delivered, or could not be. */
  readonly done: Promise<void>;
  readonly isDone: boolean;
  readonly hasArrived: boolean;
  /** Whether all of the request has been sent. */
  readonly isSent: boolean;
  /** Status of the answer; undefined without one. */
  readonly status: number | undefined;
  /** Body of the answer. */
  readonly content: string;
  /** Entity-tag of the answer in wire form, if it has one. */
  readonly etag: string | undefined;
  /** Goes away, unless it has its answer or has not come yet. */
  leave(): void;
  /** Sends what is left of a slow body. */
  finishBody(): void;
}

/** A client, and the exchange that the gate has with it. */
export class SimulatedClient implements Client, Exchange {
  readonly request: ClientRequest;
  readonly httpVersion = '1.1';
  readonly protocol = 'http';
  readonly remoteAddress = '127.0.0.1';
  readonly clientAddress = '127.0.0.1';
  readonly sendContinue = undefined;
  arrivedAt = 0;
  rawHeaders: string[] = [];
  body: IncomingMessage | undefined;
  isGone = false;
  isDone = false;
  done: Promise<void> = Promise.resolve();
  status: number | undefined;
  content = '';
  etag: string | undefined;
  readonly #controller = new AbortController();
  readonly #whenGone: (() => void)[] = [];

  constructor(request: ClientRequest) {
    this.request = request;
  }

  get method(): string {
    return this.request.method;
  }

  get requestTarget(): string {
    return this.request.path;
  }

  get requestId(): string {
    return this.request.id;
  }

  get hasArrived(): boolean {
    return this.arrivedAt > 0;
  }

  get isSent(): boolean {
    return this.hasArrived && this.body?.complete !== false;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Sends the request and takes the answer in. */
  async talk(gate: Gate, clock: VirtualClock, tagOf: (content: string) => string): Promise<void> {
    const { id, method, base, tag, headers = [], slowBody, body = id } = this.request;
    this.arrivedAt = clock.now();
    this.rawHeaders = ['Host', 'api.test', 'X-Request-Id', id, ...headers];
    if (base !== undefined) {
      this.rawHeaders.push(...(base === null ? ['If-None-Match', '*'] : ['If-Match', tag ?? tagOf(base)]));
    }
    if (withBody.has(method)) {
      this.rawHeaders.push(...(slowBody ? ['Transfer-Encoding', 'chunked'] : ['Content-Length', String(body.length)]));
      this.body = new IncomingMessage(new Socket());
      this.body.push(body.slice(0, -1));
      if (!slowBody) this.finishBody();
    }
    const { answer, done } = await gate.handle(this);
    if (answer !== undefined) await this.#take(answer);
    done();
    this.isDone = true;
  }

  finishBody(): void {
    const { id, body = id } = this.request;
    if (this.body === undefined || this.body.complete || this.isGone) return;
    this.body.push(body.slice(-1));
    this.body.push(null);
    this.body.complete = true;
  }

  leave(): void {
    if (!this.hasArrived || this.isDone || this.isGone) return;
    this.isGone = true;
    this.#controller.abort();
    for (const action of this.#whenGone) action();
    this.body?.destroy();
  }

  onGone(action: () => void): void {
    if (this.isGone) action();
    else this.#whenGone.push(action);
  }

  sendInformational(): void {}

  async #take({ status, rawHeaders, body, release }: Answer): Promise<void> {
    if (typeof body === 'object' && 'consume' in body) {
      if (this.isGone) body.abort();
      else this.content = await contentOf(body, (abort) => this.onGone(abort));
    } else {
      this.content = String(body ?? '');
    }
    release?.();
    if (this.isGone) return;
    this.status = status;
    this.etag = fieldLine(rawHeaders, 'etag');
  }
}

const withBody = new Set(['PUT', 'PATCH', 'POST']);

function contentOf(body: ResponseBody, onGone: (abort: () => void) => void): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    onGone(() => body.abort());
    body.consume({
      data: (chunk) => chunks.push(chunk) > 0,
      end: (last) => resolve(Buffer.concat(last === undefined ? chunks : [...chunks, last]).toString()),
      error: () => resolve(''),
    });
  });
}

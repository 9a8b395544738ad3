import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Exchange } from '../gate/exchange.js';
import type { Clock } from '../http/clock.js';
import { fieldValues, firstValue } from '../http/fields.js';

/** An inbound X-Request-Id that is kept (A3): nothing in it can do harm in a log, a page or a field. */
const harmlessId = /^[\w.:=+/@-]{1,128}$/;

/** What the web framework knows of a request beyond Node's own objects. */
export interface RequestFacts {
  /** Request-target exactly as the client wrote it. */
  readonly requestTarget: string;
  /** Address of the peer, or of the client that a trusted proxy names. */
  readonly remoteAddress: string;
  /** Whether the client waits for `100 (Continue)`. */
  readonly expectsContinue: boolean;
}

/** A request as the gate sees it, made of Node's own objects. */
export class ServerExchange implements Exchange {
  readonly method: string;
  readonly requestTarget: string;
  readonly rawHeaders: readonly string[];
  readonly httpVersion: string;
  readonly protocol: 'http' | 'https';
  readonly remoteAddress: string;
  readonly requestId: string;
  readonly arrivedAt: number;
  readonly body: IncomingMessage | undefined;
  readonly sendContinue: (() => void) | undefined;
  readonly #response: ServerResponse;
  readonly #whenGone: (() => void)[] = [];
  #controller: AbortController | undefined;
  #gone = false;

  constructor(request: IncomingMessage, response: ServerResponse, facts: RequestFacts, clock: Clock) {
    this.method = request.method ?? '';
    this.requestTarget = facts.requestTarget;
    this.rawHeaders = request.rawHeaders;
    this.httpVersion = request.httpVersion;
    this.protocol = 'encrypted' in request.socket ? 'https' : 'http';
    this.remoteAddress = facts.remoteAddress;
    this.requestId = requestIdOf(request.rawHeaders);
    this.arrivedAt = clock.now();
    this.body = announcesBody(request) ? request : undefined;
    this.sendContinue = facts.expectsContinue ? () => response.writeContinue() : undefined;
    this.#response = response;
    response.once('close', () => this.#close());
  }

  get signal(): AbortSignal {
    this.#controller ??= new AbortController();
    if (this.#gone) this.#controller.abort();
    return this.#controller.signal;
  }

  get isGone(): boolean {
    return this.#gone;
  }

  onGone(action: () => void): void {
    if (this.#gone) action();
    else this.#whenGone.push(action);
  }

  /** Node writes 102 and 103; other 1xx have no way out through it and stay here. */
  readonly sendInformational = (status: number, rawHeaders: string[]): void => {
    const response = this.#response;
    if (this.httpVersion === '1.0' || response.headersSent || this.#gone) return;
    if (status === 102) response.writeProcessing();
    if (status === 103) response.writeEarlyHints(grouped(rawHeaders));
  };

  #close(): void {
    if (this.#response.writableFinished) return;
    this.#gone = true;
    this.#controller?.abort();
    for (const action of this.#whenGone.splice(0)) action();
  }
}

function announcesBody(request: IncomingMessage): boolean {
  if (firstValue(request.rawHeaders, 'transfer-encoding') !== undefined) return true;
  return Number(firstValue(request.rawHeaders, 'content-length') ?? 0) > 0;
}

/** Fields by lower-case name, the values of one name in order. */
function grouped(rawHeaders: readonly string[]): Record<string, string[]> {
  const fields: Record<string, string[]> = {};
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase();
    fields[name] = [...(fields[name] ?? []), rawHeaders[index + 1] ?? ''];
  }
  return fields;
}

/**
 * The id of a request (A3): the client's own where it sent exactly one that is harmless, else a new one.
 *
 * @param rawHeaders the request's fields
 */
export function requestIdOf(rawHeaders: readonly string[]): string {
  const [own, ...others] = fieldValues(rawHeaders, 'x-request-id');
  return own !== undefined && others.length === 0 && harmlessId.test(own) ? own : randomUUID();
}

import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Exchange } from '../gate/exchange.js';
import type { Clock } from '../http/clock.js';
import { endToEnd, FieldNames, fieldLine, firstValue } from '../http/fields.js';
import type { OnInformational } from '../upstream/wire.js';
import type { Turn } from './turns.js';

/** An inbound X-Request-Id that is kept (A3): nothing in it can do harm in a log, a page or a field. */
const harmlessId = /^[\w.:=+/@-]{1,128}$/;

/** A3: the request's id is on its answer, and only there. RFC 9110 8.6: a 1xx has no length. */
const notOfInformational = new FieldNames(['x-request-id', 'ifmatch-report', 'content-length']);

/** What the web framework knows of a request beyond Node's own objects. */
export interface RequestFacts {
  /** Request-target exactly as the client wrote it. */
  readonly requestTarget: string;
  /** Address of the peer; empty on a unix socket. */
  readonly remoteAddress: string;
  /** Address of the client, as far as `trustProxy` believes it. */
  readonly clientAddress: string | undefined;
  /** Value of Upgrade, where the request may be tunnelled. */
  readonly upgrade: string | undefined;
  /** Whether the client waits for `100 (Continue)`. */
  readonly expectsContinue: boolean;
  /** Tells when the response is over. */
  readonly turn: Pick<Turn, 'onClosed'>;
}

/** A request as the gate sees it, made of Node's own objects. */
export class ServerExchange implements Exchange {
  readonly method: string;
  readonly requestTarget: string;
  readonly rawHeaders: readonly string[];
  readonly httpVersion: string;
  readonly protocol: 'http' | 'https';
  readonly remoteAddress: string;
  readonly clientAddress: string | undefined;
  readonly requestId: string;
  readonly arrivedAt: number;
  readonly body: IncomingMessage | undefined;
  readonly upgrade: string | undefined;
  readonly sendContinue: (() => void) | undefined;
  readonly #response: ServerResponse;
  #whenGone: (() => void)[] | undefined;
  #controller: AbortController | undefined;
  #gone = false;

  constructor(request: IncomingMessage, response: ServerResponse, facts: RequestFacts, clock: Clock) {
    this.method = request.method ?? '';
    this.requestTarget = facts.requestTarget;
    this.rawHeaders = request.rawHeaders;
    this.httpVersion = request.httpVersion;
    this.protocol = 'encrypted' in request.socket ? 'https' : 'http';
    this.remoteAddress = facts.remoteAddress;
    this.clientAddress = facts.clientAddress;
    this.requestId = requestIdOf(request.rawHeaders);
    this.arrivedAt = clock.now();
    this.body = announcesBody(request) ? request : undefined;
    this.upgrade = facts.upgrade;
    this.sendContinue = facts.expectsContinue ? () => response.writeContinue() : undefined;
    this.#response = response;
    facts.turn.onClosed(() => this.#close());
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
    else if (this.#whenGone === undefined) this.#whenGone = [action];
    else this.#whenGone.push(action);
  }

  /**
   * Written past Node, which knows some 1xx only and refuses early hints that it does not understand. While an earlier
   * answer of a pipeline is being written there is no socket, and what the client does not take in time it does
   * without: these answers are optional (RFC 9110 15.2).
   */
  readonly sendInformational: OnInformational = (status, statusText, rawHeaders) => {
    const { socket, headersSent } = this.#response;
    // W13: who waits for this gets it from the gate.
    if (status === 100 && this.sendContinue !== undefined) return;
    if (this.httpVersion === '1.0' || headersSent || this.#gone || socket === null || socket.writableNeedDrain) return;
    const lines = [`HTTP/1.1 ${status} ${statusText}`];
    const fields = endToEnd(rawHeaders, notOfInformational);
    for (let index = 0; index + 1 < fields.length; index += 2) lines.push(`${fields[index]}: ${fields[index + 1]}`);
    socket.write(`${lines.join('\r\n')}\r\n\r\n`, 'latin1');
  };

  #close(): void {
    const actions = this.#whenGone;
    this.#whenGone = undefined;
    if (this.#response.writableFinished) return;
    this.#gone = true;
    this.#controller?.abort();
    for (const action of actions ?? []) action();
  }
}

/** Whether a request's head announces a body (RFC 9112 6). */
export function announcesBody(request: IncomingMessage): boolean {
  if (firstValue(request.rawHeaders, 'transfer-encoding') !== undefined) return true;
  return Number(firstValue(request.rawHeaders, 'content-length') ?? 0) > 0;
}

/**
 * The id of a request (A3): the client's own where it sent exactly one that is harmless, else a new one.
 *
 * @param rawHeaders the request's fields
 */
export function requestIdOf(rawHeaders: readonly string[]): string {
  // More than one joined are none either: a comma is not among what is harmless.
  const own = fieldLine(rawHeaders, 'x-request-id');
  return own !== undefined && harmlessId.test(own) ? own : randomUUID();
}

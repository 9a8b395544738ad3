import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { ResponseBody } from '../upstream/call.js';
import type { OnInformational } from '../upstream/wire.js';

/** One request as the gate sees it; nothing behind this knows the web framework. */
export interface Exchange {
  readonly method: string;
  /** Request-target exactly as the client wrote it. */
  readonly requestTarget: string;
  /** All fields as they came. */
  readonly rawHeaders: readonly string[];
  readonly httpVersion: string;
  readonly protocol: 'http' | 'https';
  /** Address of the peer; empty where it has none. */
  readonly remoteAddress: string;
  /** Address of the client, as far as it can be believed: for the record. */
  readonly clientAddress: string | undefined;
  readonly requestId: string;
  /** `Clock.now()` when the head was received (W4). */
  readonly arrivedAt: number;
  /** The request body, not yet read; undefined where the head announces none. */
  readonly body: IncomingMessage | undefined;
  /** Protocols that the client would rather speak, where the request may be tunnelled for them: value of Upgrade. */
  readonly upgrade?: string | undefined;
  /** Where the client waits for `100 (Continue)`: tells it to go on (W13). */
  readonly sendContinue: (() => void) | undefined;
  /** Aborted when the client's connection closes before it has its answer. Made when it is first asked for. */
  readonly signal: AbortSignal;
  /** Calls back once when that happens, at once where it has happened. */
  readonly onGone: (action: () => void) => void;
  /** Whether that has happened. */
  readonly isGone: boolean;
  /** Passes a 1xx answer on. */
  readonly sendInformational: OnInformational;
}

/** What the client is told. A body that streams is consumed by whoever delivers it. */
export interface Answer {
  readonly status: number;
  readonly statusText: string | undefined;
  /** Flat list of fields. */
  readonly rawHeaders: string[];
  /** Octets: Node writes a head in the encoding of a text behind it, and fields are ISO 8859-1. */
  readonly body: Buffer | readonly Buffer[] | ResponseBody | undefined;
  /** Trailers after a held body; a streaming one brings its own. */
  readonly trailers?: readonly string[] | undefined;
  /** With 101: the upstream's connection, to be joined with the client's. */
  readonly tunnel?: Socket;
  /** Called once the answer has been delivered, or could not be. */
  readonly release?: (() => void) | undefined;
  /** The upstream is not to be interrupted, even if the client goes away: it is carrying out a write (W15). */
  readonly runsOn?: boolean;
  /** The client's connection cannot be used again: its request body was not wanted (W13). */
  readonly close?: boolean;
}

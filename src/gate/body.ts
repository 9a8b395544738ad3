import type { IncomingMessage } from 'node:http';
import type { Awaitable } from '../http/awaitable.js';
import { fieldLine, hasField, passableRequestTrailers } from '../http/fields.js';
import type { RequestBodyError } from '../upstream/errors.js';
import type { SendableBody } from '../upstream/forward.js';
import { arrivedWithHead, RequestStream, receiveBody } from '../upstream/request-body.js';
import { createContentHasher, hashContent } from '../version/tag.js';
import { type Passage, timeoutsOf } from './passage.js';

/** The grace that W3 gives a long body before its rate counts, in milliseconds. */
const rateGrace = 30_000;

/** A request body on its way, and the hash of what was sent. */
export interface WriteBody {
  /** Made when the request is forwarded: a body that nobody asked for stays where it is. */
  readonly send: () => SendableBody | undefined;
  /** Hash of all that was sent, after it was; undefined where the body carries a content coding (W10). */
  readonly hash: () => Promise<string | undefined>;
  /** All of it, where it was received before it is sent; undefined where it streams (W12). */
  readonly bytes: Buffer | undefined;
}

const nothing = Buffer.alloc(0);
const noBody: WriteBody = { send: () => undefined, hash: async () => hashContent(nothing), bytes: nothing };

/** Receives a short request body before the lease is taken (W3); a longer or expected one streams later. */
export function receive(passage: Passage): Awaitable<WriteBody | RequestBodyError> {
  const { exchange, fields, parts } = passage;
  const { body } = exchange;
  if (body === undefined) return noBody;
  const { holdRequest } = parts.limits;
  const announced = Number(fieldLine(fields, 'content-length') ?? 0);
  if (exchange.sendContinue !== undefined || announced > holdRequest) return streaming(passage, []);
  const bytes = arrivedWithHead(body, holdRequest);
  return bytes === undefined ? receiveRest(passage, body) : whole(passage, body, bytes);
}

async function receiveRest(passage: Passage, body: IncomingMessage): Promise<WriteBody | RequestBodyError> {
  const { parts } = passage;
  const { idleTimeout } = timeoutsOf(passage);
  const received = await receiveBody(body, parts.limits.holdRequest, idleTimeout, parts.clock);
  if (received.kind === 'failed') return received.error;
  if (received.kind === 'longer') return streaming(passage, received.chunks);
  return whole(passage, body, received.bytes);
}

/** A body that was received before it is sent. */
function whole(passage: Passage, source: IncomingMessage, bytes: Buffer): WriteBody {
  const { fields } = passage;
  const chunked = !hasField(fields, 'content-length');
  return {
    send: () => ({ kind: 'held', bytes, chunked, trailers: passableRequestTrailers(source.rawTrailers ?? []) }),
    hash: async () => contentHash(passage, bytes),
    bytes,
  };
}

/** A body that streams from the client, which must keep its pace while a lease is held (W3). */
function streaming(passage: Passage, head: readonly Buffer[]): WriteBody {
  const { exchange, parts, resource } = passage;
  const { minBodyRate, hashBody } = parts.limits;
  // Report mode refuses nothing, and who takes a lease there takes it from nobody (W14).
  const minRate = resource.policy.mode === 'report' ? 0 : minBodyRate;
  const { body } = exchange;
  if (body === undefined) return noBody;
  // What is longer than a refresh reads cannot be compared with what it read.
  const hasher = createContentHasher({ coding: undefined, limit: isCoded(passage) ? 0 : hashBody });
  const pace = { ...timeoutsOf(passage), minRate, grace: rateGrace };
  let digest: Promise<string | undefined> | undefined;
  return {
    send: () => {
      exchange.sendContinue?.();
      return new RequestStream(body, head, pace, parts.clock, (chunk) => void hasher.update(chunk));
    },
    hash: () => {
      digest ??= hasher.digest();
      return digest;
    },
    bytes: undefined,
  };
}

/** The body of a request that takes no lease: unless it is there already, it streams at the client's own pace. */
export function streamBody(passage: Passage): SendableBody | undefined {
  const { exchange, parts, fields } = passage;
  if (exchange.body === undefined) return undefined;
  if (exchange.sendContinue === undefined) {
    const bytes = arrivedWithHead(exchange.body, parts.limits.holdRequest);
    if (bytes !== undefined) return { kind: 'held', bytes, chunked: !hasField(fields, 'content-length') };
  }
  exchange.sendContinue?.();
  const pace = { ...timeoutsOf(passage), minRate: 0, grace: 0 };
  return new RequestStream(exchange.body, [], pace, parts.clock);
}

/** Hash of the content of a request body (W10); undefined where it carries a content coding. */
export function contentHash(passage: Passage, bytes: Buffer): string | undefined {
  return bytes.length > 0 && isCoded(passage) ? undefined : hashContent(bytes);
}

function isCoded({ fields }: Passage): boolean {
  return hasField(fields, 'content-encoding');
}

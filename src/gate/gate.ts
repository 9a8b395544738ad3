import { parseTarget, type Target } from '../resource/target.js';
import type { ProblemDetails } from './answers.js';
import { streamBody } from './body.js';
import { enter, made } from './enter.js';
import type { Answer, Exchange } from './exchange.js';
import { type DecisionRecord, newRecord } from './outcome.js';
import { type GateParts, isGuarded, type Passage, send, stopWithClient } from './passage.js';
import { read } from './read.js';
import { failure, relay, safeMethods } from './relay.js';
import { tunnel } from './tunnel.js';
import { passUnguarded } from './unguarded.js';
import { write } from './write.js';

/** The gate: answers one request at a time, any number of them side by side. */
export interface Gate {
  /**
   * Takes a request through the gate. The record reaches the observer when `done` is called, which whoever delivers the
   * answer does at its end.
   *
   * @returns the answer; undefined where the client is gone. Never rejects.
   */
  handle(exchange: Exchange): Promise<{ answer: Answer | undefined; done: () => void }>;
  /** Resolves when every request that came in is on record, also writes whose client has left (W15, O5). */
  idle(): Promise<void>;
}

/** @param parts what the gate is made of */
export function createGate(parts: GateParts): Gate {
  let inFlight = 0;
  let whenIdle: (() => void)[] = [];
  const begin = (exchange: Exchange, record: DecisionRecord): (() => void) => {
    inFlight += 1;
    return () => {
      record.total = parts.clock.now() - exchange.arrivedAt;
      parts.observer.decided(record);
      inFlight -= 1;
      if (inFlight > 0) return;
      for (const resolve of whenIdle) resolve();
      whenIdle = [];
    };
  };
  return {
    idle: () => (inFlight === 0 ? Promise.resolve() : new Promise((resolve) => whenIdle.push(resolve))),
    async handle(exchange) {
      const record = newRecord(exchange);
      const done = begin(exchange, record);
      try {
        const answer = await route(parts, exchange, record);
        if (answer === undefined) record.decision = 'client-gone';
        return { answer: answer && withRequestId(answer, exchange), done };
      } catch (error) {
        record.error = (error as Error).stack ?? String(error);
        return { answer: withRequestId(made(exchange, record, 'internal-error', internalError), exchange), done };
      }
    },
  };
}

const internalError: ProblemDetails = {
  detail: 'The gate met a condition that it does not know how to handle. The request may have been forwarded.',
  next: 'Fetch the resource to see its state; report the request id to the operator.',
};

/** RFC 9110 9.3.7: the server in general, which to a client is the upstream. */
const theServer: Target = { raw: '*', path: '*', query: undefined, authority: undefined };

/** RFC 9112 3.2.4. */
function notOfTheServer(exchange: Exchange, record: DecisionRecord): Answer {
  const details = { detail: 'Only OPTIONS has the target "*".', next: 'Name a path.', close: true };
  return made(exchange, record, 'ambiguous-target', details);
}

/** Whether a request-target is a URL without path and query: that of OPTIONS is the server's (RFC 9112 3.2.4). */
function isHost(requestTarget: string): boolean {
  return /^https?:\/\/[^/?]*$/i.test(requestTarget);
}

/** Finds out what a request is, and hands it to the protocol that it calls for. */
function route(
  parts: GateParts,
  exchange: Exchange,
  record: DecisionRecord,
): Promise<Answer | undefined> | Answer | undefined {
  const parsed = parseTarget(exchange.requestTarget);
  if (parsed.kind === 'refused') {
    const next = 'Send the request-target in one unambiguous form.';
    return made(exchange, record, 'ambiguous-target', { detail: parsed.reason, next, close: true });
  }
  const isAboutServer = parsed.kind === 'asterisk' || (exchange.method === 'OPTIONS' && isHost(exchange.requestTarget));
  if (parsed.kind === 'asterisk' && exchange.method !== 'OPTIONS') return notOfTheServer(exchange, record);
  const authority = parsed.kind === 'target' ? parsed.target.authority : undefined;
  const target = parsed.kind === 'target' && !isAboutServer ? parsed.target : { ...theServer, authority };
  const passage = enter(parts, exchange, record, target);
  if ('answer' in passage) return passage.answer;
  if (isAboutServer && passage.method !== 'OPTIONS') return notOfTheServer(exchange, record);

  const { method, resource, destination } = passage;
  const { policy } = resource;
  // An override (I4) makes it another method, and then it is no upgrade any more.
  if (exchange.upgrade !== undefined && method === 'GET') return tunnel(passage, exchange.upgrade);
  const writesGuarded = destination !== undefined && destination.policy.guard !== 'off';
  if (policy.guard === 'off' && !writesGuarded) return pass(passage);
  if (safeMethods.has(method)) {
    // What a GET with a body is answered depends on that body: it is nobody's representation of the URL.
    const reads = (method === 'GET' || method === 'HEAD') && exchange.body === undefined;
    return reads ? readOrFail(passage) : pass(passage);
  }
  // I7: what is written by way of Destination is never written without a lease.
  return isGuarded(passage) || destination !== undefined ? write(passage) : writeUnguarded(passage);
}

/** A method that is not guarded, without conditions: it may write all the same (W16). */
async function writeUnguarded(passage: Passage): Promise<Answer | undefined> {
  passage.record.kind = 'unguarded-write';
  return passUnguarded(passage, passage.fields, streamBody(passage));
}

async function readOrFail(passage: Passage): Promise<Answer | undefined> {
  try {
    return await read(passage);
  } catch (error) {
    return failed(passage, error);
  }
}

/** A request that the gate has nothing to say about: it passes, streamed both ways. */
async function pass(passage: Passage): Promise<Answer | undefined> {
  const { exchange, parts, record } = passage;
  const body = streamBody(passage);
  const sentAt = parts.clock.now();
  const call = send(passage, passage.fields, body);
  const isSafe = safeMethods.has(passage.method);
  // W15: a write runs to its end once all of it was forwarded; nobody waits for the answer to a read.
  if (isSafe) exchange.onGone(() => call.abort());
  else stopWithClient(passage, call, body);
  try {
    const head = await call.head;
    record.upstream = parts.clock.now() - sentAt;
    return relay(passage, head, call);
  } catch (error) {
    return failed(passage, error);
  }
}

function failed(passage: Passage, error: unknown): Answer | undefined {
  return passage.exchange.isGone ? undefined : failure(passage, error, undefined);
}

/** A3: every answer has exactly one. */
function withRequestId(answer: Answer, { requestId }: Exchange): Answer {
  answer.rawHeaders.push('X-Request-Id', requestId);
  return answer;
}

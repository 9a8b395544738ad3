import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { problemAnswer } from '../gate/answers.js';
import type { Answer } from '../gate/exchange.js';
import { type DecisionRecord, newRecord, type RecordedRequest } from '../gate/outcome.js';
import type { Clock } from '../http/clock.js';
import type { Cohort } from '../http/cohort.js';
import { deliver } from './deliver.js';
import { requestIdOf } from './exchange.js';
import type { Turns } from './turns.js';

/** Answers what cannot be read as a request that the gate could serve. */
export interface Unreadable {
  /** Handles Node's `clientError`. */
  refuse(error: NodeJS.ErrnoException, socket: Socket): void;
  /** Handles Node's `checkExpectation`: any Expect but 100-continue (RFC 9110 10.1.1). */
  refuseExpectation(request: IncomingMessage, response: ServerResponse): Promise<void>;
}

/** How long what a refused client still sends is read and thrown away, in milliseconds. */
const lingering = 2000;

const byCode: Readonly<Record<string, keyof typeof details>> = {
  HPE_HEADER_OVERFLOW: 'request-head-too-large',
  ERR_HTTP_REQUEST_TIMEOUT: 'slow-request',
};

const details = {
  'malformed-request': 'The request cannot be read as HTTP/1.1.',
  'request-head-too-large': 'The request head is longer than limits.header allows.',
  'slow-request': 'The request head did not arrive in time.',
  'expectation-failed': 'Only 100-continue can be expected of this server.',
} as const;

interface UnreadableParts {
  readonly clock: Clock;
  /** What is unanswered on a connection. */
  readonly turns: Turns;
  /** The cohort in which requests go to the gate. */
  readonly arrivals: Cohort;
  /** Hears of each answer (O3). */
  readonly decided: (record: DecisionRecord) => void;
}

/** What Node's parser refuses gets an answer that says so, with an id like any other (A3). */
export function createUnreadable({ clock, turns, arrivals, decided }: UnreadableParts): Unreadable {
  /** Whether bytes written now would be taken for the answer to what could not be read, and for nothing else. */
  function mayAnswer(socket: Socket): boolean {
    if (!socket.writable) return false;
    const [first, ...others] = turns.open(socket);
    return first === undefined || (others.length === 0 && !first.request.complete && !first.response.headersSent);
  }

  function refuseNow({ code = '' }: NodeJS.ErrnoException, socket: Socket): void {
    if (!mayAnswer(socket)) {
      socket.destroy();
      return;
    }
    const { answer, record } = refusalOf(byCode[code] ?? 'malformed-request', unknownRequest());
    socket.end(messageOf(answer));
    linger(socket, clock);
    decided(record);
  }

  const refused = new WeakSet<Socket>();
  return {
    refuse(error, socket) {
      if (refused.has(socket)) return;
      refused.add(socket);
      // What came before it on the connection may be answered in its cohort.
      if (turns.open(socket).length > 0) arrivals.add(() => setImmediate(refuseNow, error, socket));
      else refuseNow(error, socket);
    },
    async refuseExpectation(request, response) {
      const { method = '', url = '', rawHeaders, socket } = request;
      const turn = turns.enter(request, response);
      await turn.comes;
      if (turns.isOver(socket)) return;
      turns.end(socket);
      const asked = { requestId: requestIdOf(rawHeaders), method, requestTarget: url, clientAddress: undefined };
      const { answer, record } = refusalOf('expectation-failed', asked);
      deliver(answer, request, response, {
        turn,
        closes: true,
        clock,
        stalledAfter: lingering,
        done: () => decided(record),
      });
    },
  };
}

/**
 * Reads on for a while: a connection that is closed with unread bytes in it is reset, and its client may never see the
 * answer (RFC 9112 9.6). Node's own listener goes, because each further chunk would be one more error.
 */
function linger(socket: Socket, clock: Clock): void {
  socket.removeAllListeners('data');
  socket.on('data', () => {});
  socket.resume();
  const cancel = clock.after(lingering, () => socket.destroy());
  socket.once('close', cancel);
}

function unknownRequest(): RecordedRequest {
  return { requestId: requestIdOf([]), method: '', requestTarget: '', clientAddress: undefined };
}

function refusalOf(name: keyof typeof details, request: RecordedRequest): { answer: Answer; record: DecisionRecord } {
  const { requestId } = request;
  const answer = problemAnswer(
    name,
    { detail: details[name], next: 'Correct the request and send it again.', decidedBy: 'policy' },
    { requestId, path: '', accept: undefined },
  );
  answer.rawHeaders.push('X-Request-Id', requestId);
  const record = newRecord(request);
  Object.assign(record, { kind: 'made', decision: name, status: answer.status, decidedBy: 'policy' });
  return { answer, record };
}

/** The answer as bytes, where there is no response object to write it. */
function messageOf({ status, rawHeaders, body }: Answer): string {
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    lines.push(`${rawHeaders[index]}: ${rawHeaders[index + 1]}`);
  }
  return `${[...lines, 'Connection: close'].join('\r\n')}\r\n\r\n${String(body)}`;
}

import { type IncomingMessage, type ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import { problemAnswer } from '../gate/answers.js';
import type { Clock } from '../http/clock.js';
import { requestIdOf } from './exchange.js';

/** Answers what Node's parser cannot read as a request. */
export interface Unreadable {
  /** To be told of every request that could be read. */
  track(request: IncomingMessage, response: ServerResponse): void;
  /** Handles Node's `clientError`. */
  refuse(error: NodeJS.ErrnoException, socket: Socket): void;
}

interface Open {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
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
} as const;

/** What Node's parser refuses gets an answer that says so, with an id like any other (A3). */
export function createUnreadable(clock: Clock): Unreadable {
  const openBySocket = new WeakMap<Socket, Set<Open>>();

  /** Whether bytes written now would be taken for the answer to what could not be read, and for nothing else. */
  function mayAnswer(socket: Socket): boolean {
    if (!socket.writable) return false;
    const [first, ...others] = openBySocket.get(socket) ?? [];
    return first === undefined || (others.length === 0 && !first.request.complete && !first.response.headersSent);
  }

  return {
    track(request, response) {
      const { socket } = request;
      const open = openBySocket.get(socket) ?? new Set();
      openBySocket.set(socket, open);
      const entry = { request, response };
      open.add(entry);
      response.once('close', () => open.delete(entry));
    },
    refuse(error, socket) {
      if (!mayAnswer(socket)) {
        socket.destroy();
        return;
      }
      socket.end(answerTo(error));
      linger(socket, clock);
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

function answerTo(error: NodeJS.ErrnoException): string {
  const name = byCode[error.code ?? ''] ?? 'malformed-request';
  const requestId = requestIdOf([]);
  const { status, rawHeaders, body } = problemAnswer(
    name,
    { detail: details[name], next: 'Correct the request and send it again.', decidedBy: 'policy' },
    { requestId, path: '', accept: undefined },
  );
  const lines = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    lines.push(`${rawHeaders[index]}: ${rawHeaders[index + 1]}`);
  }
  return `${[...lines, `X-Request-Id: ${requestId}`, 'Connection: close'].join('\r\n')}\r\n\r\n${String(body)}`;
}

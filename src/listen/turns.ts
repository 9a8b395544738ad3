import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A request that is not answered yet. */
export interface OpenRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

interface Entry extends OpenRequest {
  readonly isSafe: boolean;
  readonly whenDone: (() => void)[];
}

/** The unanswered requests of each connection, in the order in which they came. */
export interface Turns {
  /**
   * Enters a request. Pipelined ones are handled side by side only where all of them are safe (RFC 9112 9.3.2): a write
   * waits for what came before it, and everything else for that write.
   *
   * @returns what to wait for; undefined where it is the request's turn already
   */
  enter(request: IncomingMessage, response: ServerResponse): Promise<void> | undefined;
  /**
   * Ends a connection: it is about to be answered in a way that closes it, and nobody would hear of what comes behind
   * (RFC 9112 9.6).
   */
  end(socket: Socket): void;
  /** Whether a request must not be carried out any more: its connection is lost or was ended before its turn. */
  isOver(socket: Socket): boolean;
  /** What is unanswered on a connection, the oldest first. */
  open(socket: Socket): readonly OpenRequest[];
}

const safe = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Makes the order of requests on each connection. */
export function createTurns(): Turns {
  const bySocket = new WeakMap<Socket, Entry[]>();
  const ended = new WeakSet<Socket>();

  function follow(socket: Socket): Entry[] {
    const entries: Entry[] = [];
    bySocket.set(socket, entries);
    socket.once('close', () => {
      for (const { response } of [...entries]) closeQueued(response);
    });
    return entries;
  }

  return {
    enter(request, response) {
      const entries = bySocket.get(request.socket) ?? follow(request.socket);
      const entry: Entry = { request, response, isSafe: safe.has(request.method ?? ''), whenDone: [] };
      const before = entries.filter((other) => !(other.isSafe && entry.isSafe));
      entries.push(entry);
      response.once('close', () => {
        entries.splice(entries.indexOf(entry), 1);
        for (const action of entry.whenDone) action();
      });
      return before.length === 0 ? undefined : allDone(before);
    },
    end: (socket) => void ended.add(socket),
    isOver: (socket) => socket.destroyed || ended.has(socket),
    open: (socket) => bySocket.get(socket) ?? [],
  };
}

function allDone(entries: readonly Entry[]): Promise<void> {
  return new Promise((resolve) => {
    let left = entries.length;
    const count = (): void => {
      left -= 1;
      if (left === 0) resolve();
    };
    for (const entry of entries) entry.whenDone.push(count);
  });
}

/** Where a connection breaks, Node tells the response that is being written: those behind it would never hear of it. */
function closeQueued(response: ServerResponse): void {
  if (response.socket !== null) return;
  response.destroyed = true;
  response.emit('close');
}

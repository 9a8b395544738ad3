import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** A request that is not answered yet. */
export interface OpenRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

/** The place of a request in the order of its connection, and of whoever has to know when its response is over. */
export interface Turn {
  /** Resolves when it is the request's turn; undefined where it is already. */
  readonly comes: Promise<void> | undefined;
  /** Calls back when the response is over: delivered, or its connection lost. One listener serves all who ask. */
  onClosed(action: () => void): void;
}

/** The unanswered requests of each connection, in the order in which they came. */
export interface Turns {
  /**
   * Enters a request. Pipelined ones are handled side by side only where all of them are safe (RFC 9112 9.3.2): a write
   * waits for what came before it, and everything else for that write.
   *
   */
  enter(request: IncomingMessage, response: ServerResponse): Turn;
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
      const entry = new Entry(request, response, entries);
      response.on('close', () => entry.close());
      return entry;
    },
    end: (socket) => void ended.add(socket),
    isOver: (socket) => socket.destroyed || ended.has(socket),
    open: (socket) => bySocket.get(socket) ?? [],
  };
}

class Entry implements OpenRequest, Turn {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly comes: Promise<void> | undefined;
  readonly #isSafe: boolean;
  readonly #queue: Entry[];
  readonly #whenClosed: (() => void)[] = [];

  /** @param queue what is unanswered on the connection; the new one goes to its end */
  constructor(request: IncomingMessage, response: ServerResponse, queue: Entry[]) {
    this.request = request;
    this.response = response;
    this.#isSafe = safe.has(request.method ?? '');
    this.#queue = queue;
    this.comes = queue.length === 0 ? undefined : this.#after(queue);
    queue.push(this);
  }

  #after(earlier: readonly Entry[]): Promise<void> | undefined {
    const before = earlier.filter((other) => !(other.#isSafe && this.#isSafe));
    return before.length === 0 ? undefined : allClosed(before);
  }

  onClosed(action: () => void): void {
    this.#whenClosed.push(action);
  }

  close(): void {
    const index = this.#queue.indexOf(this);
    if (index === -1) return;
    this.#queue.splice(index, 1);
    for (const action of this.#whenClosed) action();
  }
}

function allClosed(entries: readonly Entry[]): Promise<void> {
  return new Promise((resolve) => {
    let left = entries.length;
    const count = (): void => {
      left -= 1;
      if (left === 0) resolve();
    };
    for (const entry of entries) entry.onClosed(count);
  });
}

/** Where a connection breaks, Node tells the response that is being written: those behind it would never hear of it. */
function closeQueued(response: ServerResponse): void {
  if (response.socket !== null) return;
  response.destroyed = true;
  response.emit('close');
}

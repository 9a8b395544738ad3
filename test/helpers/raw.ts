import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import type { Owner } from './backend.js';

/** One end of a TCP connection, with all that it has received. */
export interface RawConnection {
  /** All that came so far, one octet per character. */
  readonly text: string;
  /** How many octets came so far. */
  readonly length: number;
  readonly socket: Socket;
  /** Sends bytes; a text is one octet per character. */
  write(bytes: string | Buffer): void;
  /** Sends the last bytes and ends this direction. */
  end(bytes?: string): void;
  /** Breaks the connection with a TCP reset. */
  reset(): void;
  /** Resolves with all that came once it matches; rejects where the connection closes before that. */
  seen(what: string | RegExp): Promise<string>;
  /** Resolves once this many octets came. */
  received(octets: number): Promise<void>;
  /** Resolves when the connection is closed: how, and with all that came. */
  readonly closed: Promise<{ reset: boolean; text: string }>;
}

/** @param socket connected; it is read from now on */
export function rawConnection(socket: Socket): RawConnection {
  const chunks: Buffer[] = [];
  let length = 0;
  let text = '';
  let textOf = 0;
  let failed = false;
  let isClosed = false;
  const checks = new Set<() => void>();
  const textNow = (): string => {
    if (textOf !== length) text = Buffer.concat(chunks).toString('latin1');
    textOf = length;
    return text;
  };
  const recheck = (): void => {
    for (const check of checks) check();
  };
  const until = (holds: () => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      const check = (): void => {
        if (holds()) resolve();
        else if (isClosed) reject(new Error(`closed too early after: ${textNow().slice(-500)}`));
        else return;
        checks.delete(check);
      };
      checks.add(check);
      check();
    });
  socket.on('data', (chunk) => {
    chunks.push(chunk);
    length += chunk.length;
    recheck();
  });
  socket.on('error', () => {
    failed = true;
  });
  const closed = new Promise<{ reset: boolean; text: string }>((resolve) => {
    socket.once('close', () => {
      isClosed = true;
      recheck();
      resolve({ reset: failed, text: textNow() });
    });
  });
  return {
    get text() {
      return textNow();
    },
    get length() {
      return length;
    },
    socket,
    closed,
    write(bytes) {
      socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
    },
    end(bytes = '') {
      socket.end(Buffer.from(bytes, 'latin1'));
    },
    reset: () => socket.resetAndDestroy(),
    async seen(what) {
      await until(() => (typeof what === 'string' ? textNow().includes(what) : what.test(textNow())));
      return textNow();
    },
    received: (octets) => until(() => length >= octets),
  };
}

/** Connects to a loopback port; what is left of the connection goes when the test ends. */
export async function rawClient(t: Owner, port: number): Promise<RawConnection> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  await once(socket, 'connect');
  t.teardown(() => socket.destroy());
  return rawConnection(socket);
}

export interface RawBackend {
  readonly url: string;
  readonly port: number;
  /** All connections so far, in order. */
  readonly connections: readonly RawConnection[];
  /** Resolves with the connection of this number, counted from 0, once it is there. */
  connection(index: number): Promise<RawConnection>;
}

/**
 * Starts a TCP server on a free loopback port, for answers byte by byte; it goes with all its connections when the test
 * ends.
 *
 * @param serve called for each connection
 */
export async function startRawBackend(
  t: Owner,
  serve: (connection: RawConnection, index: number) => unknown = () => undefined,
): Promise<RawBackend> {
  const connections: RawConnection[] = [];
  const waiting = new Set<() => void>();
  const server = createServer({ noDelay: true }, (socket) => {
    const connection = rawConnection(socket);
    connections.push(connection);
    serve(connection, connections.length - 1);
    for (const check of waiting) check();
  });
  // What comes in one burst must not wait for the second in which the system asks again.
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  await once(server, 'listening');
  t.teardown(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const { socket } of connections) socket.destroy();
    await closed;
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    connections,
    connection: (index) =>
      new Promise((resolve) => {
        const check = (): void => {
          const found = connections[index];
          if (found === undefined) return;
          waiting.delete(check);
          resolve(found);
        };
        waiting.add(check);
        check();
      }),
  };
}

/** Serves every request head on every connection with the same bytes, and ends the connection after the first if told. */
export function answering(bytes: string, options: { closes?: boolean } = {}): (connection: RawConnection) => void {
  return ({ socket }) => {
    let head = '';
    socket.on('data', (chunk) => {
      head += chunk.toString('latin1');
      while (head.includes('\r\n\r\n')) {
        head = head.slice(head.indexOf('\r\n\r\n') + 4);
        if (options.closes) socket.end(Buffer.from(bytes, 'latin1'));
        else socket.write(Buffer.from(bytes, 'latin1'));
      }
    });
  };
}

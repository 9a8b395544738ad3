import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import type { Owner } from './backend.js';

/**
 * A program that is to listen again on its port must find it free: these ports are below those that the system gives to
 * the client's side of connections.
 */
const ports = { first: 15_000, count: 15_000 };

/** How often another port is tried, where somebody else has the one that was picked. */
const portsTried = 20;

/** A port that is free at the moment. Somebody else may be quicker to take it: who uses it tries several. */
export async function freePort(): Promise<number> {
  return onFreePort(async (port) => {
    const server = createServer();
    await listen(server, port);
    await close(server);
    return port;
  });
}

/** Does what rejects where its port is taken, with other ports until it is not. */
async function onFreePort<T>(action: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await action(ports.first + Math.floor(Math.random() * ports.count));
    } catch (error) {
      if (attempt === portsTried) throw error;
    }
  }
}

/** A TCP proxy in front of a program on this machine: a link that a test can cut. */
export class TcpProxy {
  /** Milliseconds by which all that passes is held up, in each direction. */
  delay = 0;
  port = 0;
  readonly #targetPort: number;
  readonly #sockets = new Map<Socket, 'client' | 'target'>();
  #server: Server | undefined;
  #hangs: 'all' | 'answers' | undefined;

  constructor(targetPort: number) {
    this.#targetPort = targetPort;
  }

  /** How many connections are open, counted on the clients' side. */
  get connections(): number {
    return this.#sockets.size / 2;
  }

  /** Breaks all connections off, and refuses new ones until `resume`. */
  async cut(): Promise<void> {
    const closed = this.#server && close(this.#server);
    this.#server = undefined;
    for (const socket of this.#sockets.keys()) socket.destroy();
    await closed;
  }

  /** Keeps connections open and takes new ones, but passes nothing, or nothing that the target says, until `resume`. */
  hang(what: 'all' | 'answers' = 'all'): void {
    this.#hangs = what;
    for (const [socket, side] of this.#sockets) if (this.#isHeld(side)) socket.pause();
  }

  /** Makes it work again; what was written while it hung is passed on. */
  async resume(): Promise<void> {
    this.#hangs = undefined;
    for (const socket of this.#sockets.keys()) socket.resume();
    if (this.#server === undefined) await this.listen(this.port);
  }

  async listen(port: number): Promise<void> {
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#accept(client));
    await listen(server, port);
    this.#server = server;
    this.port = port;
  }

  #accept(client: Socket): void {
    const target = connect({ port: this.#targetPort, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
    this.#pass(client, target, 'client');
    this.#pass(target, client, 'target');
  }

  #isHeld(side: 'client' | 'target'): boolean {
    return this.#hangs === 'all' || (this.#hangs === 'answers' && side === 'target');
  }

  #pass(from: Socket, to: Socket, side: 'client' | 'target'): void {
    const later = (action: () => void): void => {
      if (this.delay === 0) action();
      else setTimeout(action, this.delay);
    };
    this.#sockets.set(from, side);
    from.on('data', (chunk) => later(() => to.write(chunk)));
    from.on('end', () => later(() => to.end()));
    // Whatever went wrong, both sides are closed.
    from.on('error', () => {});
    from.on('close', () => {
      this.#sockets.delete(from);
      to.destroy();
    });
    if (this.#isHeld(side)) from.pause();
  }
}

/** Starts a TCP proxy on a free loopback port; it ends, with all its connections, when the test does. */
export async function startTcpProxy(t: Owner, targetPort: number): Promise<TcpProxy> {
  const proxy = new TcpProxy(targetPort);
  await onFreePort((port) => proxy.listen(port));
  t.teardown(() => proxy.cut());
  return proxy;
}

async function listen(server: Server, port: number): Promise<void> {
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
}

async function close(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  await closed;
}

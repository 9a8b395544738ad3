import { IncomingMessage, ServerResponse, STATUS_CODES } from 'node:http';
import type { Socket } from 'node:net';
import type { Answer } from '../gate/exchange.js';
import type { Clock } from '../http/clock.js';
import type { Cohort } from '../http/cohort.js';
import { fieldLine, listMembers } from '../http/fields.js';
import { keepAliveDelay } from '../upstream/tunnel.js';
import { announcesBody } from './exchange.js';

/** How long what a client still sends after a refused upgrade is read and thrown away, in milliseconds. */
const lingering = 2000;

const token = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const protocol = new RegExp(`^(${token})(?:/${token})?$`);

/**
 * Protocols that carry HTTP requests of their own: in a tunnel those would go past the gate. TLS is the one of RFC 2817,
 * with HTTP inside.
 */
const carriesRequests = new Set(['h2', 'h2c', 'h3', 'http', 'tls']);

/**
 * The protocols that a request asks to be tunnelled for, as a field value; undefined where its Upgrade is to be ignored
 * (RFC 9110 7.8 leaves that to the server): with any method but GET, with a body, in HTTP/1.0, or where one of the
 * protocols carries HTTP itself or cannot be read for sure.
 *
 * @param request whose Connection names Upgrade
 */
export function tunnelProtocols(request: IncomingMessage): string | undefined {
  const { method, httpVersion, rawHeaders } = request;
  if (method !== 'GET' || httpVersion !== '1.1' || announcesBody(request)) return undefined;
  const value = fieldLine(rawHeaders, 'upgrade') ?? '';
  const members = listMembers(value);
  return members.length > 0 && members.every(isTunnelled) ? value : undefined;
}

function isTunnelled(member: string): boolean {
  const name = protocol.exec(member)?.[1];
  return name !== undefined && !carriesRequests.has(name.toLowerCase());
}

const announced = new WeakSet<IncomingMessage>();

/**
 * A request that Node takes for an upgrade only if it will be tunnelled. Node asks the property when it has read the
 * head; without this every request with an Upgrade field would lose its body, and its connection the parser.
 */
export class UpgradableRequest extends IncomingMessage {
  get upgrade(): boolean {
    return announced.has(this) && (this.method === 'CONNECT' || tunnelProtocols(this) !== undefined);
  }

  set upgrade(value: boolean | null) {
    if (value) announced.add(this);
  }
}

/** The upgrades of one server. */
export interface Upgrades {
  /** Handles Node's `upgrade`: the request goes the way of all others, with a response of its own. */
  accept(request: IncomingMessage, socket: Socket, head: Buffer): void;
  /**
   * Whether a request may be handled. Node's parser loses its place behind a request whose Upgrade is ignored: what
   * comes next on the connection could be the middle of another request.
   */
  admits(request: IncomingMessage): boolean;
  /** What the request asks to be tunnelled for. */
  protocolsOf(request: IncomingMessage): string | undefined;
  /** Whether the connection must not be used after this request. */
  isLast(request: IncomingMessage): boolean;
  /** Passes a 101 on and joins both connections. */
  join(answer: Answer, response: ServerResponse, upstream: Socket): void;
  /** Breaks all tunnels, and all connections on the way to be one: the server does not know them any more. */
  destroyAll(): void;
}

/**
 * @param route takes a request and its response to the gate
 * @param arrivals in which requests go there
 */
export function createUpgrades(
  route: (request: IncomingMessage, response: ServerResponse) => void,
  clock: Clock,
  arrivals: Cohort,
): Upgrades {
  const open = new Set<Socket>();
  const protocols = new WeakMap<IncomingMessage, string>();
  const lastOn = new WeakMap<Socket, IncomingMessage>();
  return {
    accept(request, socket, head) {
      socket.on('error', () => {});
      const response = lastOn.has(socket) ? undefined : respondOn(socket, request, clock);
      if (response === undefined) {
        // What came before it may be sent on in this cohort.
        arrivals.add(() => socket.destroy());
        return;
      }
      open.add(socket);
      socket.once('close', () => open.delete(socket));
      if (head.length > 0) socket.unshift(head);
      protocols.set(request, tunnelProtocols(request) ?? '');
      lastOn.set(socket, request);
      route(request, response);
    },
    admits(request) {
      const { socket } = request;
      const last = lastOn.get(socket);
      if (last !== undefined) return last === request;
      if (announced.has(request)) lastOn.set(socket, request);
      return true;
    },
    protocolsOf: (request) => protocols.get(request),
    isLast: (request) => lastOn.get(request.socket) === request,
    join(answer, response, upstream) {
      const { socket } = response;
      if (socket === null || socket.destroyed || upstream.destroyed) {
        upstream.destroy();
        socket?.destroy();
        return;
      }
      response.detachSocket(socket);
      // Node sets it for TCP alone.
      socket.allowHalfOpen = true;
      socket.setKeepAlive(true, keepAliveDelay);
      socket.write(headText(answer), 'latin1');
      pass(socket, upstream);
      pass(upstream, socket);
    },
    destroyAll() {
      for (const socket of open) socket.destroy();
    },
  };
}

/**
 * Makes a response, and does for it what Node does for those that it makes itself.
 *
 * @returns undefined where an earlier request on the connection is still to be answered: Node has no order for both
 */
function respondOn(socket: Socket, request: IncomingMessage, clock: Clock): ServerResponse | undefined {
  const response = new ServerResponse(request);
  try {
    response.assignSocket(socket);
  } catch {
    return undefined;
  }
  socket.on('drain', () => response.emit('drain'));
  response.once('finish', () => {
    response.detachSocket(socket);
    response.emit('close');
    // Closed with unread bytes in it, the connection would be reset, and the answer could be lost (RFC 9112 9.6).
    socket.resume();
    socket.end();
    const cancel = clock.after(lingering, () => socket.destroy());
    socket.once('close', cancel);
  });
  // A client that ends before it is answered, without a byte of the new protocol, is gone.
  socket.once('end', () => {
    if (response.socket !== null && !response.headersSent) socket.destroy();
  });
  return response;
}

function headText({ status, statusText, rawHeaders }: Answer): string {
  const lines = [`HTTP/1.1 ${status} ${statusText ?? STATUS_CODES[status]}`];
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    lines.push(`${rawHeaders[index]}: ${rawHeaders[index + 1]}`);
  }
  return `${lines.join('\r\n')}\r\n\r\n`;
}

/** Passes one direction of a tunnel on, its end too; where `from` breaks, `to` does. */
function pass(from: Socket, to: Socket): void {
  from.once('close', () => {
    // What came before an end in order is still delivered.
    if (from.readableEnded) to.destroySoon();
    else to.destroy();
  });
  from.pipe(to);
}

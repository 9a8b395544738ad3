import { createHash } from 'node:crypto';
import dns from 'node:dns';
import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Server, Socket } from 'node:net';
import type { Owner } from './backend.js';
import { certificate, certificateKey } from './certificate.js';
import { createVirtualClock, type VirtualClock } from './clock.js';
import { type RunningGate, startGate } from './gate.js';

/** The writes of a table: the last one takes a shared lease, the others an exclusive one (W3). */
export type WriteKind = 'PUT' | 'PATCH' | 'DELETE' | 'PUT without a condition';

/** What the upstream does with a write, one step after the other. Its body has come whole, where it is not long. */
export type Step =
  /** The write takes effect: with its whole body, or with what has come of it. */
  | 'apply'
  | 'apply the part'
  /** Waits for a first part of a long body, or for all of it; the client goes on only then. */
  | 'part'
  | 'whole'
  /** Waits until the client is gone, or until the gate has the head of the answer. */
  | 'left'
  | 'noticed'
  | 'reset'
  | 'hang'
  /** Answers whole with this status, or sends these bytes. */
  | number
  | { readonly sends: string };

/** One thing that can become of a write that was let through, and what follows from it. */
export interface Row {
  readonly why: string;
  /** All of them where none are named. */
  readonly kinds?: readonly WriteKind[];
  /** Why no connection comes about. */
  readonly connecting?: 'refused' | 'no such name' | 'no TLS';
  readonly steps: readonly Step[];
  /** The write takes effect when the gate has given it up, just before the rest is over. */
  readonly appliesLate?: boolean;
  /** A long body is forwarded as it comes, a short one when all of it is there (W3). */
  readonly body?: 'short' | 'long';
  readonly leaves?: 'before its body' | 'within its body' | 'before the answer' | 'within the answer';
  /** A write that was forwarded and never came: its head travels with the first part of its body. */
  readonly neverComes?: boolean;
  /** The client sends a part of its body and no more. */
  readonly standsStill?: boolean;
  /** What the client is told; undefined where it is gone. `outcome` is a member of the gate's own problems alone. */
  readonly told: { readonly status: number; readonly outcome?: 'not-sent' | 'unknown' } | 'a broken answer' | undefined;
  /** `outcome` of the log line. */
  readonly record: 'not-sent' | 'as-it-was' | 'changed' | 'doubt' | 'unknown' | undefined;
  /** How long the resource rests, in milliseconds. */
  readonly rest: number;
}

/** A request as the backend saw it. */
export interface Seen {
  readonly id: string;
  readonly method: string;
}

/** A write that is carried out by a script. */
export interface Script {
  readonly steps: readonly Step[];
  /** Whether the steps begin at the head. */
  readonly atHead: boolean;
  /** Resolves when the backend waits for that, and when all steps are done. */
  readonly waits: Readonly<Record<'left' | 'whole', Promise<void>>>;
  readonly done: Promise<void>;
  /** What the client and the gate have done. */
  tell(what: 'left' | 'noticed'): void;
  /** The write takes effect now. */
  apply(): void;
}

/** A gate with `recheck: never` before a backend without versions, whose every step is told. */
export interface Scene {
  readonly gate: RunningGate;
  readonly clock: VirtualClock;
  /** Log lines by request id. */
  readonly records: Map<string, Record<string, unknown>>;
  /** Breaks the connections that the gate keeps for later. */
  closeIdleConnections(): void;
  /** Content by path. */
  readonly stored: Map<string, string>;
  /** Ids of the writes that took effect, in order. */
  readonly applied: string[];
  readonly seen: Seen[];
  /** Why new connections fail; undefined: they do not. */
  connecting: Row['connecting'];
  /** Carries out the write of this id by a script; others as an ordinary server does. */
  script(id: string, steps: readonly Step[], atHead: boolean): Script;
}

/** The tag that the gate gives to this content (V2). */
export function tagOf(content: string): string {
  return `"im-${createHash('sha256').update(content).digest('base64url').slice(0, 22)}"`;
}

interface Signal {
  readonly promise: Promise<void>;
  readonly give: () => void;
}

function signal(): Signal {
  let give = (): void => {};
  const promise = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { promise, give };
}

interface RunningScript extends Script {
  readonly signals: Readonly<Record<'waitsForLeft' | 'waitsForWhole' | 'left' | 'noticed' | 'done', Signal>>;
  /** Set when the write arrives. */
  write: Write | undefined;
}

interface Write {
  readonly id: string;
  readonly method: string;
  readonly path: string;
  body: string;
}

/**
 * Starts gate and backend; both stop when the test ends.
 *
 * @param way `unreliable`: a name and TLS on the way, and a connection for each request, so that connecting can fail
 */
export async function startScene(t: Owner, way: 'plain' | 'unreliable'): Promise<Scene> {
  const scripts = new Map<string, RunningScript>();
  const backend = { stored: new Map<string, string>(), applied: [] as string[], seen: [] as Seen[] };
  const serve = (incoming: IncomingMessage, response: ServerResponse): void => {
    serveOne(backend, scripts, incoming, response).catch(() => response.destroy());
  };
  const tls = { key: certificateKey, cert: certificate };
  const server = way === 'plain' ? createHttpServer(serve) : createHttpsServer(tls, serve);
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  const { port } = server.address() as AddressInfo;
  const clock = createVirtualClock(Date.now());
  const records: Scene['records'] = new Map();
  const gate = await startGate(t, {
    upstream: way === 'plain' ? `http://127.0.0.1:${port}` : `https://${unreliableName}:${port}`,
    clock,
    policy: { recheck: Number.POSITIVE_INFINITY },
    ...(way === 'unreliable' && {
      limits: { upstreamKeepAlive: 0 },
      config: { upstreamTls: { insecure: true } },
    }),
    onLog: (line) => records.set(String(line.requestId), line),
  });
  const scene: Scene = {
    ...backend,
    ...{ gate, clock, records, connecting: undefined },
    closeIdleConnections() {
      server.closeIdleConnections();
      // undici opens a connection for a request that was given up, and sends nothing on it.
      for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
    },
    script(id, steps, atHead) {
      const script = createScript(backend, steps, atHead);
      scripts.set(id, script);
      return script;
    },
  };
  if (way === 'unreliable') failConnections(t, scene, server);
  return scene;
}

function createScript(backend: Pick<Scene, 'stored' | 'applied'>, steps: readonly Step[], atHead: boolean) {
  const signals = {
    ...{ waitsForLeft: signal(), waitsForWhole: signal() },
    ...{ left: signal(), noticed: signal(), done: signal() },
  };
  const script: RunningScript = {
    ...{ steps, atHead, signals, write: undefined },
    waits: { left: signals.waitsForLeft.promise, whole: signals.waitsForWhole.promise },
    done: signals.done.promise,
    tell: (what) => signals[what].give(),
    apply: () => {
      if (script.write !== undefined) take(backend, script.write);
    },
  };
  return script;
}

const unreliableName = 'backend.test';

/** The name leads nowhere, or to where nobody listens; or what is there does not speak TLS. */
function failConnections(t: Owner, scene: Scene, server: Server): void {
  const { lookup } = dns;
  const ours = (name: string, options: dns.LookupOptions, callback: (...result: unknown[]) => void): void => {
    if (name !== unreliableName) {
      lookup(name, options, callback);
    } else if (scene.connecting === 'no such name') {
      callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' }));
    } else {
      const address = scene.connecting === 'refused' ? '127.0.0.2' : '127.0.0.1';
      if (options.all) callback(null, [{ address, family: 4 }]);
      else callback(null, address, 4);
    }
  };
  dns.lookup = ours as typeof dns.lookup;
  t.teardown(() => {
    dns.lookup = lookup;
  });
  server.prependListener('connection', (socket) => {
    if (scene.connecting === 'no TLS') socket.write('220 mail\r\n');
  });
}

type Backend = Pick<Scene, 'stored' | 'applied' | 'seen'>;

async function serveOne(
  backend: Backend,
  scripts: ReadonlyMap<string, RunningScript>,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { method = '', url: path = '' } = incoming;
  const id = String(incoming.headers['x-request-id']);
  backend.seen.push({ id, method });
  const write: Write = { id, method, path, body: '' };
  const isRead = method === 'GET' || method === 'HEAD';
  // The gate's own reads for a write carry its id.
  const script = isRead ? undefined : scripts.get(id);
  if (isRead && scripts.has(id)) scripts.get(id)?.tell('noticed');
  incoming.setEncoding('latin1').on('data', (chunk: string) => {
    write.body += chunk;
  });
  if (script?.atHead !== true) await once(incoming, 'end');
  if (script !== undefined) {
    script.write = write;
    return perform(backend, script, write, incoming, response);
  }
  if (!isRead) return answer(response, take(backend, write));
  const content = backend.stored.get(path);
  response.writeHead(content === undefined ? 404 : 200, { 'Content-Type': 'text/plain' });
  response.end(method === 'HEAD' ? undefined : content);
}

/** @returns the status that an ordinary server answers */
function take({ stored, applied }: Pick<Scene, 'stored' | 'applied'>, { id, method, path, body }: Write): number {
  applied.push(id);
  const before = stored.get(path);
  if (method === 'DELETE') stored.delete(path);
  else stored.set(path, method === 'PATCH' ? `${before ?? ''}${body}` : body);
  return before === undefined && method !== 'DELETE' ? 201 : 204;
}

function answer(response: ServerResponse, status: number): void {
  const isEmpty = status === 204 || status === 205 || status === 304;
  response.writeHead(status, isEmpty ? {} : { 'Content-Type': 'text/plain' }).end(isEmpty ? undefined : 'done');
}

async function perform(
  backend: Backend,
  { steps, signals }: RunningScript,
  write: Write,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { socket } = incoming;
  for (const step of steps) {
    if (typeof step === 'number') answer(response, step);
    else if (typeof step === 'object') socket.write(step.sends, 'latin1');
    else if (step === 'reset') socket.resetAndDestroy();
    else if (step === 'noticed') await signals.noticed.promise;
    else if (step === 'left') {
      signals.waitsForLeft.give();
      await signals.left.promise;
    } else if (step === 'whole') {
      signals.waitsForWhole.give();
      await once(incoming, 'end');
    } else if (step === 'part' || step === 'apply the part') {
      while (write.body === '') await once(incoming, 'data');
      if (step === 'apply the part') take(backend, write);
    } else if (step === 'apply') take(backend, write);
  }
  // Node does not know that these bytes were an answer, and would wait for one for ever.
  if (steps.some((step) => typeof step === 'object')) socket.end();
  signals.done.give();
}

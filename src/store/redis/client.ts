import { once } from 'node:events';
import type { Writable } from 'node:stream';
import { setTimeout as elapsed } from 'node:timers/promises';
import type { Cluster, Redis } from 'ioredis';
import { loadScripts, type Step } from './steps.js';

/** Where the shared store is, as the configuration says it (`store.url`, `store.topology`). */
export interface StoreAddress {
  readonly tls: boolean;
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly database: number;
  /** Name of the master that Sentinels are asked for. */
  readonly master: string;
}

export type Topology = 'single' | 'sentinel' | 'cluster';

/** The connections to the server or servers. */
export interface Client {
  /** Resolves when there is a connection, or when it has taken too long for now. */
  connected(): Promise<void>;
  /** Carries out a script. Rejects at once where there is no connection, and never resends it. */
  run(step: Step, keys: readonly string[], args: readonly string[]): Promise<string[]>;
  /**
   * Rejects where a server that answers may throw away what is recorded (S2).
   *
   * @throws {StorePolicyError} where its `maxmemory-policy` evicts
   */
  check(): Promise<void>;
  /** Has `told` called with every message on the channel, as soon as that can be. */
  subscribe(channel: string, told: (message: string) => void): void;
  close(): void;
}

/** The server evicts keys, leases among them: it must not be used (S2). */
export class StorePolicyError extends Error {
  override readonly name = 'StorePolicyError';
  readonly code = 'store-policy';
}

/** Longest pause between two tries to connect, in milliseconds. */
const longestPause = 1000;

type Connection = Redis | Cluster;

type Script = (...all: (string | number)[]) => Promise<string[]>;

/** Redis has commands of its own with some of these names. */
function commandOf(step: Step): string {
  return `ifmatch:${step}`;
}

/** What is written until all that can go on now has done so leaves in one piece: the steps of a cohort. */
function sendTogether(stream: Writable | undefined): void {
  if (stream === undefined || stream.writableCorked > 0) return;
  stream.cork();
  process.nextTick(() => stream.uncork());
}

/** Connections that are being made or tried again all the time, until `close`. */
class RedisClient implements Client {
  readonly #connection: Connection;
  readonly #another: () => Connection;
  readonly #timeout: number;
  readonly #scripts = new Map<Step, Script>();
  #subscriber: Connection | undefined;

  /** `another`: makes a second connection, because one that listens can do nothing else. */
  constructor(connection: Connection, another: () => Connection, timeout: number) {
    this.#connection = connection;
    this.#another = another;
    this.#timeout = timeout;
    // Every failed step is told by itself; without a listener it would be printed.
    connection.on('error', () => undefined);
    const commands = connection as unknown as Record<string, Script>;
    for (const [step, lua] of loadScripts()) {
      connection.defineCommand(commandOf(step), { lua });
      this.#scripts.set(step, (commands[commandOf(step)] as Script).bind(connection));
    }
  }

  async connected(): Promise<void> {
    if (this.#connection.status === 'ready') return;
    await once(this.#connection, 'ready', { signal: AbortSignal.timeout(2 * this.#timeout) }).catch(() => undefined);
  }

  run(step: Step, keys: readonly string[], args: readonly string[]): Promise<string[]> {
    if ('stream' in this.#connection) sendTogether(this.#connection.stream);
    return (this.#scripts.get(step) as Script)(keys.length, ...keys, ...args);
  }

  async check(): Promise<void> {
    const connection = this.#connection;
    const servers = 'nodes' in connection ? connection.nodes('master') : [connection];
    // One of a cluster's masters that does not answer says nothing about the others.
    const answers = servers.map((server) => withinTime(server.info('memory'), this.#timeout).catch(() => ''));
    for (const answer of await Promise.all(answers)) {
      const policy = /^maxmemory_policy:(\S+)/m.exec(answer)?.[1];
      if (policy === undefined || policy === 'noeviction') continue;
      throw new StorePolicyError(
        `store: the server's maxmemory-policy is ${policy}, which evicts leases; set it to noeviction`,
      );
    }
  }

  subscribe(channel: string, told: (message: string) => void): void {
    const subscriber = this.#another();
    this.#subscriber = subscriber;
    subscriber.on('error', () => undefined);
    subscriber.on('message', (_channel: string, message: string) => told(message));
    // It is subscribed again with every connection; where it cannot be, those who wait ask from time to time.
    subscriber.on('ready', () => void subscriber.subscribe(channel).catch(() => undefined));
  }

  close(): void {
    this.#connection.disconnect();
    this.#subscriber?.disconnect();
  }
}

/**
 * Makes the connections; they are not there yet when it returns. ioredis is loaded here and nowhere else.
 *
 * @param timeout longest time for connecting, in milliseconds
 */
export async function createClient(address: StoreAddress, topology: Topology, timeout: number): Promise<Client> {
  const { Cluster, Redis } = await import('ioredis');
  const { hosts, database, master, tls } = address;
  const options = commonOptions(address, timeout);
  const connect = (): Connection => {
    if (topology === 'cluster') return new Cluster([...hosts], clusterOptions(options, timeout));
    const single = { ...options, db: database, retryStrategy: pauseBefore };
    if (topology === 'single') return new Redis({ ...single, ...hosts[0] });
    const sentinelTLS = tls ? { enableTLSForSentinelMode: true, sentinelTLS: {} } : {};
    return new Redis({
      ...single,
      ...sentinelTLS,
      sentinels: [...hosts],
      sentinelCommandTimeout: timeout,
      name: master,
      sentinelRetryStrategy: pauseBefore,
    });
  };
  return new RedisClient(connect(), connect, timeout);
}

/** Nothing is queued while there is no connection, nothing is sent twice, and no command is waited for without end. */
function commonOptions({ username, password, tls }: StoreAddress, timeout: number) {
  return {
    ...(username !== undefined && { username }),
    ...(password !== undefined && { password }),
    ...(tls && { tls: {} }),
    connectTimeout: timeout,
    // A connection that brings nothing while something is waited for is given up.
    socketTimeout: 2 * timeout,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    enableReadyCheck: true,
    autoResubscribe: false,
    // A master that has become a replica: the next connection may lead to the new one.
    reconnectOnError: (error: Error) => error.message.startsWith('READONLY'),
    connectionName: 'ifmatch',
  };
}

function clusterOptions(options: ReturnType<typeof commonOptions>, timeout: number) {
  const { enableOfflineQueue, ...redisOptions } = options;
  return {
    redisOptions,
    enableOfflineQueue,
    clusterRetryStrategy: pauseBefore,
    slotsRefreshTimeout: timeout,
    // What was lost with a connection may have been carried out: it is not sent again.
    retryDelayOnFailover: 0,
    retryDelayOnClusterDown: 0,
    maxRedirections: 3,
  };
}

async function withinTime<T>(work: Promise<T>, ms: number): Promise<T> {
  const end = new AbortController();
  const late = elapsed(ms, undefined, { signal: end.signal, ref: false }).then(() => {
    throw new Error(`no answer within ${ms} ms`);
  });
  return Promise.race([work, late]).finally(() => {
    late.catch(() => undefined);
    end.abort();
  });
}

function pauseBefore(attempt: number): number {
  return Math.min(50 * 2 ** Math.min(attempt, 10), longestPause) * (0.5 + Math.random() / 2);
}

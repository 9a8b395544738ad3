import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import type { Test } from 'tap';
import type { Owner } from './backend.js';
import { freePort } from './tcp-proxy.js';

const program = ['redis-server', 'valkey-server'].find((name) => spawnSync(name, ['--version']).error === undefined);

const advice = 'a Redis server is missing: apt-get install redis-server';

/** How often a start is tried, where somebody else has taken the port that was free. */
const startsTried = 5;

/** Longest wait for what servers agree on among themselves, and for one that was told to end, in milliseconds. */
const patience = { agreement: 20_000, end: 2000, reply: 5000 };

/** Whether a Redis server is installed. Where it is not, says so: a skipped test, or under `CI=true` a failed one. */
export function hasRedis(t: Pick<Test, 'pass' | 'fail'>): boolean {
  if (program !== undefined) return true;
  if (process.env.CI === 'true') t.fail(advice);
  else t.pass('Redis', { skip: advice });
  return false;
}

/** What Redis answers (RESP 2). */
export type Reply = string | number | null | Reply[];

/** A Redis server in a process of its own. */
export interface Redis {
  readonly port: number;
  readonly url: string;
  /** Another one after `restart`. */
  readonly pid: number;
  /** Sends one command on a connection of its own. Rejects with the error that Redis answers. */
  command(...words: readonly (string | number)[]): Promise<Reply>;
  /** Sends a signal, SIGKILL where none is given. Resolves when the process is gone; at once for SIGSTOP and SIGCONT. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** Starts it again where it was, with what it finds there: nothing, unless it is `appendonly`. Ends it before. */
  restart(): Promise<void>;
  /** Ends it, also where SIGSTOP keeps it. */
  stop(): Promise<void>;
}

export interface RedisOptions {
  /** More lines of the configuration: `['maxmemory 2mb', 'appendonly yes']`. */
  readonly config?: readonly string[];
}

/** Starts Redis on a free loopback port, empty and with nothing kept on disk; it is gone when the test ends. */
export async function startRedis(t: Owner, { config = [] }: RedisOptions = {}): Promise<Redis> {
  return launch(t, () => config);
}

/**
 * Starts a cluster without replicas, the slots in equal parts, on free loopback ports.
 *
 * @returns its nodes, which all find that the cluster works
 */
export async function startRedisCluster(t: Owner, masters = 3): Promise<readonly Redis[]> {
  const config = async () => [
    'cluster-enabled yes',
    'cluster-node-timeout 1000',
    // By default the client's port and 10000.
    `cluster-port ${await freePort()}`,
  ];
  const nodes = await Promise.all(Array.from({ length: masters }, () => launch(t, config)));
  const first = (index: number): number => Math.floor((16_384 * index) / masters);
  for (const [index, node] of nodes.entries()) {
    await node.command('CLUSTER', 'ADDSLOTSRANGE', first(index), first(index + 1) - 1);
    await node.command('CLUSTER', 'SET-CONFIG-EPOCH', index + 1);
    const bus = (await node.command('CONFIG', 'GET', 'cluster-port')) as string[];
    await nodes[0]?.command('CLUSTER', 'MEET', '127.0.0.1', node.port, bus[1] ?? '');
  }
  for (const node of nodes) {
    await until('the cluster works', async () => {
      const info = String(await node.command('CLUSTER', 'INFO'));
      return info.includes('cluster_state:ok') && info.includes(`cluster_known_nodes:${masters}\r`);
    });
  }
  return nodes;
}

export interface ReplicatedRedis {
  readonly master: Redis;
  readonly replica: Redis;
}

/** Starts two Redis, of which one replicates the other, and does so by now. */
export async function startRedisWithReplica(t: Owner, { config = [] }: RedisOptions = {}): Promise<ReplicatedRedis> {
  const master = await launch(t, () => [...config, 'repl-diskless-sync-delay 0']);
  const replica = await launch(t, () => [...config, `replicaof 127.0.0.1 ${master.port}`]);
  await until('the replica is in step', async () =>
    String(await replica.command('INFO', 'replication')).includes('master_link_status:up'),
  );
  return { master, replica };
}

export interface Sentinels {
  /** What the sentinels call the group of master and replica. */
  readonly name: string;
  readonly sentinels: readonly Redis[];
}

/**
 * Starts sentinels, which make the replica the master once more than half of them miss that one for half a second.
 * Resolves when they know each other and the replica.
 */
export async function startSentinels(t: Owner, { master }: ReplicatedRedis, count: 1 | 3 = 1): Promise<Sentinels> {
  const name = 'gates';
  const config = [
    `sentinel monitor ${name} 127.0.0.1 ${master.port} ${Math.ceil(count / 2)}`,
    `sentinel down-after-milliseconds ${name} 500`,
    `sentinel failover-timeout ${name} 3000`,
  ];
  const launched = Array.from({ length: count }, () => launch(t, () => config, 'sentinel'));
  const sentinels = await Promise.all(launched);
  for (const sentinel of sentinels) {
    await until('the sentinels know all', async () => {
      const fields = (await sentinel.command('SENTINEL', 'MASTER', name)) as string[];
      const fieldOf = (field: string): string | undefined => fields[fields.indexOf(field) + 1];
      return fieldOf('num-slaves') === '1' && fieldOf('num-other-sentinels') === String(count - 1);
    });
  }
  return { name, sentinels };
}

/** Waits until something holds that no event tells of. */
async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + patience.agreement;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`never: ${what}`);
    await delay(20);
  }
}

/** @param configure gives more lines, new ones where the last ones named a port that is taken */
async function launch(
  t: Owner,
  configure: () => readonly string[] | Promise<readonly string[]>,
  kind: 'server' | 'sentinel' = 'server',
): Promise<Redis> {
  const directory = await mkdtemp(join(tmpdir(), 'ifmatch-redis-'));
  let child: ChildProcess | undefined;
  const stop = async (): Promise<void> => {
    if (child !== undefined) await end(child);
  };
  t.teardown(async () => {
    await stop();
    await rm(directory, { recursive: true });
  });
  const start = async (): Promise<void> => {
    child = run(directory, kind);
    await serving(child);
  };
  let port = 0;
  await retrying(async () => {
    port = await freePort();
    await writeFile(join(directory, 'redis.conf'), configuration(directory, port, kind, await configure()));
    await start();
  });
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    get pid() {
      return child?.pid ?? 0;
    },
    command: (...words) => command(port, words),
    async kill(signal = 'SIGKILL') {
      if (child === undefined || hasEnded(child)) return;
      const ended = once(child, 'exit');
      child.kill(signal);
      if (signal !== 'SIGSTOP' && signal !== 'SIGCONT') await ended;
    },
    async restart() {
      await stop();
      await retrying(start);
    },
    stop,
  };
}

/** The last line about a thing counts. A sentinel has nothing to keep and does not know these settings. */
function configuration(directory: string, port: number, kind: string, more: readonly string[]): string {
  const lines = [`port ${port}`, 'bind 127.0.0.1', `dir ${directory}`, 'daemonize no', 'logfile ""'];
  if (kind === 'server') lines.push('save ""', 'appendonly no');
  return [...lines, ...more, ''].join('\n');
}

function run(directory: string, kind: string): ChildProcess {
  const flags = kind === 'sentinel' ? ['--sentinel'] : [];
  return spawn(program ?? 'redis-server', [join(directory, 'redis.conf'), ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function retrying(start: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await start();
    } catch (error) {
      if (attempt === startsTried || !String(error).includes('Address already in use')) throw error;
    }
  }
}

/** Resolves once the server takes commands, which it says itself; rejects with its log where it gave up. */
function serving(child: ChildProcess): Promise<void> {
  const { stdout } = child;
  if (stdout === null) throw new Error('Redis was started without a pipe for its log');
  return new Promise((resolve, reject) => {
    const lines: string[] = [];
    const log = createInterface(stdout);
    const isReady = (line: string): void => {
      lines.push(line);
      // A sentinel has its port before it says what it watches.
      if (!/Ready to accept connections|\+monitor master/.test(line)) return;
      log.off('line', isReady);
      resolve();
    };
    child.on('error', reject);
    log.on('line', isReady).on('close', () => reject(new Error(lines.join('\n'))));
  });
}

const hasEnded = ({ exitCode, signalCode }: ChildProcess): boolean => exitCode !== null || signalCode !== null;

async function end(child: ChildProcess): Promise<void> {
  if (hasEnded(child)) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  child.kill('SIGCONT');
  // A master waits for its replicas, which may be gone.
  const lastResort = setTimeout(() => child.kill('SIGKILL'), patience.end);
  await ended;
  clearTimeout(lastResort);
}

function command(port: number, words: readonly (string | number)[]): Promise<Reply> {
  const bulk = words.map((word) => `$${Buffer.byteLength(String(word))}\r\n${word}\r\n`);
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    let received = '';
    // A reply may not end with its first chunk. One octet per character, as lengths count octets.
    socket.setEncoding('latin1').on('data', (chunk) => {
      received += chunk;
      const parsed = parse(received, 0);
      if (parsed === undefined) return;
      socket.destroy();
      if (parsed.reply instanceof Error) reject(parsed.reply);
      else resolve(parsed.reply);
    });
    socket.setTimeout(patience.reply, () => socket.destroy(new Error('Redis does not answer')));
    socket.on('error', reject).on('close', () => reject(new Error('Redis closed the connection')));
    socket.write(`*${words.length}\r\n${bulk.join('')}`);
  });
}

/** @returns the reply that begins at a position, and where it ends; undefined where it has not all come */
function parse(text: string, start: number): { reply: Reply | Error; end: number } | undefined {
  const lineEnd = text.indexOf('\r\n', start);
  if (lineEnd === -1) return undefined;
  const line = text.slice(start + 1, lineEnd);
  const next = lineEnd + 2;
  const size = Number(line);
  switch (text[start]) {
    case '+':
      return { reply: line, end: next };
    case '-':
      return { reply: new Error(line), end: next };
    case ':':
      return { reply: size, end: next };
    case '$':
      if (size === -1) return { reply: null, end: next };
      if (text.length < next + size + 2) return undefined;
      return { reply: Buffer.from(text.slice(next, next + size), 'latin1').toString(), end: next + size + 2 };
    case '*':
      return parseList(text, next, size);
    default:
      throw new Error(`not RESP: ${text.slice(start, start + 50)}`);
  }
}

function parseList(text: string, start: number, size: number): { reply: Reply; end: number } | undefined {
  const members: Reply[] = [];
  let end = start;
  while (members.length < size) {
    const parsed = parse(text, end);
    if (parsed === undefined) return undefined;
    members.push(parsed.reply instanceof Error ? parsed.reply.message : parsed.reply);
    end = parsed.end;
  }
  return { reply: size === -1 ? null : members, end };
}

// Programs that are measured: started on a core of their own, asked the operating system for what they cost, ended.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { availableParallelism } from 'node:os';
import { setTimeout as elapsed } from 'node:timers/promises';

/** Nothing here takes longer to start, in milliseconds. */
const startsWithin = 15_000;

const isPinned = availableParallelism() > 1 && spawnSync('taskset', ['--version']).error === undefined;

/** What is measured has a core to itself; clients and origin share the other. */
export const cores = isPinned ? { measured: 0, others: 1 } : undefined;

/** Where a program is, or undefined. Debian keeps servers where the PATH of ordinary users does not look. */
export function find(name) {
  const places = [name, `/usr/sbin/${name}`, `/usr/local/sbin/${name}`];
  return places.find((path) => spawnSync(path, ['--version']).error === undefined);
}

/** The command line that runs a program on a core. */
export function pinned(core, command, args) {
  return cores === undefined || core === undefined
    ? [command, args]
    : ['taskset', ['-c', String(cores[core]), command, ...args]];
}

/** A port of the loopback address that nobody listened on just now. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

const running = new Set();

/**
 * Starts a program and waits until its port takes connections.
 *
 * @param {{ core: 'measured' | 'others' | undefined, command: string, args: string[], port: number, env?: Record<string, string> }} what
 * @returns {Promise<Program>} with what it writes thrown away, as a container's log driver would take it
 */
export async function start({ core, command, args, port, env }) {
  const output = openSync('/dev/null', 'w');
  const [file, argv] = pinned(core, command, args);
  const child = spawn(file, argv, { stdio: ['ignore', output, 'pipe'], env: { ...process.env, ...env } });
  closeSync(output);
  const program = new Program(child, port);
  running.add(program);
  await program.listens();
  return program;
}

/** Ends whatever runs. */
export async function stopAll() {
  await Promise.all([...running].map((program) => program.stop()));
}

class Program {
  #child;
  #complaints = '';
  /** What was started for this program alone, and ends with it. */
  #others = [];

  constructor(child, port) {
    this.#child = child;
    this.port = port;
    child.stderr.on('data', (chunk) => {
      this.#complaints = `${this.#complaints}${chunk}`.slice(-4000);
    });
  }

  besides(program) {
    this.#others.push(program);
  }

  get pid() {
    return this.#child.pid;
  }

  /** CPU time so far of the program and what it has started, in nanoseconds: user and system. */
  cpu() {
    return processTree(this.pid).reduce((sum, pid) => sum + cpuOf(pid), 0);
  }

  /** Resident memory in bytes. */
  memory() {
    return processTree(this.pid).reduce((sum, pid) => sum + residentOf(pid), 0);
  }

  async listens() {
    const deadline = Date.now() + startsWithin;
    while (!(await takesConnections(this.port))) {
      if (this.#hasEnded() || Date.now() > deadline) throw new Error(`did not start: ${this.#complaints}`);
      await elapsed(5);
    }
  }

  async stop() {
    running.delete(this);
    for (const other of this.#others) await other.stop();
    if (this.#hasEnded()) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    const late = setTimeout(() => this.#child.kill('SIGKILL'), 3000);
    await ended;
    clearTimeout(late);
  }

  #hasEnded() {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}

function takesConnections(port) {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function processTree(pid) {
  const children = readdirSync(`/proc/${pid}/task`).flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number),
  );
  return [pid, ...children.flatMap(processTree)];
}

/** The scheduler counts nanoseconds for each thread (proc(5) has ticks of 10 ms only). */
function cpuOf(pid) {
  return readdirSync(`/proc/${pid}/task`).reduce((sum, task) => {
    return sum + Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ', 1)[0]);
  }, 0);
}

function residentOf(pid) {
  return Number(/^VmRSS:\s*(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;
}

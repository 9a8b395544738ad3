import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type Socket } from 'node:net';
import type { Owner } from '../helpers/backend.js';
import { type RawConnection, rawConnection } from '../helpers/raw.js';
import { type Message, parseRequest, parseResponse } from './messages.js';

/**
 * How long something may take that should come at once, in turns of a timer and milliseconds of each. In turns, because
 * a process that was held up fires its timers before it reads what has come meanwhile.
 */
const patience = { turns: 20, each: 50 };

/** A request at the backend. */
export interface Arrival {
  readonly connection: RawConnection;
  /** The request as far as it came. */
  readonly request: Message;
  /** Resolves when all of it has come. */
  whole(): Promise<Message>;
  /** Resolves when its body, as it stands on the wire, holds this text. */
  holds(part: string): Promise<void>;
  write(bytes: string): void;
  /** Sends the last bytes of the connection. */
  end(bytes?: string): void;
}

/** What the backend does with a request; `count` counts the requests of a run from 0. */
export type Script = (arrival: Arrival, count: number) => Promise<void>;

/** A client's connection. */
export interface Client {
  readonly connection: RawConnection;
  write(bytes: string): void;
  end(bytes?: string): void;
  /** All answers so far, interim ones too. */
  answers(): Message[];
  /** Resolves when so many final answers are whole, the connection is closed, or patience is over. */
  answered(count?: number): Promise<void>;
}

/** One run of a point: a client's side, a backend's side, and what is noted of their timing. */
export interface Scene {
  /** @param methods of the requests that will be sent, in order; the last stands for all that follow */
  dial(...methods: string[]): Promise<Client>;
  /** From here on the backend does this with each request. */
  serve(script: Script): void;
  note(line: string): void;
  /** Notes whether something comes about. */
  happens(what: string, event: Promise<unknown>): Promise<boolean>;
}

/** What came of a run. */
export interface Transcript {
  readonly backend: readonly Message[];
  /** By connection. */
  readonly client: readonly (readonly Message[])[];
  readonly notes: readonly string[];
}

/** A backend for many runs, one after the other. */
export interface Stage {
  readonly port: number;
  /** Plays one run; its connections are gone afterwards, but for idle ones to the backend. */
  play(port: number, run: (scene: Scene) => Promise<void>): Promise<Transcript>;
}

/** Starts a backend on a free loopback port, which takes what a run tells it; it goes with its owner. */
export async function startStage(owner: Owner): Promise<Stage> {
  const open = new Set<Socket>();
  let current: Run | undefined;
  const server = createServer({ noDelay: true, allowHalfOpen: true }, (socket) => {
    open.add(socket);
    const connection = rawConnection(socket);
    socket.once('close', () => open.delete(socket));
    attend(connection, () => current).catch(() => socket.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  owner.teardown(async () => {
    const closed = once(server, 'close');
    server.close();
    for (const socket of open) socket.destroy();
    await closed;
  });
  return {
    port: (server.address() as AddressInfo).port,
    async play(port, run) {
      current = new Run(port);
      try {
        await run(current);
      } catch (error) {
        current.note(`broke off: ${(error as Error).message.slice(0, 80)}`);
      }
      return current.over();
    },
  };
}

/** Takes the requests of one connection in order, each for the run that is on. */
async function attend(connection: RawConnection, current: () => Run | undefined): Promise<void> {
  const { socket } = connection;
  let isIdle = true;
  // A peer that ends an idle connection wants it closed; one in the middle of an exchange still listens.
  socket.once('end', () => isIdle && socket.end());
  for (let from = 0; ; ) {
    await until(connection, () => parseRequest(connection.text, from));
    const run = current();
    if (run === undefined) throw new Error('a request before the first run');
    isIdle = false;
    const arrival = new ScriptedArrival(connection, from);
    await run.arrive(arrival);
    from += (await arrival.whole()).octets;
    isIdle = true;
    if (socket.readableEnded) socket.end();
  }
}

class ScriptedArrival implements Arrival {
  readonly connection: RawConnection;
  isServed = false;
  readonly #from: number;

  constructor(connection: RawConnection, from: number) {
    this.connection = connection;
    this.#from = from;
  }

  get request(): Message {
    const request = parseRequest(this.connection.text, this.#from);
    if (request === undefined) throw new Error('a request without a head');
    return request;
  }

  /** Whether the connection is free for the next request. */
  get isDone(): boolean {
    return this.isServed && this.request.whole && this.connection.socket.writable;
  }

  whole(): Promise<Message> {
    return until(this.connection, () => (this.request.whole ? this.request : undefined));
  }

  async holds(part: string): Promise<void> {
    await until(this.connection, () => this.connection.text.includes(part, this.#from) || undefined);
  }

  write(bytes: string): void {
    this.connection.write(bytes);
  }

  end(bytes = ''): void {
    this.connection.end(bytes);
  }
}

class Run implements Scene {
  readonly #port: number;
  readonly #clients: { client: Client; connection: RawConnection }[] = [];
  readonly #arrivals: ScriptedArrival[] = [];
  readonly #notes: string[] = [];
  readonly #serving: Promise<unknown>[] = [];
  #script: Script = () => Promise.reject(new Error('nobody serves'));

  constructor(port: number) {
    this.#port = port;
  }

  serve(script: Script): void {
    this.#script = script;
  }

  async arrive(arrival: ScriptedArrival): Promise<void> {
    const served = this.#script(arrival, this.#arrivals.push(arrival) - 1);
    this.#serving.push(served.catch(() => undefined));
    await served;
    arrival.isServed = true;
  }

  note(line: string): void {
    this.#notes.push(line);
  }

  async happens(what: string, event: Promise<unknown>): Promise<boolean> {
    const happened = await inTime(event);
    this.note(`${what}: ${happened ? 'yes' : 'no'}`);
    return happened;
  }

  async dial(...methods: string[]): Promise<Client> {
    const socket = connect({ port: this.#port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true });
    await once(socket, 'connect');
    const connection = rawConnection(socket);
    const client = clientOf(connection, methods);
    this.#clients.push({ client, connection });
    return client;
  }

  async over(): Promise<Transcript> {
    const client = this.#clients.map((one) => one.client.answers());
    for (const { connection } of this.#clients) connection.socket.destroy();
    await inTime(Promise.all(this.#serving));
    // What was not served to its end must not meet the next run.
    const unfinished = this.#arrivals.filter(({ isDone }) => !isDone).map(({ connection }) => connection);
    const backend = this.#arrivals.map(({ request }) => request);
    for (const { socket } of unfinished) socket.destroy();
    await Promise.all(
      [...unfinished, ...this.#clients.map(({ connection }) => connection)].map(({ closed }) => closed),
    );
    return { backend, client, notes: this.#notes };
  }
}

function clientOf(connection: RawConnection, methods: readonly string[]): Client {
  let isOver = false;
  connection.socket.once('end', () => {
    isOver = true;
  });
  const over = connection.closed.then(({ reset }) => {
    // What ends with a reset is not whole.
    isOver = !reset;
  });
  const ended = Promise.race([over, once(connection.socket, 'end').catch(() => undefined)]);
  const answers = (): Message[] => parseAnswers(connection.text, methods, isOver);
  const isFinal = ({ start, whole }: Message): boolean => whole && !/^1(?!01)/.test(start);
  return {
    connection,
    write: (bytes) => connection.write(bytes),
    end: (bytes) => connection.end(bytes),
    answers,
    async answered(count = 1) {
      const enough = (): true | undefined => answers().filter(isFinal).length >= count || undefined;
      await inTime(Promise.race([until(connection, enough), ended]));
    },
  };
}

function parseAnswers(text: string, methods: readonly string[], isOver: boolean): Message[] {
  const answers: Message[] = [];
  let turn = 0;
  for (let from = 0; from < text.length; ) {
    const method = methods[Math.min(turn, methods.length - 1)] ?? 'GET';
    const answer = parseResponse(text, from, method, isOver);
    if (answer === undefined) break;
    answers.push(answer);
    if (!answer.start.startsWith('1')) turn += 1;
    // Behind a 101 the connection speaks another protocol.
    if (answer.start.startsWith('101')) break;
    from += answer.octets;
  }
  return answers;
}

/** Looks again whenever something comes; rejects where the connection closes before it is found. */
async function until<T>(connection: RawConnection, look: () => T | undefined): Promise<T> {
  for (;;) {
    const found = look();
    if (found !== undefined) return found;
    await connection.received(connection.length + 1);
  }
}

/** Whether an event comes about while patience lasts. */
async function inTime(event: Promise<unknown>): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    let turns = 0;
    timer = setInterval(() => {
      turns += 1;
      if (turns >= patience.turns) resolve(false);
    }, patience.each);
  });
  const came = event.then(
    () => true,
    () => false,
  );
  try {
    return await Promise.race([came, late]);
  } finally {
    clearInterval(timer);
  }
}

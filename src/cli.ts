import { request } from 'node:http';
import { helpText, parseArguments } from './config/arguments.js';
import { type LoadResult, loadConfig, printConfig } from './config/load.js';
import type { Address, Config } from './config/schema.js';
import { startDemoBackend } from './demo/backend.js';
import { createLogger } from './observe/logger.js';
import { createServer, type Server, unreachableRoutes } from './server.js';

/** The process as the command line sees it. */
export interface Surroundings {
  /** Arguments without node and the script. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly readFile: (path: string) => string;
  readonly isTerminal: boolean;
  readonly version: string;
  /** Write a line to standard output, or to standard error. */
  readonly print: (line: string) => void;
  readonly complain: (line: string) => void;
  /** Has `stop` called when the process is asked to end. */
  readonly onStop: (stop: () => Promise<void>) => void;
}

/** Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration. */
export type ExitStatus = 0 | 1 | 2;

/** How long `health` waits for an answer, in milliseconds. */
const healthTimeout = 3000;

type Loaded = Extract<LoadResult, { kind: 'ok' }>;

/**
 * Runs one command.
 *
 * @returns the exit status; undefined where the process goes on until it is stopped
 */
export async function run(surroundings: Surroundings): Promise<ExitStatus | undefined> {
  const { argv, print, complain, version } = surroundings;
  const parsed = parseArguments(argv);
  if (parsed.kind === 'invalid') return wrong(parsed.errors, complain);
  const { command, flags } = parsed;
  if (command === 'help') return done(print, helpText());
  if (command === 'version') return done(print, version);
  const { env, readFile } = surroundings;
  const loaded = loadConfig({ flags, env, readFile, requireUpstream: command === 'serve' || command === 'check' });
  if (loaded.kind === 'invalid') return wrong(loaded.errors, complain);
  for (const warning of loaded.warnings) complain(`warning: ${warning}`);
  const unreadable = unreadableFiles(loaded.config, readFile);
  if (unreadable.length > 0 && command !== 'health') return wrong(unreadable, complain);
  if (command === 'check') {
    for (const warning of unreachableRoutes(loaded.config)) complain(`warning: ${warning}`);
    return done(print, parsed.print ? printConfig(loaded) : 'the configuration is valid');
  }
  if (command === 'health') return health(loaded.config.admin, complain);
  return serve(surroundings, loaded, command === 'demo');
}

function done(print: (line: string) => void, text: string): ExitStatus {
  print(text.trimEnd());
  return 0;
}

function wrong(errors: readonly string[], complain: (line: string) => void): ExitStatus {
  for (const error of errors) complain(error);
  return 2;
}

/** Files that the configuration names and that cannot be read: as wrong as a wrong key. */
function unreadableFiles({ tls, upstreamTls }: Config, readFile: (path: string) => string): string[] {
  const named = {
    'tls.cert': tls.cert,
    'tls.key': tls.key,
    'upstreamTls.ca': upstreamTls.ca,
    'upstreamTls.cert': upstreamTls.cert,
    'upstreamTls.key': upstreamTls.key,
  };
  return Object.entries(named).flatMap(([key, path]) => {
    if (path === undefined) return [];
    try {
      readFile(path);
      return [];
    } catch (error) {
      return [`${key}: ${path} cannot be read (${(error as Error).message}); give the path of a PEM file`];
    }
  });
}

async function serve(surroundings: Surroundings, { config }: Loaded, isDemo: boolean): Promise<ExitStatus | undefined> {
  const { level, pretty } = config.log;
  const { version, isTerminal, complain } = surroundings;
  const logger = await createLogger({ level, pretty: pretty === 'auto' ? isTerminal : pretty });
  const demo = isDemo ? await startDemoBackend() : undefined;
  let server: Server | undefined;
  try {
    server = await createServer({
      config: demo === undefined ? config : { ...config, upstream: demo.url },
      logger,
      version,
    });
    const { listen } = await server.start();
    if (demo !== undefined && config.listen.kind === 'tcp') {
      logger.info(`open http://${listen}/ for the editors; the API is http://${listen}/docs`);
    }
  } catch (error) {
    complain(`ifmatch: ${(error as Error).message}`);
    await demo?.close();
    return 1;
  }
  const running = server;
  surroundings.onStop(async () => {
    await running.stop();
    await demo?.close();
  });
  return undefined;
}

/** Asks a running gate whether it is alive, without any tool but this one (for containers). */
async function health(admin: Config['admin'], complain: (line: string) => void): Promise<ExitStatus> {
  if (admin === 'off') {
    complain('health: the admin address is off; give the one of the running gate: --admin HOST:PORT');
    return 1;
  }
  return new Promise((resolve) => {
    const fail = (reason: string): void => {
      complain(`health: ${reason}`);
      resolve(1);
    };
    const asked = request(
      { ...endpoint(admin), path: '/healthz', timeout: healthTimeout, agent: false },
      (response) => {
        response.resume();
        if (response.statusCode === 200) resolve(0);
        else fail(`/healthz answered ${response.statusCode}`);
      },
    );
    asked.on('timeout', () => asked.destroy(new Error(`no answer within ${healthTimeout} ms`)));
    asked.on('error', (error) => fail(error.message));
    asked.end();
  });
}

/** Who listens on all interfaces is asked through loopback. */
function endpoint(address: Address): { socketPath: string } | { host: string; port: number } {
  if (address.kind === 'unix') return { socketPath: address.path };
  const { host, port } = address;
  if (host === '0.0.0.0') return { host: '127.0.0.1', port };
  return { host: host === '::' ? '::1' : host, port };
}

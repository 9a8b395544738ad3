import { pino } from 'pino';
import { loadConfig } from '../../src/config/load.js';
import type { Config, Policy } from '../../src/config/schema.js';
import { createServer } from '../../src/server.js';
import type { VirtualClock } from './clock.js';

/** What differs from the defaults. Times and sizes as the configuration has them after loading: milliseconds, bytes. */
export interface GateSettings {
  readonly upstream: string;
  readonly policy?: Partial<Policy>;
  readonly routes?: readonly { readonly path: string; readonly policy?: Partial<Policy> }[];
  readonly limits?: Partial<Config['limits']>;
  readonly config?: Partial<Config>;
  /** Keeps all times but those of the sockets; the system's clock where there is none. */
  readonly clock?: VirtualClock;
  /** Sees every log line. */
  readonly onLog?: (line: Record<string, unknown>) => void;
}

export interface RunningGate {
  readonly url: string;
  readonly port: number;
  readonly adminUrl: string;
  close(): Promise<void>;
}

/**
 * Starts a whole gate on free loopback ports, with drain times of zero; stopped at the test's end.
 *
 * @param t the tap test that owns it
 */
export async function startGate(
  t: { teardown(action: () => Promise<void>): void },
  settings: GateSettings,
): Promise<RunningGate> {
  const config = gateConfig(settings);
  const destination = { write: (line: string) => settings.onLog?.(JSON.parse(line) as Record<string, unknown>) };
  const logger = pino({ level: settings.onLog === undefined ? 'silent' : 'info' }, destination);
  const server = await createServer({
    config,
    logger,
    version: '0.0.0-test',
    ...(settings.clock && { clock: settings.clock }),
  });
  const { listen, admin } = await server.start();
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    closing ??= server.stop();
    // Time that stands still would keep connections open that are to be broken now.
    setImmediate(() => settings.clock?.advance(0));
    return closing;
  };
  t.teardown(close);
  return { url: `http://${listen}`, port: Number(listen.split(':').at(-1)), adminUrl: `http://${admin}`, close };
}

/** The defaults with a test's own settings over them. */
export function gateConfig({ upstream, policy, routes, limits, config }: GateSettings): Config {
  const loaded = loadConfig({
    flags: new Map([
      ['upstream', upstream],
      ['listen', '127.0.0.1:0'],
      ['admin', '127.0.0.1:0'],
    ]),
    env: {},
    readFile: () => '',
  });
  if (loaded.kind === 'invalid') throw new Error(loaded.errors.join('\n'));
  const merged = { ...loaded.config.policy, ...policy };
  return {
    ...loaded.config,
    ...config,
    policy: merged,
    routes: (routes ?? []).map((route) => ({ path: route.path, policy: { ...merged, ...route.policy } })),
    limits: { ...loaded.config.limits, drainDelay: 0, drain: 0, ...limits },
  };
}

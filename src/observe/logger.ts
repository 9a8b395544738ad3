import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

export interface LoggerOptions {
  /** pino's levels, or `silent`. */
  readonly level: string;
  /** Lines for people instead of JSON. */
  readonly pretty: boolean;
  /** Where lines go; standard output where undefined. */
  readonly destination?: DestinationStream | undefined;
}

/**
 * Makes the logger: one JSON object a line, or coloured lines for a terminal.
 */
export async function createLogger(options: LoggerOptions): Promise<Logger> {
  const settings = { level: options.level, base: null };
  if (options.destination !== undefined) return pino(settings, options.destination);
  if (!options.pretty) return pino(settings);
  // Loaded only where somebody reads along.
  const { default: pretty } = await import('pino-pretty');
  return pino(settings, pretty({ ignore: 'pid,hostname', translateTime: 'HH:MM:ss.l' }));
}

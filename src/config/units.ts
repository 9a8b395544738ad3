import { type Reading, understood, wrong } from './reading.js';

/** 24 days: Node's timers can wait for 2^31 - 1 ms, and one that should wait longer fires at once. */
const longestTimer = 576 * 3_600_000;

/** Bounds of a number, both included. */
export interface Bounds {
  readonly min?: number;
  /** The reason for `min`, where a message should give it. */
  readonly why?: string;
  readonly max?: number;
}

interface Unit {
  readonly name: string;
  readonly factor: number;
}

const durationUnits: readonly Unit[] = [
  { name: 'h', factor: 3_600_000 },
  { name: 'm', factor: 60_000 },
  { name: 's', factor: 1000 },
  { name: 'ms', factor: 1 },
];

const sizeUnits: readonly Unit[] = [
  { name: 'gb', factor: 1024 ** 3 },
  { name: 'mb', factor: 1024 ** 2 },
  { name: 'kb', factor: 1024 },
  { name: 'b', factor: 1 },
];

/** The forms that messages show. */
export const durationForm = '500ms, 5s, 1m, 1h or 24h';
export const sizeForm = '16kb, 1mb, 1gb or a whole number of bytes';

/** Patterns of the text forms, for the JSON Schema too. */
export const durationPattern = '^(0|[0-9]+(ms|s|m|h))$';
export const sizePattern = '^[0-9]+(b|kb|mb|gb)?$';

const durationText = new RegExp(durationPattern);
const sizeText = new RegExp(sizePattern);

/**
 * Reads a duration: a whole number with a unit (`500ms`, `5s`, `1m`, `1h`), or 0. Gives milliseconds. `bounds` are in
 * milliseconds; without a `max` it is what a timer can wait (576h).
 */
export function readDuration(value: string | number, bounds: Bounds = {}): Reading<number> {
  const text = String(value);
  if (!durationText.test(text)) {
    return Number.isFinite(Number(value)) && text.trim() !== ''
      ? wrong(`has no unit; write ${durationForm}`)
      : wrong(`is not a duration; write ${durationForm}`);
  }
  return bounded(scaled(text, durationUnits), { max: longestTimer, ...bounds }, formatDuration);
}

/** Reads a size: a whole number of bytes, or one with a unit (`16kb`, `1mb`, powers of 1024). Gives bytes. */
export function readSize(value: string | number, bounds: Bounds = {}): Reading<number> {
  const text = String(value);
  if (!sizeText.test(text)) return wrong(`is not a size; write ${sizeForm}`);
  return bounded(scaled(text, sizeUnits), bounds, formatSize);
}

/** Reads a whole number, 0 or above unless `bounds` say otherwise. */
export function readCount(value: number, bounds: Bounds = {}): Reading<number> {
  if (!Number.isSafeInteger(value)) return wrong('is not a whole number; write one such as 100');
  return bounded(value, bounds, String);
}

/** Milliseconds in the largest unit that divides them: 90000 is `90s`, 3600000 is `1h`. */
export function formatDuration(milliseconds: number): string {
  return milliseconds === 0 ? '0' : inUnits(milliseconds, durationUnits);
}

/** Bytes in the largest unit that divides them: 65536 is `64kb`; below 1kb the number alone. */
export function formatSize(bytes: number): string {
  return bytes % 1024 === 0 && bytes > 0 ? inUnits(bytes, sizeUnits) : String(bytes);
}

function scaled(text: string, units: readonly Unit[]): number {
  const digits = Number.parseInt(text, 10);
  const name = text.slice(text.search(/[a-z]|$/));
  return digits * (units.find((unit) => unit.name === name)?.factor ?? 1);
}

function inUnits(value: number, units: readonly Unit[]): string {
  const unit = units.find(({ factor }) => value % factor === 0) ?? { name: '', factor: 1 };
  return `${value / unit.factor}${unit.name}`;
}

function bounded(value: number, bounds: Bounds, format: (value: number) => string): Reading<number> {
  const { min = 0, max = Number.MAX_SAFE_INTEGER, why } = bounds;
  const reason = why === undefined ? '' : ` (${why})`;
  if (value < min) return wrong(`is too small; write at least ${format(min)}${reason}`);
  if (value > max) return wrong(`is too large; write at most ${format(max)}`);
  return understood(value);
}

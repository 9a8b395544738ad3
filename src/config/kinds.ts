import * as z from 'zod';
import type { Reading } from './reading.js';
import * as units from './units.js';

/** What a kind of value needs beside its zod schema. */
export interface Kind {
  /** Makes of a text from the environment or the command line what the schema takes. Without: the text itself. */
  readonly fromText?: (text: string) => unknown;
  /** The value as an operator would write it. Without: the value itself. */
  readonly format?: (value: never) => unknown;
  /** A list or a map, which has no name in the environment. */
  readonly compound?: boolean;
}

/** Kinds by schema; a refined or described schema keeps its kind. */
export const kinds = z.registry<Kind>();

/**
 * A schema that takes what `input` takes and then reads it with `read`. Messages are predicates, as `Reading` says.
 */
export function readBy<I extends z.ZodType, T>(input: I, read: (value: z.output<I>) => Reading<T>) {
  return input.transform((value, context): T => {
    const result = read(value);
    if (result.kind === 'value') return result.value;
    context.addIssue({ code: 'custom', message: result.wrong });
    return z.NEVER;
  });
}

/** A duration in milliseconds. */
export function duration(bounds: units.Bounds = {}) {
  const input = z.union([z.string().meta({ pattern: units.durationPattern }), z.literal(0)], {
    error: ({ input }) =>
      `${typeof input === 'number' ? 'has no unit' : 'is not a duration'}; write ${units.durationForm}`,
  });
  return readBy(input, (value) => units.readDuration(value, bounds)).register(kinds, { format: units.formatDuration });
}

/** A size in bytes. */
export function size(bounds: units.Bounds = {}) {
  const input = z.union([z.string().meta({ pattern: units.sizePattern }), z.number().meta({ type: 'integer' })], {
    error: `is not a size; write ${units.sizeForm}`,
  });
  return readBy(input, (value) => units.readSize(value, bounds)).register(kinds, { format: units.formatSize });
}

/** A whole number. */
export function count(bounds: units.Bounds = {}) {
  const meta = { type: 'integer', minimum: bounds.min ?? 0 } as const;
  const input = z.number({ error: 'is not a whole number; write one such as 100' }).meta(meta);
  return readBy(input, (value) => units.readCount(value, bounds)).register(kinds, { fromText: numberOfText });
}

/** true or false. */
export function toggle() {
  return z
    .boolean({ error: 'is neither true nor false; write one of them' })
    .register(kinds, { fromText: booleanOfText });
}

/** One of some words. */
export function oneOf<const W extends readonly string[]>(...words: W) {
  return z.enum(words, { error: `is not one of its values; write ${alternatives(words)}` });
}

/** A text that `read` makes a value of; `form` shows the right form where it is no text at all. */
export function text<T>(form: string, read: (value: string) => Reading<T>, kind: Kind = {}) {
  return readBy(plainText(form), read).register(kinds, kind);
}

/** A text as it is, which may not be empty. */
export function plainText(form: string) {
  const error = ({ input }: { readonly input?: unknown }) =>
    `${input === undefined ? 'is missing' : 'is not a text'}; write ${form}`;
  return z.string({ error }).min(1, { error: `is empty; write ${form}` });
}

/** A list whose members `read` makes values of; equal members count once. */
export function list<T>(form: string, read: (value: string) => Reading<T>) {
  return z
    .array(readBy(plainText(`texts such as ${form}`), read), { error: `is not a list; write [${form}]` })
    .transform((members) => [...new Set(members)])
    .register(kinds, { compound: true });
}

/** The words joined as in `a, b or c`. */
export function alternatives(words: readonly string[]): string {
  const last = words.at(-1) ?? '';
  return words.length < 2 ? last : `${words.slice(0, -1).join(', ')} or ${last}`;
}

/** `true` and `false` become booleans; anything else stays for the schema to refuse. */
export function booleanOfText(text: string): unknown {
  if (text === 'true') return true;
  return text === 'false' ? false : text;
}

function numberOfText(text: string): unknown {
  return /^[0-9]{1,15}$/.test(text) ? Number(text) : text;
}

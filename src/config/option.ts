import * as z from 'zod';

/** What is known of an option beside its schema, default and help text. */
export interface OptionTraits {
  /** The command line flag, without its dashes, and what stands for its value in the help text. */
  readonly flag?: { readonly name: string; readonly value: string };
  /** The value is never shown. */
  readonly secret?: boolean;
  /** The value may have a secret in it: its kind's `format` leaves that out, and a value that is wrong is never shown. */
  readonly holdsSecret?: boolean;
  /** The option exists so that configurations stay valid, and refuses all but its default as yet. */
  readonly later?: boolean;
}

/** Traits of every option, by schema. Whatever is registered here is a key that an operator can set. */
export const traits = z.registry<OptionTraits>();

/** Advice for keys that are written in the wrong section, by schema of the section. */
export const misplaced = z.registry<Readonly<Record<string, string>>>();

const laterNote = 'Not available in this version.';

/** An option with a default, which is given as an operator would write it. */
export function option<S extends z.ZodType>(schema: S, initial: z.input<S>, help: string, own: OptionTraits = {}) {
  return withTraits(schema.prefault(initial).describe(help), own);
}

/** An option that has no default; null, or an empty place in the file, leaves it unset. */
export function unset<S extends z.ZodType>(schema: S, help: string, own: OptionTraits = {}) {
  const nullable = schema.nullable();
  if (!own.later) return withTraits(nullable.exactOptional().describe(help), own);
  const fixedSchema = nullable.refine((value) => value === null, { error: 'later', params: { leaveAt: 'unset' } });
  return withTraits(fixedSchema.exactOptional().describe(`${help} ${laterNote}`), own);
}

function withTraits<S extends z.ZodType>(schema: S, own: OptionTraits): S {
  // Never empty: for a schema that was derived from another, zod's registry takes an empty entry for none.
  traits.add<z.ZodType>(schema, { secret: false, later: false, ...own });
  return schema;
}

/** A map of options. */
export function section<S extends z.ZodRawShape>(shape: S) {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'invalid_type' ? 'is not a map; write its keys indented below it' : undefined),
  });
}

/** The shape with every default taken away: what is not given stays absent. Keys keep their help text. */
export function overrides<S extends z.ZodRawShape>(shape: S): Overrides<S> {
  const entries = Object.entries(shape).map(([key, schema]) => {
    if (!(schema instanceof z.ZodPrefault)) throw new TypeError(`${key} has no default to take away`);
    return [key, z.exactOptional(schema.unwrap()).describe(schema.description ?? '')];
  });
  return Object.fromEntries(entries);
}

/** The map without keys that are null, which is how an operator leaves an option unset. */
export function given<T extends object>(map: T): Given<T> {
  return Object.fromEntries(Object.entries(map).filter(([, value]) => value !== null)) as Given<T>;
}

type Overrides<S extends z.ZodRawShape> = {
  [K in keyof S]: S[K] extends z.ZodPrefault<infer Inner> ? z.ZodExactOptional<Inner> : never;
};

type Given<T> = { [K in keyof T]: Exclude<T[K], null> };

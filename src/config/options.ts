import * as z from 'zod';
import { type Kind, kinds } from './kinds.js';
import { type OptionTraits, traits } from './option.js';
import { configSchema, shape } from './schema.js';

/** One key that an operator can set, with all that the schema says of it. */
export interface Option {
  /** `['limits', 'leaseWait']`. */
  readonly path: readonly string[];
  /** `limits.leaseWait`. */
  readonly key: string;
  readonly help: string;
  /** As an operator would write it; undefined where there is none. */
  readonly initial: unknown;
  readonly kind: Kind;
  readonly traits: OptionTraits;
  /** Names in the environment, the short one first. A list or map has one too, only to say that it can not be set. */
  readonly environment: readonly string[];
}

/** The flag and variable that name the configuration file: no key of that file. */
export const fileOption = {
  flag: { name: 'config', value: 'FILE' },
  environment: 'IFMATCH_CONFIG',
  help: 'YAML (and so JSON) file with the configuration.',
} as const;

/** Every option in the order of the schema. */
export const options: readonly Option[] = walk(shape, []);

/** The option that a path of the file lies in; a key of a route is the key of the policy that it overrides. */
export function optionAt(path: readonly PropertyKey[]): Option | undefined {
  const keys = path[0] === 'routes' && path.length > 2 ? ['policy', ...path.slice(2)] : path;
  return options.find((option) => option.path.every((key, index) => keys[index] === key));
}

/** Whether secrets belong below a path of the file, as a password may below `store`. */
export function hidesAt(path: readonly PropertyKey[]): boolean {
  return options.some(
    (option) =>
      (option.traits.secret || option.traits.holdsSecret) && path.every((key, index) => option.path[index] === key),
  );
}

/** The map of options at a path of the file, `['policy']` or `['routes', 0]` for example. */
export function sectionAt(path: readonly PropertyKey[]): z.ZodObject {
  let schema: z.core.$ZodType | undefined = configSchema;
  for (const part of path) {
    const list: z.core.$ZodType | undefined = schema && innermost(schema);
    schema = list instanceof z.ZodArray ? list.element : objectOf(schema).shape[String(part)];
  }
  return objectOf(schema);
}

/** `limits.leaseWait`, `routes[0].guard`, `policy.methods[1]`. */
export function dotted(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) => (typeof part === 'number' ? `[${part}]` : `${index > 0 ? '.' : ''}${String(part)}`))
    .join('');
}

/** A flag of the command line; `option` is the key that it sets, none for the name of the file. */
export interface Flag {
  readonly value: string;
  readonly help: string;
  readonly environment: string;
  readonly option: Option | undefined;
}

/** Every flag by its name without dashes. */
export const flags: ReadonlyMap<string, Flag> = flagsOf(options);

function flagsOf(all: readonly Option[]): Map<string, Flag> {
  const { flag, help, environment } = fileOption;
  const result = new Map<string, Flag>([[flag.name, { value: flag.value, help, environment, option: undefined }]]);
  for (const option of all) {
    const own = option.traits.flag;
    if (own === undefined) continue;
    const name = environmentName(own.name);
    result.set(own.name, { value: own.value, help: option.help, environment: name, option });
  }
  return result;
}

/** `leaseWait` and `lease-wait` are LEASE_WAIT in the environment. */
function environmentName(...parts: readonly string[]): string {
  const words = parts.map((part) => part.replace(/[A-Z]/g, (letter) => `_${letter}`).replaceAll('-', '_'));
  return ['ifmatch', ...words].join('_').toUpperCase();
}

function walk(map: Readonly<Record<string, z.core.$ZodType>>, parents: readonly string[]): Option[] {
  return Object.entries(map).flatMap(([name, schema]) => {
    const path = [...parents, name];
    const own = traits.get(schema);
    return own === undefined ? walk(objectOf(schema).shape, path) : [describe(path, schema, own)];
  });
}

function describe(path: readonly string[], schema: z.core.$ZodType, own: OptionTraits): Option {
  const long = environmentName(...path);
  const short = own.flag === undefined ? [] : [environmentName(own.flag.name)];
  return {
    path,
    key: path.join('.'),
    help: z.globalRegistry.get(schema)?.description ?? '',
    initial: schema instanceof z.ZodPrefault ? schema.def.defaultValue : undefined,
    kind: kindOf(schema),
    traits: own,
    environment: [...new Set([...short, long])],
  };
}

/** The kind of an option's schema, or of what is below its default, its null, and what is made of it. */
function kindOf(schema: z.core.$ZodType): Kind {
  const below = inner(schema);
  return kinds.get(schema) ?? (below === undefined ? {} : kindOf(below));
}

function objectOf(schema: z.core.$ZodType | undefined): z.ZodObject {
  const object = schema && innermost(schema);
  if (object instanceof z.ZodObject) return object;
  throw new TypeError('the schema has an option without traits');
}

function innermost(schema: z.core.$ZodType): z.core.$ZodType {
  const below = inner(schema);
  return below === undefined ? schema : innermost(below);
}

function inner(schema: z.core.$ZodType): z.core.$ZodType | undefined {
  if (schema instanceof z.ZodPipe) return schema.def.in;
  const isWrapper =
    schema instanceof z.ZodPrefault || schema instanceof z.ZodExactOptional || schema instanceof z.ZodNullable;
  return isWrapper ? schema.unwrap() : undefined;
}

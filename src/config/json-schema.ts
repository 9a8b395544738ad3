import * as z from 'zod';
import { configSchema } from './schema.js';

type Json = z.core.JSONSchema.BaseSchema;

/** What a value with a `${VAR}` in it looks like before it is replaced: allowed wherever a scalar is. */
const substituted = { type: 'string', pattern: '\\$\\{' } as const;

/** The JSON Schema of the configuration file (draft 7, which editors know best). */
export function jsonSchema(): Record<string, unknown> {
  const { $schema, ...schema } = z.toJSONSchema(configSchema, { io: 'input', target: 'draft-7' });
  return { $schema, title: 'Configuration of ifmatch', ...allowSubstitution(schema) };
}

/** The schema with `substituted` as an alternative to every scalar that is not just any text. */
function allowSubstitution(schema: Json): Json {
  if (schema.properties !== undefined) {
    const entries = Object.entries(schema.properties).map(([key, value]) => [key, allowInside(value)]);
    return { ...schema, properties: Object.fromEntries(entries) };
  }
  const { description, default: initial, ...rest } = schema;
  const about = {
    ...(description !== undefined && { description }),
    ...(initial !== undefined && { default: initial }),
  };
  if (rest.anyOf?.some(isAnyText)) return schema;
  if (rest.anyOf !== undefined) return { ...about, anyOf: [...rest.anyOf, substituted] };
  if (rest.items !== undefined && !Array.isArray(rest.items))
    return { ...about, ...rest, items: allowInside(rest.items) };
  return rest.type === 'object' || isAnyText(rest) ? schema : { ...about, anyOf: [rest, substituted] };
}

function isAnyText(schema: z.core.JSONSchema._JSONSchema): boolean {
  return typeof schema === 'object' && schema.type === 'string' && !('pattern' in schema) && !('enum' in schema);
}

function allowInside(schema: z.core.JSONSchema._JSONSchema): z.core.JSONSchema._JSONSchema {
  return typeof schema === 'boolean' ? schema : allowSubstitution(schema);
}

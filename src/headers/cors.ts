import { copied } from '../http/copied.js';
import {
  FieldNames,
  fieldLine,
  fieldValues,
  firstValue,
  hasField,
  lastNamed,
  listMembers,
  type RawHeaders,
} from '../http/fields.js';

const conditionalFields: readonly string[] = [
  'If-Match',
  'If-None-Match',
  'If-Modified-Since',
  'If-Unmodified-Since',
  'If-Range',
];
/** What a script needs to read of an answer that the gate makes itself (A2, A3, W3). */
const gateFields = 'ETag, Retry-After, Proxy-Status, X-Request-Id';
/** Longer origins, and longer permissions, are not remembered, in characters: a host name has 253 at most. */
const longestOrigin = 512;
const longestFields = 1024;

const remembered = new FieldNames(['access-control-allow-origin', 'access-control-allow-credentials', 'vary']);

/** What upstream answers said of other origins, by route and Origin (R6). */
export interface CorsMemory {
  /** Remembers what an upstream answer to a request from `origin` said; one without permission forgets it. */
  learn(route: string, origin: string | undefined, responseRaw: RawHeaders): void;
  /** Flat list of fields for an answer that the gate makes itself; empty where nothing is known. */
  replay(route: string, origin: string | undefined): string[];
}

/**
 * An upstream answer that lets other origins read the ETag too (R6): without it a script could not send If-Match.
 * Answers without Access-Control-Allow-Origin, or that expose ETag already, stay as they are.
 *
 * @param raw the answer's fields
 * @returns a new flat list
 */
export function exposeEtag(raw: RawHeaders): string[] {
  return withMembers(raw, 'Access-Control-Expose-Headers', ['ETag']);
}

/**
 * The upstream's answer to a preflight, with leave to send the conditional fields (R6). Answers without
 * Access-Control-Allow-Origin stay as they are.
 *
 * @param raw fields of the answer to a preflight (OPTIONS with Access-Control-Request-Method)
 * @returns a new flat list
 */
export function allowConditional(raw: RawHeaders): string[] {
  return withMembers(raw, 'Access-Control-Allow-Headers', conditionalFields);
}

/**
 * Remembers Access-Control-Allow-Origin, Access-Control-Allow-Credentials and Vary as last seen for a route and an
 * Origin, so that a script may read the gate's own answers exactly where it may read the upstream's (R6).
 *
 * @param max pairs of route and Origin that are remembered; the least recently used go first. Origins that no browser
 *   sends, because no host has such a long name, are not
 */
export function createCorsMemory(max: number): CorsMemory {
  const known = new Map<string, readonly string[]>();
  const refresh = (key: string, fields: readonly string[]): void => {
    known.delete(key);
    known.set(key, fields);
  };
  return {
    learn(route, origin, responseRaw) {
      if (origin === undefined || origin.length > longestOrigin) return;
      const key = keyOf(route, origin);
      const fields = rememberedFields(responseRaw);
      const isKept = fields.reduce((sum, text) => sum + text.length, 0) <= longestFields;
      if (!isKept || firstValue(responseRaw, 'access-control-allow-origin') === undefined) {
        known.delete(key);
        return;
      }
      refresh(key, fields.map(copied));
      const [oldest] = known.keys();
      if (known.size > max && oldest !== undefined) known.delete(oldest);
    },
    replay(route, origin) {
      if (origin === undefined) return [];
      const key = keyOf(route, origin);
      const fields = known.get(key);
      if (fields === undefined) return [];
      refresh(key, fields);
      return [...fields, 'Access-Control-Expose-Headers', gateFields];
    },
  };
}

function keyOf(route: string, origin: string): string {
  return `${route}\0${origin}`;
}

function rememberedFields(raw: RawHeaders): readonly string[] {
  const fields: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (remembered.has(name)) fields.push(name, raw[index + 1] ?? '');
  }
  return fields;
}

/** Adds members to a list field of an answer that other origins may read; the last line of the field takes them. */
function withMembers(raw: RawHeaders, field: string, members: readonly string[]): string[] {
  const fields = [...raw];
  if (!hasField(raw, 'access-control-allow-origin')) return fields;
  const name = field.toLowerCase();
  const present = new Set(listMembers((fieldLine(raw, name) ?? '').toLowerCase()));
  // With credentials `*` is a field name like any other (Fetch, "CORS protocol and credentials").
  if (present.has('*') && !allowsCredentials(raw)) return fields;
  const missing = members.filter((member) => !present.has(member.toLowerCase())).join(', ');
  if (missing === '') return fields;
  const last = lastNamed(fields, name);
  if (last === -1) return [...fields, field, missing];
  const value = fields[last + 1] ?? '';
  fields[last + 1] = value.trim() === '' ? missing : `${value}, ${missing}`;
  return fields;
}

function allowsCredentials(raw: RawHeaders): boolean {
  return fieldValues(raw, 'access-control-allow-credentials').includes('true');
}

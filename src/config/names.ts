import { type Reading, understood, wrong } from './reading.js';

/** Where a version comes from (V1): `header` names are in lower case, `pointer` is an RFC 6901 JSON Pointer. */
export type Validator =
  | { readonly kind: 'auto' }
  | { readonly kind: 'upstream' }
  | { readonly kind: 'body' }
  | { readonly kind: 'json'; readonly pointer: string }
  | { readonly kind: 'header'; readonly name: string };

const validatorForm = 'auto, upstream, body, json:/pointer or header:name';

/** RFC 9110 5.6.2. */
const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const parameterName = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Methods that are safe (RFC 9110 9.2.1), and CONNECT, which has no resource: never guarded writes. */
const notGuardable = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE', 'CONNECT']);

/** Fields that frame a request, or that a probe must do without (W4): `probe.headers` can not set them. */
const notOnProbe = new Set([
  ...['connection', 'content-length', 'expect', 'host', 'keep-alive', 'range', 'te', 'trailer', 'transfer-encoding'],
  ...['upgrade', 'if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range', 'if'],
]);

/** Reads `policy.validator`. */
export function readValidator(text: string): Reading<Validator> {
  if (text === 'auto' || text === 'upstream' || text === 'body') return understood({ kind: text });
  if (text.startsWith('json:')) {
    const pointer = text.slice('json:'.length);
    const fault = pointerFault(pointer);
    if (fault !== undefined) return wrong(`${fault}; write json:/version or json:/meta/revision (RFC 6901)`);
    return understood({ kind: 'json', pointer });
  }
  if (text.startsWith('header:')) {
    const name = text.slice('header:'.length);
    if (!token.test(name)) return wrong('names no header field; write header:x-version');
    return understood({ kind: 'header', name: name.toLowerCase() });
  }
  return wrong(`is not a validator; write ${validatorForm}`);
}

/** The form that `readValidator` reads. */
export function formatValidator(validator: Validator): string {
  if (validator.kind === 'json') return `json:${validator.pointer}`;
  if (validator.kind === 'header') return `header:${validator.name}`;
  return validator.kind;
}

/** Reads a JSON Pointer (RFC 6901) that names a member, not the whole document. */
export function readPointer(text: string): Reading<string> {
  const fault = pointerFault(text);
  return fault === undefined
    ? understood(text)
    : wrong(`${fault}; write a JSON Pointer such as /meta/updatedAt (RFC 6901)`);
}

/** Reads a method that may be guarded; gives it in upper case. */
export function readMethod(text: string): Reading<string> {
  const method = text.toUpperCase();
  if (!token.test(text)) return wrong('is not a method; write names such as PUT, PATCH or DELETE');
  if (notGuardable.has(method)) return wrong('is not a write; write unsafe methods such as PUT, PATCH or DELETE');
  return understood(method);
}

/** Reads a field name; gives it in lower case. */
export function readFieldName(text: string): Reading<string> {
  return token.test(text)
    ? understood(text.toLowerCase())
    : wrong('is not a field name; write one such as authorization');
}

/** Reads the name of a field of `probe.headers`; gives it in lower case. */
export function readProbeField(text: string): Reading<string> {
  const name = readFieldName(text);
  if (name.kind === 'value' && notOnProbe.has(name.value)) {
    return wrong('is a field that a probe can not carry; leave it out');
  }
  return name;
}

/** Reads the value of a field of `probe.headers` (RFC 9110 5.5; ASCII). */
export function readFieldValue(text: string): Reading<string> {
  return /^[\t\x20-\x7e]*$/.test(text)
    ? understood(text.trim())
    : wrong('has a line break or another character that a field can not carry; write visible ASCII');
}

/** The names of the `:name` segments of a pattern, and `*` where it ends in one. */
export function patternNames(pattern: string): string[] {
  const segments = pattern.split('/').filter((segment) => segment.startsWith(':'));
  return [...segments.map((segment) => segment.slice(1)), ...(pattern.endsWith('*') ? ['*'] : [])];
}

/**
 * Reads the path of a route, or of a resource that a write invalidates: from `/` on, `:name` for one segment, a `*` at
 * its end for the rest.
 */
export function readPathPattern(text: string): Reading<string> {
  const form = '/docs/:id or /docs/*';
  const star = text.indexOf('*');
  if (star !== -1 && star !== text.length - 1) return wrong('has a * before its end; write it last, as in /docs/*');
  if (!text.startsWith('/')) return wrong(`does not start with /; write ${form}`);
  if (/[?#\\\s]/.test(text))
    return wrong(`has a query, a fragment, a space or a backslash; write a path such as ${form}`);
  const names = new Set<string>();
  for (const segment of text.split('/')) {
    const colon = segment.indexOf(':');
    if (colon === -1) continue;
    const name = segment.slice(1);
    if (colon > 0 || !parameterName.test(name)) {
      return wrong(`has a : that does not begin a whole segment with a name; write ${form}`);
    }
    if (names.has(name)) return wrong('has one :name twice; give each segment its own');
    names.add(name);
  }
  return understood(text);
}

/** What is wrong with a JSON Pointer, or undefined. */
function pointerFault(pointer: string): string | undefined {
  if (pointer === '') return 'names the whole document';
  if (!pointer.startsWith('/')) return 'does not start with /';
  if (/~(?![01])/.test(pointer)) return 'has a ~ that is neither ~0 (for ~) nor ~1 (for /)';
  return undefined;
}

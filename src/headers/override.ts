import { FieldNames, listMembers, type RawHeaders } from '../http/fields.js';

/** What the method override fields and parameters of a request say (I4). */
export type Override =
  | { readonly kind: 'none' }
  | { readonly kind: 'method'; readonly method: string }
  | { readonly kind: 'conflict'; readonly methods: string[] };

const names: readonly string[] = ['x-http-method-override', 'x-method-override', 'x-http-method'];
/** Names of the query parameter; PHP makes the first of `.method`, and drops spaces before either. */
const parameterNames: ReadonlySet<string> = new Set(['_method', '_METHOD', '.method', '.METHOD']);
/** The same behind a space. */
const spacedNames: ReadonlySet<string> = new Set(['method', 'METHOD']);

/**
 * All spellings of the override fields, in lower case. Gateways that hand fields on as variables (CGI, WSGI) take every
 * `-` and `_` for the same, so each may be either.
 */
export const overrideFields: ReadonlySet<string> = new Set(names.flatMap(spellings));
export const overrideNames = new FieldNames(overrideFields);

/**
 * The method that a request asks to be treated as, by `X-HTTP-Method-Override`, `X-Method-Override`, `X-HTTP-Method` or
 * `_method` in the query (I4).
 *
 * @param raw fields of the request
 * @param query raw query without its `?`
 * @returns the method in upper case; `conflict` with all of them where they disagree
 */
export function methodOverride(raw: RawHeaders, query: string | undefined): Override {
  const named = [...fieldMembers(raw), ...parameterValues(query).map((value) => value.trim())];
  if (named.length === 0) return none;
  const methods = new Set(named.filter((name) => name !== '').map((name) => name.toUpperCase()));
  const [method, ...others] = methods;
  if (method === undefined) return none;
  return others.length === 0 ? { kind: 'method', method } : { kind: 'conflict', methods: [...methods] };
}

const none: Override = { kind: 'none' };

function fieldMembers(raw: RawHeaders): string[] {
  const members: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (overrideNames.has(raw[index] ?? '')) members.push(...listMembers(raw[index + 1] ?? ''));
  }
  return members;
}

/**
 * A query without method overrides, for a read of the gate's own: some backends would take a GET that carries one for
 * the write itself.
 *
 * @param query raw query without its `?`
 * @returns the other parameters as they were written; undefined where none are left
 */
export function withoutMethodParameter(query: string | undefined): string | undefined {
  if (query === undefined) return undefined;
  const parts = query.split(separators);
  const kept: string[] = [];
  for (let index = 0; index < parts.length; index += 2) {
    const parameter = parts[index] ?? '';
    if (isMethodParameter(parameter)) continue;
    kept.push(kept.length === 0 ? parameter : `${parts[index - 1]}${parameter}`);
  }
  return kept.length === 0 ? undefined : kept.join('');
}

/** Old and lenient servers take `;` for a separator too; kept by `split`, because others do not. */
const separators = /([&;])/;

/** What a query without it cannot name the parameter with: most of them. */
const suspicious = /method|%/i;

function parameterValues(query: string | undefined): string[] {
  if (query === undefined || !suspicious.test(query)) return [];
  const values: string[] = [];
  const parts = query.split(separators);
  for (let index = 0; index < parts.length; index += 2) {
    const parameter = parts[index] ?? '';
    const equals = parameter.indexOf('=');
    if (equals !== -1 && isMethodParameter(parameter)) values.push(decoded(parameter.slice(equals + 1)));
  }
  return values;
}

/** Whether some backend may take a parameter for the override, by what it makes of its name. */
function isMethodParameter(parameter: string): boolean {
  const equals = parameter.indexOf('=');
  const written = equals === -1 ? parameter : parameter.slice(0, equals);
  if (!suspicious.test(written)) return false;
  // PHP ends a name at NUL.
  const [name = ''] = decoded(written).split('\0', 1);
  const bare = name.trimStart();
  return parameterNames.has(bare) || (bare !== name && spacedNames.has(bare));
}

const triplets = /%([0-9a-f]{2})/gi;

function decoded(text: string): string {
  const spaced = text.replaceAll('+', ' ');
  return spaced.replace(triplets, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}

function spellings(name: string): string[] {
  const [head = '', ...rest] = name.split('-');
  return rest.reduce((known, part) => known.flatMap((text) => [`${text}-${part}`, `${text}_${part}`]), [head]);
}

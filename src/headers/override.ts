import { listMembers, type RawHeaders } from '../http/fields.js';

/** What the method override fields and parameters of a request say (I4). */
export type Override =
  | { readonly kind: 'none' }
  | { readonly kind: 'method'; readonly method: string }
  | { readonly kind: 'conflict'; readonly methods: string[] };

const names: readonly string[] = ['x-http-method-override', 'x-method-override', 'x-http-method'];
const parameters: readonly string[] = ['_method', '_METHOD'];

/**
 * All spellings of the override fields, in lower case. Gateways that hand fields on as variables (CGI, WSGI) take every
 * `-` and `_` for the same, so each may be either.
 */
export const overrideFields: ReadonlySet<string> = new Set(names.flatMap(spellings));

/**
 * The method that a request asks to be treated as, by `X-HTTP-Method-Override`, `X-Method-Override`, `X-HTTP-Method` or
 * `_method` in the query (I4).
 *
 * @param raw fields of the request
 * @param query raw query without its `?`
 * @returns the method in upper case; `conflict` with all of them where they disagree
 */
export function methodOverride(raw: RawHeaders, query: string | undefined): Override {
  const methods = new Set<string>();
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (!overrideFields.has((raw[index] ?? '').toLowerCase())) continue;
    for (const member of listMembers(raw[index + 1] ?? '')) methods.add(member.toUpperCase());
  }
  for (const value of parameterValues(query)) {
    const method = value.trim().toUpperCase();
    if (method !== '') methods.add(method);
  }
  const [method, ...others] = methods;
  if (method === undefined) return { kind: 'none' };
  return others.length === 0 ? { kind: 'method', method } : { kind: 'conflict', methods: [...methods] };
}

/**
 * A query without method overrides, for a read of the gate's own: some backends would take a GET that carries one for
 * the write itself.
 *
 * @param query raw query without its `?`
 * @returns the other parameters as they were written; undefined where none are left
 */
export function withoutMethodParameter(query: string | undefined): string | undefined {
  const kept = query?.split('&').filter((parameter) => parameterValues(parameter).length === 0) ?? [];
  return kept.length === 0 ? undefined : kept.join('&');
}

function parameterValues(query: string | undefined): string[] {
  if (query === undefined || query === '') return [];
  const search = new URLSearchParams(query);
  return parameters.flatMap((name) => search.getAll(name));
}

function spellings(name: string): string[] {
  const [head = '', ...rest] = name.split('-');
  return rest.reduce((known, part) => known.flatMap((text) => [`${text}-${part}`, `${text}_${part}`]), [head]);
}

import type * as z from 'zod';
import { nearest } from './nearest.js';
import { misplaced } from './option.js';
import { hidesAt, optionAt, options, sectionAt } from './options.js';
import { hidden, withoutCredentials } from './redact.js';
import { configSchema } from './schema.js';
import { isTree, type Mistake, type Path, type Source, valueAt } from './source.js';

/** A value longer than this, or of several lines, is not repeated in a message: it may be a key. */
const longestShown = 80;

/** Every mistake in what a source gives, one line each, in the order of the source. */
export function judge(source: Source): string[] {
  const { error } = configSchema.safeParse(source.tree);
  const found = (error?.issues ?? []).flatMap((issue) => mistakesOf(issue, [], source));
  return [...source.mistakes, ...found].sort((a, b) => a.order - b.order).map(({ line }) => line);
}

function mistakesOf(issue: z.core.$ZodIssue, parents: Path, source: Source): Mistake[] {
  const path = [...parents, ...issue.path];
  if (source.isJudged(path)) return [];
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => mistake(source, [...path, key], 'key', unknownKey(path, key)));
  }
  if (issue.code === 'invalid_union') {
    const inside = issue.errors.find((branch) => branch.length > 0 && branch.every((inner) => inner.path.length > 0));
    if (inside !== undefined) return inside.flatMap((inner) => mistakesOf(inner, path, source));
  }
  const params: Readonly<Record<string, unknown>> = (issue.code === 'custom' && issue.params) || {};
  if (params.leaveAt !== undefined) {
    return [mistake(source, path, 'value', `is not available in this version; leave it ${params.leaveAt}`)];
  }
  if (params.ofKey) return [mistake(source, path, 'key', issue.message)];
  return [mistake(source, path, 'value', `${shown(path, source)}${issue.message}`)];
}

function mistake(source: Source, path: Path, part: 'key' | 'value', what: string): Mistake {
  const { label, order } = source.locate(path, part);
  return { order, line: `${label}: ${what}` };
}

/** The value as the subject of a message, unless it is not there or a secret. */
function shown(path: Path, source: Source): string {
  const value = valueAt(source.tree, path);
  if (value === undefined) return '';
  if (value === null) return 'nothing ';
  if (Array.isArray(value)) return 'a list ';
  if (isTree(value)) return 'a map ';
  const variables = source.variables(path);
  if (variables.length > 0) return `what ${variables.join(' and ')} brings `;
  const traits = optionAt(path)?.traits;
  if (traits?.secret) return `${hidden} `;
  if (traits?.holdsSecret) return '';
  const text = String(value);
  if (text.length > longestShown || /[\r\n]/.test(text) || hidesAt(path)) return 'this text ';
  return typeof value === 'string' ? `"${withoutCredentials(text)}" ` : `${text} `;
}

/** What to say of a key that its section does not have. */
function unknownKey(path: Path, key: string): string {
  const section = sectionAt(path);
  const keys = Object.keys(section.shape);
  const hint = misplaced.get(section)?.[key];
  if (hint !== undefined) return hint;
  const sibling = nearest(key, keys);
  if (sibling !== undefined) return `is not a key; did you mean ${sibling}?`;
  const elsewhere = options.find((option) => option.key === key || option.path.at(-1) === key);
  if (elsewhere === undefined) return `is not a key; keys here are ${keys.join(', ')}`;
  const parents = elsewhere.path.slice(0, -1);
  return `is not a key here; write ${elsewhere.path.at(-1)} ${parents.length === 0 ? 'at the top level' : `below ${parents.join('.')}`}`;
}

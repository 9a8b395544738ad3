import type { Provenance } from './effective.js';
import { dotted, type Option, options } from './options.js';
import { hidden, withoutUser } from './redact.js';
import type { Config } from './schema.js';
import { type Path, valueAt } from './source.js';
import { yaml } from './yaml.js';

/** What `printConfig` needs of a loaded configuration. */
export interface Printable extends Provenance {
  readonly config: Config;
}

/** A key below the section that is being printed, its value as YAML, and where that comes from. */
interface Entry {
  readonly path: readonly string[];
  readonly value: string;
  readonly origin: string;
}

interface Line {
  readonly text: string;
  readonly origin?: string;
}

/** Comments stand in one column, unless that would be further right than this. */
const widestColumn = 48;

/**
 * The effective configuration as YAML, a line for each key with its origin as a comment. Secrets are `***`. Of a route
 * only what it overrides is shown: the rest is the policy.
 */
export function printConfig(result: Printable): string {
  const routesAt = options.findIndex(({ key }) => key === 'routes');
  const entry = (option: Option) => entryOf(result, option, option.path, option.path, option.path);
  const lines = [
    ...block(options.slice(0, routesAt).map(entry), ''),
    ...routeLines(result),
    ...block(options.slice(routesAt + 1).map(entry), ''),
  ];
  const width = Math.min(widestColumn, Math.max(...lines.map(({ text }) => text.length)));
  const commented = lines.map(({ text, origin }) =>
    origin === undefined ? text : `${text.padEnd(width)}  # ${origin}`,
  );
  return `${commented.join('\n')}\n`;
}

function routeLines(result: Printable): Line[] {
  const { routes } = result.config;
  if (routes.length === 0) return [{ text: 'routes: []', origin: 'default' }];
  return [{ text: 'routes:' }, ...routes.flatMap((route, index) => oneRoute(result, route.path, index))];
}

function oneRoute(result: Printable, path: string, index: number): Line[] {
  const key = dotted(['routes', index, 'path']);
  const shown = result.secrets.has(key) ? hidden : scalar(path);
  const own = options.flatMap((option) => {
    const inPolicy = option.path.slice(1);
    const at = ['routes', index, ...inPolicy];
    const isOwn = option.path[0] === 'policy' && result.origins.has(dotted(at));
    return isOwn ? [entryOf(result, option, inPolicy, at, ['routes', index, ...option.path])] : [];
  });
  return [{ text: `  - path: ${shown}`, origin: result.origins.get(key) ?? '' }, ...block(own, '    ')];
}

/** `path` is where the entry is printed, `at` its key in the file, `from` where its value stands in the configuration. */
function entryOf(result: Printable, option: Option, path: readonly string[], at: Path, from: Path): Entry {
  const key = dotted(at);
  const value = valueAt(result.config, from);
  return { path, value: valueText(option, value, result.secrets.has(key)), origin: result.origins.get(key) ?? '' };
}

/** The lines of some entries, each section's name on a line of its own before its first key. */
function block(entries: readonly Entry[], indent: string): Line[] {
  const lines: Line[] = [];
  let open: readonly string[] = [];
  for (const { path, value, origin } of entries) {
    const parents = path.slice(0, -1);
    for (const [depth, name] of parents.entries()) {
      const isOpen = parents.slice(0, depth + 1).every((parent, index) => open[index] === parent);
      if (!isOpen) lines.push({ text: `${indent}${'  '.repeat(depth)}${name}:` });
    }
    open = parents;
    lines.push({ text: `${indent}${'  '.repeat(parents.length)}${path.at(-1)}: ${value}`, origin });
  }
  return lines;
}

function valueText(option: Option, value: unknown, isSecret: boolean): string {
  if (value === undefined || value === '') return value === '' && option.initial === '' ? "''" : 'null';
  const format = option.kind.format;
  if (isSecret && format === undefined && typeof value === 'object' && value !== null && !Array.isArray(value)) {
    return `{${Object.keys(value)
      .map((name) => `${scalar(name)}: ${hidden}`)
      .join(', ')}}`;
  }
  if (isSecret) return hidden;
  return scalar(format === undefined ? value : format(value as never));
}

/** A value on one line. */
function scalar(value: unknown): string {
  const text = yaml()
    .stringify(value, { collectionStyle: 'flow', flowCollectionPadding: false, lineWidth: 0 })
    .trimEnd();
  return typeof value === 'string' ? withoutUser(text) : text;
}

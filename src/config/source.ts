import type { Option } from './options.js';

/** A map as a source of configuration gives it, before the schema has seen it. */
export type Tree = Record<string, unknown>;

export type Path = readonly PropertyKey[];

/** A mistake, and where to list it among those of its source. */
export interface Mistake {
  readonly order: number;
  readonly line: string;
}

/** Where configuration comes from: the file, the environment, or the command line. */
export interface Source {
  /** What it gives, in the structure of the file. */
  readonly tree: Tree;
  /** What a mistake at this path begins with, `x.yaml:3:5: limits.drain` for example, and its order. */
  locate(path: Path, part: 'key' | 'value'): { readonly label: string; readonly order: number };
  /** Where the value at this path comes from, as `check --print` says it. */
  origin(path: Path): string;
  /** Variables that were put into the value at this path, or inside it: such a value is a secret. */
  variables(path: Path): readonly string[];
  /** Mistakes that were found before the schema looks at the tree. */
  readonly mistakes: readonly Mistake[];
  /** Whether the value at this path is among them already. */
  isJudged(path: Path): boolean;
}

/** One option that was set by a name: a variable or a flag. */
export interface Setting {
  readonly option: Option;
  readonly text: string;
  /** `IFMATCH_GUARD` or `--guard`. */
  readonly name: string;
  /** `environment IFMATCH_GUARD` or `flag --guard`. */
  readonly origin: string;
}

/** The source that some settings make. */
export function sourceOfSettings(settings: readonly Setting[], mistakes: readonly Mistake[]): Source {
  const tree: Tree = emptyTree();
  const byKey = new Map(settings.map((setting) => [setting.option.key, setting]));
  for (const { option, text } of settings) setAt(tree, option.path, option.kind.fromText?.(text) ?? text);
  return {
    tree,
    locate: (path) => ({ label: byKey.get(path.join('.'))?.name ?? path.join('.'), order: 0 }),
    origin: (path) => byKey.get(path.join('.'))?.origin ?? 'default',
    variables: () => [],
    mistakes,
    isJudged: () => false,
  };
}

/** A map that inherits nothing, so that no key of the file can be mistaken for one of Object's own. */
export function emptyTree(): Tree {
  return Object.create(null);
}

export function isTree(value: unknown): value is Tree {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The value at a path, or undefined. */
export function valueAt(tree: unknown, path: Path): unknown {
  let value = tree;
  for (const part of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, part)) return undefined;
    value = Reflect.get(value, part);
  }
  return value;
}

/** The base with everything that `over` sets; neither is changed. Lists are replaced, maps are merged. */
export function merged(base: Tree, over: Tree): Tree {
  const result = Object.assign(emptyTree(), base);
  for (const [key, value] of Object.entries(over)) {
    const below = result[key];
    result[key] = isTree(below) && isTree(value) ? merged(below, value) : value;
  }
  return result;
}

function setAt(tree: Tree, path: readonly string[], value: unknown): void {
  const [key = '', ...rest] = path;
  if (rest.length === 0) {
    tree[key] = value;
    return;
  }
  const below = tree[key];
  const next = isTree(below) ? below : emptyTree();
  tree[key] = next;
  setAt(next, rest, value);
}

import { missing, type Provenance, provenance, warningsOf } from './effective.js';
import { readEnvironment } from './environment.js';
import { type FileSource, readFileSource } from './file.js';
import { judge } from './judge.js';
import { fileOption, flags } from './options.js';
import { withoutCredentials } from './redact.js';
import { type Config, configSchema } from './schema.js';
import { emptyTree, merged, type Setting, type Source, sourceOfSettings } from './source.js';

export { printConfig } from './print.js';

/** Where the configuration comes from; nothing here touches the process itself. */
export interface Sources {
  /** By flag name without dashes, as `parseArguments` gives them; among them `config`, the path of the file. */
  readonly flags: ReadonlyMap<string, string>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The text of a file; throws errors with a `code` such as ENOENT. */
  readonly readFile: (path: string) => string;
  /** Whether it is an error to have no upstream (the default); if not, `config.upstream` is then empty. */
  readonly requireUpstream?: boolean;
}

/**
 * The frozen configuration, or all that is wrong with it. `origins`, by key (`limits.drain`, `routes[0].guard`), is
 * `default`, `environment IFMATCH_X`, `flag --x` or `x.yaml:3:5`; `secrets` are the keys whose values are never shown.
 * `warnings` are what is allowed but hardly meant. Errors and warnings are lines: place, what is wrong, what is right.
 */
export type LoadResult =
  | (Provenance & { readonly kind: 'ok'; readonly config: Config; readonly warnings: readonly string[] })
  | { readonly kind: 'invalid'; readonly errors: readonly string[] };

/** The file that the flags or the environment name; `wrong` where it can not be read. */
type NamedFile =
  | { readonly kind: 'none' }
  | { readonly kind: 'read'; readonly source: FileSource }
  | { readonly kind: 'wrong'; readonly line: string };

const readErrors: ReadonlyMap<string, string> = new Map([
  ['ENOENT', 'no such file'],
  ['EACCES', 'not permitted'],
  ['EISDIR', 'it is a directory'],
]);

/**
 * Reads and checks the whole configuration: flags over the environment over the file over the defaults. Every source is
 * judged alone first, so that a mistake is reported even where a stronger source hides it. Never throws for what an
 * operator did.
 */
export function loadConfig(sources: Sources): LoadResult {
  const file = namedFile(sources);
  const rising: Source[] = [readEnvironment(sources.env), readFlags(sources.flags)];
  if (file.kind === 'read') rising.unshift(file.source);
  const tree = rising.reduce((below, source) => merged(below, source.tree), emptyTree());
  const isKnown = file.kind === 'none' || (file.kind === 'read' && file.source.isWhole);
  const errors = [
    ...(file.kind === 'wrong' ? [file.line] : []),
    ...rising.flatMap(judge),
    ...(isKnown ? missing(tree, rising, sources.requireUpstream ?? true) : []),
  ];
  if (errors.length > 0) return { kind: 'invalid', errors };
  const config: Config = configSchema.parse(tree);
  return {
    kind: 'ok',
    config: deepFreeze(config),
    ...provenance(tree, rising),
    warnings: warningsOf(config, rising),
  };
}

function namedFile({ flags: given, env, readFile }: Sources): NamedFile {
  const byFlag = given.get(fileOption.flag.name);
  const path = byFlag ?? env[fileOption.environment];
  const label = byFlag === undefined ? fileOption.environment : `--${fileOption.flag.name}`;
  if (path === undefined) return { kind: 'none' };
  if (path === '') return { kind: 'wrong', line: `${label}: is empty; give the path of a YAML file` };
  try {
    return { kind: 'read', source: readFileSource(path, readFile(path), env) };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
    if (code === undefined) throw error;
    const reason = readErrors.get(code) ?? code;
    return {
      kind: 'wrong',
      line: `${label}: ${withoutCredentials(path)} can not be read (${reason}); give the path of a YAML file`,
    };
  }
}

function readFlags(given: ReadonlyMap<string, string>): Source {
  const settings = [...given].flatMap(([name, text]): Setting[] => {
    const option = flags.get(name)?.option;
    return option === undefined ? [] : [{ option, text, name: `--${name}`, origin: `flag --${name}` }];
  });
  return sourceOfSettings(settings, []);
}

function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const inner of Object.values(value)) deepFreeze(inner);
  return Object.freeze(value);
}

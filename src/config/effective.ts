import { patternNames } from './names.js';
import { dotted, type Option, options } from './options.js';
import type { Config } from './schema.js';
import { type Path, type Source, type Tree, valueAt } from './source.js';
import { idleStoreKeys, storeFaults } from './store-faults.js';

/** Where each value of a configuration comes from, and which may not be shown; by key, as `dotted` writes it. */
export interface Provenance {
  readonly origins: ReadonlyMap<string, string>;
  readonly secrets: ReadonlySet<string>;
}

/** The provenance of every option, and of every key that a route overrides. `rising`: the strongest source is last. */
export function provenance(tree: Tree, rising: readonly Source[]): Provenance {
  const origins = new Map<string, string>();
  const secrets = new Set<string>();
  const note = (path: Path, option: Option | undefined) => {
    const source = strongest(path, rising);
    origins.set(dotted(path), source?.origin(path) ?? 'default');
    const isSecret = option?.traits.secret || (source?.variables(path).length ?? 0) > 0;
    if (source !== undefined && isSecret) secrets.add(dotted(path));
  };
  for (const option of options) {
    if (option.key !== 'routes') note(option.path, option);
  }
  for (const index of routesOf(tree).keys()) {
    note(['routes', index, 'path'], undefined);
    for (const option of options) {
      const path = ['routes', index, ...option.path.slice(1)];
      if (option.path[0] === 'policy' && valueAt(tree, path) !== undefined) note(path, option);
    }
  }
  return { origins, secrets };
}

/** What no source gives although it must be given, or gives without what belongs to it. */
export function missing(tree: Tree, rising: readonly Source[], requireUpstream: boolean): string[] {
  const lines: string[] = [];
  if (requireUpstream && isUnset(tree, ['upstream'])) {
    lines.push('upstream: required: give --upstream URL, IFMATCH_UPSTREAM or upstream: in the file');
  }
  for (const section of ['tls', 'upstreamTls']) {
    for (const [one, other] of [
      ['cert', 'key'],
      ['key', 'cert'],
    ] as const) {
      if (isUnset(tree, [section, one]) || !isUnset(tree, [section, other])) continue;
      const path = [section, one];
      lines.push(`${labelOf(path, rising)}: needs ${section}.${other} beside it; set both, or neither`);
    }
  }
  for (const { path, what } of storeFaults(tree)) lines.push(`${labelOf(path, rising)}: ${what}`);
  return lines;
}

/** What is allowed but hardly meant, one line each. */
export function warningsOf(config: Config, rising: readonly Source[]): string[] {
  const lines: string[] = [];
  const warn = (path: Path, what: string) => {
    lines.push(`${labelOf(path, rising)}: ${what}`);
  };
  if (config.limits.hashBody > config.limits.holdTotal) {
    warn(['limits', 'hashBody'], 'is above limits.holdTotal, so that the longest bodies never get an ETag; write less');
  }
  if (config.upstream.startsWith('http:') && Object.values(config.upstreamTls).some(Boolean)) {
    warn(['upstreamTls'], 'has no effect, because the upstream is not an https URL; leave it out, or write https');
  }
  for (const { path, what } of idleStoreKeys(config)) warn(path, what);
  for (const [index, pattern] of config.policy.invalidates.entries()) {
    if (patternNames(pattern).length === 0) continue;
    warn(
      ['policy', 'invalidates', index],
      'has a :name or *, which stands for nothing outside a route; set it in routes',
    );
  }
  return lines;
}

/** What a message on the value at this path begins with: its place, or its key where nobody gave it. */
function labelOf(path: Path, rising: readonly Source[]): string {
  return strongest(path, rising)?.locate(path, 'value').label ?? dotted(path);
}

function strongest(path: Path, rising: readonly Source[]): Source | undefined {
  return rising.findLast(({ tree }) => valueAt(tree, path) !== undefined);
}

function isUnset(tree: Tree, path: Path): boolean {
  return (valueAt(tree, path) ?? null) === null;
}

function routesOf(tree: Tree): readonly unknown[] {
  return Array.isArray(tree.routes) ? tree.routes : [];
}

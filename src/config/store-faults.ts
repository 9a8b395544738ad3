import type { Config } from './schema.js';
import { type Path, type Tree, valueAt } from './source.js';
import { namespaceForm, secretForm, storeSchema } from './store-schema.js';
import { readStoreUrl, type WrittenUrl } from './store-url.js';

/** A value, and what is wrong with it or hardly meant: all but its place. */
export interface Fault {
  readonly path: Path;
  readonly what: string;
}

type WrittenRedis = Extract<WrittenUrl, { kind: 'redis' }>;

const urlPath = ['store', 'url'];

/** The keys that a shared store can not do without, and how to give them. */
const required = [
  { key: 'namespace', form: `${namespaceForm}, the same in all replicas and another for each API` },
  { key: 'secret', form: `${secretForm}, the same in all replicas` },
] as const;

/** What the keys of `store` lack of one another; each by itself is judged already. */
export function storeFaults(tree: Tree): Fault[] {
  const text = valueAt(tree, urlPath);
  const url = typeof text === 'string' ? readStoreUrl(text) : undefined;
  if (url?.kind !== 'value' || url.value.kind !== 'redis') return [];
  const topology = valueAt(tree, ['store', 'topology']) ?? 'single';
  const misfits = misfitsOf(url.value, topology).map((what): Fault => ({ path: urlPath, what }));
  return [...misfits, ...required.flatMap(({ key, form }) => lack(tree, key, form))];
}

/** What is set for a shared store where there is none. */
export function idleStoreKeys({ store }: Config): Fault[] {
  if (store.url.kind !== 'memory') return [];
  const initial = storeSchema.parse({});
  const keys = ['topology', 'namespace', 'secret', 'ttl', 'down'] as const;
  return keys
    .filter((key) => store[key] !== initial[key])
    .map((key) => ({
      path: ['store', key],
      what: 'has no effect, because store.url is memory; leave it out, or give the URL of a shared store',
    }));
}

/** Parts of the URL that do not go with the topology. */
function misfitsOf({ hosts, database, master }: WrittenRedis, topology: unknown): string[] {
  const misfits: string[] = [];
  if (hosts.length > 1 && topology === 'single') {
    misfits.push('has several hosts, but leads to a single server; write one, or set store.topology');
  }
  if (database !== 0 && topology === 'cluster') {
    misfits.push('has a database, but a cluster has only number 0; leave it out');
  }
  if (master !== undefined && (topology === 'single' || topology === 'cluster')) {
    misfits.push('has the name of a master, which only sentinels know; leave it out, or set store.topology: sentinel');
  }
  return misfits;
}

function lack(tree: Tree, key: string, form: string): Fault[] {
  const path = ['store', key];
  const value = valueAt(tree, path);
  if (value === '') return [{ path, what: `is empty, but a shared store needs it; write ${form}` }];
  return value === undefined ? [{ path: urlPath, what: `needs store.${key} beside it; write ${form}` }] : [];
}

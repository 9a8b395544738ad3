import { isIPv6 } from 'node:net';
import { readPort, unbracketed } from './addresses.js';
import { type Reading, understood, wrong } from './reading.js';
import { hidden } from './redact.js';

export type Topology = 'single' | 'sentinel' | 'cluster';

/** A server of a shared store; IPv6 addresses are without brackets. */
export interface StoreHost {
  readonly host: string;
  readonly port: number;
}

/**
 * Where versions and leases are kept. `hosts` is never empty; with sentinels it lists these, and `master` is their name
 * for what they watch. A user name comes with a password only.
 */
export type StoreUrl =
  | { readonly kind: 'memory' }
  | {
      readonly kind: 'redis';
      readonly tls: boolean;
      readonly hosts: readonly StoreHost[];
      readonly username?: string;
      readonly password?: string;
      readonly database: number;
      readonly master: string;
    };

type Redis = Extract<StoreUrl, { kind: 'redis' }>;
type User = Pick<Redis, 'username' | 'password'>;

/** As it was written: what a URL leaves out depends on the topology, which may come from another source. */
export type WrittenUrl =
  | { readonly kind: 'memory' }
  | (Omit<Redis, 'hosts' | 'master'> & {
      readonly hosts: readonly WrittenHost[];
      readonly master: string | undefined;
    });

interface WrittenHost {
  readonly host: string;
  readonly port: number | undefined;
}

/** What messages show of the right form; never an example with a password, which would be taken for the real one. */
export const storeForm = 'memory, redis://127.0.0.1:6379/0 or rediss://redis.example.com:6380';

const defaultMaster = 'mymaster';

/** The highest number that the server's own configuration can give to `databases`, less one. */
const highestDatabase = 2 ** 31 - 2;

/** What sentinels allow in the name of a master. */
const masterName = /^[A-Za-z0-9._-]+$/;

/**
 * Reads `memory` or `redis://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…][/DB][?master=NAME]`, with `rediss` for TLS. User
 * and password are percent-decoded.
 */
export function readStoreUrl(text: string): Reading<WrittenUrl> {
  if (text === 'memory') return understood({ kind: 'memory' });
  const [start, secure] = /^redis(s?):\/\//i.exec(text) ?? [];
  if (start === undefined) return wrong(`is not a store; write ${storeForm}`);
  const rest = text.slice(start.length);
  const fault = characterFault(rest);
  if (fault !== undefined) return wrong(fault);
  const [beforeQuery, query] = split(rest, '?');
  const [authority, path] = split(beforeQuery, '/');
  const at = authority.indexOf('@');
  const user = at === -1 ? understood({}) : readUser(authority.slice(0, at));
  if (user.kind === 'wrong') return user;
  const hosts = readHosts(authority.slice(at + 1));
  if (hosts.kind === 'wrong') return hosts;
  const database = readDatabase(path ?? '');
  if (database.kind === 'wrong') return database;
  const master = query === undefined ? understood(undefined) : readMaster(query);
  if (master.kind === 'wrong') return master;
  return understood({
    kind: 'redis',
    tls: secure !== '',
    hosts: hosts.value,
    ...user.value,
    database: database.value,
    master: master.value,
  });
}

/** The URL with the ports and the master that it leaves out. */
export function completeUrl(written: WrittenUrl, topology: Topology): StoreUrl {
  if (written.kind === 'memory') return written;
  const usual = topology === 'sentinel' ? 26_379 : 6379;
  return {
    ...written,
    hosts: written.hosts.map(({ host, port }) => ({ host, port: port ?? usual })),
    master: written.master ?? defaultMaster,
  };
}

/** The form that `readStoreUrl` reads, with what stands before the @ hidden. */
export function formatStoreUrl(url: StoreUrl): string {
  if (url.kind === 'memory') return url.kind;
  const user = url.password === undefined ? '' : `${hidden}@`;
  const hosts = url.hosts.map(({ host, port }) => `${isIPv6(host) ? `[${host}]` : host}:${port}`);
  const master = url.master === defaultMaster ? '' : `?master=${url.master}`;
  return `${url.tls ? 'rediss' : 'redis'}://${user}${hosts.join(',')}/${url.database}${master}`;
}

/** What is wrong with the characters after the scheme: none of them may end the password before its end. */
function characterFault(rest: string): string | undefined {
  const end = rest.search(/[/?#]/);
  if (end !== -1 && rest.includes('@', end)) {
    return 'has a /, ? or # in its user or password; write %2F, %3F or %23 there';
  }
  if (rest.indexOf('@') !== rest.lastIndexOf('@')) {
    return 'has more than one @; write %40 in the user or password, and both only once, before the first host';
  }
  if (/[\s\\]/.test(rest)) return 'has a space or a backslash; write those percent-encoded';
  if (rest.includes('#')) return 'has a fragment; leave out the # and what follows it';
  return undefined;
}

function readUser(text: string): Reading<User> {
  const [name, secret] = split(text, ':');
  if (!secret) {
    return wrong('has no password before the @; write USER:PASSWORD@, :PASSWORD@ or only the host');
  }
  const username = decoded(name);
  const password = decoded(secret);
  if (username === undefined || password === undefined) {
    return wrong('has a % in its user or password that begins no percent-encoded UTF-8; write %25 for a %');
  }
  return understood({ ...(username !== '' && { username }), password });
}

function readHosts(text: string): Reading<readonly WrittenHost[]> {
  const hosts: WrittenHost[] = [];
  for (const part of text.split(',')) {
    const host = readStoreHost(part);
    if (host.kind === 'wrong') return host;
    hosts.push(host.value);
  }
  return understood(hosts);
}

function readStoreHost(text: string): Reading<WrittenHost> {
  if (isIPv6(text)) return wrong('has an IPv6 address without brackets; write it as in redis://[::1]:6379');
  const [, written = '', digits] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(text) ?? [];
  const host = unbracketed(written);
  if (host === undefined) return wrong(`has no valid host; write ${storeForm}`);
  const port = digits === undefined ? undefined : readPort(digits);
  if (digits !== undefined && !port) return wrong('has no valid port; write one from 1 to 65535');
  return understood({ host, port });
}

function readDatabase(text: string): Reading<number> {
  const number = text === '' ? 0 : Number(text);
  return /^[0-9]{0,10}$/.test(text) && number <= highestDatabase
    ? understood(number)
    : wrong('has no valid database; write a number after the hosts, as in redis://127.0.0.1:6379/0');
}

function readMaster(query: string): Reading<string> {
  const [key, name] = split(query, '=');
  if (key !== 'master' || query.includes('&')) {
    return wrong('has a query that is not only the name of a master; write ?master=NAME, or leave it out');
  }
  return name !== undefined && masterName.test(name)
    ? understood(name)
    : wrong('has no valid name of a master; write letters, digits, ., _ and -, as in ?master=mymaster');
}

/** What is before and after the first separator; undefined after it where there is none. */
function split(text: string, separator: string): [before: string, after: string | undefined] {
  const index = text.indexOf(separator);
  return index === -1 ? [text, undefined] : [text.slice(0, index), text.slice(index + separator.length)];
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

import * as z from 'zod';
import { duration, oneOf, readBy, text } from './kinds.js';
import { option, section } from './option.js';
import { type Reading, understood, wrong } from './reading.js';
import { completeUrl, formatStoreUrl, readStoreUrl, storeForm } from './store-url.js';

const longestNamespace = 64;

/** Below this a secret could be found by trying, and with it who read what. */
const shortestSecret = 16;

/** Leases and the doubt after a write whose outcome is unknown end with the entry that holds them. */
const ttlBounds = {
  min: 60_000,
  why: 'shorter ones forget what is still being decided',
  max: Number.MAX_SAFE_INTEGER,
};

export const namespaceForm = 'a name such as docs-api';
export const secretForm = `at least ${shortestSecret} characters`;

/** The name becomes a part of key names, in which `:` separates and `{}` choose the place in a cluster. */
function readNamespace(name: string): Reading<string> {
  if (!/^[A-Za-z0-9._-]*$/.test(name)) {
    return wrong('has a character that key names can not carry; write letters, digits, ., _ and -');
  }
  return name.length <= longestNamespace
    ? understood(name)
    : wrong(`is too long; write at most ${longestNamespace} characters`);
}

function readSecret(secret: string): Reading<string> {
  return secret === '' || [...secret].length >= shortestSecret
    ? understood(secret)
    : wrong(`is too short to be a secret; write ${secretForm}`);
}

/** A text that may be empty, which stands for none. */
const emptyOr = (form: string) => z.string({ error: `is not a text; write ${form}` });

const shape = {
  url: option(
    text(storeForm, readStoreUrl, { format: formatStoreUrl }),
    'memory',
    'Where versions and leases are kept: memory, redis://… or rediss://….',
    { flag: { name: 'store', value: 'URL' }, holdsSecret: true },
  ),
  topology: option(oneOf('single', 'sentinel', 'cluster'), 'single', 'What the URL of a shared store leads to.'),
  namespace: option(
    readBy(emptyOr(namespaceForm).meta({ pattern: `^[A-Za-z0-9._-]{0,${longestNamespace}}$` }), readNamespace),
    '',
    'Prefix of all keys in a shared store, required there: two APIs must never share keys.',
  ),
  secret: option(
    readBy(emptyOr(`${secretForm}, in quotes`), readSecret),
    '',
    'Keys the identity hash in a shared store, required there; the same in all replicas.',
    { secret: true },
  ),
  ttl: option(duration(ttlBounds), '24h', 'How long a version is kept in a shared store.'),
  down: option(
    oneOf('refuse', 'forward'),
    'refuse',
    'What becomes of guarded writes while the shared store is out of reach.',
  ),
};

/** Where versions and leases are kept: the section `store`. What its keys ask of one another is in store-faults.ts. */
export const storeSchema = section(shape).transform(({ url, ...rest }) => ({
  url: completeUrl(url, rest.topology),
  ...rest,
}));

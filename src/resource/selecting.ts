import { hash, randomBytes } from 'node:crypto';
import { copied } from '../http/copied.js';
import { fieldLine, listMembers, type RawHeaders } from '../http/fields.js';
import type { Selecting } from '../http/selecting.js';

/** Fields of content negotiation that can be sent again on a probe (RFC 9110 12.5). */
const negotiated: readonly string[] = ['accept', 'accept-charset', 'accept-encoding', 'accept-language'];
const negotiatedSet: ReadonlySet<string> = new Set(negotiated);

/** Names and values of these fields that are kept with each observation, in characters: far more than browsers send. */
const longestKept = 1024;

/** Whether a field, named in lower case, is one of those. */
export function isNegotiated(name: string): boolean {
  return negotiatedSet.has(name);
}
/** 22 characters of base64url are 132 bits. */
const digestLength = 22;

/**
 * What selected the representation that a request was answered with (I2, W4).
 *
 * @param raw fields of the request
 * @param vary Vary of the answer, its lines joined; undefined where it has none
 * @returns the negotiation fields, where they are not longer than 1024 characters in all, and a digest that is equal for
 *   two requests exactly when these four fields and all that Vary names have the same values, however long; with
 *   `Vary: *` it equals no other (RFC 9110 12.5.5)
 */
export function selectingOf(raw: RawHeaders, vary: string | undefined): Selecting {
  return selectingWith(raw, digestOf(raw, varyNames(vary)));
}

/**
 * Whether a request selects the same representation as the one that `selecting` was made of (W4).
 *
 * @param raw fields of the request that is being decided
 * @param selecting of an observation
 */
export function selectsSame(raw: RawHeaders, selecting: Selecting): boolean {
  return selectionTest(raw)(selecting);
}

/** The same for any number of observations and one request. */
export function selectionTest(raw: RawHeaders): (selecting: Selecting) => boolean {
  let names: string | undefined;
  let digest = '';
  return (selecting) => {
    const colon = selecting.digest.indexOf(':');
    const asked = colon === -1 ? '' : selecting.digest.slice(colon + 1);
    if (asked !== names) {
      names = asked;
      digest = digestOf(raw, asked);
    }
    return digest === selecting.digest;
  };
}

/**
 * Makes a `selectingOf` that returns the same frozen object for the same digest while it is remembered: most of the
 * observations in memory share a few of them.
 *
 * @param max how many are remembered
 */
export function createSelector(max: number): (raw: RawHeaders, vary: string | undefined) => Selecting {
  const known = new Map<string, Selecting>();
  return (raw, vary) => {
    const names = varyNames(vary);
    const digest = digestOf(raw, names);
    if (names === '*') return selectingWith(raw, digest);
    const remembered = known.get(digest);
    if (remembered !== undefined) return remembered;
    const selecting = selectingWith(raw, digest);
    const [oldest] = known.keys();
    if (known.size >= max && oldest !== undefined) known.delete(oldest);
    known.set(digest, selecting);
    return selecting;
  };
}

function selectingWith(raw: RawHeaders, digest: string): Selecting {
  const fields = negotiatedFields(raw);
  const length = fields.reduce((sum, text) => sum + text.length, 0);
  return Object.freeze(length > longestKept ? { fields: noFields, isCut: true, digest } : { fields, digest });
}

const noFields: readonly string[] = Object.freeze([]);

function negotiatedFields(raw: RawHeaders): readonly string[] {
  const fields: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (negotiatedSet.has(name.toLowerCase())) fields.push(name, raw[index + 1] ?? '');
  }
  return Object.freeze(fields);
}

/** The further names in Vary, in lower case, sorted, each once; `*` alone where it is among them. */
function varyNames(vary: string | undefined): string {
  if (vary === undefined) return '';
  const names = new Set(listMembers(vary.toLowerCase()));
  if (names.has('*')) return '*';
  return [...names]
    .filter((name) => !negotiatedSet.has(name))
    .sort()
    .join();
}

/** `hash` or `hash:name,name`. */
function digestOf(raw: RawHeaders, names: string): string {
  if (names === '*') return `${randomBytes(16).toString('base64url')}:*`;
  return names === '' ? digestOfNegotiated(raw) : `${hashOf(selectingText(raw, names))}:${names}`;
}

/** The values of the fields of negotiation, in their order, and the digest of them. */
interface Negotiated {
  readonly lines: readonly (string | undefined)[];
  readonly digest: string;
}

/** Clients of one kind send the same few fields of negotiation: what is known of them, by the text that is hashed. */
const digests = new Map<string, Negotiated>();
const mostDigests = 1000;

/** That of the request before: often the same. */
let latest: Negotiated | undefined;

/** Without what Vary names besides, which may be a credential: its text is never kept (I2). */
function digestOfNegotiated(raw: RawHeaders): string {
  const before = latest;
  const isSame =
    before !== undefined && negotiated.every((name, index) => fieldLine(raw, name) === before.lines[index]);
  if (isSame) return before.digest;
  const text = selectingText(raw, '');
  if (text.length > longestKept) return hashOf(text);
  latest = digests.get(text) ?? remember(text, raw);
  return latest.digest;
}

function remember(text: string, raw: RawHeaders): Negotiated {
  if (digests.size >= mostDigests) digests.clear();
  const lines = negotiated.map((name) => fieldLine(raw, name)).map((line) => line && copied(line));
  const known = { lines, digest: copied(hashOf(text)) };
  digests.set(copied(text), known);
  return known;
}

function hashOf(text: string): string {
  return hash('sha256', text, 'base64url').slice(0, digestLength);
}

/** An absent field and one without a value differ (RFC 9111 4.1); NUL occurs in neither. */
function selectingText(raw: RawHeaders, names: string): string {
  let text = '';
  for (const name of names === '' ? negotiated : [...negotiated, ...names.split(',')]) {
    const line = fieldLine(raw, name);
    text += line === undefined ? `${name}\0` : `${name}:${line}\0`;
  }
  return text;
}

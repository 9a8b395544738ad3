/**
 * Header fields as flat lists of name, value, name, value … exactly as `IncomingMessage.rawHeaders` has them: spelling,
 * order and duplicates survive. Field names compare without case (RFC 9110 5.1).
 */
export type RawHeaders = readonly string[];

/**
 * Names of fields, to be looked up in any case. Most of a message's fields are none of the names asked for, and their
 * length alone tells.
 */
export class FieldNames {
  readonly #names: ReadonlySet<string>;
  /** Bit n: there is a name of n characters; the last bit stands for all that are longer. */
  #lengths = 0;

  /** @param names in lower case */
  constructor(names: Iterable<string>) {
    this.#names = new Set(names);
    for (const name of this.#names) this.#lengths |= lengthBit(name);
  }

  has(name: string): boolean {
    return (this.#lengths & lengthBit(name)) !== 0 && this.#names.has(name.toLowerCase());
  }

  /** Whether a message has any of them. */
  anyIn(raw: RawHeaders): boolean {
    for (let index = 0; index < raw.length; index += 2) {
      if (this.has(raw[index] as string)) return true;
    }
    return false;
  }
}

function lengthBit({ length }: string): number {
  return length < 31 ? 1 << length : 1 << 31;
}

/** Fields that concern one connection only, whether `Connection` nominates them or not (RFC 9110 7.6.1). */
const ofTheConnection = new FieldNames([
  ...['connection', 'keep-alive', 'proxy-connection', 'te', 'transfer-encoding', 'upgrade'],
]);

/** What Connection nearly always says: nothing about other fields than those that are dropped anyway. */
const nominatesNothing = /^(?:keep-alive|upgrade)$/i;

/**
 * Fields that `Connection` cannot nominate away. A client that could strip them would make the gate decide on one
 * request and the upstream see another: conditions (W1), identity and routing (I2, I5), framing, ranges (R2), caching
 * (V10) and, in answers, the validators that observations are made of.
 */
const protectedFields: ReadonlySet<string> = new Set([
  'age',
  'authorization',
  'cache-control',
  'cookie',
  'date',
  'destination',
  'etag',
  'expect',
  'forwarded',
  'host',
  'idempotency-key',
  'if',
  'last-modified',
  'location',
  'origin',
  'pragma',
  'prefer',
  'proxy-authenticate',
  'proxy-authorization',
  'range',
  'set-cookie',
  'signature',
  'signature-input',
  'vary',
  'via',
  'www-authenticate',
  'x-real-ip',
  'x-request-id',
]);

/** Fields that make sense before a body only (RFC 9110 6.5.1). `endToEnd` drops those of the connection besides. */
const neverTrailers = new FieldNames([
  ...['content-length', 'content-type', 'content-encoding', 'content-range', 'host', 'trailer'],
  ...['etag', 'last-modified', 'age', 'cache-control', 'date', 'expires', 'location', 'pragma', 'retry-after', 'vary'],
  ...['proxy-authenticate', 'set-cookie', 'www-authenticate', 'x-request-id', 'ifmatch-report'],
]);

/** Families of protected fields, by how their names begin. */
const protectedPrefixes: readonly string[] = ['accept', 'access-control-', 'content-', 'if-', 'x-forwarded-'];

/**
 * All values of a field, in order.
 *
 * @param raw flat list of fields
 * @param name field name in lower case
 */
export function fieldValues(raw: RawHeaders, name: string): string[] {
  const values: string[] = [];
  for (let index = nextNamed(raw, name, 0); index !== -1; index = nextNamed(raw, name, index + 2)) {
    values.push(raw[index + 1] ?? '');
  }
  return values;
}

/**
 * The values of a field's lines joined with ", ", which means the same for every list field (RFC 9110 5.3).
 *
 * @param raw flat list of fields
 * @param name field name in lower case
 * @returns undefined where there is no such field; an empty string where there is one without a value
 */
export function fieldLine(raw: RawHeaders, name: string): string | undefined {
  const first = nextNamed(raw, name, 0);
  if (first === -1) return undefined;
  return nextNamed(raw, name, first + 2) === -1 ? raw[first + 1] : fieldValues(raw, name).join(', ');
}

/**
 * The first value of a field, or undefined where there is none.
 *
 * @param raw flat list of fields
 * @param name field name in lower case
 */
export function firstValue(raw: RawHeaders, name: string): string | undefined {
  const first = nextNamed(raw, name, 0);
  return first === -1 ? undefined : raw[first + 1];
}

/**
 * Whether a field is there, with or without a value.
 *
 * @param raw flat list of fields
 * @param name field name in lower case
 */
export function hasField(raw: RawHeaders, name: string): boolean {
  return nextNamed(raw, name, 0) !== -1;
}

/**
 * Index of the last field of a name, or -1; its value stands behind it.
 *
 * @param raw flat list of fields
 * @param name field name in lower case
 */
export function lastNamed(raw: RawHeaders, name: string): number {
  let last = -1;
  for (let index = nextNamed(raw, name, 0); index !== -1; index = nextNamed(raw, name, index + 2)) last = index;
  return last;
}

/**
 * A copy without the named fields; the others keep spelling and order.
 *
 * @param raw flat list of fields
 */
export function withoutFields(raw: RawHeaders, names: FieldNames): string[] {
  return without(raw, names, nothing);
}

/**
 * A copy without the fields that concern one connection only (RFC 9110 7.6.1): Connection and what it nominates,
 * Keep-Alive, Proxy-Connection, TE, Transfer-Encoding, Upgrade. What Connection nominates stays where it is a field
 * that decisions rest on (conditions, Host, Content-*, credentials, ranges, validators …), and so does Trailer, which
 * announces what is passed on behind the body.
 *
 * @param raw flat list of fields as they came from the client or the upstream
 * @param besides further fields to leave out
 */
export function endToEnd(raw: RawHeaders, besides = nothing): string[] {
  const nominated = nominatedFields(raw);
  const rest = without(raw, ofTheConnection, besides);
  return nominated === undefined ? rest : withoutFields(rest, nominated);
}

/** What Connection takes along, or undefined where that is nothing. */
function nominatedFields(raw: RawHeaders): FieldNames | undefined {
  const lines = fieldValues(raw, 'connection');
  if (lines.every((line) => nominatesNothing.test(line))) return undefined;
  const names = lines.flatMap(listMembers).map((member) => member.toLowerCase());
  return new FieldNames(names.filter((name) => !isProtected(name) && name !== 'trailer'));
}

const nothing = new FieldNames([]);

function without(raw: RawHeaders, names: FieldNames, besides: FieldNames): string[] {
  const kept: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (!names.has(name) && !besides.has(name)) kept.push(name, raw[index + 1] ?? '');
  }
  return kept;
}

/**
 * The trailers of an answer that are passed on: those whose definition could allow that (RFC 9110 6.5.1), and none that
 * would say something else about framing, connection, content or version than the head has said.
 *
 * @param raw flat list of trailers as they came
 */
export function passableTrailers(raw: RawHeaders): RawHeaders {
  return raw.length === 0 ? raw : endToEnd(raw, neverTrailers);
}

/** What could make another request of one, where a server merges trailers into the head: overrides (I4), other paths. */
const makesAnother =
  /^(?:x-(?:http-method|method-override|original-url|rewrite-url)|depth|overwrite|lock-token|timeout)/;

/**
 * The trailers of a request that are passed on: as of an answer, and none that decisions rest on, because the gate has
 * decided by what was in the head.
 *
 * @param raw flat list of trailers as they came
 */
export function passableRequestTrailers(raw: RawHeaders): RawHeaders {
  if (raw.length === 0) return raw;
  const kept: string[] = [];
  const passable = passableTrailers(raw);
  for (let index = 0; index + 1 < passable.length; index += 2) {
    const name = passable[index] ?? '';
    // Some servers know no other punctuation in names than this.
    const plain = name.toLowerCase().replace(/[^a-z0-9]/g, '-');
    const decides = isProtected(plain) || neverTrailers.has(plain) || ofTheConnection.has(plain);
    if (!decides && !makesAnother.test(plain)) kept.push(name, passable[index + 1] ?? '');
  }
  return kept;
}

/**
 * Members of a comma-separated list (RFC 9110 5.6.1), trimmed, empty ones left out. Commas inside quoted strings are
 * data, and a backslash inside them escapes the next character (RFC 9110 5.6.4); an unclosed string runs to the end.
 * Lists of entity-tags have no escapes: `scanEntityTags` reads those.
 *
 * @param value a field value, or several joined with ", "
 */
export function listMembers(value: string): string[] {
  const members: string[] = [];
  let start = 0;
  let quoted = false;
  for (let index = 0; index <= value.length; index++) {
    const character = value[index];
    if (character === '\\' && quoted) index++;
    else if (character === '"') quoted = !quoted;
    if (index >= value.length || (character === ',' && !quoted)) {
      const member = value.slice(start, index).trim();
      if (member !== '') members.push(member);
      start = index + 1;
    }
  }
  return members;
}

/** Index of the first field of that name from `start` on, or -1. */
function nextNamed(raw: RawHeaders, name: string, start: number): number {
  for (let index = start; index + 1 < raw.length; index += 2) {
    const candidate = raw[index] as string;
    if (candidate.length === name.length && (candidate === name || candidate.toLowerCase() === name)) return index;
  }
  return -1;
}

function isProtected(name: string): boolean {
  return protectedFields.has(name) || protectedPrefixes.some((prefix) => name.startsWith(prefix));
}

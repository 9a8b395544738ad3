/**
 * Header fields as flat lists of name, value, name, value … exactly as `IncomingMessage.rawHeaders` has them: spelling,
 * order and duplicates survive. Field names compare without case (RFC 9110 5.1).
 */
export type RawHeaders = readonly string[];

/** Fields that concern one connection only, whether `Connection` nominates them or not (RFC 9110 7.6.1). */
const hopByHop: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-connection',
  'te',
  'transfer-encoding',
  'upgrade',
]);

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
const neverTrailers: ReadonlySet<string> = new Set([
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
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (isNamed(raw[index], name)) values.push(raw[index + 1] ?? '');
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
  const values = fieldValues(raw, name);
  return values.length === 0 ? undefined : values.join(', ');
}

/**
 * The first value of a field, or undefined where there is none.
 *
 * @param raw flat list of fields
 * @param name field name in lower case
 */
export function firstValue(raw: RawHeaders, name: string): string | undefined {
  for (let index = 0; index + 1 < raw.length; index += 2) {
    if (isNamed(raw[index], name)) return raw[index + 1];
  }
  return undefined;
}

/**
 * Whether a field is there, with or without a value.
 *
 * @param raw flat list of fields
 * @param name field name in lower case
 */
export function hasField(raw: RawHeaders, name: string): boolean {
  return firstValue(raw, name) !== undefined;
}

/**
 * A copy without the named fields; the others keep spelling and order.
 *
 * @param raw flat list of fields
 * @param names field names in lower case
 */
export function withoutFields(raw: RawHeaders, names: ReadonlySet<string>): string[] {
  const kept: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] ?? '';
    if (!names.has(name.toLowerCase())) kept.push(name, raw[index + 1] ?? '');
  }
  return kept;
}

/**
 * A copy without the fields that concern one connection only (RFC 9110 7.6.1): Connection and what it nominates,
 * Keep-Alive, Proxy-Connection, TE, Transfer-Encoding, Upgrade. What Connection nominates stays where it is a field
 * that decisions rest on (conditions, Host, Content-*, credentials, ranges, validators …). Trailer announces what
 * follows a body: it stays in responses, whose trailers are passed on, and goes from requests, whose are not.
 *
 * @param raw flat list of fields as they came from the client or the upstream
 * @param direction whose head it is
 */
export function endToEnd(raw: RawHeaders, direction: 'request' | 'response'): string[] {
  const dropped = new Set(hopByHop);
  if (direction === 'request') dropped.add('trailer');
  for (const value of fieldValues(raw, 'connection')) {
    for (const member of listMembers(value)) {
      const name = member.toLowerCase();
      if (!isProtected(name) && name !== 'trailer') dropped.add(name);
    }
  }
  return withoutFields(raw, dropped);
}

/**
 * The trailers of an answer that are passed on: those whose definition could allow that (RFC 9110 6.5.1), and none that
 * would say something else about framing, connection, content or version than the head has said.
 *
 * @param raw flat list of trailers as they came
 */
export function passableTrailers(raw: RawHeaders): RawHeaders {
  return raw.length === 0 ? raw : withoutFields(endToEnd(raw, 'request'), neverTrailers);
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

function isNamed(candidate: string | undefined, name: string): boolean {
  return candidate !== undefined && candidate.length === name.length && candidate.toLowerCase() === name;
}

function isProtected(name: string): boolean {
  return protectedFields.has(name) || protectedPrefixes.some((prefix) => name.startsWith(prefix));
}

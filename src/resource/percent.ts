/**
 * Percent-encoding (RFC 3986 2.1) over octets. Strings of octets hold one octet per character, as Node gives
 * request-targets: what a client sends as raw bytes and what it sends encoded come out the same.
 */

const unreserved = /[A-Za-z0-9\-._~]/;
const triplet = /^[0-9A-Fa-f]{2}$/;
const notUnreserved = /[^A-Za-z0-9\-._~]/g;
/** All but printable ASCII, and of that the characters that would end or confuse a path: `#`, `%`, `?`. */
const notLiteral = /[^!"$&->@-~]/g;

/**
 * Decodes every percent-encoded octet once. A `%` that begins no triplet stands for itself, as lenient servers take it.
 *
 * @param text part of a URL; characters above U+00FF (which HTTP cannot carry) are taken as their UTF-8 octets
 * @returns string of octets
 */
export function decodeOctets(text: string): string {
  return replaceTriplets(octetsOf(text), (octet) => octet, '%');
}

/**
 * Encodes a string of octets for a path: printable ASCII stays, but `%`, `?` and `#`.
 *
 * @returns ASCII with upper-case triplets; `decodeOctets` gives the argument back
 */
export function encodePath(octets: string): string {
  return octets.replace(notLiteral, encodeOctet);
}

/**
 * Encodes a string of octets for a name or value of a query: only unreserved characters stay.
 *
 * @returns ASCII with upper-case triplets; `decodeOctets` gives the argument back
 */
export function encodeComponent(octets: string): string {
  return octets.replace(notUnreserved, encodeOctet);
}

/**
 * The normal form of percent-encoding (RFC 3986 6.2.2.1, 6.2.2.2): unreserved characters decoded, hexadecimal digits in
 * upper case, octets above 0x7F encoded. A `%` that begins no triplet becomes `%25`, so that nothing that is decoded
 * beside it can make a new triplet.
 *
 * @param text path or query as the client wrote it; characters above U+00FF are taken as their UTF-8 octets
 */
export function normalEncoding(text: string): string {
  const normal = replaceTriplets(
    octetsOf(text),
    (octet) => (unreserved.test(octet) ? octet : encodeOctet(octet)),
    encodeOctet('%'),
  );
  return normal.replace(/[\u0080-\u00ff]/g, encodeOctet);
}

function octetsOf(text: string): string {
  return /[\u0100-\uffff]/.test(text) ? Buffer.from(text, 'utf8').toString('latin1') : text;
}

function replaceTriplets(text: string, replace: (octet: string) => string, lone: string): string {
  if (!text.includes('%')) return text;
  const parts = text.split('%');
  let result = parts[0] ?? '';
  for (const part of parts.slice(1)) {
    const digits = part.slice(0, 2);
    result += triplet.test(digits)
      ? replace(String.fromCharCode(Number.parseInt(digits, 16))) + part.slice(2)
      : lone + part;
  }
  return result;
}

function encodeOctet(octet: string): string {
  return `%${octet.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`;
}

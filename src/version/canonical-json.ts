/** A value as `JSON.parse` gives it. */
type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };

/** Deeper documents are not canonicalised: the recursion must end somewhere. */
const deepest = 512;

/** As many significant digits as a double can need. */
const doubleDigits = 17;

/** Stands before the text of a number that a double cannot hold: a lone surrogate, as no string with a form has it. */
const inexactMark = '\ud800';

/** A number of a valid JSON text, at a given place. */
const numberHere = /-?\d[\d.eE+-]*/y;

/** What a number needs to have to be more than a double can hold: 16 characters, or an exponent. */
const longNumber = /\d[\d.]{15,}|\d[eE]/;

/**
 * RFC 8785 (JCS) form of a JSON text, without the members that `ignore` names (V3). Texts with different values have
 * different forms; whitespace, the order of members and ways to write a string or number do not matter. Of members
 * with the same name the last one counts, as it does for most backends.
 *
 * @param text a JSON text
 * @param ignore JSON Pointers (RFC 6901); one ends at a member or at an array's element, whose position is that in
 *   `text`. What names nothing, or the whole document, leaves nothing out.
 * @returns undefined where there is no such form: invalid JSON, more than 512 levels, a lone surrogate, an integer that
 *   a double would round, another number of more than 17 digits or out of range. None of that matters in what is left
 *   out.
 */
export function canonicalize(text: string, ignore: readonly string[]): string | undefined {
  const value = parse(text);
  if (value === undefined) return undefined;
  const parts: string[] = [];
  return write(value, leftOut(value, ignore), 1, parts) ? parts.join('') : undefined;
}

/**
 * RFC 8785 form of one value in a JSON text, as of a member that is the version (V1, `json:<pointer>`). A number that a
 * double cannot hold counts as it is written, because versions may be times in nanoseconds.
 *
 * @param text a JSON text
 * @param pointer a JSON Pointer (RFC 6901), `''` for the whole document
 * @returns undefined where the value is absent or null, which says that there is no version, or has no such form
 */
export function canonicalValueAt(text: string, pointer: string): string | undefined {
  const root = parse(text);
  const names = parsePointer(pointer);
  if (root === undefined || names === undefined) return undefined;
  const value = names.reduce<Json | undefined>(child, root);
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string' && value.startsWith(inexactMark)) return value.slice(inexactMark.length);
  const parts: string[] = [];
  return write(value, new Map(), 1, parts) ? parts.join('') : undefined;
}

/** Undefined where the text is not JSON. Numbers that would be rounded come as marked strings. */
function parse(text: string): Json | undefined {
  try {
    const value: Json = JSON.parse(text);
    return longNumber.test(text) ? JSON.parse(markRounded(text)) : value;
  } catch {
    return undefined;
  }
}

/** A valid JSON text with a marked string in the place of each number that parsing would round. */
function markRounded(text: string): string {
  let marked = '';
  let copied = 0;
  for (let at = 0; at < text.length; ) {
    numberHere.lastIndex = at;
    const number = text[at] === '"' ? undefined : numberHere.exec(text)?.[0];
    const end = number === undefined ? endOfOther(text, at) : at + number.length;
    if (number !== undefined && !isDouble(number)) {
      marked += `${text.slice(copied, at)}"\\ud800${number}"`;
      copied = end;
    }
    at = end;
  }
  return marked + text.slice(copied);
}

/** Where a string ends that begins at `at`, or whatever else one character is in JSON between numbers. */
function endOfOther(text: string, at: number): number {
  if (text[at] !== '"') return at + 1;
  let end = at + 1;
  while (text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
  return end + 1;
}

/**
 * Whether a number is the same as a double, so that no two different ones get the same form: integers exactly, others
 * as far as the 17 digits go that tell two doubles apart (RFC 8785 3.2.2.3 rounds beyond the 16th or 17th).
 */
function isDouble(number: string): boolean {
  const double = Number(number);
  if (String(double) === number) return true;
  if (!Number.isFinite(double)) return false;
  const written = decimalOf(number);
  const kept = decimalOf(String(double));
  if (written.digits === kept.digits && written.power === kept.power) return true;
  return !Number.isInteger(double) && written.digits.length <= doubleDigits;
}

/** A decimal number without its sign: the significant digits, none for zero, and the power of ten that they count. */
function decimalOf(number: string): { digits: string; power: number } {
  const [mantissa = '', exponent = '0'] = number.toLowerCase().split('e');
  const [whole = '', fraction = ''] = mantissa.replace('-', '').split('.');
  const digits = whole + fraction;
  let start = 0;
  let end = digits.length;
  while (digits[start] === '0') start += 1;
  while (end > start && digits[end - 1] === '0') end -= 1;
  if (start === end) return { digits: '', power: 0 };
  return { digits: digits.slice(start, end), power: Number(exponent) - fraction.length + (digits.length - end) };
}

/** Names of a JSON Pointer, unescaped; undefined where it is malformed (RFC 6901 3). */
function parsePointer(pointer: string): string[] | undefined {
  if (pointer === '') return [];
  if (!pointer.startsWith('/') || /~(?![01])/.test(pointer)) return undefined;
  return pointer
    .slice(1)
    .split('/')
    .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
}

/** The member or element of a value that one name of a pointer leads to (RFC 6901 4). */
function child(value: Json | undefined, name: string): Json | undefined {
  if (isArray(value)) return /^(?:0|[1-9]\d*)$/.test(name) ? value[Number(name)] : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  return Object.hasOwn(value, name) ? value[name] : undefined;
}

function isArray(value: Json | undefined): value is readonly Json[] {
  return Array.isArray(value);
}

/** Names that are left out, by the object or array that they are left out of. */
type LeftOut = ReadonlyMap<Json, ReadonlySet<string>>;

function leftOut(root: Json, pointers: readonly string[]): LeftOut {
  const found = new Map<Json, Set<string>>();
  for (const pointer of pointers) {
    const names = parsePointer(pointer) ?? [];
    const last = names.pop();
    const container = names.reduce<Json | undefined>(child, root);
    if (last === undefined || container === undefined) continue;
    found.set(container, (found.get(container) ?? new Set()).add(last));
  }
  return found;
}

/** Appends the canonical form of a value to `parts`; false where there is none. */
function write(value: Json, omit: LeftOut, depth: number, parts: string[]): boolean {
  if (typeof value === 'string') return writeString(value, parts);
  if (typeof value !== 'object' || value === null) {
    // RFC 8785 3.2.2.3: numbers as ECMAScript writes them, which is what JSON.stringify does.
    parts.push(JSON.stringify(value));
    return true;
  }
  if (depth > deepest) return false;
  return isArray(value) ? writeArray(value, omit, depth, parts) : writeObject(value, omit, depth, parts);
}

/** RFC 8785 3.2.2.2: strings as ECMAScript writes them, but none with a lone surrogate. */
function writeString(value: string, parts: string[]): boolean {
  parts.push(JSON.stringify(value));
  return !/\p{Surrogate}/u.test(value);
}

function writeArray(value: readonly Json[], omit: LeftOut, depth: number, parts: string[]): boolean {
  const omitted = omit.get(value);
  let separator = '';
  parts.push('[');
  for (const [index, element] of value.entries()) {
    if (omitted?.has(String(index))) continue;
    parts.push(separator);
    if (!write(element, omit, depth + 1, parts)) return false;
    separator = ',';
  }
  parts.push(']');
  return true;
}

/** RFC 8785 3.2.3: members in the order of their names' UTF-16 code units, which is how `sort` compares strings. */
function writeObject(value: { readonly [name: string]: Json }, omit: LeftOut, depth: number, parts: string[]): boolean {
  const omitted = omit.get(value);
  let separator = '';
  parts.push('{');
  for (const name of Object.keys(value).sort()) {
    const member = value[name];
    if (member === undefined || omitted?.has(name)) continue;
    parts.push(separator);
    if (!writeString(name, parts)) return false;
    parts.push(':');
    if (!write(member, omit, depth + 1, parts)) return false;
    separator = ',';
  }
  parts.push('}');
  return true;
}

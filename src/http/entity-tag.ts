/** An entity-tag in wire form, quotes included: `"abc"`, or `W/"abc"` where it is weak (RFC 9110 8.8.3). */
export type EntityTag = string;

/**
 * What a field with entity-tags says: `*`, a list, or nothing that can be read. `position` is the 0-based place of the
 * mistake in the value; `reason` says what is wrong and what the right form is.
 */
export type TagList =
  | { kind: 'any' }
  | { kind: 'tags'; tags: readonly EntityTag[] }
  | { kind: 'malformed'; position: number; reason: string };

/** Whether a tag in wire form is weak. The prefix is case-sensitive (RFC 9110 8.8.3). */
export function isWeak(tag: EntityTag): boolean {
  return tag.startsWith('W/');
}

/** Strong comparison: neither is weak and they are equal character by character (RFC 9110 8.8.3.2). */
export function strongMatch(a: EntityTag, b: EntityTag): boolean {
  return !isWeak(a) && a === b;
}

/** Weak comparison: what stands between the quotes is equal (RFC 9110 8.8.3.2). */
export function weakMatch(a: EntityTag, b: EntityTag): boolean {
  return opaque(a) === opaque(b);
}

/**
 * Reads the value of If-Match, If-None-Match or If-Range (W1). One pass, linear in the length. Between quotes
 * everything is data: commas, spaces, backslashes (entity-tags know no escapes, RFC 9110 8.8.3), obs-text. Empty list
 * members are skipped (RFC 9110 5.6.1.2). Malformed are: a value without any tag, a tag without quotes or with an
 * unclosed one, anything but a comma after a tag, `w/` in lower case, and `*` beside anything else.
 *
 * @param value the field's lines joined with ", "
 * @param options `unquoted`: a tag without quotes is taken for one that has them, up to a comma or white space
 */
export function scanEntityTags(value: string, options: { readonly unquoted?: boolean } = {}): TagList {
  const tags: EntityTag[] = [];
  let position = skip(value, 0, true);
  if (value[position] === '*') return scanStar(value, position);
  while (position < value.length) {
    let end = endOfTag(value, position);
    const isBare = end === -1 && options.unquoted === true;
    if (isBare) end = endOfBareTag(value, position);
    if (end === -1) return malformed(position, reasonAt(value, position));
    const tag = value.slice(position, end);
    tags.push(isBare ? quoted(tag) : tag);
    const next = skip(value, end, false);
    if (next < value.length && value[next] !== ',') {
      return malformed(next, 'after an entity-tag only a comma and the next one may follow, as in "abc", "def"');
    }
    position = skip(value, next, true);
  }
  if (tags.length === 0)
    return malformed(0, 'the value is empty: an entity-tag in double quotes, or *, must stand here');
  return { kind: 'tags', tags };
}

/**
 * Reads an ETag response field, which holds exactly one tag (RFC 9110 8.8.3).
 *
 * @returns the tag in wire form; undefined where the field is absent or malformed
 */
export function parseEntityTag(value: string | undefined): EntityTag | undefined {
  if (value === undefined) return undefined;
  const start = skip(value, 0, false);
  const end = endOfTag(value, start);
  return end === -1 || skip(value, end, false) < value.length ? undefined : value.slice(start, end);
}

/** Index after the tag that begins at `start`, or -1 where none does. */
function endOfTag(value: string, start: number): number {
  const open = value.startsWith('W/', start) ? start + 2 : start;
  if (value[open] !== '"') return -1;
  const close = value.indexOf('"', open + 1);
  return close === -1 ? -1 : close + 1;
}

/** What an entity-tag may consist of between its quotes (RFC 9110 8.8.3), but for the comma, which ends one here. */
const bareTag = /[\x21\x23-\x2b\x2d-\x7e\x80-\xff]+/y;

/** Index after the tag without quotes that begins at `start`, or -1 where none does. */
function endOfBareTag(value: string, start: number): number {
  bareTag.lastIndex = start;
  const tag = bareTag.exec(value)?.[0];
  return tag === undefined || tag === '*' || tag === 'W/' ? -1 : start + tag.length;
}

function quoted(bare: string): EntityTag {
  return isWeak(bare) ? `W/"${bare.slice(2)}"` : `"${bare}"`;
}

function reasonAt(value: string, start: number): string {
  if (value[start] === '*') return '* must stand alone, not beside entity-tags';
  if (value[start] === '"' || value.startsWith('W/"', start)) {
    return 'the double quote that opens this entity-tag is never closed: the right form is "abc"';
  }
  if (value.startsWith('w/"', start))
    return 'the prefix of a weak entity-tag is an upper-case W: the right form is W/"abc"';
  return 'an entity-tag must be in double quotes: the right form is "abc"';
}

function scanStar(value: string, start: number): TagList {
  const next = skip(value, start + 1, true);
  return next < value.length ? malformed(start, '* must stand alone, not beside anything else') : { kind: 'any' };
}

/** Index of the first character from `start` on that is no white space and, with `commas`, no comma. */
function skip(value: string, start: number, commas: boolean): number {
  let index = start;
  while (value[index] === ' ' || value[index] === '\t' || (commas && value[index] === ',')) index++;
  return index;
}

function malformed(position: number, reason: string): TagList {
  return { kind: 'malformed', position, reason };
}

function opaque(tag: EntityTag): string {
  return isWeak(tag) ? tag.slice(2) : tag;
}

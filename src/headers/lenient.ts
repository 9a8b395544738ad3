import { type EntityTag, isWeak, scanEntityTags } from '../http/entity-tag.js';
import { FieldNames, fieldLine, type RawHeaders, withoutFields } from '../http/fields.js';

/** What middleboxes and clients do to tags on their way back (policy key `lenient`). */
export type LenientMode = 'weakened' | 'gzip-suffix' | 'unquoted';

/** What servers and proxies put behind a tag when they compress: Apache `-gzip`, `-br`; Jetty `--gzip`; others `;gzip`. */
const codingSuffix = /(?:-|;)(?:gzip|br|deflate|zstd)"$/;

const tagFields = [
  { name: 'If-Match', lower: 'if-match', names: new FieldNames(['if-match']) },
  { name: 'If-None-Match', lower: 'if-none-match', names: new FieldNames(['if-none-match']) },
] as const;

/**
 * The fields of a request with its conditions as they would be if nobody had changed its tags on the way: each is read
 * more generously than RFC 9110 8.8.3 and 13.1 allow, and written as they ask for, so that nothing behind this has to
 * know of it. Fields that cannot be read even so stay as they are.
 *
 * - `unquoted`: `abc` is read as `"abc"`, `W/abc` as `W/"abc"`.
 * - `weakened`: `W/"abc"` is read as `"abc"`: a middlebox that compresses turns strong tags into weak ones.
 * - `gzip-suffix`: `"abc-gzip"` is read as itself or `"abc"`, `"abc--gzip"` as `"abc-"` or `"abc"` too.
 *
 * @param raw fields of a request
 * @returns a new flat list, or `raw` itself where nothing differs
 */
export function strictConditions(raw: RawHeaders, modes: readonly LenientMode[]): RawHeaders {
  let fields = raw;
  for (const { name, lower, names } of tagFields) {
    const line = fieldLine(raw, lower);
    const strict = line === undefined ? undefined : strictValue(line, modes);
    if (strict !== undefined && strict !== line) fields = [...withoutFields(fields, names), name, strict];
  }
  return fields;
}

function strictValue(line: string, modes: readonly LenientMode[]): string | undefined {
  const list = scanEntityTags(line, { unquoted: modes.includes('unquoted') });
  if (list.kind !== 'tags') return undefined;
  return [...new Set(list.tags.flatMap((sent) => readingsOf(sent, modes)))].join(', ');
}

/** What a tag may have been before it was mangled, itself first where that counts. */
export function readingsOf(sent: EntityTag, modes: readonly LenientMode[]): EntityTag[] {
  const tag = modes.includes('weakened') && isWeak(sent) ? sent.slice(2) : sent;
  return modes.includes('gzip-suffix') ? [tag, ...withoutCoding(tag)] : [tag];
}

/** What a tag may have been before a coding was put behind it. */
function withoutCoding(tag: string): string[] {
  const suffix = codingSuffix.exec(tag)?.[0];
  if (suffix === undefined) return [];
  const before = tag.slice(0, -suffix.length);
  const readings = suffix.startsWith('-') && before.endsWith('-') ? [before, before.slice(0, -1)] : [before];
  return readings.filter((text) => !text.endsWith('"')).map((text) => `${text}"`);
}

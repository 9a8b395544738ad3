import type { EntityTag } from '../http/entity-tag.js';

/** An entity-tag in an `If` field: one condition of one of its lists. */
export interface TagTerm {
  /** Where it begins in the field's value, its `Not` included, and where it ends. */
  readonly start: number;
  readonly end: number;
  readonly isNegated: boolean;
  readonly tag: EntityTag;
  /** URI reference of the tagged list that it stands in; undefined: it is about the request's own resource. */
  readonly resource: string | undefined;
}

/** WebDAV's `If` as far as its entity-tags go; `position` is the 0-based place of what cannot be read. */
export type DavIf =
  | { readonly kind: 'terms'; readonly terms: readonly TagTerm[] }
  | { readonly kind: 'malformed'; readonly position: number; readonly reason: string };

const blank = /[ \t]*/y;
const not = /not(?=[ \t<[])/iy;
const codedUrl = /<([^<>]*)>/y;
const bracketed = /\[[ \t]*((?:W\/)?"[^"]*")[ \t]*\]/y;

/**
 * Reads an `If` field (RFC 4918 10.4.2): lists of state tokens and entity-tags, all about the request's own resource or
 * each behind the URL that it is about. One pass, linear in the length; what stands between quotes is data.
 *
 * @param value of the field
 */
export function scanDavIf(value: string): DavIf {
  return new Scanner(value).scan();
}

/**
 * The field with some of its terms told: a term that is true becomes `Not <DAV:no-lock>`, one that is false
 * `<DAV:no-lock>`, because no resource is ever locked with that token (RFC 4918 10.4.8). All else stays as it is.
 *
 * @param terms in the order in which they stand
 * @param holds whether the resource has the term's tag now, whatever its `Not` makes of that
 */
export function tellTerms(value: string, terms: readonly TagTerm[], holds: (term: TagTerm) => boolean): string {
  let told = '';
  let position = 0;
  for (const term of terms) {
    const isTrue = holds(term) !== term.isNegated;
    told += `${value.slice(position, term.start)}${isTrue ? alwaysTrue : alwaysFalse}`;
    position = term.end;
  }
  return told + value.slice(position);
}

const alwaysFalse = '<DAV:no-lock>';
const alwaysTrue = `Not ${alwaysFalse}`;

class Scanner {
  readonly #value: string;
  readonly #terms: TagTerm[] = [];
  #position = 0;

  constructor(value: string) {
    this.#value = value;
  }

  scan(): DavIf {
    let resource: string | undefined;
    let lists = 0;
    for (this.#take(blank); this.#position < this.#value.length; this.#take(blank)) {
      const start = this.#position;
      if (this.#value[start] === '(') {
        const fault = this.#list(resource);
        if (fault !== undefined) return fault;
        lists += 1;
        continue;
      }
      if (lists > 0 && resource === undefined) return malformed(start, 'lists with and without a URL stand together');
      resource = this.#take(codedUrl)?.[1];
      if (resource === undefined) return malformed(start, 'a list in parentheses must stand here: (["abc"])');
      this.#take(blank);
      if (this.#value[this.#position] !== '(') return malformed(this.#position, 'a URL must have a list behind it');
    }
    return lists > 0
      ? { kind: 'terms', terms: this.#terms }
      : malformed(0, 'the value is empty: a list must stand here');
  }

  #list(resource: string | undefined): DavIf | undefined {
    this.#position += 1;
    for (let conditions = 0; ; conditions += 1) {
      this.#take(blank);
      const start = this.#position;
      if (this.#value[start] === ')' && conditions > 0) {
        this.#position += 1;
        return undefined;
      }
      const isNegated = this.#take(not) !== undefined;
      this.#take(blank);
      if (this.#take(codedUrl) !== undefined) continue;
      const tag = this.#take(bracketed)?.[1];
      if (tag === undefined) {
        return malformed(this.#position, 'a <state token> or an ["entity-tag"] must stand here, and ) at the end');
      }
      this.#terms.push({ start, end: this.#position, isNegated, tag, resource });
    }
  }

  #take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.#position;
    const match = pattern.exec(this.#value);
    if (match === null) return undefined;
    this.#position = pattern.lastIndex;
    return match;
  }
}

function malformed(position: number, reason: string): DavIf {
  return { kind: 'malformed', position, reason };
}

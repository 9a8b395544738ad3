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
  /** Which of the lists it stands in, counted from 0. */
  readonly list: number;
}

/** WebDAV's `If` as far as its entity-tags go; `position` is the 0-based place of what cannot be read. */
export type DavIf =
  | {
      readonly kind: 'terms';
      readonly terms: readonly TagTerm[];
      /** How many conditions each of the lists has, tags and state tokens. */
      readonly lists: readonly number[];
    }
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
 * The field with some of its terms told: one that is false becomes `<DAV:no-lock>`, because no resource is ever locked with
 * that token (RFC 4918 10.4.8); one that is true goes, or becomes `Not <DAV:no-lock>` where its list has no other condition.
 * All else stays as it is.
 *
 * @param terms in the order in which they stand
 * @param lists of the field
 * @param isTrue whether a term holds, its `Not` included
 */
export function tellTerms(
  value: string,
  terms: readonly TagTerm[],
  lists: readonly number[],
  isTrue: (term: TagTerm) => boolean,
): string {
  const left = [...lists];
  let told = '';
  let position = 0;
  for (const term of terms) {
    const holds = isTrue(term);
    const conditions = left[term.list] ?? 0;
    // Some servers take `Not` for all that follows in the list.
    const goes = holds && conditions > 1;
    if (goes) left[term.list] = conditions - 1;
    told += value.slice(position, term.start) + (goes ? '' : holds ? alwaysTrue : alwaysFalse);
    position = goes && value[term.end] === ' ' ? term.end + 1 : term.end;
  }
  return told + value.slice(position);
}

/**
 * Whether a field cannot hold, whatever the locks are: one of its lists would have to (RFC 4918 10.4.3), and each has a
 * term that is false.
 */
export function isFalse(
  terms: readonly TagTerm[],
  lists: readonly number[],
  isTrue: (term: TagTerm) => boolean,
): boolean {
  const falseLists = new Set(terms.filter((term) => !isTrue(term)).map(({ list }) => list));
  return falseLists.size === lists.length;
}

const alwaysFalse = '<DAV:no-lock>';
const alwaysTrue = `Not ${alwaysFalse}`;

class Scanner {
  readonly #value: string;
  readonly #terms: TagTerm[] = [];
  readonly #lists: number[] = [];
  #position = 0;

  constructor(value: string) {
    this.#value = value;
  }

  scan(): DavIf {
    let resource: string | undefined;
    for (this.#take(blank); this.#position < this.#value.length; this.#take(blank)) {
      const start = this.#position;
      if (this.#value[start] === '(') {
        const fault = this.#list(resource);
        if (fault !== undefined) return fault;
        continue;
      }
      const named = this.#take(codedUrl)?.[1];
      if (named === undefined) return malformed(start, 'a list in parentheses must stand here: (["abc"])');
      if (this.#lists.length > 0 && resource === undefined) {
        return malformed(start, 'lists with and without a URL must not stand together');
      }
      resource = named;
      this.#take(blank);
      if (this.#value[this.#position] !== '(') return malformed(this.#position, 'a URL must have a list behind it');
    }
    if (this.#lists.length === 0) return malformed(0, 'the value is empty: a list must stand here');
    return { kind: 'terms', terms: this.#terms, lists: this.#lists };
  }

  #list(resource: string | undefined): DavIf | undefined {
    this.#position += 1;
    for (let conditions = 0; ; conditions += 1) {
      this.#take(blank);
      const start = this.#position;
      if (this.#value[start] === ')' && conditions > 0) {
        this.#position += 1;
        this.#lists.push(conditions);
        return undefined;
      }
      const isNegated = this.#take(not) !== undefined;
      this.#take(blank);
      if (this.#take(codedUrl) !== undefined) continue;
      const tag = this.#take(bracketed)?.[1];
      if (tag === undefined) {
        return malformed(this.#position, 'a <state token> or an ["entity-tag"] must stand here, and ) at the end');
      }
      this.#terms.push({ start, end: this.#position, isNegated, tag, resource, list: this.#lists.length });
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

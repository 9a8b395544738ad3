/** A field as it stood on the wire, without the spaces around its value. */
export type Field = readonly [name: string, value: string];

/** One HTTP/1.x message, one octet per character. */
export interface Message {
  /** Method and target, or status and reason. */
  readonly start: string;
  readonly version: string;
  /** In order, without those that frame the body. */
  readonly fields: readonly Field[];
  /** Host, Content-Length and Transfer-Encoding, as they were spelled and where they stood. */
  readonly places: readonly string[];
  /** `length 5`, `chunked`, or `neither`. */
  readonly framing: string;
  /** Without chunk sizes. */
  readonly body: string;
  readonly trailers: readonly Field[];
  /** Whether all of it has come. */
  readonly whole: boolean;
  /** How many octets of the wire it took. */
  readonly octets: number;
}

interface Head extends Omit<Message, 'body' | 'trailers' | 'whole' | 'octets'> {
  readonly end: number;
}

type Content = Pick<Message, 'body' | 'trailers' | 'whole'> & { readonly end: number };

/**
 * Reads a request.
 *
 * @param from where it begins in the text
 * @returns undefined while its head is not complete
 */
export function parseRequest(text: string, from: number): Message | undefined {
  const head = parseHead(text, from);
  if (head === undefined) return undefined;
  const [, method = '', target = '', version = ''] = /^(\S+) (.*) (HTTP\/\d\.\d)$/.exec(head.start) ?? [];
  const content = head.framing === 'neither' ? nothing(head.end) : framed(text, head, false);
  return { ...message(head, content, from), start: `${method} ${target}`, version };
}

/**
 * Reads a response, an interim one too.
 *
 * @param from where it begins in the text
 * @param method of the request
 * @param isOver whether nothing more comes
 * @returns undefined while its head is not complete
 */
export function parseResponse(text: string, from: number, method: string, isOver: boolean): Message | undefined {
  const head = parseHead(text, from);
  if (head === undefined) return undefined;
  const [, version = '', status = '', reason = ''] = /^(HTTP\/\d\.\d) (\d{3}) ?(.*)$/.exec(head.start) ?? [];
  const isBodiless = method === 'HEAD' || /^(?:1..|204|304)$/.test(status);
  const content = isBodiless ? nothing(head.end) : framed(text, head, isOver);
  return { ...message(head, content, from), start: `${status} ${reason}`, version };
}

/** The values of a field, by its name in lower case. */
export function valuesOf(fields: readonly Field[], name: string): string[] {
  return fields.filter(([other]) => other.toLowerCase() === name).map(([, value]) => value);
}

function message({ end: _, ...head }: Head, { end, ...content }: Content, from: number): Message {
  return { ...head, ...content, octets: end - from };
}

function parseHead(text: string, from: number): Head | undefined {
  const end = text.indexOf('\r\n\r\n', from);
  if (end === -1) return undefined;
  const [start = '', ...lines] = text.slice(from, end).split('\r\n');
  const all = lines.map(parseField);
  const frames = ([name]: Field): boolean => /^(?:content-length|transfer-encoding)$/i.test(name);
  const [length] = valuesOf(all, 'content-length');
  const isChunked = valuesOf(all, 'transfer-encoding').some((value) => /chunked/i.test(value));
  return {
    start,
    version: '',
    fields: all.filter((field) => !frames(field)),
    places: all.flatMap((field, index) =>
      frames(field) || /^host$/i.test(field[0])
        ? [`${field[0]} ${index === 0 ? 'first' : `behind ${all[index - 1]?.[0]}`}`]
        : [],
    ),
    framing: isChunked ? 'chunked' : length === undefined ? 'neither' : `length ${length}`,
    end: end + 4,
  };
}

function parseField(line: string): Field {
  const colon = line.indexOf(':');
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')];
}

function nothing(end: number): Content {
  return { body: '', trailers: [], whole: true, end };
}

function framed(text: string, { framing, end: start }: Head, isOver: boolean): Content {
  if (framing === 'chunked') return chunked(text, start);
  if (framing === 'neither') return { body: text.slice(start), trailers: [], whole: isOver, end: text.length };
  const end = start + Number(framing.slice('length '.length));
  return { body: text.slice(start, end), trailers: [], whole: text.length >= end, end };
}

function chunked(text: string, start: number): Content {
  const parts: string[] = [];
  const broken = { trailers: [], whole: false, end: text.length };
  for (let at = start; ; ) {
    const [line, digits = ''] = /^([\da-f]+)[^\r]*\r\n/i.exec(text.slice(at, at + 100)) ?? [];
    if (line === undefined) return { ...broken, body: parts.join('') };
    const size = Number.parseInt(digits, 16);
    at += line.length;
    if (size === 0) return { ...trailing(text, at), body: parts.join('') };
    parts.push(text.slice(at, at + size));
    at += size + 2;
    if (at > text.length) return { ...broken, body: parts.join('') };
  }
}

function trailing(text: string, at: number): Omit<Content, 'body'> {
  if (text.startsWith('\r\n', at)) return { trailers: [], whole: true, end: at + 2 };
  const end = text.indexOf('\r\n\r\n', at);
  if (end === -1) return { trailers: [], whole: false, end: text.length };
  return { trailers: text.slice(at, end).split('\r\n').map(parseField), whole: true, end: end + 4 };
}

import { type Field, type Message, valuesOf } from './messages.js';
import { permitted, type Side } from './rules.js';
import type { Transcript } from './scene.js';

/** What of a point is compared beyond the rule. */
export interface Comparing {
  /** Its Upgrade belongs to a tunnel. */
  readonly tunnel?: boolean;
  /** Date and Server, which all other points leave out: who changes them does so everywhere. */
  readonly marks?: boolean;
  /** Which of Host and the framing fields are compared by spelling and place too; all other points compare what they say. */
  readonly places?: RegExp;
  /** The clients speak HTTP/1.0. */
  readonly old?: boolean;
  /** Notes alone: what comes over the wire depends on timing. */
  readonly notesOnly?: boolean;
}

const hopByHop = new Set(['connection', 'keep-alive', 'proxy-connection', 'te']);
const marks = new Set(['date', 'server']);

/**
 * The differences between a run with nothing in between and one with a proxy, but for what HTTP's rules for hops and the
 * list of permitted differences take away.
 *
 * @returns in words, none where there is no difference
 */
export function differences(direct: Transcript, proxied: Transcript, comparing: Comparing): string[] {
  const found = direct.notes.flatMap((note, index) => {
    const other = proxied.notes[index];
    return other === note ? [] : [other ?? `not reached: ${note}`];
  });
  if (proxied.notes.length > direct.notes.length) found.push(...proxied.notes.slice(direct.notes.length));
  if (comparing.notesOnly) return [...new Set(found)];
  const forwarded = proxied.backend.filter(
    (request, index, all) => !permitted.some((rule) => rule.request?.(request, all[index - 1])),
  );
  found.push(...compareAll('backend', direct.backend, forwarded, comparing, []));
  const requests = direct.backend.map(({ start }) => start);
  for (const [index, answers] of direct.client.entries()) {
    const expected = comparing.old ? answers.filter(({ start }) => !/^1/.test(start)) : answers;
    found.push(...compareAll('client', expected, proxied.client[index] ?? [], comparing, requests));
  }
  return [...new Set(found)];
}

function compareAll(
  side: Side,
  expected: readonly Message[],
  got: readonly Message[],
  comparing: Comparing,
  requests: readonly string[],
): string[] {
  const found: string[] = [];
  const what = side === 'backend' ? 'request' : 'answer';
  const interim = (messages: readonly Message[]) =>
    side === 'client' ? messages.filter(({ start }) => /^1(?!01)/.test(start)) : [];
  const [here, there] = [interim(expected), interim(got)];
  const final = expected.filter((message) => !here.includes(message));
  const others = got.filter((message) => !there.includes(message));
  const codes = (messages: readonly Message[]): string => messages.map(({ start }) => start.slice(0, 3)).join(', ');
  if (codes(here) !== codes(there)) found.push(`interim ${codes(there) || 'none'} instead of ${codes(here) || 'none'}`);
  else here.forEach((message, index) => void found.push(...compareOne(side, message, there[index], comparing, '')));
  if (final.length !== others.length) found.push(`${others.length} ${what}s instead of ${final.length}`);
  final.forEach((message, index) => {
    const other = others[index];
    if (other !== undefined) found.push(...compareOne(side, message, other, comparing, requests[index] ?? ''));
  });
  return found;
}

function compareOne(
  side: Side,
  expected: Message,
  got: Message | undefined,
  comparing: Comparing,
  request: string,
): string[] {
  if (got === undefined) return [];
  const start = side === 'backend' ? originForm(expected.start) : expected.start;
  if (got.start !== start) {
    // Another status is another answer: its fields tell nothing more.
    const isOther = side === 'client' && got.start.slice(0, 3) !== start.slice(0, 3);
    const shown = isOther
      ? `${got.start.slice(0, 3)} instead of ${start.slice(0, 3)}`
      : `\`${got.start}\` for \`${start}\``;
    if (isOther) return [shown];
    return [shown, ...compareParts(side, expected, got, comparing, request)];
  }
  return compareParts(side, expected, got, comparing, request);
}

function compareParts(side: Side, expected: Message, got: Message, comparing: Comparing, request: string): string[] {
  const prefix = side === 'backend' ? 'request: ' : 'response: ';
  const found = compareFields(
    placed(expectedFields(side, expected, comparing)),
    placed(gotFields(side, expected, got, comparing, request)),
  );
  const framing = expectedFraming(side, expected, comparing, request);
  if (got.framing !== framing) found.push(`${got.framing} instead of ${framing}`);
  if (got.body !== expected.body) found.push(`body of ${got.body.length} octets instead of ${expected.body.length}`);
  if (got.whole !== expected.whole) found.push(got.whole ? 'looks whole' : 'breaks off');
  const lines = (fields: readonly Field[]): string => fields.map((field) => field.join(': ')).join(', ');
  const trailers = comparing.old ? [] : expected.trailers;
  if (lines(got.trailers) !== lines(trailers)) {
    found.push(got.trailers.length === 0 ? 'trailers gone' : `trailers \`${lines(got.trailers)}\``);
  }
  const places = (message: Message): string => message.places.filter((place) => comparing.places?.test(place)).join();
  if (places(got) !== places(expected)) found.push(`\`${places(got)}\` instead of \`${places(expected)}\``);
  return found.map((line) => prefix + line);
}

/** Host in front and Upgrade at the end, in one spelling: each hop writes them by itself. */
function placed(fields: readonly Field[]): Field[] {
  const values = (name: string): Field[] => valuesOf(fields, name.toLowerCase()).map((value) => [name, value]);
  return [...values('Host'), ...fields.filter(([name]) => !/^(?:host|upgrade)$/i.test(name)), ...values('Upgrade')];
}

function originForm(start: string): string {
  return start.replace(/^(\S+) http:\/\/[^/?]+/, '$1 ');
}

function expectedFraming(side: Side, { framing, body, start }: Message, { old }: Comparing, request: string): string {
  if (side === 'backend') return framing;
  if (old) return framing === 'chunked' ? 'neither' : framing;
  if (request.startsWith('HEAD ') && framing === 'chunked') return 'neither';
  const endsWithConnection = framing === 'neither' && !/^(?:1..|204|304) /.test(start) && body !== '';
  return endsWithConnection ? 'chunked' : framing;
}

/** What one hop must leave of a message's fields. */
function expectedFields(side: Side, message: Message, comparing: Comparing): Field[] {
  const nominated = valuesOf(message.fields, 'connection').flatMap((value) => value.toLowerCase().split(/ *, */));
  const [, authority] = (side === 'backend' && /^\S+ http:\/\/([^/?]+)/.exec(message.start)) || [];
  return message.fields
    .filter(([name]) => {
      const lower = name.toLowerCase();
      if (lower === 'upgrade') return comparing.tunnel === true;
      if (marks.has(lower) && !comparing.marks) return false;
      return !hopByHop.has(lower) && !nominated.includes(lower);
    })
    .map(([name, value]) => [name, /^host$/i.test(name) ? (authority ?? value) : value]);
}

/** What is there, but for what a hop or the gate may add. */
function gotFields(side: Side, expected: Message, got: Message, comparing: Comparing, request: string): Field[] {
  return got.fields.filter((field) => {
    const name = field[0].toLowerCase();
    if (isOfTheHop(name, field[1], expected, comparing)) return false;
    if (marks.has(name) && !comparing.marks) return false;
    if (name === 'date' && valuesOf(expected.fields, 'date').length === 0) return false;
    if (side === 'backend' && name === 'host' && expected.version === 'HTTP/1.0') {
      if (valuesOf(expected.fields, 'host').length === 0) return false;
    }
    return !permitted.some((rule) => rule.field?.(side, field, got, request));
  });
}

/** What a connection says about itself; the other connection's words would be passed on. */
function isOfTheHop(name: string, value: string, expected: Message, { tunnel }: Comparing): boolean {
  if (name === 'connection')
    return /^(?:close|keep-alive)$/i.test(value) || (tunnel === true && /^upgrade$/i.test(value));
  return name === 'keep-alive' && !valuesOf(expected.fields, name).includes(value);
}

function compareFields(expected: readonly Field[], got: readonly Field[]): string[] {
  const line = (field: Field): string => field.join(': ');
  if (expected.map(line).join('\n') === got.map(line).join('\n')) return [];
  const lower = (fields: readonly Field[]): string =>
    fields.map(([name, value]) => `${name.toLowerCase()}: ${value}`).join('\n');
  if (lower(expected) === lower(got)) return ['names spelled differently'];
  const found: string[] = [];
  const names = new Set([...expected, ...got].map(([name]) => name.toLowerCase()));
  for (const name of names) {
    const [here, there] = [valuesOf(expected, name), valuesOf(got, name)];
    if (here.join('\n') === there.join('\n')) continue;
    if (here.length === 0) found.push(`\`${name}\` added`);
    else if (there.length === 0) found.push(`\`${name}\` gone`);
    else if (there.length < here.length)
      found.push(here.join(', ') === there.join(', ') ? `\`${name}\` joined` : `\`${name}\` lost lines`);
    else found.push(`\`${name}\` changed`);
  }
  const order = (fields: readonly Field[]): string => fields.map(([name]) => name.toLowerCase()).join();
  if (found.length === 0 && order(expected) !== order(got)) found.push('fields in another order');
  const spellings = new Set(expected.map(([name]) => name));
  if (
    got.some(
      ([name]) =>
        !spellings.has(name) && names.has(name.toLowerCase()) && valuesOf(expected, name.toLowerCase()).length > 0,
    )
  ) {
    found.push('names spelled differently');
  }
  return found;
}

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { parseHttpDate } from '../../src/http/http-date.js';
import { mutated, type Property, property, soup } from './property.js';

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];

interface Parts {
  readonly year: number;
  /** 0 for January. */
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  /** 0 for Sunday; any will do. */
  readonly weekday: number;
}

/** Parts of dates, some of which do not exist. */
const parts: fc.Arbitrary<Parts> = fc.record({
  year: fc.oneof(fc.integer({ min: 1850, max: 2250 }), fc.integer({ min: 0, max: 9999 })),
  month: fc.nat(11),
  day: fc.oneof(fc.integer({ min: 1, max: 28 }), fc.integer({ min: 0, max: 39 })),
  hour: fc.oneof(fc.nat(23), fc.nat(29)),
  minute: fc.oneof(fc.nat(59), fc.nat(69)),
  second: fc.oneof(fc.nat(60), fc.nat(69)),
  weekday: fc.nat(6),
});

const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);

/** Days since 1970-01-01 in the Gregorian calendar, counted without `Date`. */
function dayNumber(year: number, month: number, day: number): number {
  const from = month < 2 ? year - 1 : year;
  const leapDays = Math.floor(from / 4) - Math.floor(from / 100) + Math.floor(from / 400);
  const before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month] ?? 0;
  return 365 * year + leapDays + before + day - 719_528;
}

/** Milliseconds since the epoch, undefined where there is no such date. */
function timeOf({ year, month, day, hour, minute, second }: Parts): number | undefined {
  const last = month === 1 ? (isLeap(year) ? 29 : 28) : [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month];
  if (day < 1 || day > (last ?? 0) || hour > 23 || minute > 59 || second > 60) return undefined;
  return (dayNumber(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second) * 1000;
}

const two = (value: number): string => String(value).padStart(2, '0');
const clock = ({ hour, minute, second }: Parts): string => `${two(hour)}:${two(minute)}:${two(second)}`;
const long = ({ year }: Parts): string => String(year).padStart(4, '0');

function fixdate(date: Parts): string {
  const name = days[date.weekday]?.slice(0, 3);
  return `${name}, ${two(date.day)} ${months[date.month]} ${long(date)} ${clock(date)} GMT`;
}

function asctime(date: Parts): string {
  const name = days[date.weekday]?.slice(0, 3);
  return `${name} ${months[date.month]} ${String(date.day).padStart(2, ' ')} ${clock(date)} ${long(date)}`;
}

function rfc850(date: Parts): string {
  return `${days[date.weekday]}, ${two(date.day)}-${months[date.month]}-${long(date).slice(2)} ${clock(date)} GMT`;
}

const pieces = ['Sun', 'day', ', ', ' ', '-', ':', '0', '1', '06', '94', '1994', 'Nov', 'nov', 'GMT', 'UTC', '+', '\t'];
const anyValue = fc.oneof(
  soup(pieces),
  mutated(
    fc.tuple(parts, fc.constantFrom(fixdate, asctime, rfc850)).map(([date, form]) => form(date)),
    pieces,
  ),
);

/** All ways to write the time `at`, but for the name of the day. */
function spellings(at: number): string[] {
  const date = new Date(at);
  const [year, month, day] = [date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate()];
  const exact = { year, month, day, hour: date.getUTCHours(), minute: date.getUTCMinutes(), weekday: 0 };
  const written = { ...exact, second: date.getUTCSeconds() };
  return [fixdate(written), asctime(written), asctime(written).replace('  ', ' 0'), rfc850(written)];
}

const withoutDay = (text: string): string => text.replace(/^[A-Za-z]+/, '');

/** HTTP-dates (RFC 9110 5.6.7). */
export const dates: readonly Property[] = [
  property('http/http-date: two forms with the whole year', parts, (date) => {
    assert.equal(parseHttpDate(fixdate(date)), timeOf(date));
    assert.equal(parseHttpDate(` ${asctime(date)}\t`), timeOf(date));
  }),
  property(
    'http/http-date: the form with two digits means the last such year up to 50 years from now',
    fc.tuple(parts, fc.integer({ min: 1900, max: 2200 }), fc.nat(11)),
    ([date, thisYear, thisMonth]) => {
      const now = { ...date, year: thisYear, month: thisMonth, day: 15, hour: 12, minute: 0, second: 0 };
      const latest = timeOf({ ...now, year: thisYear + 50 }) ?? 0;
      const earliest = timeOf({ ...now, year: thisYear - 50 }) ?? 0;
      const text = rfc850(date);
      const read = parseHttpDate(text, timeOf(now));
      const candidates = Array.from({ length: 5 }, (_, index) => 1800 + index * 100 + (date.year % 100))
        .map((year) => timeOf({ ...date, year }))
        .filter((time) => time !== undefined && time > earliest && time <= latest);
      // The 29th of February may be none of the year that is meant.
      if (read === undefined && date.month === 1 && date.day === 29) return;
      assert.equal(read, candidates[0], text);
    },
  ),
  property('http/http-date: nothing else is a date', anyValue, (value) => {
    const read = parseHttpDate(value, Date.UTC(2026, 0));
    if (read === undefined) return;
    const text = withoutDay(value.trim());
    const known = [
      ...spellings(read),
      ...spellings(read - 1000).map((spelling) => spelling.replace(/:59(?!:)/, ':60')),
    ];
    assert.ok(known.map(withoutDay).includes(text), `${value} was read as ${new Date(read).toUTCString()}`);
  }),
];

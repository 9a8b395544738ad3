import { copied } from './copied.js';

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

// Every part has a fixed width or is a fixed alternative: none of these can backtrack over the input.
const fixdate =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?<day>\d\d) (?<month>[A-Z][a-z]{2}) (?<year>\d{4}) (?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d) GMT$/;
const rfc850 =
  /^(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day, (?<day>\d\d)-(?<month>[A-Z][a-z]{2})-(?<year>\d\d) (?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d) GMT$/;
const asctime =
  /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) (?<month>[A-Z][a-z]{2}) (?<day>[ \d]\d) (?<hour>\d\d):(?<minute>\d\d):(?<second>\d\d) (?<year>\d{4})$/;

/** The longest form is "Wednesday, 09-Nov-94 08:49:37 GMT". */
const longestDate = 33;

/**
 * Reads an HTTP-date in any of the three forms of RFC 9110 5.6.7, case-sensitively. The name of the day must be one,
 * but is not held against the date: to ignore a condition for it would let a write through.
 *
 * @param value field value; several lines joined with ", " are no date
 * @param now milliseconds since the epoch, for the century of a two-digit year
 * @returns milliseconds since the epoch; undefined for anything else, dates that do not exist included
 */
export function parseHttpDate(value: string | undefined, now: number = Date.now()): number | undefined {
  if (value === undefined) return undefined;
  const known = recent.get(value);
  if (known !== undefined) return known;
  const text = value.trim();
  if (text.length > longestDate) return undefined;
  const time = parsed(text, now);
  if (time !== undefined && text.length === fixdateLength) remember(value, time);
  return time;
}

/** "Sun, 06 Nov 1994 08:49:37 GMT": the one form that is generated today, and that needs no `now`. */
const fixdateLength = 29;

/** Many answers have the same few dates. */
const recent = new Map<string, number>();
const mostRecent = 1000;

function remember(value: string, time: number): void {
  // White space around it may be as long as a field.
  if (value.length !== fixdateLength) return;
  if (recent.size >= mostRecent) recent.clear();
  recent.set(copied(value), time);
}

function parsed(text: string, now: number): number | undefined {
  const long = (fixdate.exec(text) ?? asctime.exec(text))?.groups;
  if (long) return timeOf(long, Number(long.year));
  const short = rfc850.exec(text)?.groups;
  return short && timeOf(short, fullYear(short, now));
}

type Parts = Record<string, string | undefined>;

function timeOf(parts: Parts, year: number): number | undefined {
  const month = months.indexOf(parts.month ?? '');
  const day = Number(parts.day);
  const [hour, minute, second] = [Number(parts.hour), Number(parts.minute), Number(parts.second)];
  // 60 is a leap second (RFC 9110 5.6.7): the second after it.
  if (month === -1 || hour > 23 || minute > 59 || second > 60) return undefined;
  const date = new Date(0);
  date.setUTCFullYear(year, month, day);
  // A day that the month does not have would have become one of another month.
  if (date.getUTCDate() !== day) return undefined;
  return date.setUTCHours(hour, minute, second);
}

/** The last year with these two digits that is not more than 50 years after `now` (RFC 9110 5.6.7). */
function fullYear(parts: Parts, now: number): number {
  const limit = new Date(now);
  limit.setUTCFullYear(limit.getUTCFullYear() + 50);
  const year = Math.floor(limit.getUTCFullYear() / 100) * 100 + Number(parts.year);
  const time = timeOf(parts, year);
  return (time ?? Date.UTC(year, 0)) > limit.getTime() ? year - 100 : year;
}

import { FieldNames, hasField, lastNamed, type RawHeaders } from '../http/fields.js';

/** The configuration keys `host`, `forwarded`, `via` and `identity.pathHeaders`. */
export interface ForwardedOptions {
  /** Which Host the upstream sees: `preserve`, `upstream`, or a name. */
  readonly host: string;
  readonly forwarded: 'append' | 'replace' | 'off';
  readonly via: 'response' | 'both' | 'off';
  readonly pathHeaders: 'drop' | 'pass';
}

/** What the gate knows of the connection that a request came on, and of where it goes. */
export interface ForwardedContext {
  /** Host and port that the request is for: of a target in absolute-form, else the client's Host. */
  readonly clientHost: string;
  readonly upstreamHost: string;
  /** Address of the client; empty where there is none (a unix socket). */
  readonly remoteAddress: string;
  readonly protocol: 'http' | 'https';
  /** The one id of the request (A3). */
  readonly requestId: string;
  /** HTTP version that the message was received with, e.g. `1.1`. */
  readonly httpVersion: string;
}

/** What the gate writes itself, or drops. As a variable of CGI or WSGI `_` is `-`: dropped in both spellings. */
const requestId = new FieldNames(spellings('x-request-id'));
/** Fields that name another path than the request-target does; some frameworks believe them (I4). */
const pathFields = new FieldNames(['x-original-url', 'x-rewrite-url'].flatMap(spellings));
const forwardedFields = new FieldNames(['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host'].flatMap(spellings));

/**
 * The fields that the upstream gets: Host, X-Forwarded-* and Via as the options say, path fields dropped (I4), exactly
 * one X-Request-Id (A3). All other fields keep spelling and order.
 *
 * @param raw the client's fields without the hop-by-hop ones
 * @returns a new flat list
 */
export function requestFields(raw: RawHeaders, context: ForwardedContext, options: ForwardedOptions): string[] {
  const fields: string[] = [];
  let hasHost = false;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    if (isOfTheClientAlone(name, options)) continue;
    const isHost = name.length === 4 && name.toLowerCase() === 'host';
    if (!isHost) fields.push(name, raw[index + 1] as string);
    else if (!hasHost) fields.push(name, hostValue(context, options));
    hasHost ||= isHost;
  }
  if (!hasHost) fields.unshift('Host', hostValue(context, options));
  if (options.forwarded !== 'off') addForwarded(fields, context);
  fields.push('X-Request-Id', context.requestId);
  if (options.via === 'both') fields.push('Via', viaValue(context.httpVersion));
  return fields;
}

function isOfTheClientAlone(name: string, { pathHeaders, forwarded }: ForwardedOptions): boolean {
  // All of them begin so.
  if ((name.charCodeAt(0) | 0x20) !== 0x78) return false;
  if (requestId.has(name) || (pathHeaders === 'drop' && pathFields.has(name))) return true;
  return forwarded === 'replace' && forwardedFields.has(name);
}

/** All spellings of a name with `-` and `_`, in lower case. */
function spellings(name: string): string[] {
  return name.split('-').reduce<string[]>((all, part) => {
    return all.length === 0 ? [part] : all.flatMap((begun) => [`${begun}-${part}`, `${begun}_${part}`]);
  }, []);
}

/**
 * An answer's fields with the gate's Via behind those that are there (RFC 9110 7.6.3), unless the option `via` is off.
 *
 * @param raw the upstream's fields without the hop-by-hop ones
 * @param httpVersion that the upstream answered with, e.g. `1.1`
 * @returns a new flat list
 */
export function responseVia(raw: RawHeaders, httpVersion: string, options: Pick<ForwardedOptions, 'via'>): string[] {
  return options.via === 'off' ? [...raw] : [...raw, 'Via', viaValue(httpVersion)];
}

function hostValue(context: ForwardedContext, options: ForwardedOptions): string {
  if (options.host === 'upstream') return context.upstreamHost;
  if (options.host !== 'preserve') return options.host;
  // A request of HTTP/1.0 may come without Host, but the one to the upstream needs it (RFC 9112 3.2).
  return context.clientHost === '' ? context.upstreamHost : context.clientHost;
}

/** Adds the address to the last X-Forwarded-For line; Proto and Host stay where a proxy in front has set them. */
function addForwarded(fields: string[], context: ForwardedContext): void {
  const address = plainAddress(context.remoteAddress);
  const last = lastNamed(fields, 'x-forwarded-for');
  if (last === -1) {
    if (address !== '') fields.push('X-Forwarded-For', address);
  } else if (address !== '') {
    const earlier = fields[last + 1] ?? '';
    fields[last + 1] = earlier.trim() === '' ? address : `${earlier}, ${address}`;
  }
  if (!hasField(fields, 'x-forwarded-proto')) fields.push('X-Forwarded-Proto', context.protocol);
  if (!hasField(fields, 'x-forwarded-host') && context.clientHost !== '') {
    fields.push('X-Forwarded-Host', context.clientHost);
  }
}

/** A dual-stack socket reports IPv4 clients as `::ffff:192.0.2.1`, which lists of addresses do not expect. */
function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice('::ffff:'.length) : address;
}

function viaValue(httpVersion: string): string {
  return `${httpVersion} ifmatch`;
}

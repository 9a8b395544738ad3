import { isIP, isIPv4, isIPv6 } from 'node:net';
import { type Reading, understood, wrong } from './reading.js';

/** Where a server listens: a TCP port (0: any free one) or a Unix domain socket. IPv6 hosts are without brackets. */
export type Address =
  | { readonly kind: 'tcp'; readonly host: string; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

const addressForm = '127.0.0.1:8412, [::1]:8412 or unix:/run/ifmatch.sock';
const upstreamForm = 'http://127.0.0.1:3000 or https://api.example.com/base';
const networkForm = '10.0.0.0/8, fd00::/8 or 192.0.2.7';

const label = /^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?$/;
const digits = /^[0-9]{1,5}$/;

/** Reads `HOST:PORT`, `[IPv6]:PORT` or `unix:PATH`; port 0 stands for any free one. */
export function readAddress(text: string): Reading<Address> {
  if (text.startsWith('unix:')) {
    const path = text.slice('unix:'.length);
    return path === '' || path.includes('\0')
      ? wrong(`names no socket; write ${addressForm}`)
      : understood({ kind: 'unix', path });
  }
  const colon = text.lastIndexOf(':');
  if (colon === -1) return wrong(`is not an address; write ${addressForm}`);
  const host = text.slice(0, colon);
  if (host === '') return wrong('has no host; write 127.0.0.1:PORT for this machine alone, or 0.0.0.0:PORT for all');
  if (isIPv6(host)) return wrong('is an IPv6 address without brackets; write it as in [::1]:8412');
  const name = unbracketed(host);
  if (name === undefined) return wrong(`has no valid host; write ${addressForm}`);
  const port = readPort(text.slice(colon + 1));
  if (port === undefined) return wrong('has no valid port; write one from 0 (any free one) to 65535');
  return understood({ kind: 'tcp', host: name, port });
}

/** The form that `readAddress` reads. */
export function formatAddress(address: Address): string {
  if (address.kind === 'unix') return `unix:${address.path}`;
  return `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`;
}

/**
 * Reads the upstream's URL: http or https, with a base path perhaps, without query, fragment and user. Gives its normal
 * form without trailing slashes, except that an empty path is `/`.
 */
export function readUpstream(text: string): Reading<string> {
  const scheme = /^https?:\/\//i.exec(text)?.[0];
  if (scheme === undefined) return wrong(`is not an http or https URL; write ${upstreamForm}`);
  if (/[\s\\]/.test(text)) return wrong('has a space or a backslash; write those percent-encoded');
  if (/[?#]/.test(text)) return wrong('has a query or a fragment; write only scheme, host, port and base path');
  const authority = text.slice(scheme.length).split('/', 1)[0] ?? '';
  if (authority.includes('@')) {
    return wrong("has a user in it; leave it out (a client's own Authorization reaches the upstream)");
  }
  const url = parseUrl(text);
  if (url === undefined || authority === '' || url.port === '0')
    return wrong(`is not a valid URL; write ${upstreamForm}`);
  return understood(`${url.origin}${withoutTrailingSlashes(url.pathname)}`);
}

/** Reads what `host` may be: `preserve`, `upstream`, or a host name with or without a port. */
export function readHost(text: string): Reading<string> {
  const form = 'write preserve, upstream, or a host name such as api.example.com';
  if (text === 'preserve' || text === 'upstream') return understood(text);
  const keyword = ['preserve', 'upstream'].find((word) => word === text.toLowerCase());
  if (keyword !== undefined) return wrong(`is not a host; write ${keyword} in lower case`);
  const [, name, port] = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(text) ?? [];
  if (name === undefined || unbracketed(name) === undefined) return wrong(`is not a host; ${form}`);
  if (port !== undefined && !readPort(port)) return wrong(`has no valid port; ${form}`);
  return understood(text.toLowerCase());
}

/** Reads one member of `trustProxy`: an IP address, or a network in CIDR notation (RFC 4632, RFC 4291 2.3). */
export function readNetwork(text: string): Reading<string> {
  const [address = '', length, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return wrong(`is not a network; write ${networkForm}`);
  if (length === undefined) return understood(text);
  const longest = family === 4 ? 32 : 128;
  return /^[0-9]{1,3}$/.test(length) && Number(length) <= longest
    ? understood(text)
    : wrong(`has no valid prefix length; write one from 0 to ${longest}`);
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined;
}

function withoutTrailingSlashes(path: string): string {
  let end = path.length;
  while (end > 0 && path[end - 1] === '/') end -= 1;
  return end === 0 ? '/' : path.slice(0, end);
}

/** The host without brackets, or undefined where it is neither an IP address nor a host name (RFC 1123). */
export function unbracketed(host: string): string | undefined {
  if (host.startsWith('[')) {
    const inner = host.slice(1, -1);
    return host.endsWith(']') && isIPv6(inner) ? inner : undefined;
  }
  if (isIPv4(host)) return host;
  const name = host.endsWith('.') ? host.slice(0, -1) : host;
  return name.length <= 253 && name.split('.').every((part) => part.length <= 63 && label.test(part))
    ? host
    : undefined;
}

/** A port, 0 among them, or undefined. */
export function readPort(text: string): number | undefined {
  return digits.test(text) && Number(text) <= 65_535 ? Number(text) : undefined;
}

import { fieldLine, firstValue, listMembers, type RawHeaders } from '../http/fields.js';
import { decodeOctets } from './percent.js';

/**
 * A credential that is good for one request only (W4): its signature covers method, URL, date or content, so the gate
 * cannot send it again with a probe. Who signed is told by the key id alone.
 */
export interface BoundCredential {
  /** Scheme in lower case, e.g. `digest`. */
  readonly scheme: string;
  /** Key id, user name or access key; the whole credential where it names none, so that nobody shares it. */
  readonly keyId: string;
}

/** Where each authentication scheme that signs one request says who signed. */
const schemes: ReadonlyMap<string, (parameters: ReadonlyMap<string, string>) => string | undefined> = new Map([
  ['aws4-hmac-sha256', accessKey],
  ['aws4-ecdsa-p256-sha256', accessKey],
  ['digest', (parameters) => parameters.get('username') ?? parameters.get('username*')],
  ['oauth', oauthKey],
  ['hawk', (parameters) => parameters.get('id')],
  ['signature', (parameters) => parameters.get('keyid')],
]);

/**
 * Finds a credential that is bound to its request: AWS Signature 4 (field or presigned query), Digest, OAuth 1, Hawk,
 * HTTP Message Signatures (RFC 9421) and the drafts before it.
 *
 * @param raw fields of the request
 * @param query raw query without its `?`
 * @returns undefined where there is none, or only such as can be sent again (Basic, Bearer, cookies …)
 */
export function boundCredential(raw: RawHeaders, query: string | undefined): BoundCredential | undefined {
  return ofAuthorization(raw) ?? ofMessageSignature(raw) ?? ofPresignedQuery(query);
}

/** Whether a field, named in lower case, belongs to a signature over its request: it makes no sense on another one. */
export function signsRequest(name: string): boolean {
  return name === 'authorization' || name === 'signature' || name === 'signature-input' || name.startsWith('x-amz-');
}

/**
 * Whether a signature over the request covers a field: who changes that field breaks it (W8).
 *
 * @param raw fields of the request
 * @param query raw query without its `?`, where a presigned URL names what it covers
 * @param name of the field, in lower case
 */
export function isSigned(raw: RawHeaders, query: string | undefined, name: string): boolean {
  const authorization = parametersOf(firstValue(raw, 'authorization')?.replace(/^\s*[^\s]+\s/, '') ?? '');
  const lists = [
    // AWS Signature 4, in the field and in the query; the drafts before RFC 9421; RFC 9421 itself.
    authorization.get('signedheaders')?.split(';'),
    valueIn(query, 'x-amz-signedheaders')?.split(';'),
    parametersOf(fieldLine(raw, 'signature') ?? '')
      .get('headers')
      ?.split(' '),
    fieldLine(raw, 'signature-input')?.split('"'),
  ];
  return lists.some((list) => list?.some((signed) => signed.toLowerCase() === name));
}

function ofAuthorization(raw: RawHeaders): BoundCredential | undefined {
  const value = firstValue(raw, 'authorization')?.trim();
  if (value === undefined) return undefined;
  const end = value.indexOf(' ');
  if (end === -1) return undefined;
  const scheme = value.slice(0, end).toLowerCase();
  const keyOf = schemes.get(scheme);
  return keyOf && { scheme, keyId: keyOf(parametersOf(value.slice(end))) ?? value };
}

function ofMessageSignature(raw: RawHeaders): BoundCredential | undefined {
  const input = fieldLine(raw, 'signature-input');
  const signature = fieldLine(raw, 'signature');
  if (input !== undefined) {
    const keyIds = keyIdsOf(input);
    return { scheme: 'signature', keyId: keyIds.length === 0 ? input : keyIds.join('\0') };
  }
  return signature === undefined
    ? undefined
    : { scheme: 'signature', keyId: parametersOf(signature).get('keyid') ?? signature };
}

function ofPresignedQuery(query: string | undefined): BoundCredential | undefined {
  const credential = valueIn(query, 'x-amz-credential');
  return credential === undefined ? undefined : { scheme: 'aws4-hmac-sha256', keyId: beforeSlash(credential) };
}

/** The first value of a query parameter, decoded. */
function valueIn(query: string | undefined, wanted: string): string | undefined {
  for (const parameter of query?.split('&') ?? []) {
    const [name = '', value = ''] = parameter.split('=', 2);
    if (name.toLowerCase() === wanted) return decodeOctets(value);
  }
  return undefined;
}

/** `Credential=AKID/20260102/region/service/aws4_request`: the date changes daily, the key stays. */
function accessKey(parameters: ReadonlyMap<string, string>): string | undefined {
  const credential = parameters.get('credential');
  return credential === undefined ? undefined : beforeSlash(credential);
}

function oauthKey(parameters: ReadonlyMap<string, string>): string | undefined {
  const consumer = parameters.get('oauth_consumer_key');
  return consumer === undefined ? undefined : `${consumer}\0${parameters.get('oauth_token') ?? ''}`;
}

function beforeSlash(text: string): string {
  return text.split('/', 1)[0] ?? text;
}

/** Parameters of a credential (RFC 9110 11.4), names in lower case, the first of each name. */
function parametersOf(text: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const member of listMembers(text)) {
    const equals = member.indexOf('=');
    if (equals === -1) continue;
    const name = member.slice(0, equals).trim().toLowerCase();
    if (!parameters.has(name)) parameters.set(name, unquoted(member.slice(equals + 1).trim()));
  }
  return parameters;
}

/** The `keyid` parameters of all signatures in a Signature-Input (RFC 9421 2.3); quoted text is skipped. */
function keyIdsOf(input: string): string[] {
  const keyIds: string[] = [];
  for (const member of listMembers(input)) {
    for (const part of quotedParts(member)) {
      const parameter = part.trim();
      if (parameter.toLowerCase().startsWith('keyid=')) keyIds.push(unquoted(parameter.slice('keyid='.length)));
    }
  }
  return keyIds;
}

/** What stands between semicolons outside quoted strings. */
function quotedParts(text: string): string[] {
  const parts: string[] = [];
  let start = 0;
  let quoted = false;
  for (let index = 0; index < text.length; index++) {
    const character = text[index];
    if (character === '\\' && quoted) index++;
    else if (character === '"') quoted = !quoted;
    else if (character === ';' && !quoted) {
      parts.push(text.slice(start, index));
      start = index + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function unquoted(text: string): string {
  if (!text.startsWith('"')) return text;
  const end = text.endsWith('"') && text.length > 1 ? -1 : undefined;
  return text.slice(1, end).replace(/\\(.)/g, '$1');
}

import assert from 'node:assert/strict';
import fc from 'fast-check';
import { boundCredential } from '../../src/resource/credential.js';
import { createIdentifier, viewId } from '../../src/resource/identity.js';
import { createSelector, selectingOf, selectsSame } from '../../src/resource/selecting.js';
import { parseTarget } from '../../src/resource/target.js';
import { anyCase, Dice, mutated, type Property, property, seeds, soup } from './property.js';

const identify = createIdentifier(Buffer.from('a secret'));

const harmless = fc.constantFrom(
  ...['Accept', 'Accept-Language', 'Content-Type', 'If-Match', 'Range', 'User-Agent', 'Sec-Fetch-Mode', 'traceparent'],
  ...['X-Request-Id', 'X_Forwarded_For', 'Cache-Control', 'X-HTTP-Method-Override', 'Prefer', 'Expect', 'Via'],
);
const counted = fc.constantFrom(
  'Authorization',
  'Cookie',
  'X-Api-Key',
  'X-Forwarded-User',
  'X_Forwarded_User',
  'Xa',
  'X',
);
const value = fc.constantFrom('', 'a', 'ab', 'b', '1:a', 'Bearer a', 'Basic YTph', '2:ab1:X');

interface Line {
  readonly name: string;
  readonly value: string;
  readonly counts: boolean;
}

const line: fc.Arbitrary<Line> = fc.oneof(
  fc.record({ name: counted.chain(anyCase), value, counts: fc.constant(true) }),
  fc.record({ name: harmless.chain(anyCase), value, counts: fc.constant(false) }),
);
interface Request {
  readonly host: string;
  readonly lines: readonly Line[];
}

const request: fc.Arbitrary<Request> = fc.record({
  host: fc.constantFrom('h', 'H', 'g:80', ''),
  lines: fc.array(line, { maxLength: 4 }),
});

const rawOf = ({ lines }: Request): string[] => lines.flatMap(({ name, value: text }) => [name, text]);

/** Who asks, as rule I2 says it: the host, and by name the values of each field that counts, in their order. */
function whoAsks({ host, lines }: Request): string {
  const names = [...new Set(lines.filter(({ counts }) => counts).map(({ name }) => name.toLowerCase()))].sort();
  const values = names.map((name) => [
    name,
    lines.filter((one) => one.name.toLowerCase() === name).map((one) => one.value),
  ]);
  return JSON.stringify([host.toLowerCase(), values]);
}

const keyId = fc.constantFrom('key-1', 'a', 'AKID', 'me');
const quoted = (text: string): string => `"${text}"`;

interface Signed {
  readonly raw: readonly string[];
  readonly query: string | undefined;
  readonly scheme: string;
}

/** Requests whose credential is good for themselves alone, signed by this key. */
function signedBy(key: string, dice: Dice): Signed {
  const nonce = String(dice.roll(1000));
  /** In any order, and the key once more at the end, where it does not count. */
  const written = (parameters: string[]): string[] => {
    const again = `${parameters[0]?.split('=', 1)[0]}="other"`;
    return [...dice.shuffled(parameters), ...dice.pick([], [again])];
  };
  const authorization = (scheme: string, parameters: string[], separator = ', '): Signed => ({
    raw: ['Authorization', `${dice.pick(scheme, scheme.toUpperCase())} ${written(parameters).join(separator)}`],
    query: undefined,
    scheme: scheme.toLowerCase(),
  });
  const pick = dice.roll(6);
  if (pick === 0) return authorization('Digest', [`username=${quoted(key)}`, `uri="/a,b"`, `nc=${nonce}`]);
  if (pick === 1) {
    return authorization('AWS4-HMAC-SHA256', [`Credential=${key}/2026/r/s/aws4_request`, `Signature=${nonce}`], ',');
  }
  if (pick === 2) return authorization('Hawk', [`id=${quoted(key)}`, `ts="${nonce}"`, `mac="a\\"b=,id="`]);
  if (pick === 3) return authorization('Signature', [`keyId=${quoted(key)}`, `signature="${nonce}"`]);
  if (pick === 4) {
    const input = `sig=("@method" "x;keyid=y");created=${nonce};${dice.pick('keyid', 'KeyId')}=${quoted(key)};alg="a,b"`;
    return { raw: ['Signature-Input', input, 'Signature', `sig=:${nonce}:`], query: undefined, scheme: 'signature' };
  }
  const query = dice.shuffled([`X-Amz-Credential=${key}%2F2026%2Fr`, `X-Amz-Signature=${nonce}`, 'a=b']).join('&');
  return { raw: [], query, scheme: 'aws4-hmac-sha256' };
}

const credentialPieces = [
  ...[
    'Digest ',
    'Hawk ',
    'OAuth ',
    'Signature ',
    'AWS4-HMAC-SHA256 ',
    'Bearer ',
    'username=',
    'keyid=',
    'id=',
    'oauth_token=',
  ],
  ...['"', '\\', ',', ';', '=', '(', ')', ' ', 'a', '%2F', '/', '&', 'x-amz-credential=', 'X-Amz-Credential'],
];
const signingField = fc.constantFrom('Authorization', 'Signature-Input', 'Signature', 'X-Amz-Date');

const negotiated = ['accept', 'accept-charset', 'accept-encoding', 'accept-language'];
const selectingName = fc.constantFrom(...negotiated, 'origin', 'cookie', 'x', 'xy');
const selectingFields = fc.array(
  fc.tuple(selectingName.chain(anyCase), fc.constantFrom('', 'a', 'b', 'a, b', 'x:a', 'a:x')),
  { maxLength: 4 },
);
const varyNames = fc.array(selectingName.chain(anyCase), { maxLength: 4 });

/** What selects a representation: these fields, each with its lines as one list, or that it is absent. */
function selected(fields: readonly (readonly [string, string])[], names: readonly string[]): string {
  const all = [...new Set([...negotiated, ...names.map((name) => name.toLowerCase())])].sort();
  const linesOf = (name: string): string[] =>
    fields.filter(([one]) => one.toLowerCase() === name).map(([, text]) => text);
  return JSON.stringify(all.map((name) => [name, linesOf(name).length === 0 ? null : linesOf(name).join(', ')]));
}

/** Who asks, and for which representation. */
export const identities: readonly Property[] = [
  property(
    'resource/identity: equal for the same credentials only',
    fc.tuple(request, request, seeds),
    ([one, another, seed]) => {
      const dice = new Dice(seed);
      const more = another.lines.filter(({ counts }) => !counts);
      // Half of the time two requests of the same client.
      const other = dice.roll(2) === 0 ? another : { host: one.host.toUpperCase(), lines: [...more, ...one.lines] };
      const [a, b] = [one, other].map((asked) => identify(rawOf(asked), asked.host, 'auto'));
      assert.equal(a?.id === b?.id, whoAsks(one) === whoAsks(other));
      assert.equal(a?.bound, false);
      const none = identify(rawOf({ ...one, lines: one.lines.filter(({ counts }) => !counts) }), one.host, 'auto');
      assert.equal(none.id, identify([], one.host, 'auto').id);
    },
  ),
  property(
    'resource/credential: who signed is known by the key alone',
    fc.tuple(keyId, keyId, seeds, seeds),
    ([key, other, one, two]) => {
      const first = signedBy(key, new Dice(one));
      assert.deepEqual(boundCredential(first.raw, first.query), { scheme: first.scheme, keyId: key });
      const second = signedBy(other, new Dice(two));
      const [a, b] = [first, second].map(({ raw, query }) => identify(raw, 'h', 'auto', query));
      assert.ok(a?.bound && b?.bound);
      assert.equal(a.id === b.id, first.scheme === second.scheme && key === other);
    },
  ),
  property(
    'resource/credential: any text is bound to a known scheme, or to none',
    fc.array(fc.tuple(signingField, mutated(soup(credentialPieces), credentialPieces)), { maxLength: 3 }),
    (fields) => {
      const query = fields[0]?.[1];
      const bound = boundCredential(fields.flat(), query);
      const schemes = ['digest', 'hawk', 'oauth', 'signature', 'aws4-hmac-sha256', 'aws4-ecdsa-p256-sha256'];
      assert.ok(bound === undefined || schemes.includes(bound.scheme));
      const authorization = fields
        .find(([name]) => name === 'Authorization')?.[1]
        .trim()
        .toLowerCase();
      const scheme = schemes.find((name) => authorization?.startsWith(`${name} `));
      const isSigned = scheme !== undefined || fields.some(([name]) => name.startsWith('Signature'));
      const isPresigned = query?.split('&').some((parameter) => /^x-amz-credential(?:=|$)/i.test(parameter)) ?? false;
      assert.equal(bound !== undefined, isSigned || isPresigned);
    },
  ),
  property(
    'resource/identity: views are of one URL and one identity',
    fc.tuple(request, request, seeds),
    ([one, other, seed]) => {
      const dice = new Dice(seed);
      const urls = ['/a', '/A', '/a/', '/a?', '/a?b', '/%61', '/a?%62', '/a%2f', '/a%2F'];
      const [first, second] = [dice.roll(urls.length), dice.roll(urls.length)];
      const view = (asked: Request, index: number): string => {
        const parsed = parseTarget(urls[index] ?? '/');
        assert.equal(parsed.kind, 'target');
        return parsed.kind === 'target' ? viewId(parsed.target, identify(rawOf(asked), asked.host, 'auto')) : '';
      };
      const normal = (index: number): string =>
        (urls[index] ?? '').replace('%61', 'a').replace('%62', 'b').replace('%2f', '%2F');
      const isSame = whoAsks(one) === whoAsks(other) && normal(first) === normal(second);
      assert.equal(view(one, first) === view(other, second), isSame);
    },
  ),
  property(
    'resource/selecting: equal where the fields are, and there only',
    fc.tuple(selectingFields, selectingFields, varyNames, seeds),
    ([one, another, names, seed]) => {
      const dice = new Dice(seed);
      const other = dice.roll(2) === 0 ? another : one;
      const vary = names.join(dice.pick(',', ', '));
      const again = dice
        .shuffled([...names, ...names])
        .join(', ,')
        .toUpperCase();
      const selecting = selectingOf(one.flat(), dice.pick(vary, again));
      const isSame = selected(one, names) === selected(other, names);
      assert.equal(selectingOf(other.flat(), again).digest === selecting.digest, isSame);
      assert.equal(selectsSame(other.flat(), selecting), isSame);
      const kept = one.filter(([name]) => negotiated.includes(name.toLowerCase()));
      assert.deepEqual(selecting.fields, kept.flat());
      assert.equal(selectsSame(one.flat(), selectingOf(one.flat(), `${vary}, *`)), false, 'Vary: * is like nothing');
      const select = createSelector(1);
      assert.equal(select(one.flat(), vary), select(one.flat(), again), 'one object for both');
      assert.equal(select(one.flat(), vary).digest, selecting.digest);
    },
    2,
  ),
  property(
    'resource/selecting: any Vary',
    fc.tuple(selectingFields, soup(['*', ',', '"', ':', 'x', ' ', '\\'], 6)),
    ([fields, vary]) => {
      const selecting = selectingOf(fields.flat(), vary);
      // What is no list of names may never be found again, but never stands for other fields.
      const other = [...fields, ['Accept', 'another']].flat();
      assert.equal(selectsSame(other, selecting), false);
      assert.notEqual(selectingOf(other, vary).digest, selecting.digest);
    },
  ),
];

import fc from 'fast-check';
import t from 'tap';
import { createIdentifier, viewId } from '../../src/resource/identity.js';
import { createSelector, selectingOf, selectsSame } from '../../src/resource/selecting.js';
import { parseTarget, type Target } from '../../src/resource/target.js';

const identify = createIdentifier(Buffer.from('secret'));
const idOf = (raw: readonly string[], query?: string): string => identify(raw, 'h', 'auto', query).id;
const anonymous = idOf([]);

function target(text: string): Target {
  const result = parseTarget(text);
  if (result.kind !== 'target') throw new Error(`not a target: ${text}`);
  return result.target;
}

t.test('I2: fields that cannot carry a credential make no identity', async (t) => {
  const names = [
    ...['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Keep-Alive', 'TE', 'Trailer', 'Upgrade'],
    ...['Proxy-Connection', 'Content-Type', 'Content-Encoding', 'Content-MD5', 'If-Match', 'If-None-Match', 'If'],
    ...['If-Modified-Since', 'If-Range', 'Range', 'Expect', 'Prefer', 'Accept', 'Accept-Language', 'Accept-Encoding'],
    ...['Cache-Control', 'Pragma', 'Idempotency-Key', 'Date', 'X-HTTP-Method-Override', 'X_Method_Override', 'Digest'],
    ...['X-HTTP-Method', 'Repr-Digest', 'Want-Repr-Digest', 'Depth', 'Destination', 'Overwrite', 'Timeout'],
    ...['Lock-Token', 'User-Agent', 'Referer', 'Origin', 'DNT', 'Priority', 'Save-Data', 'X-Requested-With'],
    ...['Upgrade-Insecure-Requests', 'Sec-Fetch-Site', 'sec-ch-ua', 'traceparent', 'tracestate', 'baggage', 'b3'],
    ...['X-B3-TraceId', 'X-Cloud-Trace-Context', 'X-Amzn-Trace-Id', 'X-Datadog-Trace-Id', 'Uber-Trace-Id'],
    ...['X-Request-Id', 'X-Correlation-Id', 'Via', 'Forwarded', 'X-Forwarded-For', 'X-Forwarded-Proto'],
    ...['X-Forwarded-Host', 'X-Forwarded-Port', 'X-Forwarded-Prefix', 'X-Real-IP', 'X-Client-IP', 'CDN-Loop', 'CF-Ray'],
    ...['CF-Connecting-IP', 'True-Client-IP', 'Fastly-Client-IP', 'x-amz-date', 'x-amz-checksum-crc32'],
    ...['amz-sdk-invocation-id', 'X-Amz-Content-Sha256'],
  ];
  for (const name of names) t.equal(idOf([name, 'x']), anonymous, name);
});

t.test('I2: every other field does', async (t) => {
  const names = [
    ...['Authorization', 'Cookie', 'X-Api-Key', 'Proxy-Authorization', 'X-Tenant', 'Api-Token', 'X-Custom'],
    ...['X-Forwarded-User', 'X-Forwarded-Email', 'X-Forwarded-Groups', 'X-Forwarded-Access-Token', 'Acceptance'],
    ...['X-Amz-Security-Token', 'X-Auth-Request-User', 'DPoP', 'Remote-User', 'X-CSRF-Token'],
  ];
  const ids = new Set([anonymous]);
  for (const name of names) {
    const id = idOf([name, 'x']);
    t.notOk(ids.has(id), name);
    ids.add(id);
    t.not(idOf([name, 'y']), id, `${name}, another value`);
    t.equal(idOf([name.toUpperCase(), 'x']), id, `${name}, another spelling`);
    t.match(id, /^[\w-]{22}$/);
  }
});

t.test('I2: Host, the secret, order and duplicates', async (t) => {
  t.not(identify([], 'other', 'auto').id, anonymous);
  t.equal(identify([], 'H', 'auto').id, anonymous);
  t.not(createIdentifier(Buffer.from('another'))([], 'h', 'auto').id, anonymous);
  t.equal(idOf(['A', '1', 'B', '2']), idOf(['B', '2', 'A', '1']));
  t.not(idOf(['A', '1', 'A', '2']), idOf(['A', '2', 'A', '1']));
  t.not(idOf(['A', '1', 'A', '2']), idOf(['A', '1, 2']));
  t.equal(idOf([]), anonymous, 'remembered');
  for (let index = 0; index < 1100; index++) identify([], `h${index}`, 'auto');
  t.equal(idOf([]), anonymous, 'made again');
});

t.test('I2: no two lists of fields hash the same input', async () => {
  const text = fc.constantFrom('', 'a', 'b', 'ab', '1', '1:', '2:ab', '0:', 'a1:b');
  const list = fc.array(fc.tuple(fc.constantFrom('x', 'xa', 'y'), text), { maxLength: 4 });
  const sorted = (pairs: [string, string][]): string =>
    JSON.stringify([...pairs].sort(([one], [other]) => (one < other ? -1 : Number(one > other))));
  fc.assert(
    fc.property(
      list,
      list,
      (one, other) => (idOf(one.flat()) === idOf(other.flat())) === (sorted(one) === sorted(other)),
    ),
    { numRuns: 2000 },
  );
});

t.test('I2: `credentials` names the fields instead', async (t) => {
  const of = (raw: readonly string[]): string => identify(raw, 'h', ['X-Api-Key', 'User-Agent']).id;
  t.equal(of(['Cookie', 'a']), of(['Cookie', 'b', 'Authorization', 'Bearer x']));
  t.not(of(['x-api-key', 'a']), of(['x-api-key', 'b']));
  t.not(of(['user-agent', 'a']), of(['user-agent', 'b']));
  t.equal(of(['Cookie', 'a']), anonymous);
});

const aws = (key: string, day: string): string =>
  `AWS4-HMAC-SHA256 Credential=${key}/${day}/eu-west-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=${day}ab`;

t.test('W4: credentials that are bound to one request are told by their key id', async (t) => {
  const rows: [name: string, one: string[], same: string[], other: string[]][] = [
    [
      'AWS4-HMAC-SHA256',
      ['Authorization', aws('AK1', '20260101'), 'X-Amz-Date', '1', 'x-amz-acl', 'private'],
      ['authorization', aws('AK1', '20260102'), 'X-Amz-Date', '2'],
      ['Authorization', aws('AK2', '20260101')],
    ],
    [
      'AWS4-ECDSA-P256-SHA256',
      ['Authorization', 'AWS4-ECDSA-P256-SHA256 Credential=A/1/s3/aws4_request,Signature=1'],
      ['Authorization', 'AWS4-ECDSA-P256-SHA256 Credential=A/2/s3/aws4_request,Signature=2'],
      ['Authorization', 'AWS4-ECDSA-P256-SHA256 Credential=B/1/s3/aws4_request,Signature=1'],
    ],
    [
      'Digest',
      ['Authorization', 'Digest username="Mu, fa\\"sa", realm="r", nonce="1", uri="/a", response="x"'],
      ['Authorization', 'digest realm="r",username="Mu, fa\\"sa",nonce="2",uri="/b",response="y"'],
      ['Authorization', 'Digest username="Mu", realm="r", nonce="1", uri="/a", response="x"'],
    ],
    [
      'OAuth 1',
      ['Authorization', 'OAuth oauth_consumer_key="c", oauth_token="t", oauth_nonce="1"'],
      ['Authorization', 'OAuth oauth_nonce="2", oauth_token="t", oauth_consumer_key="c"'],
      ['Authorization', 'OAuth oauth_consumer_key="c", oauth_token="u", oauth_nonce="1"'],
    ],
    [
      'Hawk',
      ['Authorization', 'Hawk id="d", ts="1", nonce="a", mac="x"'],
      ['Authorization', 'Hawk id="d", ts="2", nonce="b", mac="y"'],
      ['Authorization', 'Hawk id="e", ts="1", nonce="a", mac="x"'],
    ],
    [
      'HTTP Message Signatures',
      ['Signature-Input', 'sig1=("@method" "x;keyid=no");created=1;keyid="k,1"', 'Signature', 'sig1=:aa:'],
      ['Signature-Input', 'sig1=("@method");keyid="k,1";created=2', 'Signature', 'sig1=:bb:'],
      ['Signature-Input', 'sig1=("@method");keyid="k,2";created=1', 'Signature', 'sig1=:aa:'],
    ],
    [
      'HTTP Message Signatures beside another credential',
      ['Signature-Input', 's=();keyid="k"', 'Authorization', 'Bearer a'],
      ['Signature-Input', 's=();keyid="k"; created=9', 'Authorization', 'Bearer a'],
      ['Signature-Input', 's=();keyid="k"', 'Authorization', 'Bearer b'],
    ],
    [
      'the drafts, in Signature',
      ['Signature', 'keyId="k",algorithm="hs2019",signature="1"'],
      ['Signature', 'keyId="k",algorithm="hs2019",signature="2"'],
      ['Signature', 'keyId="l",algorithm="hs2019",signature="1"'],
    ],
    [
      'the drafts, in Authorization',
      ['Authorization', 'Signature keyId="k",signature="1"'],
      ['Authorization', 'Signature keyId="k",signature="2"'],
      ['Authorization', 'Signature keyId="l",signature="1"'],
    ],
  ];
  for (const [name, one, same, other] of rows) {
    const identity = identify(one, 'h', 'auto');
    t.ok(identity.bound, name);
    t.equal(idOf(same), identity.id, `${name}: same key`);
    t.not(idOf(other), identity.id, `${name}: another key`);
    t.not(identity.id, anonymous, name);
    t.not(identify(one, 'other', 'auto').id, identity.id, `${name}: another host`);
  }
  const named = (raw: string[]): string => identify(raw, 'h', ['authorization']).id;
  t.equal(named(['Authorization', aws('A', '1')]), named(['Authorization', aws('A', '2')]));
  t.not(named(['Authorization', aws('A', '1')]), named(['Authorization', aws('B', '1')]));
});

t.test('W4: a bound credential that names no key is shared with nobody', async (t) => {
  const rows = ['Digest nonce="1"', 'OAuth realm="1"', 'AWS4-HMAC-SHA256 Signature=1', 'Hawk "', 'Signature x'];
  for (const value of rows) {
    t.ok(identify(['Authorization', value], 'h', 'auto').bound, value);
    t.not(idOf(['Authorization', value]), idOf(['Authorization', `${value}2`]), value);
  }
  t.not(idOf(['Signature-Input', 's=();created=1']), idOf(['Signature-Input', 's=();created=2']));
  t.not(idOf(['Signature', 'a']), idOf(['Signature', 'b']));
});

t.test('W4: credentials that can be sent again are not bound', async (t) => {
  const rows = [
    ['Authorization', 'Basic eDp5'],
    ['Authorization', 'Bearer digest'],
    ['Authorization', 'Digest'],
    ['Cookie', 'a=b'],
    [],
  ];
  for (const raw of rows) t.notOk(identify(raw, 'h', 'auto').bound, raw.join(': '));
});

t.test('W4: presigned URLs', async (t) => {
  const query = (key: string, signature: string): string =>
    `x=1&X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=${key}%2F20260101%2Fs3&X-Amz-Signature=${signature}`;
  const read = identify([], 'h', 'auto', query('AK', 'r'));
  const write = identify([], 'h', 'auto', query('AK', 'w'));
  t.ok(read.bound);
  t.equal(read.id, write.id);
  t.not(identify([], 'h', 'auto', query('AL', 'r')).id, read.id);
  t.equal(viewId(target(`/o?${query('AK', 'r')}`), read), viewId(target(`/o?${query('AK', 'w')}`), write));
  t.not(viewId(target('/o?x=2&X-Amz-Signature=r'), read), viewId(target('/o?x=1&X-Amz-Signature=r'), read));
  t.equal(viewId(target('/o?X-Amz-Signature=r'), read), viewId(target('/o'), read));
  t.notOk(identify([], 'h', 'auto', 'q=x-amz-credential').bound);
});

t.test('I2: a view is a URL and an identity', async (t) => {
  const me = identify(['Cookie', 'me'], 'h', 'auto');
  const you = identify(['Cookie', 'you'], 'h', 'auto');
  t.equal(viewId(target('/docs/%31?a'), me), viewId(target('/docs/1?a'), me));
  t.not(viewId(target('/docs/1'), me), viewId(target('/docs/1/'), me));
  t.not(viewId(target('/docs/1'), me), viewId(target('/docs/1?'), me));
  t.not(viewId(target('/docs/1'), me), viewId(target('/docs/1'), you));
  t.match(viewId(target('/docs/1?access_token=x'), me), /^[\w-]{43}$/);
});

t.test('W4: selecting fields', async (t) => {
  const raw = ['ACCEPT', 'text/html', 'X', '1', 'accept-encoding', 'gzip', 'Origin', 'https://a', 'Accept', '*/*'];
  const base = selectingOf(raw, undefined);
  t.same(base.fields, ['ACCEPT', 'text/html', 'accept-encoding', 'gzip', 'Accept', '*/*']);
  const rows: [same: boolean, raw: string[], vary: string | undefined][] = [
    [true, raw, ''],
    [true, raw, 'Accept-Encoding, accept'],
    [true, ['Accept-Encoding', 'gzip', 'Accept', 'text/html, */*'], undefined],
    [false, ['Accept-Encoding', 'br', 'Accept', 'text/html, */*'], undefined],
    [false, [...raw, 'Accept-Language', ''], undefined],
    [false, raw, 'Origin'],
  ];
  for (const [same, fields, vary] of rows) t.equal(selectingOf(fields, vary).digest === base.digest, same, `${vary}`);

  const origin = selectingOf(raw, 'Origin, X, accept');
  t.equal(selectingOf(raw, 'x,ORIGIN,x').digest, origin.digest);
  t.not(selectingOf(['Origin', 'https://b', ...raw], 'Origin, X').digest, origin.digest);
  t.ok(selectsSame(raw, origin));
  t.ok(selectsSame(raw, base));
  t.notOk(selectsSame([...raw, 'X', '2'], origin));
  t.ok(selectsSame([...raw, 'X', '2'], base));
  t.not(selectingOf([], 'X').digest, selectingOf(['X', ''], 'X').digest, 'absent is not empty');
  t.notMatch(JSON.stringify(selectingOf(['X', 'top-secret'], 'X')), /top-secret/);

  const any = selectingOf(raw, 'Accept, *');
  t.not(selectingOf(raw, '*').digest, any.digest);
  t.notOk(selectsSame(raw, any));
});

t.test('W4: long selecting fields are told apart, but not kept', async (t) => {
  const fields = (last: string): string[] => [
    'Accept',
    `${'a'.repeat(1000)}${last}`,
    'Accept-Language',
    'de'.repeat(50),
  ];
  for (const select of [selectingOf, createSelector(2)]) {
    const long = select(fields('1'), undefined);
    t.same([long.fields, long.isCut], [[], true]);
    t.ok(selectsSame(fields('1'), long));
    t.notOk(selectsSame(fields('2'), long));
    t.notOk(selectsSame([], long));
    t.ok(Object.isFrozen(long) && Object.isFrozen(long.fields));
  }
});

t.test('W4: selecting fields are shared between observations, and bounded', async (t) => {
  const select = createSelector(2);
  const first = select(['Accept', 'a'], undefined);
  t.equal(select(['accept', 'a'], 'Accept'), first);
  t.same(first, selectingOf(['Accept', 'a'], undefined));
  t.ok(Object.isFrozen(first) && Object.isFrozen(first.fields));
  t.not(select(['Accept', 'a'], '*'), select(['Accept', 'a'], '*'));
  t.equal(select(['Accept', 'a'], undefined), first, '* is not remembered');
  select(['Accept', 'b'], undefined);
  select(['Accept', 'c'], undefined);
  const again = select(['Accept', 'a'], undefined);
  t.not(again, first, 'the oldest was forgotten');
  t.equal(again.digest, first.digest);
});

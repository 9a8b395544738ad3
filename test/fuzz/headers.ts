import assert from 'node:assert/strict';
import fc from 'fast-check';
import { allowConditional, createCorsMemory, exposeEtag } from '../../src/headers/cors.js';
import { type ForwardedContext, requestFields, responseVia } from '../../src/headers/forwarded.js';
import { methodOverride, withoutMethodParameter } from '../../src/headers/override.js';
import { anyCase, Dice, type Property, property, seeds, soup } from './property.js';

const method = fc.constantFrom('PUT', 'put', 'Patch', 'DELETE', 'GET', 'MERGE');
const overrideName = fc.constantFrom(
  ...['X-HTTP-Method-Override', 'X_HTTP-Method_Override', 'x_http_method_override', 'X-Method-Override'],
  ...['x_method_override', 'X-HTTP-Method', 'X_HTTP_METHOD'],
);
const overrideLine = fc.tuple(overrideName.chain(anyCase), fc.array(method, { maxLength: 2 }));
const overrideParameter = fc.tuple(fc.constantFrom('_method', '_METHOD', '%5fmethod', '_%6Dethod'), method);
const otherParameter = fc.tuple(fc.constantFrom('a', 'x_method', '_methods', '_Method', 'method', ''), method);

const queryPieces = [
  ...['_method', '_METHOD', '=', '&', '&&', 'PUT', 'delete', '%20', '+', '%5f', '%', '%c3', '#', ';', 'a', '\u00ff'],
  ...['%00', '%26', '%3D', 'x'],
];

/** Parameters of a query, each as it stands. */
const parametersOf = (query: string | undefined): string[] => query?.split(/[&;]/).filter((text) => text !== '') ?? [];

const passed = fc.tuple(
  fc.constantFrom('Accept', 'X-Original', 'Cookie', 'X-Forwarded', 'X-Request-Ids', 'Via', 'Hosts', 'Forwarded'),
  fc.constantFrom('', 'a', 'b, c'),
);
const forwardedFor = fc.tuple(fc.constantFrom('X-Forwarded-For', 'x-forwarded-for'), fc.constantFrom('', '10.0.0.1'));
const forwardedOther = fc.tuple(
  fc.constantFrom('X-Forwarded-Proto', 'x-forwarded-HOST', 'X_Forwarded_For', 'X-Forwarded_Proto'),
  fc.constantFrom('https', 'other'),
);
const special = fc.tuple(
  fc.constantFrom('X-Request-Id', 'x_request_id', 'X-Original-URL', 'x_rewrite-url', 'X-Rewrite-URL', 'Host', 'HOST'),
  fc.constantFrom('forged', 'client.example'),
);
const incoming = fc.array(fc.oneof(passed, forwardedFor, forwardedOther, special), { maxLength: 8 });
const context: fc.Arbitrary<ForwardedContext> = fc.record({
  clientHost: fc.constantFrom('client.example', ''),
  upstreamHost: fc.constant('upstream.example'),
  remoteAddress: fc.constantFrom('', '192.0.2.1', '::ffff:192.0.2.1', '2001:db8::1'),
  protocol: fc.constantFrom<'http' | 'https'>('http', 'https'),
  requestId: fc.constant('the-id'),
  httpVersion: fc.constantFrom('1.0', '1.1'),
});
const options = fc.record({
  host: fc.constantFrom('preserve', 'upstream', 'fixed.example'),
  forwarded: fc.constantFrom<'append' | 'replace' | 'off'>('append', 'replace', 'off'),
  via: fc.constantFrom<'response' | 'both' | 'off'>('response', 'both', 'off'),
  pathHeaders: fc.constantFrom<'drop' | 'pass'>('drop', 'pass'),
});

type Field = readonly [name: string, value: string];

function pairs(raw: readonly string[]): Field[] {
  return raw.flatMap((name, index): Field[] => (index % 2 === 0 ? [[name, raw[index + 1] ?? '']] : []));
}

const valuesOf = (list: readonly Field[], name: string): string[] =>
  list.filter(([spelt]) => spelt.toLowerCase() === name).map(([, value]) => value);

const named = (name: string): string => name.toLowerCase().replaceAll('_', '-');
const isForwarded = (name: string): boolean => /^x-forwarded-(for|proto|host)$/.test(named(name));
const isPath = (name: string): boolean => /^x-(original|rewrite)-url$/.test(named(name));

/** The last line of X-Forwarded-For takes the address of the peer, as list fields are continued. */
function forwardedForOf(earlier: readonly string[], remoteAddress: string): string[] {
  const address = remoteAddress.replace('::ffff:', '');
  if (address === '') return [...earlier];
  const last = earlier.at(-1) ?? '';
  return [...earlier.slice(0, -1), last === '' ? address : `${last}, ${address}`];
}

const corsName = fc.constantFrom(
  ...['Access-Control-Allow-Origin', 'Access-Control-Expose-Headers', 'access-control-expose-headers'],
  ...['Access-Control-Allow-Headers', 'Access-Control-Allow-Credentials', 'Vary', 'ETag'],
);
const corsValue = fc.oneof(
  fc.constantFrom('*', 'true', 'https://a', '', 'etag', 'X, ETag', 'if-match,If-None-Match'),
  soup([',', ' ', 'ETag', '*', 'X', '\\'], 5),
);
const corsFields = fc.array(fc.tuple(corsName, corsValue), { maxLength: 5 });

/** Members of the fields of an answer that a browser allows or exposes. */
function membersOf(list: readonly Field[], name: string): string[] {
  return valuesOf(list, name).flatMap((value) =>
    value
      .toLowerCase()
      .split(',')
      .map((member) => member.trim()),
  );
}

function assertAdded(before: readonly Field[], after: readonly Field[], name: string, wanted: readonly string[]): void {
  const others = (list: readonly Field[]): Field[] => list.filter(([spelt]) => spelt.toLowerCase() !== name);
  assert.deepEqual(others(after), others(before), 'other fields stay as they are');
  const allowed = valuesOf(before, 'access-control-allow-origin').length > 0;
  if (!allowed) assert.deepEqual(after, before);
  const members = membersOf(after, name);
  const isAny = members.includes('*') && !valuesOf(before, 'access-control-allow-credentials').includes('true');
  for (const member of wanted) assert.ok(!allowed || isAny || members.includes(member.toLowerCase()), member);
}

const conditional = ['If-Match', 'If-None-Match', 'If-Modified-Since', 'If-Unmodified-Since', 'If-Range'];

const memoryStep = fc.record({
  route: fc.constantFrom('/a', '/b'),
  origin: fc.constantFrom(undefined, 'https://a', 'https://b', 'null'),
  answer: fc.option(corsFields, { nil: undefined }),
});

/** What the gate makes of fields on their way. */
export const headers: readonly Property[] = [
  property(
    'headers/override: what the fields and the query say together',
    fc.tuple(
      fc.array(overrideLine, { maxLength: 3 }),
      fc.array(fc.oneof(overrideParameter, otherParameter), { maxLength: 3 }),
    ),
    ([fieldLines, parameters]) => {
      const raw = fieldLines.flatMap(([name, methods]) => [name, methods.join(', ')]);
      const query = parameters.map(([name, value]) => `${name}=${value}`).join('&');
      const isOverride = (name: string): boolean => ['_method', '_METHOD'].includes(decodeURIComponent(name));
      const meant = new Set(
        [
          ...fieldLines.flatMap(([, methods]) => methods),
          ...parameters.filter(([name]) => isOverride(name)).map(([, value]) => value),
        ].map((name) => name.toUpperCase()),
      );
      const said = methodOverride(raw, query);
      assert.equal(said.kind, ['none', 'method'][meant.size] ?? 'conflict');
      if (said.kind === 'method') assert.ok(meant.has(said.method));
      if (said.kind === 'conflict') assert.deepEqual(new Set(said.methods), meant);
      const kept = parameters.filter(([name]) => !isOverride(name)).map(([name, value]) => `${name}=${value}`);
      assert.equal(withoutMethodParameter(query) ?? '', kept.join('&'));
    },
  ),
  property('headers/override: a read of the gate carries none', soup(queryPieces), (query) => {
    const rest = withoutMethodParameter(query);
    assert.deepEqual(methodOverride([], rest), { kind: 'none' });
    assert.deepEqual(
      parametersOf(rest),
      parametersOf(query).filter((parameter) => !/^(?:\+|%20)*_(?:method|METHOD)(?:=|%00|$)/.test(parameter)),
    );
  }),
  property(
    'headers/forwarded: the fields that go upstream',
    fc.tuple(incoming, context, options),
    ([given, from, how]) => {
      const list = pairs(requestFields(given.flat(), from, how));
      const asked =
        new Map([
          ['preserve', from.clientHost],
          ['upstream', ''],
        ]).get(how.host) ?? how.host;
      assert.deepEqual(valuesOf(list, 'host'), [asked === '' ? from.upstreamHost : asked], 'one Host');
      assert.deepEqual(
        list.filter(([name]) => named(name) === 'x-request-id'),
        [['X-Request-Id', 'the-id']],
      );
      assert.equal(
        list.some(([name]) => isPath(name)),
        how.pathHeaders === 'pass' && given.some(([name]) => isPath(name)),
      );
      const inbound = how.forwarded === 'replace' ? [] : given.filter(([name]) => isForwarded(name));
      const before = valuesOf(inbound, 'x-forwarded-for');
      const added = how.forwarded !== 'off';
      assert.deepEqual(
        valuesOf(list, 'x-forwarded-for'),
        added ? forwardedForOf(before, from.remoteAddress) : before,
        'X-Forwarded-For',
      );
      const protocols = valuesOf(inbound, 'x-forwarded-proto');
      assert.deepEqual(
        valuesOf(list, 'x-forwarded-proto'),
        added && protocols.length === 0 ? [from.protocol] : protocols,
        'X-Forwarded-Proto',
      );
      const isOther = ([name]: Field): boolean =>
        !/^(host|x-request-id)$/.test(named(name)) && !isPath(name) && !isForwarded(name);
      const via: Field[] = how.via === 'both' ? [['Via', `${from.httpVersion} ifmatch`]] : [];
      assert.deepEqual(list.filter(isOther), [...given.filter(isOther), ...via], 'all others, in their order');
      const answered = how.via === 'off' ? [] : ['Via', `${from.httpVersion} ifmatch`];
      assert.deepEqual(responseVia(given.flat(), from.httpVersion, how), [...given.flat(), ...answered]);
    },
    2,
  ),
  property('headers/cors: scripts may read ETag and send conditions', corsFields, (given) => {
    const exposed = pairs(exposeEtag(given.flat()));
    assertAdded(given, exposed, 'access-control-expose-headers', ['ETag']);
    assert.deepEqual(pairs(exposeEtag(exposed.flat())), exposed, 'once is enough');
    const allowed = pairs(allowConditional(given.flat()));
    assertAdded(given, allowed, 'access-control-allow-headers', conditional);
    assert.deepEqual(pairs(allowConditional(allowed.flat())), allowed);
  }),
  property(
    'headers/cors: the memory says what was last said, and forgets the oldest',
    fc.tuple(fc.array(memoryStep, { maxLength: 12 }), fc.integer({ min: 1, max: 3 })),
    ([steps, max]) => {
      const memory = createCorsMemory(max);
      let model: { readonly key: string; readonly said: readonly Field[] }[] = [];
      for (const { route, origin, answer } of steps) {
        if (answer !== undefined) memory.learn(route, origin, answer.flat());
        const replayed = pairs(memory.replay(route, origin));
        if (origin === undefined) {
          assert.deepEqual(replayed, []);
          continue;
        }
        const key = `${route} ${origin}`;
        const known = answer ?? model.find((entry) => entry.key === key)?.said;
        model = model.filter((entry) => entry.key !== key);
        if (known !== undefined && valuesOf(known, 'access-control-allow-origin').length > 0) {
          model = [...model, { key, said: known }].slice(-max);
        }
        const kept = model.at(-1)?.key === key ? (known ?? []) : [];
        const expected = kept.filter(([name]) => /^(access-control-allow-(origin|credentials)|vary)$/i.test(name));
        const [exposed, ...rest] = replayed.reverse();
        assert.deepEqual(rest.reverse(), expected);
        assert.equal(exposed?.[0], kept.length === 0 ? undefined : 'Access-Control-Expose-Headers');
      }
    },
    2,
  ),
  property(
    'headers/override: the order of fields says nothing',
    fc.tuple(fc.array(overrideLine), seeds),
    ([list, seed]) => {
      const raw = (some: typeof list): string[] => some.flatMap(([name, methods]) => [name, methods.join()]);
      const said = methodOverride(raw(list), undefined);
      const again = methodOverride(raw(new Dice(seed).shuffled(list)), undefined);
      assert.equal(again.kind, said.kind);
    },
  ),
];

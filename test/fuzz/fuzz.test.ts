import fc from 'fast-check';
import t from 'tap';
import type { Exchange } from '../../src/gate/exchange.js';
import { malformation } from '../../src/gate/malformation.js';
import { withoutMethodParameter } from '../../src/headers/override.js';
import type { IdentityOptions } from '../../src/resource/key.js';
import { createLocator } from '../../src/resource/locate.js';
import { parseTarget } from '../../src/resource/target.js';
import { properties } from './properties.js';

/** The same cases each time; `npm run fuzz` looks for others. */
const seed = 8110;
/** As many in all as take a few seconds. */
const cases = 12_000;

const shares = properties.reduce((sum, { cost }) => sum + 1 / cost, 0);

for (const { name, cost, check } of properties) {
  t.test(name, async (t) => {
    const numRuns = Math.max(5, Math.round(cases / cost / shares));
    const details = await fc.check(check, { seed, numRuns });
    t.notOk(details.failed, fc.defaultReportMessage(details) ?? `${numRuns} cases`, { found: details.errorInstance });
  });
}

t.test('found by fuzzing', async (t) => {
  const query = 'a=1&?_method=PUT';
  t.equal(withoutMethodParameter(query), query, 'I4: only overrides are left out');
  const how = { caseSensitive: false, trailingSlash: false, duplicateSlashes: false, pathParams: false, host: false };
  const identity: IdentityOptions = { ...how, pathHeaders: 'drop' };
  t.equal(parseTarget('/docs/1;p=a%2Fb').kind, 'refused', 'I6: a slash in a parameter');
  const upstream = { authority: 'up', basePath: '' };
  const policy = { query: 'ignore' as const, invalidates: [] };
  const locator = createLocator({ routes: [], policy, identity, fingerprint: () => '', upstream });
  const target = { raw: '/', path: '/', query: undefined, authority: undefined };
  t.equal(locator.keyOf('/caf\u00c3\u00a9', target, 'h'), '/caf%C3%A9', 'W10: raw octets in Location');
  const rawHeaders = ['Host', 'h', 'Transfer-Encoding', 'chunked\u00a0'];
  const found = malformation({ httpVersion: '1.1', rawHeaders } as unknown as Exchange);
  t.equal(found?.name, 'malformed-request', 'I6: a coding with an octet that is no white space in HTTP');
});

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { createSelector, selectsSame } from '../../src/resource/selecting.js';

const built = fileURLToPath(new URL('../../dist/resource/selecting.js', import.meta.url));

/** Selects by a credential, forgets it, and looks for it in the heap; `spelt` keeps it in a form that does not match. */
const looksForSecret = `
import { randomBytes } from 'node:crypto';
import { getHeapSnapshot } from 'node:v8';
import { createSelector, selectsSame } from ${JSON.stringify(built)};
const select = createSelector(10);
const spelt = [...randomBytes(12).toString('hex')];
const secret = () => spelt.join('');
for (const [name, prefix] of [['Authorization', 'Bearer '], ['Cookie', 'sid='], ['Accept', 'text/']]) {
  const raw = [name, prefix + secret(), 'Accept-Language', 'de'];
  selectsSame(raw, select(raw, name));
}
globalThis.gc();
let text = '';
for await (const chunk of getHeapSnapshot()) text += chunk;
const found = secret();
console.log(JSON.stringify(['Bearer ', 'sid=', 'text/'].filter((prefix) => text.includes(prefix + found))));
`;

t.test('what Vary names is kept as a hash alone, negotiation as it is (I2)', async (t) => {
  const args = ['--expose-gc', '--input-type=module', '--eval', looksForSecret];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  t.equal(stdout.trim(), '["text/"]', stderr);
});

t.test('the same selection, the same object, as long as it is remembered', async (t) => {
  const select = createSelector(2);
  const rows = [
    ['Accept', 'a'],
    ['Accept', 'b'],
    ['Accept', 'a', 'X-User', 'me'],
  ];
  const [a, b, c] = rows.map((raw) => select(raw, 'X-User'));
  t.equal(new Set([a?.digest, b?.digest, c?.digest]).size, 3);
  t.equal(select(['X-User', 'me', 'Accept', 'a'], 'x-user'), c, 'the order of fields is nothing');
  t.equal(select(['Accept', 'b'], 'X-USER'), b);
  t.not(select(['Accept', 'a'], 'X-User'), a, 'forgotten');
  t.ok(a !== undefined && selectsSame(['Accept', 'a'], a) && !selectsSame(['Accept', 'b'], a));
});

import t from 'tap';
import { UpstreamCall } from '../../src/upstream/call.js';
import { createVirtualClock } from '../helpers/clock.js';

const options = {
  upstreamTimeout: 1000,
  idleTimeout: 1000,
  isBreaking: () => false,
  onInformational: undefined,
};

/** Views of one piece of memory, as undici hands out the fields of a head that came at once. */
function views(texts: readonly string[], gap: number): Buffer[] {
  const memory = Buffer.alloc(4096, '\r');
  let offset = 7;
  return texts.map((text) => {
    const length = memory.write(text, offset, 'latin1');
    const view = memory.subarray(offset, offset + length);
    offset += length + gap;
    return view;
  });
}

t.test('the fields of a head are decoded as they came, in however many pieces', async (t) => {
  const fields = ['Server', 'x', 'X-Empty', '', 'x-LATIN', 'caf\u00e9', 'Set-Cookie', 'a=1', 'Set-Cookie', 'b=2'];
  const whole = views(fields, 2);
  const foreign = (at: number): Buffer[] => whole.map((view, index) => (index === at ? Buffer.from(view) : view));
  const rows: [string, Buffer[]][] = [
    ['one piece', whole],
    ['one piece without a gap', views(fields, 0)],
    ['each on its own', fields.map((field) => Buffer.from(field, 'latin1'))],
    ['the second half in another piece', [...whole.slice(0, 5), ...views(fields, 2).slice(5)]],
    ...fields.map((_, index): [string, Buffer[]] => [`number ${index} put together of two`, foreign(index)]),
  ];
  for (const [name, given] of rows) {
    const call = new UpstreamCall(createVirtualClock(), options);
    call.onConnect(() => {});
    call.onHeaders(200, given, () => {});
    t.strictSame((await call.head).rawHeaders, fields, name);
    call.onComplete(null);
  }
});

t.test('a call whose head nobody waits for may fail', async (t) => {
  const clock = createVirtualClock();
  const call = new UpstreamCall(clock, options);
  call.abort();
  t.match(call.failure, { type: 'connection_terminated' });
  t.equal(clock.pending(), 0, 'no timer is left');
  await call.sent;
  await t.rejects(call.head, { message: 'the gate gave the request up' }, 'who asks later is told');
});

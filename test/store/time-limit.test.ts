import t from 'tap';
import { TimeLimit } from '../../src/store/redis/time-limit.js';
import { createVirtualClock } from '../helpers/clock.js';
import { turn } from '../helpers/eventually.js';

t.test('steps that all may take as long', async (t) => {
  await t.test('each ends at its own time, and one timer serves all', async (t) => {
    const clock = createVirtualClock();
    const limit = new TimeLimit(clock, 1000);
    const late: number[] = [];
    const hang = (name: number) => limit.within(new Promise(() => undefined)).catch(() => late.push(name));
    const steps = [hang(1)];
    clock.advance(400);
    steps.push(hang(2));
    t.equal(clock.pending(), 1);
    clock.advance(601);
    await steps[0];
    t.strictSame(late, [1], 'the other one has time left');
    t.equal(clock.pending(), 1);
    clock.advance(400);
    await steps[1];
    t.strictSame(late, [1, 2]);
    t.equal(clock.pending(), 0, 'nothing is left to look after');
  });

  await t.test('what comes in time is handed on, and nothing is looked after any more', async (t) => {
    const clock = createVirtualClock();
    const limit = new TimeLimit(clock, 1000);
    t.equal(await limit.within(Promise.resolve('told')), 'told');
    await t.rejects(limit.within(Promise.reject(new Error('lost'))), { message: 'lost' });
    t.equal(clock.pending(), 0);
  });

  await t.test('an answer that is there before anybody could look is in time', async (t) => {
    const clock = createVirtualClock();
    const limit = new TimeLimit(clock, 1000);
    let answer: (text: string) => void = () => undefined;
    const step = limit.within(new Promise<string>((resolve) => (answer = resolve)));
    const hung = limit.within(new Promise(() => undefined));
    clock.advance(5000);
    // The process was held up; its event loop comes to the sockets after its timers.
    await turn();
    answer('told');
    t.equal(await step, 'told');
    await t.rejects(hung, { message: 'the store did not answer within 1000 ms' });
  });
});

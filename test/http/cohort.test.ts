import { setImmediate as turn } from 'node:timers/promises';
import t from 'tap';
import { Cohort } from '../../src/http/cohort.js';

t.test('what comes in one turn of the event loop runs together, in order and step by step', async (t) => {
  const cohort = new Cohort();
  const steps: string[] = [];
  for (const name of ['a', 'b', 'c']) {
    cohort.add(async () => {
      steps.push(`${name}1`);
      await undefined;
      steps.push(`${name}2`);
    });
  }
  t.same(steps, [], 'nothing runs before all is read');
  await turn();
  t.same(steps, [], 'nor as long as the cohort grows');
  await turn();
  t.same(steps, ['a1', 'b1', 'c1', 'a2', 'b2', 'c2']);
});

t.test('an action that is alone runs in its own turn', async (t) => {
  const cohort = new Cohort();
  let runs = 0;
  cohort.add(() => {
    runs += 1;
  });
  await turn();
  t.equal(runs, 1);
});

t.test('a cohort that grows with every turn runs all the same, and what comes then is the next one', async (t) => {
  const cohort = new Cohort();
  const ran: number[] = [];
  let added = 0;
  const addOne = (): void => {
    added += 1;
    const number = added;
    cohort.add(() => ran.push(number));
  };
  addOne();
  addOne();
  let turns = 0;
  while (ran.length === 0) {
    t.ok(turns < 10, 'it runs soon');
    addOne();
    await turn();
    turns += 1;
  }
  t.equal(turns, 5, 'four turns after it began');
  t.same(
    ran,
    Array.from({ length: added }, (_, index) => index + 1),
    'all of it, in order',
  );
  addOne();
  await turn();
  t.equal(ran.length, added, 'one that is alone now waits for nobody');
});

t.test('what an action adds runs later', async (t) => {
  const cohort = new Cohort();
  const ran: string[] = [];
  cohort.add(() => {
    ran.push('first');
    cohort.add(() => ran.push('second'));
  });
  await turn();
  t.same(ran, ['first']);
  await turn();
  t.same(ran, ['first', 'second']);
});

t.test('cohorts do not wait for each other', async (t) => {
  const one = new Cohort();
  const other = new Cohort();
  const ran: string[] = [];
  one.add(() => ran.push('one'));
  one.add(() => ran.push('one'));
  other.add(() => ran.push('other'));
  await turn();
  t.same(ran, ['other']);
  await turn();
  t.same(ran, ['other', 'one', 'one']);
});

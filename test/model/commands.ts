import fc from 'fast-check';
import type { UpstreamErrorType } from '../../src/upstream/errors.js';
import type { Fault } from '../helpers/simulated-upstream.js';
import type { Model } from './model.js';
import { type Condition, isGuarded, type Known } from './rules.js';
import { actors, isLiar, paths } from './setting.js';
import type { World } from './world.js';

type Command = fc.AsyncCommand<Model, World>;
/** What a command may look at before it runs. */
type Visible = Readonly<Model>;

const actor = fc.constantFrom(...actors);
const path = fc.constantFrom(paths[0], paths[0], paths[0], paths[1], paths[2]);

/** @param name of the command, by which it is shown */
function command(
  name: string,
  shown: unknown,
  check: (model: Visible) => boolean,
  run: (world: World, model: Model) => Promise<unknown>,
): Command {
  return {
    check: (model) => check(model),
    run: async (model, world) => {
      await run(world, model);
    },
    toString: () => `${name} ${JSON.stringify(shown)}`,
  };
}

const always = (): boolean => true;

/** A read, alone until it is done or in the middle of everything else. */
const read = fc
  .record({
    actor,
    path,
    method: fc.constantFrom('GET', 'GET', 'GET', 'HEAD'),
    revalidates: fc.boolean(),
    alone: fc.boolean(),
  })
  .map((shown) =>
    command('read', shown, always, async (world, model) => {
      const { actor, path, method, revalidates } = shown;
      const known = revalidates ? model.known(actor, path)[0] : undefined;
      const operation = await world.send({ actor, path, method, condition: { kind: 'none' }, revalidates: known });
      if (shown.alone) await world.attend(operation);
    }),
  );

const named = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('newest' as const, 'newest' as const, 'older' as const, 'all' as const) },
  { weight: 3, arbitrary: fc.constantFrom('absent' as const, 'exists' as const, 'none' as const) },
);
type Named = 'newest' | 'older' | 'all' | 'absent' | 'exists' | 'none';

/** @returns undefined where the client knows no such tag */
function conditionOf(named: Named, known: readonly Known[]): Condition | undefined {
  if (named === 'absent' || named === 'exists' || named === 'none') return { kind: named };
  const names = { newest: known.slice(0, 1), older: known.slice(-1), all: known }[named];
  return names.length === 0 ? undefined : { kind: 'tags', names };
}

/** A guarded write. Contents are new, but for some that come back to what there was at first. */
const write = fc
  .record({
    actor,
    path,
    method: fc.constantFrom('PUT', 'PUT', 'PUT', 'PATCH', 'DELETE'),
    named,
    back: fc.constantFrom(false, false, false, true),
    slowBody: fc.constantFrom(false, false, false, true),
    alone: fc.boolean(),
  })
  .map((shown) =>
    command(
      'write',
      shown,
      (model) => conditionOf(shown.named, model.known(shown.actor, shown.path)) !== undefined,
      async (world, model) => {
        const { actor, path, method, named, slowBody, back } = shown;
        const condition = conditionOf(named, model.known(actor, path));
        if (condition === undefined) return;
        const body = back && method === 'PUT' ? 'init' : undefined;
        const operation = await world.send({ actor, path, method, condition, body, slowBody });
        if (shown.alone) await world.attend(operation);
      },
    ),
  );

/** A write that no lease is taken for (W16). */
const post = fc
  .record({ actor, path })
  .map((shown) =>
    command('post', shown, always, (world) => world.send({ ...shown, method: 'POST', condition: { kind: 'none' } })),
  );

/** Somebody changes the backend directly. What liars do then is for nobody to find out. */
const change = fc.record({ path, content: fc.constantFrom('new', 'init', undefined) }).map((shown) =>
  command(
    'change',
    shown,
    ({ setting }) => !isLiar(setting.kind),
    (world, model) =>
      world.change(
        shown.path,
        shown.content === 'new' ? `b${String(model.applied.length).padStart(3, '0')}` : shown.content,
      ),
  ),
);

const errors = fc.constantFrom<UpstreamErrorType[]>('connection_terminated', 'http_response_timeout');

const answered = (statuses: readonly number[], applies: boolean, late = false): fc.Arbitrary<Fault> =>
  fc.constantFrom(...statuses).map((status) => ({ kind: 'answered', status, applies, late }));

/** W9's table: each status with what it may mean for the write. */
const writeFaults: fc.Arbitrary<Fault> = fc.oneof(
  fc.constant<Fault>({ kind: 'refused' }),
  fc.record({ kind: fc.constant('broken'), error: errors, applies: fc.boolean(), hangs: fc.boolean() }),
  answered([202, 408, 502, 504], true, true),
  answered([202, 408, 502, 504, 302, 404, 410, 412, 500, 503], true),
  answered([202, 408, 502, 504, 302, 404, 410, 412, 500, 503, 400, 403, 409, 422], false),
  fc.constant<Fault>({ kind: 'cut' }),
);

/** A read that fails tells nothing; it never says that there is nothing. */
const readFaults: fc.Arbitrary<Fault> = fc.oneof(
  fc.constant<Fault>({ kind: 'refused' }),
  fc.record({
    kind: fc.constant('broken'),
    error: errors,
    applies: fc.constant(false),
    hangs: fc.boolean(),
  }),
  answered([401, 403, 429, 500, 503], false),
  answered([302, 400], false),
  fc.constant<Fault>({ kind: 'cut' }),
);

/** W5: after these the backend itself has to judge the write. */
function mayMeetReading({ setting }: Visible, fault: Fault): boolean {
  return fault.kind !== 'answered' || ![302, 400].includes(fault.status) || setting.checks;
}

/** V7: a 4xx says that nothing was changed, and a tag that lies does not show it either. */
function mayMeetWriting({ setting }: Visible, fault: Fault): boolean {
  const isRefusal = fault.kind === 'answered' && [404, 410, 412].includes(fault.status);
  return !isRefusal || !fault.applies || !isLiar(setting.kind);
}

const armRead = readFaults.map((fault) =>
  command(
    'next read',
    fault,
    (model) => mayMeetReading(model, fault),
    async (world) => world.arm(true, fault),
  ),
);
const armWrite = writeFaults.map((fault) =>
  command(
    'next write',
    fault,
    (model) => mayMeetWriting(model, fault),
    async (world) => world.arm(false, fault),
  ),
);

const steps = fc.array(fc.nat({ max: 9 }), { minLength: 1, maxLength: 5 }).map((choices) =>
  command(
    'steps',
    choices,
    ({ pendingSteps }) => pendingSteps > 0,
    async (world) => {
      for (const choice of choices) await world.step(choice);
    },
  ),
);

const settle = fc.constant(
  command(
    'settle',
    '',
    ({ pendingSteps }) => pendingSteps > 0,
    (world) => world.settle(),
  ),
);

/** Below and above what V7, quarantine, recheck, timeouts and waits are; what goes on may come to its end before. */
const advance = fc
  .record({
    ms: fc.constantFrom(250, 250, 1000, 1000, 2000, 2250, 2750, 3000, 4000, 5250, 12_000),
    settled: fc.constantFrom(true, true, false),
  })
  .map((shown) =>
    command('advance', shown, always, async (world) => {
      if (shown.settled) await world.settle();
      await world.advance(shown.ms);
    }),
  );

const leave = fc.nat({ max: 5 }).map((choice) =>
  command(
    'leave',
    choice,
    ({ active }) => active.length > 0,
    async (world, { active }) => {
      const operation = active[choice % active.length];
      if (operation !== undefined) await world.leave(operation);
    },
  ),
);

function uploads({ active }: Visible) {
  return active.filter((operation) => isGuarded(operation) && !operation.client.isSent);
}

const finishBody = fc.nat({ max: 2 }).map((choice) =>
  command(
    'finish body',
    choice,
    (model) => uploads(model).length > 0,
    async (world, model) => {
      const slow = uploads(model);
      const operation = slow[choice % slow.length];
      if (operation !== undefined) await world.finishBody(operation);
    },
  ),
);

/** All that can happen, what makes the rest interesting more often. */
export const commands: fc.Arbitrary<Command>[] = [
  read,
  read,
  read,
  write,
  write,
  write,
  write,
  write,
  post,
  change,
  armRead,
  armWrite,
  armWrite,
  steps,
  steps,
  steps,
  steps,
  settle,
  settle,
  advance,
  advance,
  leave,
  finishBody,
];

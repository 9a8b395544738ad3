import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import fc from 'fast-check';
import t from 'tap';
import type { UpstreamErrorType } from '../../src/upstream/errors.js';
import type { Client, ClientRequest } from '../helpers/simulated-client.js';
import type { BackendKind, Fault, SentRequest } from '../helpers/simulated-upstream.js';
import { type Simulation, simulate } from '../helpers/simulation.js';

// Hundreds of runs take their time on a busy machine.
t.setTimeout(180_000);

const path = '/docs/1';
const documents = { [path]: 'original' };
const kinds = fc.constantFrom<BackendKind[]>('none', 'weak', 'native', 'upstream');

/** Default of `limits.quarantine`, and the shorter rest where a client aborted its own body (W11), in milliseconds. */
const quarantine = 5000;
const restAfterAbort = 1000;

function requestsOf(simulation: Simulation, { request }: Client): readonly SentRequest[] {
  return simulation.upstream.requests.filter(({ id }) => id === request.id);
}

function writeOf(simulation: Simulation, client: Client): SentRequest | undefined {
  return requestsOf(simulation, client).find(({ method }) => method === client.request.method);
}

/** The store can be used as ever: somebody reads, and somebody else changes exactly that. */
async function expectUsable(simulation: Simulation): Promise<void> {
  const read = await simulation.ask({ id: 'reader after', method: 'GET', path });
  const base = read.status === 200 ? read.content : null;
  const write = await simulation.ask({ id: 'writer after', method: 'PUT', path, base, tag: read.etag });
  assert.equal(write.status, base === null ? 201 : 204);
  assert.deepEqual(simulation.problems(), []);
}

const clients: readonly ClientRequest[] = [
  { id: 'w1', method: 'PUT', path, base: 'original' },
  { id: 'w2', method: 'PATCH', path, base: 'original' },
  { id: 'w3', method: 'PUT', path, base: 'original', slowBody: true },
  { id: 'u1', method: 'PUT', path },
  { id: 'p1', method: 'POST', path },
  { id: 'r1', method: 'GET', path },
];

/** How far the gate is with a request. */
type Stage = 'body' | 'queue' | 'probe' | 'write' | 'refresh' | 'read' | 'over' | 'not there';

function stageOf(simulation: Simulation, client: Client): Stage {
  if (client.isDone) return 'over';
  if (!client.hasArrived) return 'not there';
  const last = requestsOf(simulation, client).at(-1);
  if (client.request.method === 'GET') return 'read';
  if (last === undefined) return client.request.slowBody && !client.isSent ? 'body' : 'queue';
  const write = writeOf(simulation, client);
  if (write === undefined) return 'probe';
  return write.answeredAt === undefined ? 'write' : 'refresh';
}

/** Does something once as many other things have happened as `steps` says. */
async function after(scheduler: fc.Scheduler, steps: number, label: string, action: () => void): Promise<void> {
  for (let step = 0; step < steps; step += 1) await scheduler.schedule(Promise.resolve(), `before ${label}`);
  action();
}

t.test('clients that go away leave nothing behind, wherever they are (W3, W15)', async (t) => {
  const stages = new Map<Stage, number>();
  const leaver = fc.option(fc.nat({ max: 15 }), { freq: 4, nil: undefined });
  const property = fc.asyncProperty(
    fc.scheduler(),
    kinds,
    fc.tuple(leaver, leaver, leaver, leaver, leaver, leaver),
    async (scheduler, kind, leaving) => {
      const simulation = simulate(scheduler, { kind, documents });
      const left = new Map<Client, Stage>();
      for (const [index, request] of clients.entries()) {
        const client = simulation.arrive(request);
        const steps = leaving[index];
        if (request.slowBody) void after(scheduler, 6, `${request.id} sends its body`, () => client.finishBody());
        if (steps === undefined) continue;
        void after(scheduler, steps, `${request.id} leaves`, () => {
          left.set(client, stageOf(simulation, client));
          client.leave();
        });
      }
      await simulation.finish();
      for (const [client, stage] of left) {
        stages.set(stage, (stages.get(stage) ?? 0) + 1);
        expectLeft(simulation, client, stage);
      }
      await expectUsable(simulation);
    },
  );
  await fc.assert(property, { numRuns: 200 });
  for (const stage of ['body', 'queue', 'probe', 'write', 'refresh', 'read'] as const) {
    t.ok((stages.get(stage) ?? 0) > 0, `some went away during: ${stage}`);
  }
});

/** W15: a write that was sent runs to its end and its outcome is known; one that was not is never sent. */
function expectLeft(simulation: Simulation, client: Client, stage: Stage): void {
  const { id } = client.request;
  const took = simulation.upstream.applied.filter((write) => write.id === id).length;
  if (stage === 'body' || stage === 'queue' || stage === 'probe') {
    assert.equal(writeOf(simulation, client), undefined, `${id} left in the ${stage} and was sent`);
  }
  if (stage === 'write' || stage === 'refresh') {
    assert.deepEqual([took, simulation.records.get(id)?.outcome], [1, 'changed'], `${id} left and was not carried out`);
  }
}

t.test('a client that goes away in the middle of its body aborts its write (W11, W15)', async (t) => {
  let aborted = 0;
  const property = fc.asyncProperty(
    fc.scheduler(),
    kinds,
    fc.record({ finishes: fc.nat({ max: 12 }), leaves: fc.nat({ max: 12 }), method: fc.constantFrom('PUT', 'POST') }),
    async (scheduler, kind, { finishes, leaves, method }) => {
      const simulation = simulate(scheduler, { kind, documents, limits: { holdRequest: 1 } });
      const base = method === 'PUT' ? 'original' : undefined;
      const uploader = simulation.send({ id: 'long body', method, path, base, slowBody: true });
      let leftAt = Number.POSITIVE_INFINITY;
      void after(scheduler, finishes, 'the body ends', () => uploader.finishBody());
      void after(scheduler, leaves, 'the client leaves', () => {
        if (!uploader.isSent && writeOf(simulation, uploader) !== undefined)
          leftAt = Math.floor(simulation.clock.now());
        uploader.leave();
      });
      await turn();
      const next = simulation.arrive({ id: 'next', method: 'PUT', path, base: 'original' });
      await simulation.finish();
      if (leftAt < Number.POSITIVE_INFINITY) {
        aborted += 1;
        assert.equal(simulation.records.get('long body')?.outcome, 'unknown');
        // V7: a tag of the upstream's own counts no more, because nobody can tell whether the write took effect.
        const isBarred = kind === 'native' && method === 'PUT';
        assert.equal(next.status, isBarred ? 412 : 204, 'what was aborted did not take effect');
        if (isBarred) return expectUsable(simulation);
        const sentAt = writeOf(simulation, next)?.sentAt ?? 0;
        if (method === 'PUT') assert.ok(sentAt >= leftAt + restAfterAbort, 'the resource rests');
        assert.ok(sentAt < leftAt + quarantine, 'but not for long');
      }
      await expectUsable(simulation);
    },
  );
  await fc.assert(property, { numRuns: 200 });
  t.ok(aborted > 0, 'some bodies were aborted');
});

const statuses = (list: readonly number[], applies: boolean) =>
  fc.constantFrom(...list).map((status): Fault => ({ kind: 'answered', status, applies }));
const faults: fc.Arbitrary<Fault> = fc.oneof(
  fc.constant<Fault>({ kind: 'refused' }),
  fc.record({
    kind: fc.constant('broken' as const),
    error: fc.constantFrom<UpstreamErrorType[]>('connection_terminated', 'http_response_timeout'),
    applies: fc.boolean(),
  }),
  fc.constant<Fault>({ kind: 'cut' }),
  statuses([401, 403, 404, 408, 409, 410, 412, 429, 500, 502, 503, 504, 202, 302], false),
  statuses([202, 408, 500, 502, 504, 302], true),
);

/** W9's table: record's outcome and the client's status for a write that met a fault. */
function expected(fault: Fault): { outcome: string; status: number } {
  if (fault.kind === 'refused') return { outcome: 'not-sent', status: 502 };
  if (fault.kind === 'cut') return { outcome: 'changed', status: 204 };
  if (fault.kind === 'broken') {
    return { outcome: 'unknown', status: fault.error === 'http_response_timeout' ? 504 : 502 };
  }
  const { status } = fault;
  if ([202, 408, 502, 504].includes(status)) return { outcome: 'unknown', status };
  const doubtful = status < 400 || status >= 500 || [404, 410, 412].includes(status);
  return { outcome: doubtful ? 'doubt' : 'as-it-was', status };
}

const nativeKinds = new Set<BackendKind>(['native', 'upstream']);

/** W5: after such an answer to a probe native conditions are the upstream's to check, which this one does not. */
function leavesItToUpstream({ method }: SentRequest, fault: Fault): boolean {
  const isRead = method === 'GET' || method === 'HEAD';
  return isRead && fault.kind === 'answered' && [202, 302, 408, 409, 412].includes(fault.status);
}

t.test('whatever the upstream does, what is recorded is what may have happened (W9, W11)', async (t) => {
  const met = new Set<string>();
  let rests = 0;
  const property = fc.asyncProperty(
    fc.scheduler(),
    kinds,
    fc.constantFrom(0, Number.POSITIVE_INFINITY),
    fc.array(fc.option(faults, { nil: undefined }), { minLength: 1, maxLength: 12 }),
    async (scheduler, kind, recheck, plan) => {
      const happened = new Map<SentRequest, Fault>();
      const fault = (request: SentRequest): Fault | undefined => {
        const next = plan.shift();
        if (next === undefined || (leavesItToUpstream(request, next) && nativeKinds.has(kind))) return undefined;
        happened.set(request, next);
        return next;
      };
      const simulation = simulate(scheduler, { kind, documents, policy: { recheck }, fault });
      const all = clients.map((request) => simulation.arrive({ ...request, slowBody: false }));
      await simulation.finish();
      for (const client of all.filter(({ request }) => request.method !== 'GET')) {
        const sent = writeOf(simulation, client);
        const fault = sent && happened.get(sent);
        if (fault === undefined) continue;
        const { outcome, status } = expected(fault);
        const { id } = client.request;
        assert.deepEqual([simulation.records.get(id)?.outcome, client.status], [outcome, status], id);
        met.add(outcome);
        if (fault.kind === 'refused' || fault.kind === 'broken') {
          assert.match(client.content, new RegExp(`"outcome":"${outcome}"`));
        }
        if (outcome === 'unknown' && client.request.method !== 'POST')
          rests += expectRest(simulation, sent, client, all);
      }
      // From here on nothing goes wrong any more.
      plan.length = 0;
      simulation.clock.advance(quarantine);
      await expectUsable(simulation);
    },
  );
  await fc.assert(property, { numRuns: 300 });
  t.same([...met].sort(), ['as-it-was', 'changed', 'doubt', 'not-sent', 'unknown']);
  t.ok(rests > 0, 'some waited for a rest to end');
});

/** W11: nobody who needs the resource for himself, or whom its writer kept out, sends anything before the rest is over. */
function expectRest(
  simulation: Simulation,
  failed: SentRequest | undefined,
  client: Client,
  all: readonly Client[],
): number {
  // Fractions only tell readings of the clock apart.
  const from = Math.floor(failed?.answeredAt ?? Number.POSITIVE_INFINITY);
  const isConditional = ({ request }: Client): boolean => request.base !== undefined;
  const barred = all.filter((other) => {
    const isGuarded = other.request.method === 'PUT' || other.request.method === 'PATCH';
    return other !== client && isGuarded && (isConditional(other) || isConditional(client));
  });
  let waited = 0;
  for (const other of barred) {
    for (const { sentAt } of requestsOf(simulation, other)) {
      if (sentAt >= from + quarantine) waited += 1;
      const isEarlier = sentAt < (failed?.answeredAt ?? 0);
      assert.ok(isEarlier || sentAt >= from + quarantine, `${other.request.id} did not wait for the rest to end`);
    }
  }
  return waited;
}

// What is measured against what. A row has a program, what it is sent, the row that it is measured against (`to`) and
// the goal for that ratio; the rows of one set share programs and run in the same interleaved rounds.
import { setTimeout as elapsed } from 'node:timers/promises';
import { peers, startFixedAnswer, startGate, startGateWithRedis } from './subjects.mjs';

/** So many different resources are asked for in turn: more than are in flight at once. */
const resources = 200;

const get = (path) => ({ path, arguments: ['fixed', resources] });
const put = (path, headers) => ({ method: 'PUT', path, headers, arguments: ['fixed', resources] });

/** More of them: a write that is late must not meet the next one to the same resource. */
const versioned = 1000;

/** A client that has the version that its last write was given; the tags of one round are not those of the next. */
const versionedPut = (round) => ({
  method: 'PUT',
  path: '/versioned/',
  arguments: ['versioned', versioned, `r${round}`],
});

/** Reads every resource once, so that the gate knows it. */
async function readAll(program, path, count, headers) {
  const sideBySide = 20;
  for (let index = 0; index < count; index += sideBySide) {
    const some = Array.from({ length: Math.min(sideBySide, count - index) }, (_, ahead) => index + ahead);
    await Promise.all(
      some.map(async (name) => {
        const answer = await fetch(`http://127.0.0.1:${program.port}${path}${name}`, { headers });
        await answer.arrayBuffer();
      }),
    );
  }
}

/** What is read beside a write is not recorded: those that the end of the round before has cut off come to theirs first. */
const writesEndWithin = 100;

async function readVersions(program, round) {
  await elapsed(writesEndWithin);
  await readAll(program, '/versioned/', versioned, { 'x-correlation-id': `r${round}-0` });
}

export const plain = '@fastify/http-proxy';
/** What every gate on Fastify and undici must cost. */
const floor = 'fastify and dispatch alone';

/** The gate in its modes, by name: settings of its environment without their prefix. */
const modes = {
  'gate, guard off': { GUARD: 'off' },
  'gate, guard off, default log': { GUARD: 'off', LOG_LEVEL: 'info' },
  gate: {},
  'gate, recheck never': { RECHECK: 'never' },
  'gate, recheck never, default log': { RECHECK: 'never', LOG_LEVEL: 'info' },
  'gate, recheck never, validator upstream': { RECHECK: 'never', POLICY_VALIDATOR: 'upstream' },
};

/** Names that `startByName` knows, in the order of the tables. */
export const peerNames = Object.keys(peers);

/** Starts a program by its name in the rows; undefined where it is not installed. */
export function startByName(name, origin) {
  if (name === 'bare node:http') return startRefusal(origin);
  if (name === 'gate, Redis') return startGateWithRedis(origin);
  const settings = modes[name];
  return settings === undefined ? peers[name](origin) : startGate(origin, settings);
}

const stale = { 'If-Match': '"stale"' };
const stalePut = put('/native/1k/', stale);

/** Bare node:http that gives the gate's own 412, byte for byte. */
async function startRefusal(origin) {
  const gate = await startGate(origin, modes['gate, recheck never']);
  const url = `http://127.0.0.1:${gate.port}/native/1k/0`;
  await (await fetch(url)).arrayBuffer();
  const answer = await fetch(url, { method: 'PUT', headers: stale, body: 'x' });
  const fields = [...answer.headers].filter(([name]) => name !== 'connection' && name !== 'keep-alive').flat();
  const fixed = await startFixedAnswer({ status: answer.status, fields, body: await answer.text() });
  await gate.stop();
  if (answer.status !== 412) throw new Error(`the gate answered ${answer.status} to a stale write`);
  return fixed;
}

const plainGet = `${plain}, GET 1 KB`;
const plainPut = `${plain}, PUT 1 KB`;
const offGet = 'unguarded GET 1 KB';
const offPut = 'unguarded PUT 1 KB';
const refusal = '412 from the store';

/** `refuses`: every answer is a refusal. `prepare`: runs before each round. `quick`: also part of the short run. */
export const sets = [
  {
    title: 'GET 1 KB',
    rows: [
      ...peerNames.map((program) => ({
        name: `${program}, GET 1 KB`,
        program,
        load: get('/plain/1k/'),
        to: plainGet,
        quick: program === plain,
      })),
      { name: offGet, program: 'gate, guard off', load: get('/plain/1k/'), to: plainGet, goal: 0.5, quick: true },
      { name: `${offGet}, of the floor`, same: offGet, to: `${floor}, GET 1 KB` },
      {
        name: `${offGet}, default log`,
        program: 'gate, guard off, default log',
        load: get('/plain/1k/'),
        to: plainGet,
        goal: 0.55,
      },
      { name: 'unguarded GET 1 KB with ETag', program: 'gate, guard off', load: get('/native/1k/'), quick: true },
      {
        name: 'guarded GET 1 KB, native tag',
        ...{ program: 'gate', load: get('/native/1k/'), to: 'unguarded GET 1 KB with ETag', goal: 1.1, quick: true },
      },
      {
        name: 'guarded GET 1 KB, hashed',
        program: 'gate',
        load: get('/plain/1k/'),
        to: offGet,
        goal: 1.25,
        quick: true,
      },
      {
        name: 'guarded GET 1 KB, hashed, Redis',
        ...{ program: 'gate, Redis', load: get('/plain/1k/'), to: 'guarded GET 1 KB, hashed' },
      },
      { name: 'unguarded GET 64 KB', program: 'gate, guard off', load: get('/plain/64k/') },
      {
        name: 'guarded GET 64 KB, hashed',
        ...{ program: 'gate', load: get('/plain/64k/'), to: 'unguarded GET 64 KB', goal: 1.45 },
      },
    ],
  },
  {
    title: 'PUT 1 KB',
    rows: [
      ...peerNames.map((program) => ({
        name: `${program}, PUT 1 KB`,
        program,
        load: put('/plain/1k/'),
        to: plainPut,
        quick: program === plain,
      })),
      { name: offPut, program: 'gate, guard off', load: put('/plain/1k/'), to: plainPut, goal: 0.65, quick: true },
      { name: `${offPut}, of the floor`, same: offPut, to: `${floor}, PUT 1 KB` },
      {
        name: `${offPut}, default log`,
        program: 'gate, guard off, default log',
        load: put('/plain/1k/'),
        to: plainPut,
        goal: 0.7,
      },
      { name: 'unguarded PUT with If-Match', program: 'gate, guard off', load: versionedPut },
      {
        name: 'guarded PUT, recheck never, native tags',
        ...{ program: 'gate, recheck never, validator upstream', load: versionedPut, prepare: readVersions },
        ...{ to: 'unguarded PUT with If-Match', goal: 1.3, upstream: 1 },
      },
      {
        name: 'guarded PUT, recheck always, native tags',
        ...{ program: 'gate', load: versionedPut, prepare: readVersions },
        ...{ to: 'unguarded PUT with If-Match', goal: 2.2, upstream: 2 },
      },
      {
        name: 'guarded PUT, recheck always, native tags, Redis',
        ...{ program: 'gate, Redis', load: versionedPut, prepare: readVersions },
        ...{ to: 'guarded PUT, recheck always, native tags', goal: 1.6, upstream: 2 },
      },
      {
        name: 'guarded PUT, recheck always, hashed',
        ...{ program: 'gate', load: () => syntheticPut, prepare: learnSynthetic, to: offPut, goal: 3, upstream: 3 },
      },
    ],
  },
  {
    title: 'Refusals',
    rows: [
      { name: 'bare node:http, the same 412', program: 'bare node:http', load: stalePut, refuses: true, quick: true },
      { name: 'the same PUT, forwarded', program: plain, load: stalePut },
      {
        name: refusal,
        ...{
          program: 'gate, recheck never',
          load: stalePut,
          prepare: (program) => readAll(program, '/native/1k/', resources),
        },
        ...{ to: 'bare node:http, the same 412', goal: 1.6, refuses: true, quick: true },
      },
      { name: `${refusal}, of forwarding it`, same: refusal, to: 'the same PUT, forwarded', goal: 0.27 },
      {
        name: `${refusal}, default log`,
        ...{ program: 'gate, recheck never, default log', load: stalePut },
        ...{ prepare: (program) => readAll(program, '/native/1k/', resources) },
        ...{ to: 'the same PUT, forwarded', goal: 0.45, refuses: true },
      },
    ],
  },
];

let syntheticPut;

/** What is stored stays the same, and so does its tag. */
async function learnSynthetic(program) {
  const answer = await fetch(`http://127.0.0.1:${program.port}/plain/1k/0`);
  await answer.arrayBuffer();
  syntheticPut = put('/plain/1k/', { 'If-Match': answer.headers.get('etag') });
}

import type { Row, Step, WriteKind } from '../helpers/outcome-scene.js';

/** Writes with a body. */
const withBody: readonly WriteKind[] = ['PUT', 'PATCH', 'PUT without a condition'];

const unknown502 = { status: 502, outcome: 'unknown' } as const;
const unknown504 = { status: 504, outcome: 'unknown' } as const;
const broken = 'a broken answer';
const quarantine = 5000;
/** The shorter rest, where the client aborted its own body (W11). */
const abortRest = 1000;

const beginning: Step = { sends: 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc' };

/** No byte of the request is sent (W9): the resource is as it was, and what was known of it still holds. */
const unreachable: readonly Row[] = (['refused', 'no such name', 'no TLS'] as const).map((fault) => ({
  ...{ why: `the upstream cannot be reached: ${fault}`, connecting: fault, steps: [], rest: 0 },
  ...{ told: { status: 502, outcome: 'not-sent' }, record: 'not-sent' },
}));

/** The upstream breaks off or falls silent, before or after the write took effect (W9, W11). */
const brokenOff: readonly Row[] = [
  { why: 'hangs before applying', steps: ['hang'], told: unknown504, record: 'unknown', rest: quarantine },
  { why: 'hangs after applying', steps: ['apply', 'hang'], told: unknown504, record: 'unknown', rest: quarantine },
  {
    ...{ why: 'hangs, and applies within the quarantine', steps: ['hang'], appliesLate: true },
    ...{ told: unknown504, record: 'unknown', rest: quarantine },
  },
  { why: 'resets before applying', steps: ['reset'], told: unknown502, record: 'unknown', rest: quarantine },
  { why: 'resets after applying', steps: ['apply', 'reset'], told: unknown502, record: 'unknown', rest: quarantine },
  {
    ...{ why: 'resets, and applies within the quarantine', steps: ['reset'], appliesLate: true },
    ...{ told: unknown502, record: 'unknown', rest: quarantine },
  },
  {
    ...{ why: 'resets within its head', steps: ['apply', { sends: 'HTTP/1.1 204 No Con' }, 'reset'] },
    ...{ told: unknown502, record: 'unknown', rest: quarantine },
  },
  {
    ...{ why: 'resets after 103', steps: [{ sends: 'HTTP/1.1 103 Early Hints\r\n\r\n' }, 'reset'] },
    ...{ told: unknown502, record: 'unknown', rest: quarantine },
  },
  {
    ...{ why: 'answers with what is not HTTP', steps: ['apply', { sends: '220 mail\r\n\r\n' }] },
    ...{ told: unknown502, record: 'unknown', rest: quarantine },
  },
  {
    ...{ why: 'resets within the body of its answer', steps: ['apply', beginning, 'noticed', 'reset'] },
    ...{ told: broken, record: 'changed', rest: 0 },
  },
  {
    why: 'resets within the body of a 500',
    steps: [{ sends: 'HTTP/1.1 500 Oh\r\nContent-Length: 10\r\n\r\nabc' }, 'noticed', 'reset'],
    ...{ told: broken, record: 'doubt', rest: 0 },
  },
  {
    why: 'resets within the body of a 409',
    steps: [{ sends: 'HTTP/1.1 409 Conflict\r\nContent-Length: 10\r\n\r\nabc' }, 'noticed', 'reset'],
    ...{ told: broken, record: 'as-it-was', rest: 0 },
  },
];

function answered(statuses: readonly number[], record: Row['record'], applies: readonly boolean[]): Row[] {
  return statuses.flatMap((status) =>
    applies.map((does): Row => {
      const why = `answers ${status}${does ? ' and has applied' : ''}`;
      const rest = record === 'unknown' ? quarantine : 0;
      return { why, steps: does ? ['apply', status] : [status], told: { status }, record, rest };
    }),
  );
}

const either = [false, true];

/** Whole answers by status (W9), with and without an effect where the status does not exclude one. */
export const answers: readonly Row[] = [
  ...answered([200, 201, 204, 205], 'changed', [true]),
  ...answered([202], 'unknown', either),
  {
    ...{ why: 'answers 202 and applies within the quarantine', steps: [202], appliesLate: true },
    ...{ told: { status: 202 }, record: 'unknown', rest: quarantine },
  },
  ...answered([301, 303, 304, 307], 'doubt', either),
  ...answered([400, 401, 403, 405, 409, 413, 422, 429], 'as-it-was', [false]),
  ...answered([404, 410, 412], 'doubt', either),
  ...answered([408], 'unknown', either),
  ...answered([500, 501, 503], 'doubt', either),
  ...answered([502, 504], 'unknown', either),
];

/** The answer comes while the body is still on its way: an early 4xx ends the upload, others wait for it (W9). */
const early: readonly Row[] = [
  ...[401, 403, 409, 413].map(
    (status): Row => ({
      ...{ why: `answers ${status} during the upload`, body: 'long', kinds: withBody, steps: ['part', status] },
      ...{ told: { status }, record: 'as-it-was', rest: 0 },
    }),
  ),
  {
    ...{ why: 'answers 404 during the upload', body: 'long', kinds: withBody, steps: ['part', 404] },
    ...{ told: { status: 404 }, record: 'doubt', rest: 0 },
  },
  {
    ...{ why: 'answers 408 during the upload', body: 'long', kinds: withBody, steps: ['part', 408] },
    ...{ told: { status: 408 }, record: 'unknown', rest: quarantine },
  },
  {
    ...{ why: 'begins a 200 during the upload and takes all', body: 'long', kinds: withBody },
    ...{ steps: ['part', beginning, 'whole', 'apply', { sends: 'defghij' }] },
    ...{ told: { status: 200 }, record: 'changed', rest: 0 },
  },
  {
    ...{ why: 'begins a 200 during the upload and resets', body: 'long', kinds: withBody },
    ...{ steps: ['apply the part', beginning, 'reset'], told: unknown502, record: 'unknown', rest: quarantine },
  },
  {
    ...{ why: 'resets during the upload', body: 'long', kinds: withBody, steps: ['part', 'reset'] },
    ...{ told: unknown502, record: 'unknown', rest: quarantine },
  },
  {
    ...{ why: 'resets during the upload and applies what it has', body: 'long', kinds: withBody },
    ...{ steps: ['apply the part', 'reset'], told: unknown502, record: 'unknown', rest: quarantine },
  },
];

/** The client does not send its whole body (W3, W11, W15). */
const halfSent: readonly Row[] = [
  ...(['short', 'long'] as const).flatMap((body): Row[] => {
    const forwarded = body === 'long';
    const common = { body, kinds: withBody, record: forwarded ? 'unknown' : undefined } as const;
    const outcome = forwarded ? 'unknown' : 'not-sent';
    return [
      {
        ...{ why: `the client leaves before its ${body} body`, ...common, leaves: 'before its body', neverComes: true },
        ...{ steps: [], told: undefined, rest: forwarded ? abortRest : 0 },
      },
      {
        ...{ why: `the client leaves within its ${body} body`, ...common, leaves: 'within its body' },
        ...{ steps: forwarded ? ['part', 'left'] : [], told: undefined, rest: forwarded ? abortRest : 0 },
      },
      {
        ...{ why: `the client stands still within its ${body} body`, ...common, standsStill: true },
        ...{ steps: forwarded ? ['part'] : [], told: { status: 408, outcome }, rest: forwarded ? quarantine : 0 },
      },
    ];
  }),
  {
    ...{ why: 'the client leaves within its body, which took effect so far', body: 'long', kinds: withBody },
    ...{ leaves: 'within its body', steps: ['apply the part', 'left'] },
    ...{ told: undefined, record: 'unknown', rest: abortRest },
  },
  {
    ...{ why: 'the client leaves within its body, which takes effect so far within the rest', body: 'long' },
    ...{ kinds: withBody, leaves: 'within its body', steps: ['part', 'left'], appliesLate: true },
    ...{ told: undefined, record: 'unknown', rest: abortRest },
  },
];

/** The client leaves when all of its request was forwarded: the write runs to its end (W15). */
const leftAlone: readonly Row[] = (
  [
    ['and the write is applied', ['left', 'apply', 204], 'changed', 0],
    ['and the write was applied', ['apply', 'left', 200], 'changed', 0],
    ['and the write is refused', ['left', 409], 'as-it-was', 0],
    ['and the write fails', ['left', 'apply', 500], 'doubt', 0],
    ['and the write is accepted only', ['left', 202], 'unknown', quarantine],
    ['and the upstream hangs', ['left', 'hang'], 'unknown', quarantine],
    ['and the upstream resets', ['left', 'reset'], 'unknown', quarantine],
    ['and the upstream applies and resets', ['left', 'apply', 'reset'], 'unknown', quarantine],
  ] as const
).map(([what, steps, record, rest]) => ({
  ...{ why: `the client leaves before the answer, ${what}`, leaves: 'before the answer' },
  ...{ steps, told: undefined, record, rest },
}));

const leftDuringAnswer: readonly Row[] = (['whole', 'reset'] as const).map((end) => ({
  ...{ why: `the client leaves within the answer, which is ${end}`, leaves: 'within the answer' },
  steps: [
    'apply',
    // The gate holds the body of a 200 to PATCH back, to compare it (W10).
    { sends: 'HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc' },
    'left',
    end === 'reset' ? 'reset' : { sends: 'defghij' },
  ],
  ...{ told: undefined, record: 'changed', rest: 0 },
}));

/** What can go wrong on either side of a guarded write that was let through (W9, W11, W15). */
export const faults: readonly Row[] = [
  ...unreachable,
  ...brokenOff,
  ...early,
  ...halfSent,
  ...leftAlone,
  ...leftDuringAnswer,
];

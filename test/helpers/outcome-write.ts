import type { Test } from 'tap';
import { request, roundTrip } from './client.js';
import { eventually } from './eventually.js';
import type { Row, Scene, Script, WriteKind } from './outcome-scene.js';
import { type RawConnection, rawClient } from './raw.js';

/** Longer than `limits.upstreamTimeout` and `limits.idleTimeout`, in milliseconds. */
const longerThanAnyLimit = 60_001;

/** What a client heard. */
export interface Heard {
  readonly status: number;
  /** Member of a problem of the gate's own. */
  readonly outcome: string | undefined;
  /** Whether the connection broke before the answer was whole. */
  readonly isBroken: boolean;
}

/** A write whose outcome is on record. */
export interface DoneWrite {
  /** Undefined where the client left. */
  readonly heard: Heard | undefined;
  readonly script: Script;
}

/** The method of a kind of write, and whether it carries If-Match. */
export function methodOf(kind: WriteKind): { method: string; isConditional: boolean } {
  return kind === 'PUT without a condition'
    ? { method: 'PUT', isConditional: false }
    : { method: kind, isConditional: true };
}

/**
 * Lets one write meet what its row says, from a read of what it replaces until the outcome is on record.
 *
 * @param id request id of the write, which names it to the backend
 */
export async function meet(
  t: Test,
  scene: Scene,
  row: Row,
  { kind, path, id }: { kind: WriteKind; path: string; id: string },
): Promise<DoneWrite> {
  const { gate, clock, records } = scene;
  const { method, isConditional } = methodOf(kind);
  records.delete(id);
  const { headers } = await request(gate.url + path);
  const isLong = row.body === 'long';
  const script = scene.script(id, row.steps, isLong);
  scene.connecting = row.connecting;
  const cleanUp: (() => unknown)[] = [];
  const client = await rawClient({ teardown: (action) => cleanUp.push(action) }, gate.port);
  client.seen('HTTP/1.1 ').then(
    () => script.tell('noticed'),
    () => {},
  );

  const body = method === 'DELETE' ? '' : isLong ? 'v'.repeat(100_000) : 'victim';
  const condition = isConditional ? `If-Match: ${headers.etag}\r\n` : '';
  client.write(
    `${method} ${path} HTTP/1.1\r\nHost: ${new URL(gate.url).host}\r\nX-Request-Id: ${id}\r\nConnection: close\r\n` +
      `${condition}Content-Length: ${body.length}\r\n\r\n`,
  );
  const part = partSent(row);
  client.write(part === 'all' ? body : body.slice(0, part));
  await act(t, scene, row, script, client, body.slice(3));
  if (row.steps.at(-1) === 'hang') {
    await script.done;
    clock.advance(longerThanAnyLimit);
  }
  const { text, reset } = await client.closed;
  await eventually(t, () => records.has(id), `${id} is on record`);
  scene.connecting = undefined;
  for (const action of cleanUp) action();
  return { heard: row.leaves === undefined ? heardIn(text, reset) : undefined, script };
}

function partSent({ body, leaves, standsStill }: Row): number | 'all' {
  if (leaves === 'before its body') return 0;
  return body === 'long' || leaves === 'within its body' || standsStill === true ? 3 : 'all';
}

/** What the client does when it has sent what it sends at first. */
async function act(
  t: Test,
  scene: Scene,
  { leaves, standsStill, steps }: Row,
  script: Script,
  client: RawConnection,
  rest: string,
): Promise<void> {
  if (standsStill === true) {
    if (steps.length > 0) await script.done;
    else await eventually(t, () => scene.clock.pending() > 0, 'the gate waits for the rest');
    scene.clock.advance(longerThanAnyLimit);
  }
  if (steps.includes('whole')) {
    await script.waits.whole;
    client.write(rest);
  }
  if (leaves === undefined) return;
  if (steps.includes('left')) await script.waits.left;
  else await roundTrip(scene.gate.port);
  if (leaves === 'within the answer') await client.seen('abc');
  client.reset();
  await client.closed;
  await roundTrip(scene.gate.port);
  script.tell('left');
}

/** Data and a reset that come together look like data and an end: then the length tells. */
function heardIn(text: string, isReset: boolean): Heard {
  const [head = '', body = ''] = text.replace(/^(?:HTTP\/1\.1 1[\s\S]*?\r\n\r\n)*/, '').split('\r\n\r\n');
  const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
  return {
    status: Number(head.slice('HTTP/1.1 '.length).split(' ', 1)),
    outcome: /"outcome":"([^"]*)"/.exec(body)?.[1],
    isBroken: isReset || body.length < length,
  };
}

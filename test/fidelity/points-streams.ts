import { once } from 'node:events';
import type { RawConnection } from '../helpers/raw.js';
import { ok, type Point, request, response } from './point.js';
import type { Arrival, Scene } from './scene.js';

/** More than sockets and buffers on the way can take. */
const flood = 24 * 1024 * 1024;
const portion = Buffer.alloc(64 * 1024, 'x');

/** How long nothing must move until somebody counts as slowed, in milliseconds. */
const quiet = 150;

const switching = (protocol: string): string =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${protocol}\r\nConnection: Upgrade\r\nX-A: 1\r\n\r\n`;

/** Writes until nothing more is taken. @returns whether that was before the end */
async function isSlowed({ socket }: RawConnection): Promise<boolean> {
  for (let sent = 0; sent < flood; sent += portion.length) {
    if (socket.write(portion)) continue;
    let timer: NodeJS.Timeout | undefined;
    const stuck = new Promise<true>((resolve) => {
      timer = setTimeout(resolve, quiet, true);
    });
    const moves = Promise.race([once(socket, 'drain'), once(socket, 'close')]).then(() => false);
    const isStuck = await Promise.race([moves, stuck]);
    clearTimeout(timer);
    if (isStuck || socket.destroyed) return isStuck;
  }
  return false;
}

/** The parts of a body come one by one: each is sent when the one before it has arrived. */
const dripping =
  (method: string, type: string): Point['run'] =>
  async (scene) => {
    const client = await scene.dial(method);
    scene.serve(async (arrival) => {
      arrival.write(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nTransfer-Encoding: chunked\r\n\r\n`);
      for (const part of ['data: 1\n\n', 'data: 2\n\n', 'data: 3\n\n']) {
        arrival.write(`9\r\n${part}\r\n`);
        await scene.happens(`${part.trim()} comes before the next is sent`, client.connection.seen(part.trim()));
      }
      arrival.write('0\r\n\r\n');
    });
    client.write(request(`${method} /x`, method === 'GET' ? [] : ['Content-Length: 0']));
    await client.answered();
  };

/** The parts of a request come one by one: each is sent when the one before it has arrived. */
const drippingIn =
  (method: string): Point['run'] =>
  async (scene) => {
    const client = await scene.dial(method);
    let arrived: ((arrival: Arrival) => void) | undefined;
    const arrival = new Promise<Arrival>((resolve) => {
      arrived = resolve;
    });
    scene.serve(async (arrival) => {
      arrived?.(arrival);
      await arrival.whole();
      arrival.write(ok);
    });
    client.write(request(`${method} /x`, ['Transfer-Encoding: chunked'], '3\r\none\r\n'));
    for (const [part, next] of [
      ['one', '3\r\ntwo\r\n'],
      ['two', '0\r\n\r\n'],
    ] as const) {
      const comes = arrival.then((there) => there.holds(part));
      if (!(await scene.happens(`${part} comes before the next is sent`, comes))) return;
      client.write(next);
    }
    await client.answered();
  };

/** Bytes go both ways, unasked, before either side has ended. */
const tunnelling =
  (protocol: string): Point['run'] =>
  async (scene) => {
    const client = await scene.dial();
    scene.serve(async (arrival) => {
      if (!arrival.request.fields.some(([name]) => /^upgrade$/i.test(name))) return arrival.write(ok);
      arrival.write(`${switching(protocol)}hello\x00\xff`);
      await scene.happens('bytes reach the backend', arrival.connection.seen('\x81\x05early'));
      arrival.write('again');
      await scene.happens('the end reaches the backend', once(arrival.connection.socket, 'end'));
      arrival.end('last');
    });
    const fields = ['Connection: Upgrade', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIA=='];
    client.write(request('GET /x', [`Upgrade: ${protocol}`, ...fields]));
    if (!(await scene.happens('bytes reach the client', client.connection.seen('hello\x00\xff')))) return;
    client.write('\x81\x05early');
    await scene.happens('more bytes reach the client', client.connection.seen('again'));
    client.end();
    await scene.happens('what follows the end reaches the client', client.connection.seen('last'));
  };

/** The answer breaks off in the middle of its body. */
const breaking =
  (head: string, how: 'end' | 'reset'): Point['run'] =>
  async (scene) => {
    for (const method of ['GET', 'POST']) {
      const client = await scene.dial();
      scene.serve(async (arrival) => {
        await arrival.whole();
        arrival.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n5\r\nfirst\r\n`);
        if (how === 'end') return arrival.end();
        // Node takes a reset for an end where it comes before what was sent ahead of it has been read.
        await client.connection.seen('first');
        arrival.connection.reset();
      });
      client.write(request(`${method} /x`));
      await client.answered();
      scene.note(
        `${method}: ${client.answers().some(({ start, whole }) => whole && start.startsWith('2')) ? 'looks whole' : 'does not look whole'}`,
      );
    }
  };

const broken: readonly Point[] = [
  { id: 'broken-length', title: 'A counted response that breaks off', head: 'Content-Length: 100', how: 'end' },
  { id: 'broken-chunked', title: 'A chunked response that breaks off', head: 'Transfer-Encoding: chunked', how: 'end' },
  { id: 'reset-length', title: 'A counted response that is reset', head: 'Content-Length: 100', how: 'reset' },
  { id: 'reset-close', title: 'A response without length that is reset', head: 'X-A: 1', how: 'reset' },
].map(({ id, title, head, how }) => ({
  id,
  title: `${title} does not look whole`,
  notesOnly: true,
  run: breaking(head, how as 'end' | 'reset'),
}));

async function slowReader(scene: Scene): Promise<void> {
  const client = await scene.dial();
  client.connection.socket.pause();
  const head = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${flood}\r\n\r\n`;
  const served = new Promise<void>((resolve) => {
    scene.serve(async (arrival) => {
      arrival.write(head);
      scene.note((await isSlowed(arrival.connection)) ? 'the backend is slowed' : 'the backend is not slowed');
      resolve();
    });
  });
  client.write(request('GET /x'));
  await scene.happens('the backend is asked', served);
}

async function slowBackend(scene: Scene): Promise<void> {
  const client = await scene.dial('POST');
  const arrived = new Promise<void>((resolve) => {
    scene.serve(async ({ connection }) => {
      connection.socket.pause();
      resolve();
    });
  });
  client.write(request('POST /x', [`Content-Length: ${flood}`], portion.toString()));
  await scene.happens('the request arrives', arrived);
  scene.note((await isSlowed(client.connection)) ? 'the client is slowed' : 'the client is not slowed');
}

/** Streams, tunnels, and what happens in the middle of a message. */
export const streamPoints: readonly Point[] = [
  { id: 'event-stream', title: 'Server-sent events, one by one', run: dripping('GET', 'text/event-stream') },
  { id: 'drip', title: 'Parts of a response, one by one', run: dripping('POST', 'text/plain') },
  { id: 'drip-read', title: 'Parts of a response to GET, one by one', run: dripping('GET', 'text/plain') },
  {
    id: 'request-head-first',
    title: 'The head of a POST comes before its body is sent',
    run: async (scene) => {
      const client = await scene.dial('POST');
      const comes = new Promise<void>((resolve) => {
        scene.serve(async (arrival) => {
          resolve();
          await arrival.whole();
          arrival.write(ok);
        });
      });
      client.write(request('POST /x', ['Content-Length: 4']));
      await scene.happens('the head comes', comes);
      client.write('body');
      await client.answered();
    },
  },
  { id: 'request-drip', title: 'Parts of a POST, one by one', run: drippingIn('POST') },
  { id: 'request-drip-write', title: 'Parts of a PUT, one by one', run: drippingIn('PUT') },
  {
    id: 'early-answer',
    title: 'An answer that comes before the request is whole',
    run: async (scene) => {
      const client = await scene.dial('POST');
      let rest: Promise<unknown> | undefined;
      scene.serve(async (arrival) => {
        arrival.write(ok);
        rest = arrival.whole();
        // Whether it comes is noted below.
        rest.catch(() => undefined);
      });
      client.write(request('POST /x', ['Content-Length: 8'], 'half'));
      await scene.happens('the answer comes', client.connection.seen('200 OK'));
      client.write('more');
      await scene.happens('the rest reaches the backend', Promise.resolve(rest));
    },
  },
  {
    id: 'long-poll',
    title: 'A long poll that another request ends',
    run: async (scene) => {
      const poll = await scene.dial();
      const other = await scene.dial('POST');
      let release: (() => void) | undefined;
      scene.serve(async (arrival) => {
        const { start } = await arrival.whole();
        if (start.startsWith('GET')) {
          other.write(request('POST /x', ['Content-Length: 0']));
          await new Promise<void>((resolve) => {
            release = resolve;
          });
          arrival.write(response('200 OK', [], 'news'));
        } else {
          arrival.write(ok);
          release?.();
        }
      });
      poll.write(request('GET /x'));
      await Promise.all([poll.answered(), other.answered()]);
    },
  },
  {
    id: 'client-leaves',
    title: 'A client that leaves takes its GET with it',
    notesOnly: true,
    run: async (scene) => {
      const client = await scene.dial();
      const closed = new Promise<void>((resolve) => {
        scene.serve(async (arrival) => {
          arrival.connection.closed.then(() => resolve());
          client.connection.reset();
        });
      });
      client.write(request('GET /x'));
      await scene.happens('the backend hears of it', closed);
    },
  },
  { id: 'websocket', title: 'A WebSocket', tunnel: true, run: tunnelling('websocket') },
  { id: 'upgrade', title: 'An upgrade to another protocol', tunnel: true, run: tunnelling('chat/2') },
  {
    id: 'upgrade-refused',
    title: 'An upgrade that the backend ignores',
    tunnel: true,
    run: async (scene) => {
      scene.serve(async (arrival) => arrival.write(ok));
      const client = await scene.dial();
      client.write(request('GET /x', ['Connection: Upgrade', 'Upgrade: chat/2']));
      await client.answered();
    },
  },
  { id: 'slow-reader', title: 'A slow reader slows the backend', notesOnly: true, run: slowReader },
  { id: 'slow-backend', title: 'A slow backend slows the client', notesOnly: true, run: slowBackend },
  ...broken,
];

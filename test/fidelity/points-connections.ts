import { chunked, exchange, ok, type Point, request, response } from './point.js';

const old = (line: string, ...fields: string[]): string => [`${line} HTTP/1.0`, ...fields, '', ''].join('\r\n');
const oldAnswer = (...fields: string[]): string => ['HTTP/1.0 200 OK', ...fields, '', 'body'].join('\r\n');

/** Interim answers first, then the answer. */
const interim = (...heads: string[]): Point['run'] =>
  exchange({
    sends: ['GET', 'DELETE'].map((method) => request(`${method} /x`)),
    answers: heads.join('') + ok,
  });

/** The client waits for `100 (Continue)`; the backend sends it, or its answer at once. */
const expecting =
  (answer: 'continue' | 'refuse'): Point['run'] =>
  async (scene) => {
    scene.serve(async (arrival) => {
      if (answer === 'refuse') return arrival.end(response('401 Unauthorized', ['Connection: close'], 'no'));
      if (arrival.request.fields.some(([name]) => name === 'Expect')) arrival.write('HTTP/1.1 100 Continue\r\n\r\n');
      await arrival.whole();
      arrival.write(ok);
    });
    const client = await scene.dial('PUT');
    client.write(request('PUT /x', ['Content-Length: 4', 'Expect: 100-continue']));
    if (answer === 'refuse') return client.answered();
    await scene.happens('100 comes', client.connection.seen('100 Continue'));
    client.write('body');
    await client.answered();
  };

const expectations: readonly Point[] = [
  {
    id: 'early-hints',
    title: '103 (Early Hints), twice',
    run: interim(
      'HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nlink: </b.js>; rel=preload\r\n\r\n',
      'HTTP/1.1 103 Early Hints\r\nLink: </c.css>; rel=preload\r\n\r\n',
    ),
  },
  {
    id: 'early-hints-at-once',
    title: '103 comes before the answer is there',
    notesOnly: true,
    run: async (scene) => {
      const client = await scene.dial();
      scene.serve(async (arrival) => {
        arrival.write('HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n');
        await scene.happens('103 comes early', client.connection.seen('103 Early Hints'));
        arrival.write(ok);
      });
      client.write(request('GET /x'));
      await client.answered();
    },
  },
  { id: 'processing', title: '102 (Processing)', run: interim('HTTP/1.1 102 Processing\r\nX-A: 1\r\n\r\n') },
  { id: 'unknown-interim', title: 'An unknown interim status', run: interim('HTTP/1.1 199 Odd\r\nX-A: 1\r\n\r\n') },
  { id: 'unasked-100', title: '100 (Continue) that nobody asked for', run: interim('HTTP/1.1 100 Continue\r\n\r\n') },
  { id: 'expect-continue', title: '`Expect: 100-continue`', run: expecting('continue') },
  { id: 'expect-refused', title: '`Expect: 100-continue`, refused before the body is sent', run: expecting('refuse') },
  {
    id: 'unasked-interim-old',
    title: 'A client of HTTP/1.0 gets no 103',
    old: true,
    run: exchange({
      sends: old('GET /x', 'Host: a.example'),
      answers: `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${response('200 OK', ['Connection: close'], 'body')}`,
      closes: true,
    }),
  },
];

const versions: readonly Point[] = [
  {
    id: 'old-client',
    title: 'A client of HTTP/1.0',
    old: true,
    run: exchange({ sends: old('GET /x', 'Host: a.example', 'X-A: 1'), answers: oldAnswer('X-B: 1'), closes: true }),
  },
  {
    id: 'old-client-no-host',
    title: 'A client of HTTP/1.0 without Host',
    old: true,
    run: exchange({ sends: old('GET /x', 'X-A: 1'), answers: oldAnswer('X-B: 1'), closes: true }),
  },
  {
    id: 'old-client-body',
    title: 'A client of HTTP/1.0 with a body',
    old: true,
    run: exchange({
      sends: `${old('POST /x', 'Host: a.example', 'Content-Length: 4')}body`,
      answers: oldAnswer('Content-Length: 4'),
      closes: true,
    }),
  },
  {
    id: 'old-client-keep-alive',
    title: 'A client of HTTP/1.0 with keep-alive, two requests',
    old: true,
    run: exchange({
      sends: [1, 2].map((count) => old(`GET /${count}`, 'Host: a.example', 'Connection: keep-alive')),
      answers: response('200 OK', ['Connection: keep-alive'], 'body'),
    }),
  },
  {
    id: 'old-client-chunked',
    title: 'A chunked response to a client of HTTP/1.0',
    old: true,
    run: exchange({
      sends: old('GET /x', 'Host: a.example'),
      answers: `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunked(['one', 'two'])}`,
      closes: true,
    }),
  },
  {
    id: 'old-backend',
    title: 'A backend of HTTP/1.0, which closes',
    run: exchange({ sends: request('GET /x'), answers: oldAnswer('X-A: 1'), closes: true }),
  },
  {
    id: 'old-backend-length',
    title: 'A backend of HTTP/1.0 that gives a length and keeps its connection',
    run: exchange({
      sends: [request('GET /x'), request('POST /x', ['Content-Length: 1'], 'x')],
      answers: oldAnswer('Content-Length: 4', 'Connection: keep-alive'),
    }),
  },
];

const connections: readonly Point[] = [
  {
    id: 'keep-alive',
    title: 'Ten requests on one connection',
    run: exchange({ sends: Array.from({ length: 10 }, (_, count) => request(`GET /${count}`)) }),
  },
  {
    id: 'client-closes',
    title: '`Connection: close` of the client',
    run: async (scene) => {
      scene.serve(async (arrival) => arrival.end(ok));
      const client = await scene.dial();
      client.write(request('GET /x', ['Connection: close']));
      await client.answered();
      client.end();
      await scene.happens('the connection is closed', client.connection.closed);
    },
  },
  {
    id: 'backend-closes',
    title: '`Connection: close` of the backend closes no connection of the client',
    // Without a proxy it is the client's connection that closes.
    notesOnly: true,
    run: async (scene) => {
      scene.serve(async (arrival) => arrival.end(response('200 OK', ['Connection: close'], 'body')));
      for (const method of ['GET', 'POST']) {
        const client = await scene.dial();
        client.write(request(`${method} /x`));
        await client.answered();
        scene.note(`${client.answers().map(({ start, body }) => `${start} ${body}`)}`);
      }
    },
  },
  {
    id: 'pipelined',
    title: 'Pipelined requests, answered in order',
    run: async (scene) => {
      scene.serve(async (arrival) => {
        const { start, body } = await arrival.whole();
        arrival.write(response('200 OK', [], `${start} ${body}`));
      });
      const client = await scene.dial();
      const put = request('PUT /b', ['Content-Length: 3'], 'one');
      const post = request('POST /c', ['Transfer-Encoding: chunked'], chunked(['two']));
      client.write(request('GET /a') + put + post + request('GET /d') + request('DELETE /e'));
      await client.answered(5);
    },
  },
  {
    id: 'half-close',
    title: 'A client that ends its side behind the request',
    run: async (scene) => {
      const client = await scene.dial('POST', 'GET');
      const ended = new Promise<void>((resolve) => {
        scene.serve(async (arrival) => {
          await arrival.whole();
          client.end();
          await ended;
          arrival.end(response('200 OK', [], 'body'));
        });
        client.connection.socket.once('finish', resolve);
      });
      client.write(request('POST /x', ['Content-Length: 4'], 'body'));
      await client.answered();
    },
  },
];

/** Interim answers, versions of HTTP, and what becomes of connections. */
export const connectionPoints: readonly Point[] = [...expectations, ...versions, ...connections];

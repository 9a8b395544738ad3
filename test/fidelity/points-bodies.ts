import { chunked, exchange, ok, type Point, request, response } from './point.js';

const octets = String.fromCharCode(...Array.from({ length: 256 }, (_, index) => index));
const big = octets.repeat(1200);
const counted = (method: string, body: string, ...fields: string[]): string =>
  request(`${method} /x`, [...fields, `Content-Length: ${body.length}`], body);
const post = request('POST /x', ['Content-Length: 0']);
const inChunks = (method: string, parts: readonly string[], ...trailers: string[]): string =>
  request(`${method} /x`, ['Content-Type: text/plain', 'Transfer-Encoding: chunked'], chunked(parts, trailers));
const chunkedAnswer = (parts: readonly string[], fields: readonly string[] = [], ...trailers: string[]): string =>
  ['HTTP/1.1 200 OK', 'Content-Type: text/plain', ...fields, 'Transfer-Encoding: chunked', '', ''].join('\r\n') +
  chunked(parts, trailers);

const requests: readonly Point[] = [
  {
    id: 'request-length',
    title: 'Content-Length of requests stays',
    run: exchange({ sends: ['POST', 'PUT', 'PATCH'].map((method) => counted(method, octets)) }),
  },
  {
    id: 'request-chunked',
    title: 'Chunked requests stay chunked',
    run: exchange({ sends: ['POST', 'PUT', 'PATCH'].map((method) => inChunks(method, [octets, 'more'])) }),
  },
  {
    id: 'request-big',
    title: 'A request body of 307,200 octets',
    run: exchange({ sends: [counted('POST', big), inChunks('PUT', [big])] }),
  },
  {
    id: 'request-empty',
    title: 'Requests without a body: `Content-Length: 0`; DELETE without it',
    run: exchange({ sends: [counted('PUT', ''), request('DELETE /x')] }),
  },
  {
    id: 'request-neither',
    title: 'PUT, POST and PROPFIND without Content-Length',
    run: exchange({ sends: ['PUT', 'POST', 'PROPFIND'].map((method) => request(`${method} /x`)) }),
  },
  {
    id: 'request-empty-rare',
    title: '`Content-Length: 0` on GET, OPTIONS, DELETE and REPORT',
    run: exchange({
      sends: ['GET', 'OPTIONS', 'DELETE', 'REPORT'].map((method) => counted(method, '')),
    }),
  },
  {
    id: 'request-chunked-empty',
    title: 'An empty chunked body',
    run: exchange({ sends: inChunks('POST', []) }),
  },
  {
    id: 'request-trailers',
    title: 'Trailers of requests',
    run: exchange({
      sends: request(
        'POST /x',
        ['Trailer: X-Sum', 'Transfer-Encoding: chunked'],
        chunked(['body'], ['X-Sum: 1', 'X-Other: 2']),
      ),
    }),
  },
  { id: 'get-body-length', title: 'GET with a body, counted', run: exchange({ sends: counted('GET', 'body') }) },
  { id: 'get-body-chunked', title: 'GET with a body, chunked', run: exchange({ sends: inChunks('GET', ['body']) }) },
  {
    id: 'delete-body-length',
    title: 'DELETE with a body, counted',
    run: exchange({ sends: counted('DELETE', 'body') }),
  },
  {
    id: 'delete-body-chunked',
    title: 'DELETE with a body, chunked',
    run: exchange({ sends: inChunks('DELETE', ['body']) }),
  },
  {
    id: 'content-type-none',
    title: 'No Content-Type',
    run: exchange({ sends: ['POST', 'PUT', 'DELETE'].map((method) => counted(method, '{not json')) }),
  },
  {
    id: 'content-type-empty',
    title: 'An empty Content-Type',
    run: exchange({ sends: ['POST', 'PUT'].map((method) => counted(method, '{not json', 'Content-Type:')) }),
  },
  {
    id: 'content-type-odd',
    title: 'A Content-Type that cannot be read, and JSON that is none',
    run: exchange({
      sends: ['nonsense', 'a/b;;', 'application/json', 'text/plain; charset="'].map((type) =>
        counted('POST', '{not json', `Content-Type: ${type}`),
      ),
    }),
  },
];

const responses: readonly Point[] = [
  {
    id: 'response-length',
    title: 'Content-Length of responses stays',
    run: exchange({
      sends: [request('GET /x'), post, request('GET /y')],
      answers: [
        response('200 OK', [], octets),
        response('200 OK', [], octets),
        response('200 OK', ['Content-Length: 0']),
      ],
    }),
  },
  {
    id: 'response-chunked',
    title: 'Chunked responses stay chunked',
    run: exchange({
      sends: [request('GET /x'), post, request('GET /y')],
      answers: [chunkedAnswer([octets, 'more']), chunkedAnswer(['one']), chunkedAnswer([])],
    }),
  },
  {
    id: 'response-close',
    title: 'Responses that end with their connection',
    run: exchange({ sends: request('GET /x'), answers: 'HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nto the end', closes: true }),
  },
  {
    id: 'response-big',
    title: 'Response bodies of 307,200 octets, counted and chunked',
    run: exchange({
      sends: [request('GET /x'), post],
      answers: [response('200 OK', [], big), chunkedAnswer([big])],
    }),
  },
  {
    id: 'response-coded',
    title: 'Content-Encoding and Content-Range are not touched',
    run: exchange({
      sends: [request('GET /x', ['Accept-Encoding: gzip']), request('GET /x', ['Range: bytes=0-3'])],
      answers: [
        response('200 OK', ['Content-Encoding: gzip'], '\x1f\x8bnot really'),
        response('206 Partial Content', ['Content-Range: bytes 0-3/10'], 'part'),
      ],
    }),
  },
  {
    id: 'response-trailers',
    title: 'Trailers of responses',
    run: exchange({
      sends: ['GET', 'DELETE'].map((method) => request(`${method} /x`, ['TE: trailers', 'Connection: TE'])),
      answers: chunkedAnswer(['body'], ['Trailer: X-Sum, x-OTHER'], 'X-Sum: 1', 'x-OTHER: 2'),
    }),
  },
  {
    id: 'response-trailers-unannounced',
    title: 'Trailers of responses that no Trailer field announces',
    run: exchange({ sends: request('GET /x'), answers: chunkedAnswer(['body'], [], 'X-Sum: 1') }),
  },
  {
    id: 'head-length',
    title: 'HEAD: Content-Length stays, no body',
    run: exchange({
      sends: [request('HEAD /x'), request('HEAD /x')],
      answers: 'HTTP/1.1 200 OK\r\nETag: "n"\r\nContent-Length: 1234\r\n\r\n',
    }),
  },
  {
    id: 'head-chunked',
    title: 'HEAD: Transfer-Encoding stays, no body',
    run: exchange({
      sends: [request('HEAD /x'), request('HEAD /x')],
      answers: 'HTTP/1.1 200 OK\r\nETag: "n"\r\nTransfer-Encoding: chunked\r\n\r\n',
    }),
  },
  {
    id: 'head-neither',
    title: 'HEAD without any length',
    run: exchange({ sends: request('HEAD /x'), answers: 'HTTP/1.1 200 OK\r\nETag: "n"\r\n\r\n' }),
  },
  {
    id: 'head-reads',
    title: 'HEAD without an ETag, behind which the gate reads',
    run: async (scene) => {
      scene.serve(async (arrival) => {
        const { start } = await arrival.whole();
        arrival.write(start.startsWith('HEAD') ? ok.slice(0, -'ok'.length) : ok);
      });
      const client = await scene.dial('HEAD');
      client.write(request('HEAD /x'));
      await client.answered();
    },
  },
  {
    id: 'not-modified',
    title: '304: fields stay, no body',
    run: exchange({
      sends: [1, 2].map(() => request('GET /x', ['If-Modified-Since: Sat, 01 Jan 2022 00:00:00 GMT'])),
      answers: ['HTTP/1.1 304 Not Modified', 'ETag: "n"', 'Expires: 0', 'Content-Length: 99', '', ''].join('\r\n'),
    }),
  },
  ...['204 No Content', '205 Reset Content'].map((status) => ({
    id: `status-${status.slice(0, 3)}`,
    title: `${status}, on a connection that goes on`,
    run: exchange({
      sends: [post, request('GET /x'), request('DELETE /x')],
      answers: `HTTP/1.1 ${status}\r\nX-A: 1\r\n${status.startsWith('205') ? 'Content-Length: 0\r\n' : ''}\r\n`,
    }),
  })),
];

/** Bodies, their framing and their trailers. */
export const bodyPoints: readonly Point[] = [...requests, ...responses];

// The floor: Fastify hands the request to undici's `dispatch` and writes the answer as it comes, with the fields that a
// proxy must drop and add. It has no deadlines, checks nothing, counts nothing and leaks where something goes wrong.
import { randomUUID } from 'node:crypto';
import fastify from 'fastify';
import { Pool } from 'undici';

const [upstream, port] = process.argv.slice(2);
const pool = new Pool(upstream, { connections: 128, headersTimeout: 0, bodyTimeout: 0 });
const ofTheConnection = new Set(['connection', 'keep-alive', 'transfer-encoding']);

function endToEnd(raw) {
  const fields = [];
  for (let index = 0; index < raw.length; index += 2) {
    const name = raw[index].toString('latin1');
    if (!ofTheConnection.has(name.toLowerCase())) fields.push(name, raw[index + 1].toString('latin1'));
  }
  return fields;
}

class Answer {
  #response;
  #id;

  constructor(response, id) {
    this.#response = response;
    this.#id = id;
  }

  onConnect() {}

  onHeaders(status, raw, _resume, reason) {
    this.#response.writeHead(status, reason, [...endToEnd(raw), 'Via', '1.1 floor', 'X-Request-Id', this.#id]);
    return true;
  }

  onData(chunk) {
    this.#response.write(chunk);
    return true;
  }

  onComplete() {
    this.#response.end();
  }

  onError() {
    this.#response.destroy();
  }
}

const app = fastify();
app.addHook('onRequest', (request, reply, _next) => {
  reply.hijack();
  const { raw } = request;
  const id = randomUUID();
  const forwarded = ['X-Forwarded-For', raw.socket.remoteAddress, 'X-Forwarded-Proto', 'http'];
  const headers = [...endToEnd(raw.rawHeaders), ...forwarded, 'X-Forwarded-Host', raw.headers.host, 'X-Request-Id', id];
  const body = raw.method === 'GET' ? null : raw;
  const options = { method: raw.method, path: raw.url, headers, body, servername: 'upstream', reset: false };
  pool.dispatch(options, new Answer(reply.raw, id));
});
app.all('/*', () => undefined);
await app.listen({ port: Number(port), host: '127.0.0.1' });

// @fastify/http-proxy as its README starts it: the measure for everything else.
import httpProxy from '@fastify/http-proxy';
import fastify from 'fastify';

const [upstream, port] = process.argv.slice(2);
const app = fastify();
await app.register(httpProxy, { upstream });
await app.listen({ port: Number(port), host: '127.0.0.1' });

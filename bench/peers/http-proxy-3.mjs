// http-proxy-3 as its README starts it, with connections to the upstream kept alive.
import { Agent } from 'node:http';
import { createProxyServer } from 'http-proxy-3';

const [target, port] = process.argv.slice(2);
createProxyServer({ target, agent: new Agent({ keepAlive: true }) }).listen(Number(port), '127.0.0.1');

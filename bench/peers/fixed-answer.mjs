// Bare node:http with one answer for everything: `node fixed-answer.mjs PORT '{"status":412,"fields":[…],"body":"…"}'`.
import { createServer } from 'node:http';

const [port, text] = process.argv.slice(2);
const { status, fields, body } = JSON.parse(text);
const bytes = Buffer.from(body);
createServer((request, response) => {
  request.resume();
  response.writeHead(status, fields);
  response.end(bytes);
}).listen(Number(port), '127.0.0.1');

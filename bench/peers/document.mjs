// An API with one document and honest tags that checks nothing itself; GET /requests: how many others it was sent.
import { createServer } from 'node:http';

let version = 1;
let requests = 0;

createServer(async (request, response) => {
  if (request.url === '/requests') {
    response.end(String(requests));
    return;
  }
  requests += 1;
  for await (const _ of request);
  if (request.method === 'PUT') version += 1;
  response.writeHead(request.method === 'PUT' ? 204 : 200, { ETag: `"v${version}"` });
  response.end(request.method === 'GET' ? JSON.stringify({ version }) : undefined);
}).listen(Number(process.argv[2]), '127.0.0.1');

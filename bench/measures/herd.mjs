// 500 writers with one tag for one resource, all at once.

import { fileURLToPath } from 'node:url';
import { Pool } from 'undici';
import { freePort, start } from '../machine.mjs';
import { startByName } from '../scenarios.mjs';
import { median } from '../statistics.mjs';

const writers = 500;
const times = 9;
const warmUps = 20;
const document = fileURLToPath(new URL('../peers/document.mjs', import.meta.url));

/** @returns what the herd came to, and what it cost beside as many forwarded writes */
export async function measureHerd() {
  const port = await freePort();
  const origin = await start({ core: 'others', command: process.execPath, args: [document, String(port)], port });
  origin.url = `http://127.0.0.1:${port}`;
  const gate = await startByName('gate', origin);
  const peer = await startByName('@fastify/http-proxy', origin);
  try {
    const herds = [];
    for (let time = 0; time < warmUps + times; time += 1) {
      const through = await herd(gate, origin);
      const forwarded = await herd(peer, origin);
      if (time >= warmUps) herds.push({ ...through, forwarded: forwarded.cpu });
    }
    return {
      writers,
      succeeded: median(herds.map(({ succeeded }) => succeeded)),
      refused: median(herds.map(({ refused }) => refused)),
      upstreamRequests: Math.max(...herds.map(({ upstreamRequests }) => upstreamRequests)),
      ratio: median(herds.map(({ cpu, forwarded }) => cpu / forwarded)),
    };
  } finally {
    await Promise.all([gate.stop(), peer.stop(), origin.stop()]);
  }
}

async function herd(program, origin) {
  const client = new Pool(`http://127.0.0.1:${program.port}`, { connections: writers });
  try {
    const read = await client.request({ path: '/documents/1', method: 'GET' });
    await read.body.dump();
    // All connections are there before the race.
    await Promise.all(Array.from({ length: writers }, () => discard(client, { path: '/other', method: 'GET' })));
    const before = { cpu: program.cpu(), requests: await requestsOf(origin) };
    const headers = { 'if-match': read.headers.etag };
    const write = { path: '/documents/1', method: 'PUT', headers, body: 'x'.repeat(1024) };
    const answers = await Promise.all(Array.from({ length: writers }, () => discard(client, write)));
    return {
      cpu: program.cpu() - before.cpu,
      upstreamRequests: (await requestsOf(origin)) - before.requests,
      succeeded: answers.filter((status) => status < 300).length,
      refused: answers.filter((status) => status === 412).length,
    };
  } finally {
    await client.close();
  }
}

async function discard(client, request) {
  const { statusCode, body } = await client.request(request);
  await body.dump();
  return statusCode;
}

async function requestsOf(origin) {
  return Number(await (await fetch(`${origin.url}/requests`)).text());
}

import httpProxy from '@fastify/http-proxy';
import fastify from 'fastify';
import type { Owner } from '../helpers/backend.js';
import { startGate } from '../helpers/gate.js';
import { startNginx } from '../helpers/nginx.js';
import { differences } from './compare.js';
import type { Point } from './point.js';
import type { Stage, Transcript } from './scene.js';
import { startStage } from './scene.js';

type TestOwner = Owner & { teardown(action: () => Promise<void>): void };

/** Something that can stand between client and backend. @returns the port that clients use */
export type Starter = (owner: TestOwner, backend: number) => Promise<number>;

/** A proxy in front of a backend of its own. */
export interface Peer {
  /** What client and backend get of a point. */
  play(point: Point): Promise<Transcript>;
}

/** Nothing in between. */
export const direct: Starter = async (_, backend) => backend;

/** The gate with its defaults; it holds responses back for a shorter time, so that nobody waits for it. */
export const gate: Starter = async (owner, backend) => {
  const limits = { holdTime: 50 };
  return (await startGate(owner, { upstream: `http://127.0.0.1:${backend}`, limits })).port;
};

/** nginx with the least that passes requests on in HTTP/1.1 and responses as they come. */
export const nginx: Starter = async (owner, backend) => {
  const directives = [
    `proxy_pass http://127.0.0.1:${backend};`,
    'proxy_http_version 1.1;',
    'proxy_set_header Connection "";',
    'proxy_set_header Host $http_host;',
    'proxy_buffering off;',
  ];
  const { url } = await startNginx(owner, () => ({ server: `location / { ${directives.join(' ')} }` }));
  return Number(new URL(url).port);
};

/** The plugin as its README starts it. */
export const plainHttpProxy: Starter = async (owner, backend) => {
  const app = fastify({ forceCloseConnections: true });
  await app.register(httpProxy, { upstream: `http://127.0.0.1:${backend}` });
  owner.teardown(() => app.close());
  return Number(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port);
};

/** Starts one of them; it goes with its owner. */
export async function startPeer(owner: TestOwner, starter: Starter): Promise<Peer> {
  const stage: Stage = await startStage(owner);
  const port = await starter(owner, stage.port);
  return { play: ({ run }) => stage.play(port, run) };
}

/** @returns in words how a peer differs from nothing in between; empty where it does not */
export async function differencesOf(peer: Peer, point: Point, expected: Transcript): Promise<string[]> {
  return differences(expected, await peer.play(point), point);
}

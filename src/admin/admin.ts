import { connect } from 'node:net';
import fastify from 'fastify';
import { addressText, type ListenAddress, listenOptions } from '../http/address.js';
import type { Clock } from '../http/clock.js';
import { withoutSchemas } from '../http/schemas.js';
import type { Metrics } from '../observe/metrics.js';

export interface AdminOptions {
  readonly metrics: Metrics;
  /** Whether the gate takes requests: it listens and does not drain. */
  readonly isReady: () => boolean;
  /** Where the upstream accepts connections. */
  readonly upstream: { readonly host: string; readonly port: number };
  /** Longest wait for that, in milliseconds. */
  readonly connectTimeout: number;
  readonly clock: Clock;
}

/** Address for those who run the gate (O1). */
export interface Admin {
  /** @returns the address in the form that it was configured in, with the port that was found */
  listen(address: ListenAddress): Promise<string>;
  close(): Promise<void>;
}

/** How long an answer of the upstream's port counts, in milliseconds. */
const readinessCached = 2000;

/** Serves `/healthz`, `/readyz` and `/metrics` (O1, O2). */
export function createAdmin(options: AdminOptions): Admin {
  const app = fastify({ logger: false, forceCloseConnections: true, schemaController: withoutSchemas });
  const accepts = cachedCheck(options);

  app.addHook('onRequest', async (_request, reply) => {
    reply.header('Cache-Control', 'no-store');
  });
  app.get('/healthz', async () => ({ status: 'ok' }));
  app.get('/readyz', async (_request, reply) => {
    if (!options.isReady()) return reply.code(503).send({ status: 'draining' });
    if (!(await accepts())) return reply.code(503).send({ status: 'upstream unreachable' });
    return { status: 'ready' };
  });
  app.get('/metrics', async (_request, reply) => {
    const { contentType, text } = await options.metrics.render();
    return reply.type(contentType).send(text);
  });

  return {
    async listen(address) {
      await app.listen(listenOptions(address));
      return addressText(app.server.address(), address);
    },
    close: () => app.close(),
  };
}

/** Whether the upstream accepts connections, asked at most every two seconds. */
function cachedCheck({ upstream, connectTimeout, clock }: AdminOptions): () => Promise<boolean> {
  let checkedAt = Number.NEGATIVE_INFINITY;
  let result: Promise<boolean> = Promise.resolve(false);
  return () => {
    if (clock.now() - checkedAt > readinessCached) {
      checkedAt = clock.now();
      result = acceptsConnections(upstream, connectTimeout);
    }
    return result;
  };
}

function acceptsConnections(upstream: { host: string; port: number }, timeout: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ ...upstream, timeout });
    const finish = (accepted: boolean): void => {
      socket.destroy();
      resolve(accepted);
    };
    socket.once('connect', () => finish(true));
    socket.once('timeout', () => finish(false));
    socket.once('error', () => finish(false));
  });
}

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Owner, serve } from './backend.js';

/** Bytes that are unlike those one off, so that a gap shows. */
const pattern = Buffer.from(
  Uint8Array.from({ length: 64 * 1024 }, (_, index) => (index * 31 + (index >> 8) * 7) & 255),
);

/** A body of the pattern over and over; `produced` counts what its consumer has asked for. */
export class Source {
  produced = 0;

  stream(length: number): Readable {
    const produce = function* (this: Source): Generator<Buffer> {
      for (let left = length; left > 0; left -= pattern.length) {
        const chunk = left < pattern.length ? pattern.subarray(0, left) : pattern;
        this.produced += chunk.length;
        yield chunk;
      }
    };
    return Readable.from(produce.call(this), { highWaterMark: 1 });
  }
}

/** Takes a body of the pattern in. @returns its length @throws where it is not the pattern */
export async function receive(body: Readable): Promise<number> {
  let length = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    for (let start = 0; start < chunk.length; ) {
      const at = (length + start) % pattern.length;
      const end = Math.min(chunk.length, start + pattern.length - at);
      if (pattern.compare(chunk, start, end, at, at + end - start) !== 0)
        throw new Error(`another byte near ${length}`);
      start = end;
    }
    length += chunk.length;
  }
  return length;
}

export interface StreamingBackend {
  readonly url: string;
  /** What the answers to GET are made of. */
  readonly source: Source;
  /** Length of the last request body, once it was received whole. */
  received: number;
  /** How many answers to GET are on their way. */
  giving: number;
  /** The backend reads a body at `/held` once this is called. */
  release: (() => void) | undefined;
}

/**
 * A backend that streams: `GET /<bytes>` is answered with so many in chunks, `GET /small` at once; other methods receive
 * a body, those at `/held` only after `release`. What is not small has the version `"1"`.
 */
export async function startStreamingBackend(t: Owner): Promise<StreamingBackend> {
  const backend: { -readonly [K in keyof StreamingBackend]: StreamingBackend[K] } = {
    url: '',
    source: new Source(),
    received: 0,
    giving: 0,
    release: undefined,
  };
  const server = createServer((incoming, response) => {
    // A gate that has read enough breaks off (W5, W10): that is an error for the pipeline only.
    (incoming.method === 'GET' ? give(incoming, response) : take(incoming, response)).catch(() => response.destroy());
  });

  async function give(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    if (incoming.url === '/small') {
      response.end('small');
      return;
    }
    response.setHeader('ETag', '"1"');
    backend.giving += 1;
    const body = backend.source.stream(Number(incoming.url?.slice(1)));
    await pipeline(body, response).finally(() => {
      backend.giving -= 1;
    });
  }

  async function take(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    if (incoming.url === '/held') {
      await new Promise<void>((resolve) => {
        backend.release = resolve;
      });
    }
    backend.received = await receive(incoming);
    response.writeHead(204).end();
  }

  backend.url = `http://127.0.0.1:${await serve(t, server)}`;
  return backend;
}

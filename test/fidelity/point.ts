import type { Comparing } from './compare.js';
import type { Scene } from './scene.js';

/** One thing that client or backend could notice. */
export interface Point extends Comparing {
  readonly id: string;
  readonly title: string;
  readonly run: (scene: Scene) => Promise<void>;
}

/** What `exchange` sends and answers, as far as it is not the usual. */
export interface Exchange {
  /** One or several requests, on one connection. */
  readonly sends: string | readonly string[];
  /** In the order of the requests; the last stands for all that follow. */
  readonly answers?: string | readonly string[];
  /** The backend ends the connection behind its answer. */
  readonly closes?: boolean;
}

/** A request of HTTP/1.1 to the host `a.example`. */
export function request(line: string, fields: readonly string[] = [], body = ''): string {
  return [`${line} HTTP/1.1`, 'Host: a.example', ...fields, '', body].join('\r\n');
}

/** A response; one with a body has its length. */
export function response(status: string, fields: readonly string[] = [], body = ''): string {
  const length = body === '' ? [] : [`Content-Length: ${body.length}`];
  return [`HTTP/1.1 ${status}`, 'Content-Type: text/plain', ...fields, ...length, '', body].join('\r\n');
}

/** A body in chunks, with the last one. */
export function chunked(parts: readonly string[], trailers: readonly string[] = []): string {
  const chunks = parts.map((part) => `${part.length.toString(16)}\r\n${part}\r\n`);
  return [...chunks, '0\r\n', ...trailers.map((line) => `${line}\r\n`), '\r\n'].join('');
}

export const ok = response('200 OK', [], 'ok');

/** Requests one after the other on one connection, each answered when all of it has come. */
export function exchange({ sends, answers = ok, closes = false }: Exchange): Point['run'] {
  const requests = [sends].flat();
  const replies = [answers].flat();
  return async (scene) => {
    scene.serve(async (arrival, count) => {
      await arrival.whole();
      const bytes = replies[Math.min(count, replies.length - 1)] ?? '';
      if (closes) arrival.end(bytes);
      else arrival.write(bytes);
    });
    const client = await scene.dial(...requests.map((text) => text.slice(0, text.indexOf(' '))));
    for (const [index, text] of requests.entries()) {
      client.write(text);
      await client.answered(index + 1);
    }
  };
}

/** A cell of a table in Markdown. */
export function cellOf(text: string): string {
  return printable(text).replaceAll('|', '\\|');
}

/** A text of octets with those outside of ASCII spelled out. */
export function printable(text: string): string {
  return text.replace(/[^ -~]/g, (octet) => `\\x${octet.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

import { prefersHtml } from './negotiate.js';

/** Problem details of an answer that the gate makes itself (RFC 9457, A1). */
export interface Problem {
  /** URI reference that names the kind of problem. */
  type: string;
  title: string;
  status: number;
  /** A sentence that says which condition failed and why. */
  detail: string;
  /** URI reference of the request's target. */
  instance?: string | undefined;
  /** Name of the field that decided. */
  precondition?: string | undefined;
  /** What the client sent in it. */
  received?: readonly string[] | undefined;
  /** The current validators, only where they were read with this client's own credentials. */
  current?: { etag?: string | undefined; lastModified?: string | undefined } | undefined;
  decidedBy?: 'probe' | 'store' | 'policy' | undefined;
  /** What to do now. */
  next?: string;
  requestId?: string;
  /** Of a write that was forwarded, or was to be (W11). */
  outcome?: 'not-sent' | 'unknown' | undefined;
  [extension: string]: unknown;
}

/**
 * Writes a problem as JSON (RFC 9457), or as a small HTML page for a client that prefers it (A1). The page loads
 * nothing, runs nothing, and every value in it is escaped.
 *
 * @param accept value of the request's Accept, its lines joined with ", "
 */
export function renderProblem(problem: Problem, accept: string | undefined): { contentType: string; body: string } {
  return prefersHtml(accept)
    ? { contentType: 'text/html; charset=utf-8', body: htmlPage(problem) }
    : { contentType: 'application/problem+json', body: JSON.stringify(problem) };
}

/**
 * Value of Proxy-Status (RFC 9209, A2), by which anyone can tell the gate's answer from the upstream's.
 *
 * @param error an error type: a structured-fields token such as `http_request_denied`
 * @param details any text; what a structured-fields string cannot hold (RFC 8941 3.3.3) becomes `?`
 */
export function proxyStatus(error: string, details: string): string {
  if (plainText.test(details)) return `ifmatch; error=${error}; details="${details}"`;
  let text = '';
  for (const character of details) {
    if (character === '"' || character === '\\') text += `\\${character}`;
    else text += character >= ' ' && character <= '~' ? character : '?';
  }
  return `ifmatch; error=${error}; details="${text}"`;
}

/** What a structured-fields string holds as it is: nothing to escape, nothing to replace. */
const plainText = /^[ !#-[\]-~]*$/;

const style =
  'body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#222;background:#fff}' +
  'h1{font-size:1.4rem}dt{font-weight:600}dd{margin:0 0 .6rem;overflow-wrap:anywhere;font-family:ui-monospace,monospace}' +
  '@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}}';

function htmlPage(problem: Problem): string {
  const { title, status, detail, next, ...members } = problem;
  const heading = escapeHtml(`${status} ${title}`);
  const rows = Object.entries(members)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(asText(value))}</dd>`);
  return [
    '<!doctype html><html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width">',
    `<title>${heading}</title><style>${style}</style></head><body>`,
    `<h1>${heading}</h1><p>${escapeHtml(detail)}</p>`,
    next === undefined ? '' : `<p><strong>${escapeHtml(next)}</strong></p>`,
    `<dl>${rows.join('')}</dl></body></html>\n`,
  ].join('\n');
}

function asText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}

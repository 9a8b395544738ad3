import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Owner } from './backend.js';
import { stop } from './program.js';

/** What the `json-server` command puts together, on a port that is free; it ends with its parent. */
const program = `
const [file, module] = process.argv.slice(1);
const jsonServer = require(module);
const app = jsonServer.create();
app.use(jsonServer.defaults({ logger: false }), jsonServer.router(file));
const server = app.listen(0, '127.0.0.1', () => process.send(server.address().port));
process.on('disconnect', () => process.exit());
`;

/**
 * Starts json-server in a process of its own, with a database in a temporary file; both are gone when the test ends.
 *
 * @param database collections by name, each a list of documents with an `id`
 * @returns the base URL without a trailing slash
 */
export async function startJsonServer(t: Owner, database: Readonly<Record<string, unknown>>): Promise<{ url: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'ifmatch-json-server-'));
  const file = join(directory, 'db.json');
  await writeFile(file, JSON.stringify(database));
  const module = createRequire(import.meta.url).resolve('json-server');
  const child = spawn(process.execPath, ['--input-type=commonjs', '-e', program, '--', file, module], {
    // Node flags of the test runner are none of the backend's business.
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  });
  t.teardown(async () => {
    await stop(child);
    await rm(directory, { recursive: true });
  });
  const port = await Promise.race([once(child, 'message').then(([message]) => Number(message)), failed(child)]);
  return { url: `http://127.0.0.1:${port}` };
}

async function failed(child: ChildProcess): Promise<never> {
  const [status] = await once(child, 'exit');
  throw new Error(`json-server ended with status ${status}`);
}

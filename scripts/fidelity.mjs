// Compares the gate, nginx and @fastify/http-proxy with no proxy at all, and prints the table of docs/fidelity.md:
// `node scripts/fidelity.mjs [--write] [part of a point's id …]`; `--write` puts it there. nginx has to be installed.
// Compiles test/fidelity/run.ts and what it imports to a temporary folder; types are checked elsewhere
// (`npm run typecheck`).
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = join(root, 'docs/fidelity.md');
const folder = mkdtempSync(join(tmpdir(), 'ifmatch-fidelity-'));
const node = (...args) =>
  spawnSync(process.execPath, args, { stdio: ['inherit', 'pipe', 'inherit'], encoding: 'utf8' });
const [writes, parts] = [process.argv.includes('--write'), process.argv.slice(2).filter((word) => word !== '--write')];

/** Puts the table between the markers of the page. */
function write(table) {
  const text = readFileSync(page, 'utf8');
  const between = /(<!-- table -->\n)[\s\S]*(<!-- end of the table -->)/;
  if (!between.test(text)) throw new Error('docs/fidelity.md has no markers for the table');
  writeFileSync(
    page,
    text.replace(between, (_, start, end) => `${start}\n${table}\n${end}`),
  );
}

try {
  if (writes && parts.length > 0) throw new Error('--write takes all points');
  const config = join(folder, 'tsconfig.json');
  const compilerOptions = { noEmit: false, noCheck: true, rootDir: root, outDir: folder, inlineSourceMap: true };
  const files = [join(root, 'test/fidelity/run.ts')];
  writeFileSync(config, JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, files, include: [] }));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  const compiled = node(join(root, 'node_modules/typescript/bin/tsc'), '-p', config);
  const ran =
    compiled.status === 0 ? node('--enable-source-maps', join(folder, 'test/fidelity/run.js'), ...parts) : compiled;
  process.stdout.write(ran.stdout);
  process.exitCode = ran.status ?? 1;
  if (writes && ran.status === 0) write(ran.stdout);
} finally {
  rmSync(folder, { recursive: true });
}

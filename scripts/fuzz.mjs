// Compiles test/fuzz/run.ts and what it imports to a temporary folder and runs it: `npm run fuzz -- [options]`. Types
// are checked elsewhere (`npm run typecheck`).
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'ifmatch-fuzz-'));
const node = (...args) => spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1;

try {
  const config = join(folder, 'tsconfig.json');
  const compilerOptions = { noEmit: false, noCheck: true, rootDir: root, outDir: folder, inlineSourceMap: true };
  const files = [join(root, 'test/fuzz/run.ts')];
  writeFileSync(config, JSON.stringify({ extends: join(root, 'tsconfig.json'), compilerOptions, files, include: [] }));
  writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'), 'junction');
  const compiled = node(join(root, 'node_modules/typescript/bin/tsc'), '-p', config);
  process.exitCode =
    compiled === 0
      ? node('--enable-source-maps', join(folder, 'test/fuzz/run.js'), ...process.argv.slice(2))
      : compiled;
} finally {
  rmSync(folder, { recursive: true });
}

// Copies what the compiler leaves out (static pages, Lua scripts) from src to the same place in dist.
import { cpSync, statSync } from 'node:fs';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

const fromRoot = (path) => fileURLToPath(new URL(`../${path}`, import.meta.url));

cpSync(fromRoot('src'), fromRoot('dist'), {
  recursive: true,
  filter: (source) => statSync(source).isDirectory() || extname(source) !== '.ts',
});

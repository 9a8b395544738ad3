import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';

/** Each mechanism that docs/guarantees.md rests on can still be taken out of the source, once, by `npm run mutants`. */

interface Mutant {
  readonly name: string;
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  readonly tests: readonly string[];
}

const fromRoot = (path: string): URL => new URL(`../../${path}`, import.meta.url);
const { mutants } = (await import(fromRoot('scripts/mutants-list.mjs').href)) as { mutants: readonly Mutant[] };

t.ok(mutants.length > 0);
for (const { name, file, find, replace, tests } of mutants) {
  const source = readFileSync(fromRoot(file), 'utf8');
  t.equal(source.split(find).length - 1, 1, `${name}: its place stands once in ${file}`);
  t.not(find, replace, `${name} changes something`);
  for (const path of tests) t.ok(existsSync(fromRoot(path)), `${name}: ${path} is there`);
}

import { hasNginx } from '../helpers/nginx.js';
import { differencesOf, direct, gate, nginx, plainHttpProxy, startPeer } from './peers.js';
import { cellOf } from './point.js';
import { points } from './points.js';

const peers = { nginx, '@fastify/http-proxy': plainHttpProxy, 'the gate': gate };

/** Says what `hasNginx` says to a test. */
function say(...words: readonly unknown[]): boolean {
  console.error(...words);
  return true;
}

/** Prints the table in Markdown, for the points whose id has one of the parts in it, or for all. */
async function main(parts: readonly string[]): Promise<void> {
  if (!hasNginx({ pass: say, fail: say })) {
    process.exitCode = 1;
    return;
  }
  const chosen = points.filter(({ id }) => parts.length === 0 || parts.some((part) => id.includes(part)));
  const found = await measured(chosen);
  // What a peer does nearly everywhere is told once.
  const habits = Object.keys(peers).map((_, index) => habitsOf(found.map((cells) => cells[index] ?? [])));
  const lines = chosen.map(({ title }, row) => {
    const cells = (found[row] ?? []).map((words, index) => words.filter((word) => !habits[index]?.has(word)));
    return rowOf(title, cells);
  });
  const everywhere = rowOf(
    'Nearly everywhere, and left out below',
    habits.map((words) => [...words]),
  );
  console.log(
    [`| Point | ${Object.keys(peers).join(' | ')} |`, '| --- | --- | --- | --- |', everywhere, ...lines].join('\n'),
  );
}

/** Runs points over all peers. @returns by point and peer, the differences in words */
async function measured(chosen: typeof points): Promise<string[][][]> {
  const actions: (() => unknown)[] = [];
  const owner = { teardown: (action: () => unknown) => void actions.unshift(action) };
  try {
    const reference = await startPeer(owner, direct);
    const others = [];
    for (const starter of Object.values(peers)) others.push(await startPeer(owner, starter));
    const found = [];
    for (const point of chosen) {
      const expected = await reference.play(point);
      found.push(await Promise.all(others.map((peer) => differencesOf(peer, point, expected))));
    }
    return found;
  } finally {
    for (const action of actions) await action();
  }
}

function habitsOf(rows: readonly (readonly string[])[]): Set<string> {
  const counts = new Map<string, number>();
  for (const word of rows.flat()) counts.set(word, (counts.get(word) ?? 0) + 1);
  return new Set([...counts].filter(([, count]) => count > 5 && count > rows.length / 2).map(([word]) => word));
}

function rowOf(title: string, cells: readonly (readonly string[])[]): string {
  const texts = [title, ...cells.map((words) => words.join('; ') || 'same')];
  return `| ${texts.map(cellOf).join(' | ')} |`;
}

await main(process.argv.slice(2));

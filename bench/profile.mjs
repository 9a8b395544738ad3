// A flame graph of where the time of a request goes, from V8's own profiler.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { cost } from './load.mjs';
import { modules, startGate } from './subjects.mjs';

const width = 1200;
const rowHeight = 17;
/** Narrower ones are left out, in pixels. */
const narrowest = 1.5;
const load = { path: '/plain/1k/', arguments: ['fixed', 200] };

/** Profiles an unguarded GET and writes the graph into a folder. @returns the exit status */
export async function profile(origin, folder) {
  const profiles = mkdtempSync(join(tmpdir(), 'ifmatch-bench-'));
  try {
    const options = ['--cpu-prof', `--cpu-prof-dir=${profiles}`, '--cpu-prof-interval=250'];
    const gate = await startGate(origin, { GUARD: 'off', LIMITS_DRAIN_DELAY: '0ms' }, options, 'measured', modules);
    await cost(gate, load, 10);
    await gate.stop();
    const [name] = readdirSync(profiles);
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'flame.svg'), flameGraph(JSON.parse(readFileSync(join(profiles, name), 'utf8'))));
  } finally {
    rmSync(profiles, { recursive: true });
  }
  return 0;
}

/** @param profile in the format of `--cpu-prof` */
function flameGraph({ nodes, samples, timeDeltas }) {
  const byId = new Map(nodes.map((node) => [node.id, { ...node, time: 0 }]));
  for (const [index, id] of samples.entries()) byId.get(id).time += timeDeltas[index];
  const root = merged([byId.get(nodes[0].id)], byId);
  root.children = root.children.filter(({ name }) => !['(idle)', '(program)', '(garbage collector)'].includes(name));
  root.time = root.children.reduce((sum, child) => sum + child.time, 0);
  const boxes = [];
  const depth = draw(root, 0, 0, width / root.time, root.time, boxes);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${(depth + 1) * rowHeight}" role="img" aria-label="Flame graph of a request">
<style>text{font:11px ui-monospace,monospace;fill:#222}</style>
${boxes.join('\n')}
</svg>
`;
}

/** Calls of the same function from the same place are one box. */
function merged(calls, byId) {
  const { functionName, url } = calls[0].callFrame;
  const groups = new Map();
  for (const child of calls.flatMap(({ children = [] }) => children.map((id) => byId.get(id)))) {
    const key = `${child.callFrame.functionName} ${child.callFrame.url}`;
    groups.set(key, [...(groups.get(key) ?? []), child]);
  }
  const children = [...groups.values()].map((group) => merged(group, byId));
  const time = [...calls, ...children].reduce((sum, part) => sum + part.time, 0);
  return { name: functionName || '(anonymous)', url, time, children: children.sort((a, b) => b.time - a.time) };
}

function draw({ name, url, time, children }, x, level, scale, total, boxes) {
  const length = time * scale;
  if (length < narrowest) return level;
  const title = `${name} ${placeOf(url)} ${((100 * time) / total).toFixed(1)} %`;
  const shown = name.slice(0, Math.max(0, Math.floor((length - 4) / 6.6)));
  boxes.push(
    `<g><title>${escaped(title)}</title><rect x="${x.toFixed(1)}" y="${level * rowHeight}" width="${length.toFixed(1)}" height="${rowHeight - 1}" fill="${colorOf(url)}"/><text x="${(x + 2).toFixed(1)}" y="${level * rowHeight + 12}">${escaped(shown)}</text></g>`,
  );
  let from = x;
  let deepest = level;
  for (const child of children) {
    deepest = Math.max(deepest, draw(child, from, level + 1, scale, total, boxes));
    from += child.time * scale;
  }
  return deepest;
}

/** The gate, the libraries that it stands on, Node itself. */
function colorOf(url) {
  if (url.includes('/dist/') && !url.includes('node_modules')) return '#3bc9db';
  if (url.includes('node_modules')) return '#ffd43b';
  return '#ced4da';
}

function placeOf(url) {
  const [, inPackage] = url.split('node_modules/');
  return inPackage ?? url.split('/dist/')[1] ?? url;
}

function escaped(text) {
  return text.replace(/[&<>]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[character]);
}

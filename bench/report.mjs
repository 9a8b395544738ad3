// The figures as text, and which goals they meet.
import { cpus, release } from 'node:os';

const megabyte = 2 ** 20;

/** What the figures were measured on. */
export function environment() {
  return {
    date: new Date().toISOString().slice(0, 10),
    node: process.versions.node,
    cpu: `${cpus().length} x ${cpus()[0].model}`,
    kernel: release(),
  };
}

/** All goals as `{ name, value, goal, unit }`; a goal is met where the value is not greater. */
export function goalsOf({ ratios, herd, start, memory, latency, growth }) {
  const goals = ratios
    .flatMap(({ rows }) => rows)
    .flatMap(({ name, ratio, goal, to, upstreamRequests, upstreamGoal }) => [
      ...(goal === undefined ? [] : [{ name: `${name}, of ${to}`, value: ratio, goal, unit: '' }]),
      ...(upstreamGoal === undefined
        ? []
        : [{ name: `${name}: upstream requests`, value: upstreamRequests, goal: upstreamGoal * 1.05, unit: '' }]),
    ]);
  if (herd !== undefined) {
    const { writers, succeeded, refused, upstreamRequests, ratio } = herd;
    goals.push(
      {
        name: `herd of ${writers}: not one success and ${writers - 1} times 412`,
        value: Math.abs(succeeded - 1) + Math.abs(refused - writers + 1),
        goal: 0,
        unit: '',
      },
      { name: `herd of ${writers}: upstream requests`, value: upstreamRequests, goal: 5, unit: '' },
      { name: `herd of ${writers}: CPU, of as many forwarded writes`, value: ratio, goal: 1, unit: '' },
    );
  }
  if (start !== undefined) {
    goals.push(
      { name: 'ready after exec', value: start.ready.median, goal: 500, unit: 'ms' },
      { name: 'idle process', value: start.idle / megabyte, goal: 80, unit: 'MB' },
    );
  }
  if (memory !== undefined) {
    goals.push({
      name: `${memory.resources.toLocaleString('en')} known resources`,
      value: memory.bytes / megabyte,
      goal: 400,
      unit: 'MB',
    });
  }
  if (latency !== undefined) {
    goals.push({
      name: `guarded GET at ${latency.rate} a second: added to p99`,
      value: latency.added / 1000,
      goal: 1,
      unit: 'ms',
    });
  }
  for (const { name, ratio, goal } of growth ?? [])
    goals.push({ name: `CPU from ${name}`, value: ratio, goal, unit: '' });
  return goals;
}

/** The results as tables for a terminal. */
export function textOf(results) {
  const sections = results.ratios.map(({ title, rows }) => `${title}\n${table(rows.map(rowOf))}`);
  const goals = goalsOf(results).map(({ name, value, goal, unit }) => [
    name,
    `${value.toFixed(2)} ${unit}`.trim(),
    `${goal.toFixed(2)} ${unit}`.trim(),
    value <= goal ? 'met' : 'missed',
  ]);
  return `${sections.join('\n\n')}\n\nGoals\n${table([['', 'measured', 'goal', ''], ...goals])}`;
}

function rowOf({ name, cpu, to, ratio, least, most }) {
  const cells = [name, `${cpu.toFixed(1)} us`];
  if (ratio === undefined || name === to) return cells;
  return [...cells, `${ratio.toFixed(2)} (${least.toFixed(2)}-${most.toFixed(2)})`, `of ${to}`];
}

function table(rows) {
  const widths = [];
  for (const row of rows)
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  return rows.map((row) => `  ${row.map((cell, index) => cell.padEnd(widths[index])).join('  ')}`.trimEnd()).join('\n');
}

// The figures in docs/performance.md: what stands between its two marks is made of a run's results.
import { readFileSync, writeFileSync } from 'node:fs';
import { goalsOf } from './report.mjs';

const begin = '<!-- figures: written by npm run bench -->';
const end = '<!-- end of the figures -->';

/** Writes a run's figures into the document at `path`, which has the two marks. */
export function document(path, results) {
  const text = readFileSync(path, 'utf8');
  const [before, rest] = text.split(begin);
  const [, after] = rest?.split(end) ?? [];
  if (after === undefined) throw new Error(`${path} has no "${begin}" and "${end}"`);
  writeFileSync(path, `${before}${begin}\n\n${figures(results)}\n\n${end}${after}`);
}

function figures(results) {
  const { date, node, cpu, kernel, ratios } = results;
  const goals = goalsOf(results);
  const met = goals.filter(({ value, goal }) => value <= goal).length;
  return [
    `${date}, Node ${node}, ${cpu}, Linux ${kernel}. A virtual machine with noisy neighbours: look at the spread before you believe the second digit.`,
    ...ratios.map(({ title, rows }) => `**${title}**\n\n${table(costHead, rows.map(costRow))}`),
    'The same as JSON: [bench/results/latest.json](../bench/results/latest.json).',
    '![CPU per request of each proxy](../bench/results/chart.svg)',
    '## Goals',
    `${met} of ${goals.length} are met in this run. Upstream requests are counted with those that were on their way when a round ended; the tests show that a guarded write costs exactly one, two or three.`,
    table(['', 'measured', 'goal', ''], goals.map(goalRow)),
  ].join('\n\n');
}

const costHead = ['', 'CPU per request', 'ratio (least to most)', 'of'];

function costRow({ name, cpu, to, ratio, least, most }) {
  const cells = [name, `${cpu.toFixed(0)} us`];
  if (ratio === undefined || name === to) return [...cells, '', ''];
  return [...cells, `${ratio.toFixed(2)} (${least.toFixed(2)} to ${most.toFixed(2)})`, to];
}

function goalRow({ name, value, goal, unit }) {
  const measured = `${value.toFixed(2)} ${unit}`.trim();
  return [name, measured, `${goal.toFixed(2)} ${unit}`.trim(), value <= goal ? 'met' : 'missed'];
}

/** As the formatter leaves it. */
function table(head, rows) {
  const widths = head.map((_, index) => Math.max(3, ...[head, ...rows].map((row) => row[index].length)));
  const line = (cells) => `| ${cells.map((cell, index) => cell.padEnd(widths[index])).join(' | ')} |`;
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

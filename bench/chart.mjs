// The figures as a chart: CPU time per request of each proxy, as parts of what @fastify/http-proxy takes.
import { plain } from './scenarios.mjs';

const width = 760;
const labelWidth = 300;
const barHeight = 18;
const rowHeight = 26;
const headHeight = 46;

/** @returns an SVG that reads on light and dark pages */
export function barChart({ ratios, date, node, cpu }) {
  const groups = ratios
    .map(({ title, rows }) => ({ title, bars: rows.filter(({ to }) => to === `${plain}, ${title}`) }))
    .filter(({ bars }) => bars.length > 0);
  const most = Math.max(...groups.flatMap(({ bars }) => bars.map(({ ratio }) => ratio)));
  const parts = [];
  let y = 28;
  for (const { title, bars } of groups) {
    parts.push(`<text class="head" x="0" y="${y + 14}">${title}: CPU per request, of ${plain}</text>`);
    y += headHeight - 16;
    for (const { name, ratio, cpu: microseconds } of bars) {
      const length = ((width - labelWidth - 130) * ratio) / most;
      const kind = name.startsWith('unguarded') ? 'gate' : 'peer';
      parts.push(
        `<text x="${labelWidth - 8}" y="${y + 13}" text-anchor="end">${escaped(label(name, title))}</text>`,
        `<rect class="${kind}" x="${labelWidth}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" rx="2"/>`,
        `<text x="${(labelWidth + length + 8).toFixed(1)}" y="${y + 13}">${ratio.toFixed(2)} (${microseconds.toFixed(0)} us)</text>`,
      );
      y += rowHeight;
    }
    y += 16;
  }
  parts.push(`<text class="note" x="0" y="${y + 10}">${escaped(`${date}, Node ${node}, ${cpu}`)}</text>`);
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y + 22}" role="img" aria-label="CPU time per request of proxies">
<style>text{font:13px system-ui,sans-serif;fill:#57606a}.head{font-weight:600;font-size:14px}.note{font-size:11px}.gate{fill:#0b7285}.peer{fill:#adb5bd}@media(prefers-color-scheme:dark){text{fill:#9da7b1}.gate{fill:#3bc9db}.peer{fill:#545d66}}</style>
${parts.join('\n')}
</svg>
`;
}

function label(name, title) {
  return name.startsWith('unguarded') ? `ifmatch, ${name.replace(` ${title}`, '')}` : name.replace(`, ${title}`, '');
}

function escaped(text) {
  return text.replace(/[&<>]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;' })[character]);
}

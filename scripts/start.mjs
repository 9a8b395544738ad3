// `npm start`: `ifmatch serve` with the same options, or the demo where nothing names an upstream.
const given = process.argv.slice(2);
const named = (name) => given.some((word) => word === `--${name}` || word.startsWith(`--${name}=`));
const hasUpstream =
  named('upstream') ||
  named('config') ||
  process.env.IFMATCH_UPSTREAM !== undefined ||
  process.env.IFMATCH_CONFIG !== undefined;
const hasCommand = given.some(
  (word, index) => !word.startsWith('-') && (index === 0 || !given[index - 1].startsWith('--')),
);
if (!hasUpstream && !hasCommand) process.argv.splice(2, 0, 'demo');
await import('../dist/main.js');

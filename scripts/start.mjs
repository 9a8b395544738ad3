import { parseArguments } from '../dist/config/arguments.js';

// `npm start`: `ifmatch serve` with the same options, or the demo where neither a command nor an upstream is given.
const asDemo = parseArguments(['demo', ...process.argv.slice(2)]);
const { IFMATCH_UPSTREAM, IFMATCH_CONFIG } = process.env;
const namesUpstream = IFMATCH_UPSTREAM !== undefined || IFMATCH_CONFIG !== undefined;
if (asDemo.kind === 'ok' && !namesUpstream && !asDemo.flags.has('upstream') && !asDemo.flags.has('config')) {
  process.argv.splice(2, 0, 'demo');
}
await import('../dist/main.js');

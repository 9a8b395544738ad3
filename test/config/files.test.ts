import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { helpText, parseArguments } from '../../src/config/arguments.js';
import { jsonSchema } from '../../src/config/json-schema.js';
import { loadConfig } from '../../src/config/load.js';
import { options } from '../../src/config/options.js';

const directory = fileURLToPath(new URL('../../config/', import.meta.url));

function loadFile(path: string, env: Readonly<Record<string, string>> = {}) {
  const result = loadConfig({
    flags: new Map(path === '' ? [['upstream', 'http://127.0.0.1:3000']] : [['config', path]]),
    env,
    readFile: (name) => readFileSync(directory + name, 'utf8'),
  });
  if (result.kind === 'invalid') throw new Error(result.errors.join('\n'));
  return result;
}

t.test('default.yaml has every key, each with its default', async (t) => {
  const { config, origins, warnings } = loadFile('default.yaml');
  t.strictSame(config, loadFile('').config);
  t.strictSame(warnings, []);
  for (const [key, origin] of origins) t.match(origin, /^default\.yaml:\d+:\d+$/, key);
  const { routes } = JSON.parse(JSON.stringify(config));
  t.strictSame(routes, []);
  t.match(readFileSync(`${directory}default.yaml`, 'utf8'), /^routes: \[\]$/m, 'routes has no origin of its own');
});

t.test('the examples are valid', async (t) => {
  const names = readdirSync(`${directory}examples`);
  t.ok(names.length > 0);
  const env = { PROBE_TOKEN: 'a', STORE_PASSWORD: 'b', STORE_SECRET: 'c'.repeat(16) };
  for (const name of names) t.strictSame(loadFile(`examples/${name}`, env).warnings, [], name);
});

t.test('ifmatch.schema.json is what the schema generates', async (t) => {
  t.strictSame(
    JSON.parse(readFileSync(`${directory}ifmatch.schema.json`, 'utf8')),
    JSON.parse(JSON.stringify(jsonSchema())),
  );
});

t.test('what says that it is not available yet', async (t) => {
  const later = options.filter(({ help }) => help.includes('Not available')).map(({ key }) => key);
  t.strictSame(later, ['adminToken']);
});

t.test('every option has a help text and names of its own in the environment', async (t) => {
  for (const { key, help } of options) t.ok(help.length > 10, key);
  const names = options.flatMap(({ environment }) => environment);
  t.equal(new Set(names).size, names.length);
  const named = new Map(options.map(({ key, environment }) => [key, environment]));
  t.strictSame(named.get('limits.leaseWait'), ['IFMATCH_LIMITS_LEASE_WAIT']);
  t.strictSame(named.get('policy.guard'), ['IFMATCH_GUARD', 'IFMATCH_POLICY_GUARD']);
  t.strictSame(named.get('store.url'), ['IFMATCH_STORE', 'IFMATCH_STORE_URL']);
  t.strictSame(named.get('adminToken'), ['IFMATCH_ADMIN_TOKEN']);
  t.strictSame(named.get('policy.timeouts.idleTimeout'), ['IFMATCH_POLICY_TIMEOUTS_IDLE_TIMEOUT']);
});

const commandLines: readonly (readonly [
  argv: string,
  command: string,
  flags: Record<string, string>,
  print?: boolean,
])[] = [
  ['', 'serve', {}],
  ['serve', 'serve', {}],
  ['--upstream http://a', 'serve', { upstream: 'http://a' }],
  ['--upstream=http://a?b=c', 'serve', { upstream: 'http://a?b=c' }],
  ['--guard required check --print', 'check', { guard: 'required' }, true],
  ['check --log-level=warn', 'check', { 'log-level': 'warn' }],
  ['-- health --admin 127.0.0.1:1', 'health', { admin: '127.0.0.1:1' }],
  ['demo --listen unix:/a', 'demo', { listen: 'unix:/a' }],
  ['check --help', 'help', {}],
  ['-h', 'help', {}],
  ['help', 'help', {}],
  ['--nonsense --version', 'version', {}],
  ['version', 'version', {}],
];

const wrongCommandLines: readonly (readonly [argv: string, ...errors: string[]])[] = [
  ['explain GET /a', 'explain: is not available in this version; see ifmatch --help for what is'],
  ['chekc', 'chekc: is not a command; did you mean check?'],
  ['redis://u:s3cret@r', 'redis://***@r: is not a command; write serve, check, health, demo, help, version'],
  ['--stroe redis://u:s3cret@r', '--stroe: is not an option; did you mean --store?'],
  ['serve redis://u:s3/c@ret@r', 'redis://***@r: is one word too many; write ifmatch serve [options]'],
  ['--stroe:redis://u:s3cret@r', '--stroe:redis://***@r: is not an option; see ifmatch --help'],
  ['run', 'run: is not a command; write serve, check, health, demo, help, version'],
  ['serve now', 'now: is one word too many; write ifmatch serve [options]'],
  ['--gaurd required', '--gaurd: is not an option; did you mean --guard?'],
  ['--loglevel=warn', '--loglevel: is not an option; did you mean --log-level?'],
  ['--xyzzy check', '--xyzzy: is not an option; see ifmatch --help'],
  ['-v', '-v: is not an option; see ifmatch --help'],
  ['-guard off', '-guard: is not an option; did you mean --guard?'],
  ['--guard', '--guard: needs a value; write --guard G'],
  ['--guard --mode report', '--guard: needs a value; write --guard G'],
  ['--guard=', '--guard: needs a value; write --guard G'],
  ['--guard off --guard=off', '--guard: is given twice; give it once'],
  ['--print', '--print: belongs to check; write ifmatch check --print'],
  ['check --print=yes', '--print: takes no value; write --print alone'],
  [
    '--mode --gard x serve y',
    '--mode: needs a value; write --mode MODE',
    '--gard: is not an option; did you mean --guard?',
    'y: is one word too many; write ifmatch serve [options]',
  ],
];

t.test('the command line', async (t) => {
  const words = (argv: string) => argv.split(' ').filter((word) => word !== '');
  for (const [argv, command, flags, print = false] of commandLines) {
    t.strictSame(
      parseArguments(words(argv)),
      { kind: 'ok', command, flags: new Map(Object.entries(flags)), print },
      argv,
    );
  }
  for (const [argv, ...errors] of wrongCommandLines) {
    t.strictSame(parseArguments(words(argv)), { kind: 'invalid', errors }, argv);
  }
});

t.test('the help text names every flag, its variable and its default', async (t) => {
  const text = helpText();
  for (const name of [
    'config',
    'upstream',
    'listen',
    'admin',
    'admin-token',
    'store',
    'mode',
    'guard',
    'recheck',
    'log-level',
  ]) {
    t.match(text, new RegExp(`^ {2}--${name} [A-Z]+ `, 'm'));
    t.match(text, `[IFMATCH_${name.toUpperCase().replace('-', '_')}]`);
  }
  t.match(text, '127.0.0.1:8412');
  t.notMatch(text, 'explain');
  for (const line of text.split('\n')) t.ok(line.length <= 120, line);
});

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { type ExitStatus, run } from '../../src/cli.js';
import { startBackend } from '../helpers/backend.js';
import { certificate, certificateKey } from '../helpers/certificate.js';
import { request } from '../helpers/client.js';
import { startGate } from '../helpers/gate.js';

// A child that never says what is waited for must not hold the others up for long.
t.setTimeout(120_000);

/** In its normal form. */
const nowhere = 'http://127.0.0.1:9/';

interface Outcome {
  readonly status: ExitStatus | undefined;
  readonly printed: string;
  readonly complaints: string;
}

/** Runs a command in this process, with nothing around it but these files and variables. */
async function command(
  t: Test,
  argv: readonly string[],
  { files = {}, env = {} }: { files?: Readonly<Record<string, string>>; env?: Readonly<Record<string, string>> } = {},
): Promise<Outcome> {
  const printed: string[] = [];
  const complaints: string[] = [];
  const status = await run({
    argv,
    env,
    readFile(path) {
      const text = files[path];
      if (text === undefined) throw Object.assign(new Error(`no such file: ${path}`), { code: 'ENOENT' });
      return text;
    },
    isTerminal: false,
    version: '1.2.3',
    print: (line) => printed.push(line),
    complain: (line) => complaints.push(line),
    onStop: (stop) => t.teardown(stop),
  });
  return { status, printed: printed.join('\n'), complaints: complaints.join('\n') };
}

interface Row {
  readonly argv: readonly string[];
  readonly files?: Readonly<Record<string, string>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly status: ExitStatus;
  /** What standard output and standard error must say; undefined: nothing. */
  readonly printed?: RegExp;
  readonly complaints?: RegExp;
}

const named = ['--upstream', nowhere];
const file = ['--config', 'gate.yaml'];
const withFile = (text: string) => ({ 'gate.yaml': `upstream: ${nowhere}\n${text}` });
// biome-ignore lint/suspicious/noTemplateCurlyInString: the file's own syntax
const secret = withFile('policy: { probe: { headers: { x-operator: "${TOKEN}" } } }\n');
const hidden = withFile('routes:\n  - path: /docs/*\n  - path: /docs/:id\n');
const noCertificate = withFile('tls: { cert: no.pem, key: k.pem }\n');
const noAuthority = { 'gate.yaml': 'upstream: https://a.test\nupstreamTls: { ca: no.pem }\n' };
const noClientKey = { 'gate.yaml': 'upstream: https://a.test\nupstreamTls: { cert: c.pem, key: no.pem }\n' };
const pem = { 'c.pem': certificate, 'k.pem': certificateKey };

// biome-ignore format: a table
const rows: readonly Row[] = [
  { argv: ['help'], status: 0, printed: /Usage: ifmatch.*serve .*check .*health .*demo .*--upstream URL .*--recheck/s },
  { argv: ['--help'], status: 0, printed: /Usage/ },
  { argv: ['serve', '-h', '--nonsense'], status: 0, printed: /Usage/ },
  { argv: ['version'], status: 0, printed: /^1\.2\.3$/ },
  { argv: ['--version'], status: 0, printed: /^1\.2\.3$/ },

  { argv: ['check', ...named], status: 0, printed: /^the configuration is valid$/ },
  { argv: ['check'], env: { IFMATCH_UPSTREAM: nowhere }, status: 0, printed: /valid/ },
  { argv: ['check', ...file], files: withFile(''), status: 0, printed: /valid/ },
  { argv: ['check', '--print', ...named], status: 0, printed: /^upstream: http:\/\/127\.0\.0\.1:9\/ +# .*--upstream$.*^ {2}guard: optional +# default$/ms },
  { argv: ['check', '--print', ...file], files: secret, env: { TOKEN: 'hush' }, status: 0, printed: /^(?!.*hush).*x-operator: "?'?\*\*\*/s },
  { argv: ['check', ...file], files: hidden, status: 0, printed: /valid/, complaints: /^warning: the route \/docs\/:id is never reached: \/docs\/\* comes first$/ },

  { argv: ['check'], status: 2, complaints: /upstream/ },
  { argv: [], status: 2, complaints: /upstream/ },
  { argv: ['serv', ...named], status: 2, complaints: /serv: is not a command; did you mean serve\?/ },
  { argv: ['explain', 'PUT', '/x'], status: 2, complaints: /explain/ },
  { argv: ['check', 'more', ...named], status: 2, complaints: /more: is one word too many/ },
  { argv: ['--upstram', nowhere], status: 2, complaints: /--upstram: is not an option; did you mean --upstream\?/ },
  { argv: ['--print', ...named], status: 2, complaints: /--print: belongs to check/ },
  { argv: ['check', ...file], status: 2, complaints: /gate\.yaml/ },
  { argv: ['check', ...file], files: withFile('nonsense: 1\nlimits: { drain: soon }\n'), status: 2, complaints: /gate\.yaml.*nonsense.*\n.*limits\.drain/ },
  { argv: [...named, '--recheck', 'maybe'], env: { IFMATCH_NONSENSE: '1' }, status: 2, complaints: /--recheck.*\n.*IFMATCH_NONSENSE|IFMATCH_NONSENSE.*\n.*--recheck/ },

  // As wrong as a wrong key, whoever notices it first.
  { argv: ['check', ...file], files: noCertificate, status: 2, complaints: /^tls\.cert: no\.pem cannot be read.*\ntls\.key: k\.pem cannot be read/ },
  { argv: ['serve', ...file], files: noCertificate, status: 2, complaints: /^tls\.cert: no\.pem cannot be read/ },
  { argv: ['check', ...file], files: { ...noCertificate, ...pem }, status: 2, complaints: /^tls\.cert: no\.pem [^\n]*$/ },
  { argv: ['check', ...file], files: noAuthority, status: 2, complaints: /^upstreamTls\.ca: no\.pem cannot be read/ },
  { argv: ['serve', ...file], files: { ...noClientKey, ...pem }, status: 2, complaints: /^upstreamTls\.key: no\.pem cannot be read/ },

  { argv: ['health', '--admin', 'off'], status: 1, complaints: /^health: the admin address is off/ },
  { argv: ['health', '--admin', 'unix:/no/such/socket'], status: 1, complaints: /^health: .*ENOENT/ },
  { argv: ['health', '--admin', 'nonsense'], status: 2, complaints: /--admin/ },
];

t.test('commands, what they say, and their exit status', async (t) => {
  for (const { argv, files = {}, env = {}, status, printed, complaints } of rows) {
    await t.test(`ifmatch ${argv.join(' ')} -> ${status}`, async (t) => {
      const outcome = await command(t, argv, { files, env });
      t.equal(outcome.status, status, outcome.complaints);
      t.match(outcome.printed, printed ?? /^$/);
      t.match(outcome.complaints, complaints ?? /^$/);
    });
  }
});

function temporaryDirectory(t: Test): string {
  const directory = mkdtempSync(join(tmpdir(), 'ifmatch-'));
  t.teardown(() => rmSync(directory, { recursive: true }));
  return directory;
}

/** Whether anybody listens on a socket. */
async function isListening(path: string): Promise<boolean> {
  const socket = connect(path);
  const listening = await Promise.race([
    once(socket, 'connect').then(() => true),
    once(socket, 'close').then(() => false),
  ]).catch(() => false);
  socket.destroy();
  return listening;
}

t.test('an address that is taken: exit 1, and nothing is left listening', async (t) => {
  const taken = new URL((await startBackend(t, (_request, response) => response.end())).url).host;
  for (const [option, other] of [
    ['--admin', '--listen'],
    ['--listen', '--admin'],
  ] as const) {
    const path = join(temporaryDirectory(t), 'other.sock');
    const argv = ['serve', ...named, option, taken, other, `unix:${path}`, '--log-level', 'silent'];
    const { status, complaints } = await command(t, argv);
    t.equal(status, 1, option);
    t.match(complaints, /^ifmatch: .*EADDRINUSE/);
    t.notOk(await isListening(path), `${other} is closed`);
  }
});

t.test('health asks a gate that runs, that is broken, that has stopped', async (t) => {
  const gate = await startGate(t, { upstream: nowhere });
  const admin = new URL(gate.adminUrl).host;
  t.same(await command(t, ['health', '--admin', admin]), { status: 0, printed: '', complaints: '' });
  t.equal((await command(t, ['health'], { env: { IFMATCH_ADMIN: admin } })).status, 0, 'from the environment');

  const path = join(temporaryDirectory(t), 'admin.sock');
  await startGate(t, { upstream: nowhere, config: { admin: { kind: 'unix', path } } });
  t.equal((await command(t, ['health', '--admin', `unix:${path}`])).status, 0, 'on a Unix domain socket');
  // It runs as what it is in a container, too, where the files of the gate may not be there.
  const files = withFile(`admin: ${admin}\ntls: { cert: no.pem, key: no.pem }\n`);
  t.equal((await command(t, ['health', ...file], { files })).status, 0, 'without its certificate');

  const broken = await startBackend(t, (_request, response) => response.writeHead(500).end());
  const { status, complaints } = await command(t, ['health', '--admin', new URL(broken.url).host]);
  t.equal(status, 1);
  t.equal(complaints, 'health: /healthz answered 500');

  await gate.close();
  const stopped = await command(t, ['health', '--admin', admin]);
  t.equal(stopped.status, 1);
  t.match(stopped.complaints, /^health: .*ECONNREFUSED/);
});

type Line = Readonly<Record<string, unknown>>;

interface Child {
  /** Resolves with the first line of the log for which this is true; rejects where the process ends before. */
  logged(is: (line: Line) => boolean): Promise<Line>;
  kill(signal: NodeJS.Signals): void;
  /** Exit status and all that it has printed. */
  readonly ended: Promise<{ status: number | null; output: string; errors: string }>;
}

/** Starts a script of this package; what is left of it goes when the test ends. */
function start(t: Test, script: string, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Child {
  const path = fileURLToPath(new URL(`../../${script}`, import.meta.url));
  const settings = { IFMATCH_LIMITS_DRAIN_DELAY: '0ms', ...env };
  const child = spawn(process.execPath, [path, ...argv], { env: settings, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  let errors = '';
  const lines: Line[] = [];
  const checks = new Set<() => void>();
  child.stderr.on('data', (chunk) => {
    errors += String(chunk);
  });
  createInterface(child.stdout).on('line', (line) => {
    output += `${line}\n`;
    if (line.startsWith('{')) lines.push(JSON.parse(line) as Line);
    for (const check of checks) check();
  });
  let hasEnded = false;
  const ended = once(child, 'close').then(([status]) => {
    hasEnded = true;
    for (const check of checks) check();
    return { status: status as number | null, output, errors };
  });
  t.teardown(async () => {
    if (!hasEnded) child.kill('SIGKILL');
    await ended;
  });
  return {
    ended,
    kill: (signal) => void child.kill(signal),
    logged: (is) =>
      new Promise((resolve, reject) => {
        const check = (): void => {
          const found = lines.find(is);
          if (found !== undefined) resolve(found);
          else if (hasEnded) reject(new Error(`ended too early: ${output}${errors}`));
          else return;
          checks.delete(check);
        };
        checks.add(check);
        check();
      }),
  };
}

const anyPorts = ['--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'];
const isListeningLine = ({ listen }: Line): boolean => listen !== undefined;

t.test('serve says at start where it listens, and what it guards how far', async (t) => {
  const path = join(temporaryDirectory(t), 'gate.yaml');
  const routes = 'routes: [{ path: /docs/:id, guard: required, validator: body }, { path: /docs/1 }]';
  const probe = 'policy: { probe: { headers: { x-operator: hush } } }';
  writeFileSync(path, `upstream: ${nowhere}\n${routes}\n${probe}\n`);
  const child = start(t, 'dist/main.js', ['--config', path, '--recheck', '5s', ...anyPorts]);
  const warning = await child.logged(({ level }) => level === 40);
  child.kill('SIGINT');
  const { status, output } = await child.ended;
  t.equal(status, 0);
  const [first, second] = output.split('\n').map((line) => (line === '' ? {} : (JSON.parse(line) as Line)));
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as Line;
  const address = /^127\.0\.0\.1:[1-9]\d*$/;
  t.match(first, { listen: address, admin: address, upstream: nowhere, version });
  t.match(second, {
    policy: { guard: 'optional', mode: 'enforce', methods: ['PUT', 'PATCH', 'DELETE'], recheck: '5000ms' },
    routes: [{ path: '/docs/:id', guard: 'required', validator: { kind: 'body' } }, { path: '/docs/1' }],
    store: 'memory',
    scope: 'this process only',
  });
  t.match(warning.msg, /the route \/docs\/1 is never reached: \/docs\/:id comes first/);
  t.notMatch(output, /hush/, 'no secret');
});

t.test('SIGTERM: not ready, requests in flight are finished, exit 0 (O5)', async (t) => {
  let release = (): void => {};
  const backend = await startBackend(t, (_request, response) => {
    release = () => response.end('at last');
  });
  const child = start(t, 'dist/main.js', ['--upstream', backend.url, ...anyPorts]);
  const { listen, admin } = await child.logged(isListeningLine);
  t.equal((await request(`http://${admin}/readyz`)).status, 200);
  const inFlight = request(`http://${listen}/slow`, { method: 'PUT', body: 'new' });
  await backend.arrived(1);
  child.kill('SIGTERM');
  await child.logged(({ msg }) => msg === 'draining');
  t.equal((await request(`http://${admin}/readyz`)).status, 503);
  t.equal((await request(`http://${admin}/healthz`)).status, 200);
  release();
  const answer = await inFlight;
  t.equal(answer.status, 200);
  t.equal(answer.body.toString(), 'at last');
  t.equal(answer.headers.connection, 'close');
  const { status, output, errors } = await child.ended;
  t.equal(status, 0, errors);
  t.match(output, /"msg":"stopped"/);
});

t.test('a process that cannot listen ends by itself with exit 1', async (t) => {
  const taken = new URL((await startBackend(t, (_request, response) => response.end())).url).host;
  const argv = ['--upstream', nowhere, '--listen', '127.0.0.1:0', '--admin', taken];
  const { status, errors } = await start(t, 'dist/main.js', argv).ended;
  t.equal(status, 1);
  t.match(errors, /^ifmatch: .*EADDRINUSE/);
});

t.test('npm start is serve, or the demo where nothing names an upstream', async (t) => {
  const served = { IFMATCH_UPSTREAM: nowhere };
  // biome-ignore format: a table
  const starts: readonly (readonly [argv: readonly string[], env: Readonly<Record<string, string>>, isDemo: boolean])[] = [
    [anyPorts, {}, true],
    [['demo', ...anyPorts], {}, true],
    [['--upstream', nowhere, ...anyPorts], {}, false],
    [[`--upstream=${nowhere}`, ...anyPorts], {}, false],
    [anyPorts, served, false],
    [['serve', ...anyPorts], served, false],
  ];
  const begins = starts.map(async ([argv, env, isDemo]) => {
    const child = start(t, 'scripts/start.mjs', argv, env);
    const { listen, upstream } = await child.logged(isListeningLine);
    if (isDemo) {
      await child.logged(({ msg }) => String(msg).startsWith(`open http://${listen}/`));
      const document = await request(`http://${listen}/docs/1`);
      t.equal(document.status, 200);
      t.match(document.headers.etag, /^"im-/, 'a backend without versions, behind the gate');
    } else t.equal(upstream, nowhere);
    child.kill('SIGTERM');
    t.equal((await child.ended).status, 0);
  });
  await Promise.all(begins);
  // biome-ignore format: a table
  const ends: readonly (readonly [argv: readonly string[], status: number, said: RegExp])[] = [
    [['--print', '--upstream', nowhere, 'check'], 0, /upstream: http/],
    [['check', '--upstream', nowhere], 0, /valid/],
    [['--log-level', 'warn', 'check', '--upstream', nowhere], 0, /valid/],
    [['check'], 2, /upstream: is required|--upstream/],
    [['serve'], 2, /upstream: is required|--upstream/],
    [['--log-level=warn', 'serve'], 2, /upstream: is required|--upstream/],
    [['--', 'serve'], 2, /upstream: is required|--upstream/],
    [['--print', 'check'], 2, /upstream: is required|--upstream/],
    [['help', '--print'], 2, /--print/],
    [['--nonsense'], 2, /--nonsense/],
    [['--version'], 0, /^\d+\.\d+\.\d+/],
    [['health', '--admin', 'off'], 1, /off/],
  ];
  const finishes = ends.map(async ([argv, status, said]) => {
    const outcome = await start(t, 'scripts/start.mjs', argv).ended;
    t.equal(outcome.status, status, argv.join(' '));
    t.match(outcome.output + outcome.errors, said);
  });
  await Promise.all(finishes);
});

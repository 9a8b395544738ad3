import { nearest } from './nearest.js';
import { type Flag, flags } from './options.js';
import { withoutCredentials } from './redact.js';

export type Command = 'serve' | 'check' | 'health' | 'demo' | 'help' | 'version';

/** `flags` by their names without dashes. `print`: `check --print`. */
export type ArgumentsResult =
  | {
      readonly kind: 'ok';
      readonly command: Command;
      readonly flags: ReadonlyMap<string, string>;
      readonly print: boolean;
    }
  | { readonly kind: 'invalid'; readonly errors: readonly string[] };

const commands: ReadonlyMap<Command, string> = new Map([
  ['serve', 'run the proxy (the default)'],
  ['check', 'validate the configuration and exit; --print: show the effective one, secrets hidden'],
  ['health', "ask a running gate's /healthz; exit 0 or 1"],
  ['demo', 'run the proxy before a bundled backend without versions'],
  ['help', 'show this text'],
  ['version', 'show the version'],
]);

/** Flags that take no value. */
const switches = new Set(['print', 'help', 'version']);

interface Parsed {
  readonly words: string[];
  readonly flags: Map<string, string>;
  readonly switches: Set<string>;
  readonly errors: string[];
}

/**
 * Reads the command line without the program's own name: a command (default `serve`) and flags, in any order, as
 * `--flag value` or `--flag=value`. `--help` and `--version` win over everything else. Values are not judged here.
 */
export function parseArguments(argv: readonly string[]): ArgumentsResult {
  const parsed = parse(argv);
  const given = { flags: parsed.flags, print: parsed.switches.has('print') };
  if (parsed.switches.has('help')) return { kind: 'ok', command: 'help', ...given };
  if (parsed.switches.has('version')) return { kind: 'ok', command: 'version', ...given };
  const [word = 'serve', ...rest] = parsed.words;
  const command = isCommand(word) ? word : undefined;
  if (command === undefined) parsed.errors.push(`${withoutCredentials(word)}: ${unknownCommand(word)}`);
  else {
    if (given.print && command !== 'check')
      parsed.errors.push('--print: belongs to check; write ifmatch check --print');
    for (const extra of rest) {
      parsed.errors.push(`${withoutCredentials(extra)}: is one word too many; write ifmatch ${command} [options]`);
    }
  }
  if (command === undefined || parsed.errors.length > 0) return { kind: 'invalid', errors: parsed.errors };
  return { kind: 'ok', command, ...given };
}

/** What `--help` prints, made from the option table of the schema. */
export function helpText(): string {
  const rows = [...flags].map(([name, flag]) => [`--${name} ${flag.value}`, ...aboutFlag(flag)]);
  return [
    'ifmatch: optimistic concurrency control for an HTTP API, in front of it and without changing it',
    '',
    'Usage: ifmatch [command] [options]',
    '',
    'Commands:',
    ...columns([...commands].map(([name, about]) => [name, about])),
    '',
    'Options:',
    ...columns([...rows, ['-h, --help', 'show this text'], ['--version', 'show the version']]),
    '',
    'Options win over the environment, that over the file, that over the defaults. Every key of the file that is not a',
    'list has a name in the environment too: limits.leaseWait is IFMATCH_LIMITS_LEASE_WAIT.',
    '',
  ].join('\n');
}

function parse(argv: readonly string[]): Parsed {
  const parsed: Parsed = { words: [], flags: new Map(), switches: new Set(), errors: [] };
  for (let index = 0; index < argv.length; index += 1) {
    const argument = argv[index] ?? '';
    if (argument === '-h') parsed.switches.add('help');
    // Some package managers pass the `--` that was meant for themselves.
    else if (argument === '--') continue;
    else if (!argument.startsWith('-')) parsed.words.push(argument);
    else if (takesNext(argument, argv[index + 1])) {
      index += 1;
      addFlag(parsed, argument, argv[index]);
    } else addFlag(parsed, ...splitFlag(argument));
  }
  return parsed;
}

/** Whether the next argument is the value of this one; a mistyped flag has one too, unless that is a command. */
function takesNext(argument: string, next: string | undefined): boolean {
  if (next === undefined || next.startsWith('-') || argument.includes('=')) return false;
  const name = argument.replace(/^--/, '');
  return flags.has(name) || !(switches.has(name) || isCommand(next));
}

function isCommand(word: string): word is Command {
  return [...commands.keys()].some((name) => name === word);
}

function splitFlag(argument: string): [string, string | undefined] {
  const equals = argument.indexOf('=');
  return equals === -1 ? [argument, undefined] : [argument.slice(0, equals), argument.slice(equals + 1)];
}

function addFlag(parsed: Parsed, written: string, value: string | undefined): void {
  const name = written.replace(/^--/, '');
  const flag = flags.get(name);
  const complain = (what: string) => parsed.errors.push(`${withoutCredentials(written)}: ${what}`);
  if (!written.startsWith('--') || (flag === undefined && !switches.has(name))) complain(unknownFlag(name));
  else if (flag === undefined) {
    if (value === undefined) parsed.switches.add(name);
    else complain(`takes no value; write ${written} alone`);
  } else if (value === undefined || value === '') complain(`needs a value; write ${written} ${flag.value}`);
  else if (parsed.flags.has(name)) complain('is given twice; give it once');
  else parsed.flags.set(name, value);
}

function unknownFlag(name: string): string {
  const near = nearest(name, [...flags.keys(), ...switches]);
  return `is not an option; ${near === undefined ? 'see ifmatch --help' : `did you mean --${near}?`}`;
}

function unknownCommand(word: string): string {
  if (word === 'explain') return 'is not available in this version; see ifmatch --help for what is';
  const near = nearest(word, commands.keys());
  return `is not a command; ${near === undefined ? `write ${[...commands.keys()].join(', ')}` : `did you mean ${near}?`}`;
}

function aboutFlag({ help, environment, option }: Flag): string[] {
  const initial = option?.initial === undefined ? '' : ` (default ${option.initial})`;
  return [`${help}${initial} [${environment}]`];
}

/** Rows of two columns, the second one wrapped. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const width = Math.max(...rows.map(([name = '']) => name.length)) + 2;
  return rows.flatMap(([name = '', about = '']) =>
    wrapped(about, 112 - width).map((part, index) => `  ${(index === 0 ? name : '').padEnd(width)}${part}`),
  );
}

function wrapped(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

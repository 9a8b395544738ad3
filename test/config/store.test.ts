import t from 'tap';
import { type LoadResult, loadConfig, printConfig } from '../../src/config/load.js';
import type { Config } from '../../src/config/schema.js';

interface Given {
  readonly file?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly flags?: Readonly<Record<string, string>>;
}

/** Loads a configuration that has an upstream from a flag, so that the file's places begin with line 1. */
function load({ file, env = {}, flags = {} }: Given): LoadResult {
  const named = { upstream: 'http://api', ...(file !== undefined && { config: 'x.yaml' }), ...flags };
  return loadConfig({ flags: new Map(Object.entries(named)), env, readFile: () => file ?? '' });
}

function errorsOf(given: Given): readonly string[] {
  const result = load(given);
  return result.kind === 'invalid' ? result.errors : [];
}

function loaded(given: Given): LoadResult & { kind: 'ok' } {
  const result = load(given);
  if (result.kind === 'invalid') throw new Error(result.errors.join('\n'));
  return result;
}

const secret = 'sixteen letters.';
const beside = `namespace: docs, secret: ${secret}`;
/** What a shared store needs beside its URL. */
const besideUrl = { IFMATCH_STORE_NAMESPACE: 'docs', IFMATCH_STORE_SECRET: secret };

const forms = 'memory, redis://127.0.0.1:6379/0 or rediss://redis.example.com:6380';
const notAStore = `is not a store; write ${forms}`;
const noHost = `has no valid host; write ${forms}`;
const noPort = 'has no valid port; write one from 1 to 65535';
const noDatabase = 'has no valid database; write a number after the hosts, as in redis://127.0.0.1:6379/0';
const noPassword = 'has no password before the @; write USER:PASSWORD@, :PASSWORD@ or only the host';
const raw = 'has a /, ? or # in its user or password; write %2F, %3F or %23 there';
const twice = 'has more than one @; write %40 in the user or password, and both only once, before the first host';
const noPercent = 'has a % in its user or password that begins no percent-encoded UTF-8; write %25 for a %';
const query = 'has a query that is not only the name of a master; write ?master=NAME, or leave it out';
const noMaster = 'has no valid name of a master; write letters, digits, ., _ and -, as in ?master=mymaster';
const blank = 'has a space or a backslash; write those percent-encoded';
const unbracketed = 'has an IPv6 address without brackets; write it as in redis://[::1]:6379';

const wrongUrls: readonly (readonly [url: string, wrong: string])[] = [
  ['Memory', notAStore],
  ['disk', notAStore],
  ['redis', notAStore],
  ['redis:r', notAStore],
  ['r:6379', notAStore],
  ['u:s3cret@r:6379', notAStore],
  ['http://u:s3cret@r', notAStore],
  ['redis+unix:///run/redis.sock', notAStore],
  ['unix:/run/redis.sock', notAStore],
  ['redis+sentinel://u:s3cret@r', notAStore],
  ['redis://', noHost],
  ['redis:///0', noHost],
  ['redis://:6379', noHost],
  ['redis://u:s3cret@', noHost],
  ['redis://a,,b', noHost],
  ['redis://a,', noHost],
  ['redis://a!', noHost],
  ['redis://-a', noHost],
  ['redis://[::1', noHost],
  ['redis://[127.0.0.1]', noHost],
  ['redis://[::1]6379', noHost],
  ['redis://a:1:2', noPort],
  ['redis://::1', unbracketed],
  ['redis://::1:6379', unbracketed],
  ['redis://u:s3cret@fd00::7', unbracketed],
  ['redis://r:', noPort],
  ['redis://r:0', noPort],
  ['redis://r:65536', noPort],
  ['redis://:s3cret', noHost],
  ['redis://u:s3cret', noPort],
  ['redis://r,s:s3cret', noPort],
  ['redis://r/x', noDatabase],
  ['redis://r/-1', noDatabase],
  ['redis://r/1.5', noDatabase],
  ['redis://r/0/1', noDatabase],
  ['redis://r/2147483647', noDatabase],
  ['redis://@r', noPassword],
  ['redis://:@r', noPassword],
  ['redis://s3cret@r', noPassword],
  ['redis://s3cret:@r', noPassword],
  ['redis://u:s3/cret@r', raw],
  ['redis://u:s3?cret@r', raw],
  ['redis://u:s3#cret@r', raw],
  ['redis://u:s3@cret@r', twice],
  ['redis://u:s3cret@r,u:s3cret@s', twice],
  ['redis://u:s3cret%@r', noPercent],
  ['redis://u:s3cret%ff@r', noPercent],
  ['redis://%zz:s3cret@r', noPercent],
  ['redis://u:s3cret @r', blank],
  ['redis://u:s3\\cret@r', blank],
  [' redis://r', notAStore],
  ['redis://r#s3cret', 'has a fragment; leave out the # and what follows it'],
  ['redis://r?', query],
  ['redis://r?password=s3cret', query],
  ['redis://r/0?master=a&db=1', query],
  ['redis://r?master=a&master=b', query],
  ['redis://r?Master=a', query],
  ['redis://r?master', noMaster],
  ['redis://r?master=', noMaster],
  ['redis://r?master=a%20b', noMaster],
  ['redis://r?master=a:b', noMaster],
];

t.test('mistakes in the URL, from every source, which never show it', async (t) => {
  for (const [url, wrong] of wrongUrls) {
    t.strictSame(errorsOf({ flags: { store: url } }), [`--store: ${wrong}`], url);
    t.strictSame(errorsOf({ env: { IFMATCH_STORE: url } }), [`IFMATCH_STORE: ${wrong}`], url);
    t.strictSame(errorsOf({ env: { IFMATCH_STORE_URL: url } }), [`IFMATCH_STORE_URL: ${wrong}`], url);
    const file = `store: { url: ${JSON.stringify(url)} }`;
    t.strictSame(errorsOf({ file }), [`x.yaml:1:15: store.url: ${wrong}`], url);
    const line = `x.yaml:1:15: store.url: what URL brings ${wrong}`;
    t.strictSame(errorsOf({ file: `store: { url: "$\{URL}" }`, env: { URL: url } }), [line], url);
  }
});

const several = 'has several hosts, but leads to a single server; write one, or set store.topology';
const onlyZero = 'has a database, but a cluster has only number 0; leave it out';
const onlySentinels =
  'has the name of a master, which only sentinels know; leave it out, or set store.topology: sentinel';
const namespaceForm = 'a name such as docs-api, the same in all replicas and another for each API';
const needsNamespace = `needs store.namespace beside it; write ${namespaceForm}`;
const needsSecret = 'needs store.secret beside it; write at least 16 characters, the same in all replicas';
const long = 'n'.repeat(65);

const inFile: readonly (readonly [file: string, ...errors: string[]])[] = [
  ['store: redis://u:s3/cret@r', 'x.yaml:1:8: store: this text is not a map; write its keys indented below it'],
  [
    'store: { redis://u:s3cret@r }',
    'x.yaml:1:10: store.redis://***@r: is not a key; keys here are url, topology, namespace, secret, ttl, down',
  ],
  ['store: { url: 6379 }', `x.yaml:1:15: store.url: is not a text; write ${forms}`],
  ['store: { url: "" }', `x.yaml:1:15: store.url: is empty; write ${forms}`],
  ['store: { url: [s3cret] }', `x.yaml:1:15: store.url: a list is not a text; write ${forms}`],
  ['store: { url: }', `x.yaml:1:10: store.url: nothing is not a text; write ${forms}`],
  [
    'store: { topology: ring }',
    'x.yaml:1:20: store.topology: "ring" is not one of its values; write single, sentinel or cluster',
  ],
  ['store: { down: wait }', 'x.yaml:1:16: store.down: "wait" is not one of its values; write refuse or forward'],
  ...['a:b', '{a}', 'ä', 'a b', 'a/b'].map((name): [string, string] => [
    `store: { namespace: "${name}" }`,
    `x.yaml:1:21: store.namespace: "${name}" has a character that key names can not carry; write letters, digits, ., _ and -`,
  ]),
  [`store: { namespace: ${long} }`, `x.yaml:1:21: store.namespace: "${long}" is too long; write at most 64 characters`],
  ['store: { namespace: 7 }', 'x.yaml:1:21: store.namespace: 7 is not a text; write a name such as docs-api'],
  [
    'store: { secret: fifteen letters }',
    'x.yaml:1:18: store.secret: *** is too short to be a secret; write at least 16 characters',
  ],
  [
    'store: { secret: 1234567890123456 }',
    'x.yaml:1:18: store.secret: *** is not a text; write at least 16 characters, in quotes',
  ],
  [
    'store: { ttl: 59999ms }',
    'x.yaml:1:15: store.ttl: "59999ms" is too small; write at least 1m (shorter ones forget what is still being decided)',
  ],
  [
    'store: { ttl: 0 }',
    'x.yaml:1:15: store.ttl: 0 is too small; write at least 1m (shorter ones forget what is still being decided)',
  ],
  [
    'store: { ttl: 9007199254740992ms }',
    'x.yaml:1:15: store.ttl: "9007199254740992ms" is too large; write at most 9007199254740991ms',
  ],
  ['store: { ttl: 60 }', 'x.yaml:1:15: store.ttl: 60 has no unit; write 500ms, 5s, 1m, 1h or 24h'],
  ['store: { ttl: day }', 'x.yaml:1:15: store.ttl: "day" is not a duration; write 500ms, 5s, 1m, 1h or 24h'],
  [`store: { url: "redis://a,b", ${beside} }`, `x.yaml:1:15: store.url: ${several}`],
  [`store: { topology: cluster, url: "redis://a,b/1", ${beside} }`, `x.yaml:1:34: store.url: ${onlyZero}`],
  [`store: { url: "redis://a?master=m", ${beside} }`, `x.yaml:1:15: store.url: ${onlySentinels}`],
  [
    `store: { topology: cluster, url: "redis://a?master=mymaster", ${beside} }`,
    `x.yaml:1:34: store.url: ${onlySentinels}`,
  ],
  ['store: { url: redis://a }', `x.yaml:1:15: store.url: ${needsNamespace}`, `x.yaml:1:15: store.url: ${needsSecret}`],
  [
    'store: { url: redis://a, namespace: "", secret: "" }',
    `x.yaml:1:37: store.namespace: is empty, but a shared store needs it; write ${namespaceForm}`,
    'x.yaml:1:49: store.secret: is empty, but a shared store needs it; write at least 16 characters, the same in all replicas',
  ],
  [
    'store: { url: redis://a, namespace: a b, secret: s3cret }',
    'x.yaml:1:37: store.namespace: "a b" has a character that key names can not carry; write letters, digits, ., _ and -',
    'x.yaml:1:50: store.secret: *** is too short to be a secret; write at least 16 characters',
  ],
  [
    'limits: { drain: 5 }\nstore: { url: "rediss://u:s3cret@a,b?master=c", topology: ring }',
    'x.yaml:1:18: limits.drain: 5 has no unit; write 500ms, 5s, 1m, 1h or 24h',
    'x.yaml:2:59: store.topology: "ring" is not one of its values; write single, sentinel or cluster',
    `x.yaml:2:15: store.url: ${needsNamespace}`,
    `x.yaml:2:15: store.url: ${needsSecret}`,
  ],
];

t.test('mistakes in the section of the file, each with its place', async (t) => {
  for (const [file, ...errors] of inFile) t.strictSame(errorsOf({ file }), errors, file);
});

t.test('keys of several sources are judged together', async (t) => {
  const file = 'store: { topology: cluster, namespace: docs, secret: "" }';
  t.strictSame(errorsOf({ file, env: { IFMATCH_STORE_SECRET: secret }, flags: { store: 'redis://u:s3cret@a,b/2' } }), [
    `--store: ${onlyZero}`,
  ]);
  t.strictSame(errorsOf({ file, flags: { store: 'redis://a' } }), [
    'x.yaml:1:54: store.secret: is empty, but a shared store needs it; write at least 16 characters, the same in all replicas',
  ]);
  t.strictSame(errorsOf({ env: { IFMATCH_STORE: 'redis://u:s3cret@a,b/2' } }), [
    `IFMATCH_STORE: ${several}`,
    `IFMATCH_STORE: ${needsNamespace}`,
    `IFMATCH_STORE: ${needsSecret}`,
  ]);
  t.strictSame(errorsOf({ env: { IFMATCH_STORE: 'redis://a', IFMATCH_STORE_SECRET: '' } }), [
    'IFMATCH_STORE_SECRET: is empty; give it a value, or unset it',
    `IFMATCH_STORE: ${needsNamespace}`,
    `IFMATCH_STORE: ${needsSecret}`,
  ]);
  t.strictSame(errorsOf({ file: 'store: { url: redis://a }', flags: { store: 'memory' } }), [], 'a flag wins');
});

type Redis = Extract<Config['store']['url'], { kind: 'redis' }>;

const plain: Redis = {
  kind: 'redis',
  tls: false,
  hosts: [{ host: 'r', port: 6379 }],
  database: 0,
  master: 'mymaster',
};
const hosts = (port: number) => ['a', 'b', '::1'].map((host) => ({ host, port }));

const understood: readonly (readonly [url: string, topology: string, value: Redis, shown: string])[] = [
  ['redis://r', 'single', plain, 'redis://r:6379/0'],
  ['redis://r/', 'single', plain, 'redis://r:6379/0'],
  ['REDIS://r:6379/0', 'single', plain, 'redis://r:6379/0'],
  ['rediss://r', 'single', { ...plain, tls: true }, 'rediss://r:6379/0'],
  ['redis://r/15', 'single', { ...plain, database: 15 }, 'redis://r:6379/15'],
  ['redis://r/2147483646', 'single', { ...plain, database: 2_147_483_646 }, 'redis://r:6379/2147483646'],
  ['redis://127.0.0.1:1', 'single', { ...plain, hosts: [{ host: '127.0.0.1', port: 1 }] }, 'redis://127.0.0.1:1/0'],
  ['redis://[fd00::7]', 'single', { ...plain, hosts: [{ host: 'fd00::7', port: 6379 }] }, 'redis://[fd00::7]:6379/0'],
  ['redis://[::1]:7', 'single', { ...plain, hosts: [{ host: '::1', port: 7 }] }, 'redis://[::1]:7/0'],
  ['redis://:s3cret@r', 'single', { ...plain, password: 's3cret' }, 'redis://***@r:6379/0'],
  ['redis://u:s3cret@r', 'single', { ...plain, username: 'u', password: 's3cret' }, 'redis://***@r:6379/0'],
  [
    'rediss://%75%3a:s3cret%40%2F%25%c3%a4:+@r:1/2',
    'single',
    {
      ...plain,
      tls: true,
      hosts: [{ host: 'r', port: 1 }],
      username: 'u:',
      password: 's3cret@/%ä:+',
      database: 2,
    },
    'rediss://***@r:1/2',
  ],
  ['redis://r', 'sentinel', { ...plain, hosts: [{ host: 'r', port: 26_379 }] }, 'redis://r:26379/0'],
  [
    'redis://a,b,[::1]/3?master=docs.1_a-b',
    'sentinel',
    { ...plain, hosts: hosts(26_379), database: 3, master: 'docs.1_a-b' },
    'redis://a:26379,b:26379,[::1]:26379/3?master=docs.1_a-b',
  ],
  [
    'redis://u:s3cret@a:5,b:5,[::1]:5?master=mymaster',
    'sentinel',
    { ...plain, hosts: hosts(5), username: 'u', password: 's3cret' },
    'redis://***@a:5,b:5,[::1]:5/0',
  ],
  ['redis://a,b,[::1]/0', 'cluster', { ...plain, hosts: hosts(6379) }, 'redis://a:6379,b:6379,[::1]:6379/0'],
  ['redis://r', 'cluster', plain, 'redis://r:6379/0'],
];

/** What `check --print` shows of the URL. */
function urlIn(printed: string): string | undefined {
  return /^ {2}url: "?([^" ]+)"? +#/m.exec(printed)?.[1];
}

t.test('what is right, and what is shown of it', async (t) => {
  for (const [url, topology, value, shown] of understood) {
    const given = { env: { ...besideUrl, IFMATCH_STORE_TOPOLOGY: topology }, flags: { store: url } };
    const result = loaded(given);
    t.strictSame(result.config.store, {
      url: value,
      topology,
      namespace: 'docs',
      secret,
      ttl: 86_400_000,
      down: 'refuse',
    });
    t.strictSame(result.warnings, []);
    t.equal(urlIn(printConfig(result)), shown, url);
    const again = loaded({ ...given, flags: { store: shown.replace('***', 'u:p') } });
    t.equal(urlIn(printConfig(again)), shown, 'what is shown is a URL');
  }
});

t.test('the other keys of the section', async (t) => {
  const longest = 'n'.repeat(64);
  const file = `store: { url: redis://r, namespace: ${longest}, secret: "${'ä'.repeat(16)}", ttl: 1m, down: forward }`;
  const { store } = loaded({ file }).config;
  t.match(store, { namespace: longest, secret: 'ä'.repeat(16), ttl: 60_000, down: 'forward' });
  t.equal(loaded({ file: 'store: { ttl: 9007199254740991ms }' }).config.store.ttl, Number.MAX_SAFE_INTEGER);
  t.equal(
    loaded({ file: `store: { url: redis://r, namespace: A.b_c-9, secret: ${secret} }` }).config.store.namespace,
    'A.b_c-9',
  );
  t.strictSame(loaded({}).config.store, {
    url: { kind: 'memory' },
    topology: 'single',
    namespace: '',
    secret: '',
    ttl: 86_400_000,
    down: 'refuse',
  });
  t.ok(Object.isFrozen(store.url.kind === 'redis' && store.url.hosts[0]), 'frozen through and through');
});

t.test('what a store in memory has no use for is allowed, with a warning', async (t) => {
  const file = `store: { url: memory, topology: cluster, ${beside}, ttl: 1h, down: forward }`;
  const idle = 'has no effect, because store.url is memory; leave it out, or give the URL of a shared store';
  t.strictSame(loaded({ file }).warnings, [
    `x.yaml:1:33: store.topology: ${idle}`,
    `x.yaml:1:53: store.namespace: ${idle}`,
    `x.yaml:1:67: store.secret: ${idle}`,
    `x.yaml:1:90: store.ttl: ${idle}`,
    `x.yaml:1:100: store.down: ${idle}`,
  ]);
  t.strictSame(loaded({ env: besideUrl }).warnings, [
    `IFMATCH_STORE_NAMESPACE: ${idle}`,
    `IFMATCH_STORE_SECRET: ${idle}`,
  ]);
  t.strictSame(loaded({ file: 'store: { url: memory, topology: single, ttl: 1440m, secret: "" }' }).warnings, []);
});

/** Everything that an operator gets to see of a configuration. */
function seen(given: Given): string {
  const result = load(given);
  return result.kind === 'invalid'
    ? result.errors.join('\n')
    : [printConfig(result), ...result.warnings, ...result.origins.values()].join('\n');
}

t.test('no secret is ever shown', async (t) => {
  const right = ['redis://u:s3cret@r', 'redis://s3cret:s3cret@r', 'rediss://:%733cret-s3cret@a,b/1?master=c'];
  const own = 's3cret and a good deal more';
  for (const url of [...right, ...wrongUrls.map(([wrong]) => wrong)]) {
    const quoted = JSON.stringify(url);
    const givens: readonly Given[] = [
      { flags: { store: url }, env: { ...besideUrl, IFMATCH_STORE_SECRET: own } },
      { flags: { store: url }, env: { IFMATCH_STORE_SECRET: 's3cret' } },
      { env: { IFMATCH_STORE: url, IFMATCH_STORE_URL: `${url}s3cret` } },
      { file: `store: { url: ${quoted}, secret: ${own}, namespace: docs }` },
      { file: `store: { url: "$\{URL}", secret: "$\{OWN}", namespace: docs }`, env: { URL: url, OWN: own } },
      { file: `store: ${quoted}` },
    ];
    for (const given of givens) t.notMatch(seen(given), /s3cret/, JSON.stringify(given));
  }
  for (const secret of ['s3cret', 's3cret\nand two lines', `s3cret${'.'.repeat(100)}`, ['s3cret'], { a: 's3cret' }]) {
    for (const url of ['memory', 'redis://u:s3cret@r']) {
      const given = { file: JSON.stringify({ store: { url, secret } }) };
      t.notMatch(seen(given), /s3cret/, JSON.stringify(given));
    }
  }
});

t.test('no secret is shown by what is wrong with the YAML around it', async (t) => {
  const values = [
    ...['!s3cret x', '!<s3cret> x', '!s!s3cret x', '*s3cret', '*s3cret x', '|s3cret', '>s3cret', ']s3cret', '@s3cret'],
    ...['"s3cret', '"s3cret" s3cret', '"\\us3cret"', '"\\xs3cret"', '"\\s3cret"', 's3cret: x', '{s3cret', '[s3cret'],
    ...['&s3cret', '!!int s3cret', '!!timestamp s3cret', `$\{s3cret`, `s3cret $\{NOPE}`, '%s3cret'],
  ];
  for (const value of values) {
    const errors = errorsOf({ file: `store:\n  url: redis://a\n  secret: ${value}\n` });
    t.ok(errors.length > 0, value);
    t.notMatch(errors.join('\n'), /s3cr/, value);
  }
});

t.test('what comes from variables is hidden as a whole', async (t) => {
  const file = `store: { url: "redis://u:$\{PW}@r", namespace: docs, secret: "$\{OWN}" }`;
  const lines = printConfig(loaded({ file, env: { PW: 's3cret', OWN: secret } })).split('\n');
  const shown = lines.map((line) => line.replace(/ +#/, ' #'));
  t.ok(shown.includes('  url: *** # x.yaml:1:15'));
  t.ok(shown.includes('  secret: *** # x.yaml:1:61'));
});

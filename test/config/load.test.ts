import t from 'tap';
import { type LoadResult, loadConfig, printConfig } from '../../src/config/load.js';
import type { Config, Policy } from '../../src/config/schema.js';

interface Given {
  readonly file?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly flags?: Readonly<Record<string, string>>;
  readonly requireUpstream?: boolean;
}

function load({ file, env = {}, flags = {}, requireUpstream = true }: Given): LoadResult {
  const named = file === undefined ? flags : { config: 'x.yaml', ...flags };
  return loadConfig({ flags: new Map(Object.entries(named)), env, readFile: () => file ?? '', requireUpstream });
}

function errorsOf(given: Given): readonly string[] {
  const result = load(given);
  return result.kind === 'invalid' ? result.errors : [];
}

/** Loads what must be right, with an upstream from the environment unless the file names one. */
function loaded(given: Given): LoadResult & { kind: 'ok' } {
  const isNamed = given.file?.includes('upstream: ') ?? false;
  const env = isNamed ? given.env : { IFMATCH_UPSTREAM: 'http://api', ...given.env };
  const result = load({ ...given, ...(env && { env }) });
  if (result.kind === 'invalid') throw new Error(result.errors.join('\n'));
  return result;
}

/** The file has the mistake after a first line with the upstream, so that places begin with line 2. */
const inFile: readonly (readonly [file: string, ...errors: string[]])[] = [
  ['guard: off', 'x.yaml:2:1: guard: is not a key here; write guard below policy'],
  ['polcy: {}', 'x.yaml:2:1: polcy: is not a key; did you mean policy?'],
  ['policy:\n  gaurd: off', 'x.yaml:3:3: policy.gaurd: is not a key; did you mean guard?'],
  ['log: { colour: red }', 'x.yaml:2:8: log.colour: is not a key; keys here are level, access, pretty'],
  ['limits.drain: 5s', 'x.yaml:2:1: limits.drain: is not a key here; write drain below limits'],
  ['policy: { upstream: a }', 'x.yaml:2:11: policy.upstream: is not a key here; write upstream at the top level'],
  ['upstream: http://b', 'x.yaml:2:1: this key is here twice; leave one'],
  ['limits: 5', 'x.yaml:2:9: limits: 5 is not a map; write its keys indented below it'],
  ['limits:', 'x.yaml:2:1: limits: nothing is not a map; write its keys indented below it'],
  [
    'policy: { guard: maybe }',
    'x.yaml:2:18: policy.guard: "maybe" is not one of its values; write required, optional or off',
  ],
  ['limits: { drain: 5 }', 'x.yaml:2:18: limits.drain: 5 has no unit; write 500ms, 5s, 1m, 1h or 24h'],
  ['limits: { drain: "5" }', 'x.yaml:2:18: limits.drain: "5" has no unit; write 500ms, 5s, 1m, 1h or 24h'],
  [
    'limits: { drain: 5 days }',
    'x.yaml:2:18: limits.drain: "5 days" is not a duration; write 500ms, 5s, 1m, 1h or 24h',
  ],
  ['limits: { drain: 600h }', 'x.yaml:2:18: limits.drain: "600h" is too large; write at most 576h'],
  ['limits: { connectTimeout: 0 }', 'x.yaml:2:27: limits.connectTimeout: 0 is too small; write at least 1ms'],
  [
    'limits: { hashBody: 1tb }',
    'x.yaml:2:21: limits.hashBody: "1tb" is not a size; write 16kb, 1mb, 1gb or a whole number of bytes',
  ],
  [
    'limits: { hashBody: 1.5 }',
    'x.yaml:2:21: limits.hashBody: 1.5 is not a size; write 16kb, 1mb, 1gb or a whole number of bytes',
  ],
  ['limits: { holdRequest: 1gb }', 'x.yaml:2:24: limits.holdRequest: "1gb" is too large; write at most 16mb'],
  ['limits: { resources: 0 }', 'x.yaml:2:22: limits.resources: 0 is too small; write at least 1'],
  ['limits: { leaseQueue: 1.5 }', 'x.yaml:2:23: limits.leaseQueue: 1.5 is not a whole number; write one such as 100'],
  [
    'policy: { recheck: 5 }',
    'x.yaml:2:20: policy.recheck: 5 is not an age; write always, never or a duration such as 5s',
  ],
  [
    'policy: { recheck: often }',
    'x.yaml:2:20: policy.recheck: "often" is not an age; write always, never or a duration such as 5s',
  ],
  [
    'policy: { validator: etag }',
    'x.yaml:2:22: policy.validator: "etag" is not a validator; write auto, upstream, body, json:/pointer or header:name',
  ],
  [
    'policy: { validator: json:v }',
    'x.yaml:2:22: policy.validator: "json:v" does not start with /; write json:/version or json:/meta/revision (RFC 6901)',
  ],
  [
    'policy: { validator: "json:" }',
    'x.yaml:2:22: policy.validator: "json:" names the whole document; write json:/version or json:/meta/revision (RFC 6901)',
  ],
  [
    'policy: { validator: "header:a b" }',
    'x.yaml:2:22: policy.validator: "header:a b" names no header field; write header:x-version',
  ],
  [
    'policy: { ignore: [/ok, /a~2] }',
    'x.yaml:2:25: policy.ignore[1]: "/a~2" has a ~ that is neither ~0 (for ~) nor ~1 (for /); write a JSON Pointer such as /meta/updatedAt (RFC 6901)',
  ],
  ['policy: { ignore: /at }', 'x.yaml:2:19: policy.ignore: "/at" is not a list; write [/meta/updatedAt]'],
  [
    'policy: { methods: [PUT, get] }',
    'x.yaml:2:26: policy.methods[1]: "get" is not a write; write unsafe methods such as PUT, PATCH or DELETE',
  ],
  [
    'policy: { methods: ["P T"] }',
    'x.yaml:2:21: policy.methods[0]: "P T" is not a method; write names such as PUT, PATCH or DELETE',
  ],
  [
    'policy: { query: id }',
    'x.yaml:2:18: policy.query: "id" is not a query policy; write ignore, include or a list of parameter names such as [id]',
  ],
  ['policy: { query: [id, 7] }', 'x.yaml:2:23: policy.query[1]: 7 is not a text; write texts such as id, lang'],
  [
    'policy: { credentials: [a b] }',
    'x.yaml:2:25: policy.credentials[0]: "a b" is not a field name; write one such as authorization',
  ],
  [
    'policy: { timeouts: { connectTimeout: 1s } }',
    'x.yaml:2:23: policy.timeouts.connectTimeout: is one for all routes; set limits.connectTimeout',
  ],
  [
    'policy: { probe: { headers: { Range: a } } }',
    'x.yaml:2:31: policy.probe.headers.Range: is a field that a probe can not carry; leave it out',
  ],
  [
    'policy: { probe: { headers: { A: a, a: b } } }',
    'x.yaml:2:37: policy.probe.headers.a: is given in two spellings; give one',
  ],
  [
    'policy: { probe: { headers: { A: "s\\nt" } } }',
    'x.yaml:2:34: policy.probe.headers.A: *** has a line break or another character that a field can not carry; write visible ASCII',
  ],
  [
    'policy: { lenient: [weak] }',
    'x.yaml:2:21: policy.lenient[0]: "weak" is not one of its values; write weakened, gzip-suffix or unquoted',
  ],
  [
    'policy: { alreadyApplied: on }',
    'x.yaml:2:27: policy.alreadyApplied: "on" is neither true nor false; write one of them',
  ],
  ['adminToken: s3cret', 'x.yaml:2:13: adminToken: is not available in this version; leave it unset'],
  ['routes:\n  - guard: off', 'x.yaml:3:5: routes[0].path: is missing; write a path such as /docs/:id'],
  ['routes: { path: /a }', 'x.yaml:2:9: routes: a map is not a list; write - path: /docs/:id below it'],
  ['routes:\n  - path: docs', 'x.yaml:3:11: routes[0].path: "docs" does not start with /; write /docs/:id or /docs/*'],
  [
    'routes:\n  - path: /a*b',
    'x.yaml:3:11: routes[0].path: "/a*b" has a * before its end; write it last, as in /docs/*',
  ],
  [
    'routes:\n  - path: /a/:b.json',
    'x.yaml:3:11: routes[0].path: "/a/:b.json" has a : that does not begin a whole segment with a name; write /docs/:id or /docs/*',
  ],
  ['routes:\n  - path: /:a/:a', 'x.yaml:3:11: routes[0].path: "/:a/:a" has one :name twice; give each segment its own'],
  [
    'routes:\n  - path: /a?b',
    'x.yaml:3:11: routes[0].path: "/a?b" has a query, a fragment, a space or a backslash; write a path such as /docs/:id or /docs/*',
  ],
  ['routes:\n  - { path: /d/:id, gard: off }', 'x.yaml:3:21: routes[0].gard: is not a key; did you mean guard?'],
  [
    'routes:\n  - { path: /d/:id, mode: x }',
    'x.yaml:3:27: routes[0].mode: "x" is not one of its values; write enforce or report',
  ],
  [
    'routes:\n  - { path: /d/:id, invalidates: [/e/:x] }',
    'x.yaml:3:35: routes[0].invalidates[0]: "/e/:x" has a :name or * that the route\'s path does not have; write only what is in that',
  ],
  [
    'listen: 8412',
    'x.yaml:2:9: listen: 8412 is not a text; write 127.0.0.1:8412, [::1]:8412 or unix:/run/ifmatch.sock',
  ],
  [
    'listen: :8412',
    'x.yaml:2:9: listen: ":8412" has no host; write 127.0.0.1:PORT for this machine alone, or 0.0.0.0:PORT for all',
  ],
  ['listen: h:70000', 'x.yaml:2:9: listen: "h:70000" has no valid port; write one from 0 (any free one) to 65535'],
  [
    'listen: a_b!:80',
    'x.yaml:2:9: listen: "a_b!:80" has no valid host; write 127.0.0.1:8412, [::1]:8412 or unix:/run/ifmatch.sock',
  ],
  [
    'listen: "unix:"',
    'x.yaml:2:9: listen: "unix:" names no socket; write 127.0.0.1:8412, [::1]:8412 or unix:/run/ifmatch.sock',
  ],
  ['admin: ::1:80', 'x.yaml:2:8: admin: "::1:80" is an IPv6 address without brackets; write it as in [::1]:8412'],
  [
    'admin: none',
    'x.yaml:2:8: admin: "none" is not an address; write 127.0.0.1:8412, [::1]:8412 or unix:/run/ifmatch.sock',
  ],
  ['tls: { cert: a.pem }', 'x.yaml:2:14: tls.cert: needs tls.key beside it; set both, or neither'],
  [
    'upstreamTls: { key: a.pem }',
    'x.yaml:2:21: upstreamTls.key: needs upstreamTls.cert beside it; set both, or neither',
  ],
  [
    'tls: { cert: c, key: "-----BEGIN\\ns3cret" }',
    'x.yaml:2:22: tls.key: this text is not a path; write the path of a PEM file',
  ],
  ['host: Preserve', 'x.yaml:2:7: host: "Preserve" is not a host; write preserve in lower case'],
  [
    'host: http://a',
    'x.yaml:2:7: host: "http://a" has no valid port; write preserve, upstream, or a host name such as api.example.com',
  ],
  ['forwarded: yes', 'x.yaml:2:12: forwarded: "yes" is not one of its values; write append, replace or off'],
  [
    'trustProxy: 10.0.0.0/8',
    'x.yaml:2:13: trustProxy: "10.0.0.0/8" is not a set of proxies; write false, true or a list of networks such as [10.0.0.0/8]',
  ],
  [
    'trustProxy: [10.0.0.0/33]',
    'x.yaml:2:14: trustProxy[0]: "10.0.0.0/33" has no valid prefix length; write one from 0 to 32',
  ],
  [
    'trustProxy: [::1/64, lan]',
    'x.yaml:2:22: trustProxy[1]: "lan" is not a network; write 10.0.0.0/8, fd00::/8 or 192.0.2.7',
  ],
  ['websocket: on', 'x.yaml:2:12: websocket: "on" is neither true nor false; write one of them'],
  [
    'log: { level: verbose }',
    'x.yaml:2:15: log.level: "verbose" is not one of its values; write trace, debug, info, warn, error, fatal or silent',
  ],
  ['log: { pretty: yes }', 'x.yaml:2:16: log.pretty: "yes" is not one of its values; write auto, true or false'],
  [`host: $\{NOPE}`, `x.yaml:2:7: host: needs NOPE, which is not set; set it, or write $\{NOPE:-default}`],
  [`host: $\{NO PE}`, `x.yaml:2:7: host: has a $\{ that begins no variable; write $\{VAR} or $\{VAR:-default}`],
  [
    `host: $\{SECRET}`,
    'x.yaml:2:7: host: what SECRET brings is not a host; write preserve, upstream, or a host name such as api.example.com',
  ],
  ['? [a]\n: b', 'x.yaml:2:3: a key is not a plain word; write key: value'],
  [
    'host: *x',
    'x.yaml:2:7: this alias has no anchor; write & and its name before the value that it repeats, or quotes around a text with *',
  ],
  ['host: !x y', 'x.yaml:2:7: Unresolved tag; write valid YAML'],
  [
    '__proto__: { a: 1 }',
    'x.yaml:2:1: __proto__: is not a key; keys here are upstream, listen, admin, adminToken, store, policy, routes, identity, limits, tls, upstreamTls, host, forwarded, via, trustProxy, websocket, log',
  ],
  [
    'limits: { drain: 5, hashBody: x }\nwebsocket: 1',
    'x.yaml:2:18: limits.drain: 5 has no unit; write 500ms, 5s, 1m, 1h or 24h',
    'x.yaml:2:31: limits.hashBody: "x" is not a size; write 16kb, 1mb, 1gb or a whole number of bytes',
    'x.yaml:3:12: websocket: 1 is neither true nor false; write one of them',
  ],
];

t.test('mistakes in the file, each with its place', async (t) => {
  for (const [file, ...errors] of inFile) {
    const env = { SECRET: 's3cret s3cret' };
    t.strictSame(errorsOf({ file: `upstream: http://api\n${file}\n`, env }), errors, file);
  }
});

t.test('a file that can not be understood as a whole', async (t) => {
  t.match(errorsOf({ file: 'policy: [' }), [/^x\.yaml:1:10: .*; write valid YAML$/]);
  t.match(errorsOf({ file: 'upstream: http://a\n---\nhost: a' }), [
    /^x\.yaml:2:1: .*multiple documents.*; write valid YAML$/,
  ]);
  t.match(errorsOf({ file: '- a', env: { IFMATCH_UPSTREAM: 'http://a' } }), [
    'x.yaml:1:1: the file is not a map; write keys such as upstream: URL',
  ]);
  const bomb = 'upstream: http://a\npolicy: { methods: &m [*m, *m] }\n';
  t.match(errorsOf({ file: bomb }).at(-1), 'there are more than 100 aliases; write the values out');
});

const upstreams: readonly (readonly [url: string, wrong: string])[] = [
  ['ftp://a', '"ftp://a" is not an http or https URL; write http://127.0.0.1:3000 or https://api.example.com/base'],
  [
    'localhost:3000',
    '"localhost:3000" is not an http or https URL; write http://127.0.0.1:3000 or https://api.example.com/base',
  ],
  ['http://', '"http://" is not a valid URL; write http://127.0.0.1:3000 or https://api.example.com/base'],
  [
    'http://a:99999',
    '"http://a:99999" is not a valid URL; write http://127.0.0.1:3000 or https://api.example.com/base',
  ],
  ['http://a?b', '"http://a?b" has a query or a fragment; write only scheme, host, port and base path'],
  ['http://a#', '"http://a#" has a query or a fragment; write only scheme, host, port and base path'],
  ['http://a\\b', '"http://a\\b" has a space or a backslash; write those percent-encoded'],
  [
    'http://me:s3cret@a',
    '"http://***@a" has a user in it; leave it out (a client\'s own Authorization reaches the upstream)',
  ],
];

t.test('mistakes in the environment and on the command line', async (t) => {
  for (const [url, wrong] of upstreams) {
    t.strictSame(errorsOf({ env: { IFMATCH_UPSTREAM: url } }), [`IFMATCH_UPSTREAM: ${wrong}`]);
    t.strictSame(errorsOf({ flags: { upstream: url } }), [`--upstream: ${wrong}`]);
  }
  const rows: readonly (readonly [name: string, value: string, wrong: string])[] = [
    ['IFMATCH_GUARD', 'on', '"on" is not one of its values; write required, optional or off'],
    ['IFMATCH_POLICY_GUARD', 'on', '"on" is not one of its values; write required, optional or off'],
    ['IFMATCH_GAURD', 'off', 'is not a variable of ifmatch; did you mean IFMATCH_GUARD?'],
    ['IFMATCH_LIMITS_LEASEWAIT', '1s', 'is not a variable of ifmatch; did you mean IFMATCH_LIMITS_LEASE_WAIT?'],
    [
      'IFMATCH_XYZZY',
      '1',
      'is not a variable of ifmatch; unset it; limits.leaseWait, for example, is IFMATCH_LIMITS_LEASE_WAIT',
    ],
    [
      'IFMATCH_POLICY_METHODS',
      'PUT',
      'is a list or a map, which a variable can not hold; set policy.methods in the file',
    ],
    ['IFMATCH_ROUTES', '/a', 'is a list or a map, which a variable can not hold; set routes in the file'],
    ['IFMATCH_LIMITS_DRAIN', '', 'is empty; give it a value, or unset it'],
    ['IFMATCH_LIMITS_DRAIN', '25', '"25" has no unit; write 500ms, 5s, 1m, 1h or 24h'],
    ['IFMATCH_LIMITS_RESOURCES', 'many', '"many" is not a whole number; write one such as 100'],
    ['IFMATCH_IDENTITY_HOST', 'yes', '"yes" is neither true nor false; write one of them'],
    ['IFMATCH_ADMIN_TOKEN', 's3cret', 'is not available in this version; leave it unset'],
    ['IFMATCH_TLS_CERT', 'a.pem', 'needs tls.key beside it; set both, or neither'],
  ];
  for (const [name, value, wrong] of rows) {
    t.strictSame(errorsOf({ env: { IFMATCH_UPSTREAM: 'http://api', [name]: value } }), [`${name}: ${wrong}`]);
  }
  t.strictSame(errorsOf({ flags: { upstream: 'http://a', guard: 'on', 'log-level': 'x' } }), [
    '--guard: "on" is not one of its values; write required, optional or off',
    '--log-level: "x" is not one of its values; write trace, debug, info, warn, error, fatal or silent',
  ]);
  t.strictSame(
    errorsOf({ env: { IFMATCH_UPSTREAM: 'http://a', IFMATCH_GUARD: 'off', IFMATCH_POLICY_GUARD: 'required' } }),
    ['IFMATCH_POLICY_GUARD: differs from IFMATCH_GUARD, which means the same; unset one of them'],
  );
});

t.test('mistakes of all sources are reported together, even where a stronger source hides them', async (t) => {
  const env = { IFMATCH_GUARD: 'two', IFMATCH_NONSENSE_HERE: '1' };
  t.strictSame(errorsOf({ file: 'policy: { guard: one }', env, flags: { guard: 'three' } }), [
    'x.yaml:1:18: policy.guard: "one" is not one of its values; write required, optional or off',
    'IFMATCH_NONSENSE_HERE: is not a variable of ifmatch; unset it; limits.leaseWait, for example, is IFMATCH_LIMITS_LEASE_WAIT',
    'IFMATCH_GUARD: "two" is not one of its values; write required, optional or off',
    '--guard: "three" is not one of its values; write required, optional or off',
    'upstream: required: give --upstream URL, IFMATCH_UPSTREAM or upstream: in the file',
  ]);
});

t.test('a file that can not be read', async (t) => {
  const failing = (code: string) => (): string => {
    throw Object.assign(new Error('refused'), { code });
  };
  const rows = [
    [
      { config: 'a.yaml' },
      {},
      'ENOENT',
      '--config: a.yaml can not be read (no such file); give the path of a YAML file',
    ],
    [
      {},
      { IFMATCH_CONFIG: 'b' },
      'EISDIR',
      'IFMATCH_CONFIG: b can not be read (it is a directory); give the path of a YAML file',
    ],
    [
      { config: 'a' },
      { IFMATCH_CONFIG: 'b' },
      'EIO',
      '--config: a can not be read (EIO); give the path of a YAML file',
    ],
    [{}, { IFMATCH_CONFIG: '' }, 'ENOENT', 'IFMATCH_CONFIG: is empty; give the path of a YAML file'],
  ] as const;
  for (const [flags, env, code, error] of rows) {
    const result = loadConfig({ flags: new Map(Object.entries(flags)), env, readFile: failing(code) });
    t.strictSame(result, { kind: 'invalid', errors: [error] });
  }
  const broken = () => loadConfig({ flags: new Map([['config', 'a']]), env: {}, readFile: () => JSON.parse('{') });
  t.throws(broken, SyntaxError, "a fault that is not the operator's is not hidden");
});

/** What a line of the file makes of the configuration. */
const understood: readonly (readonly [file: string, read: (config: Config) => unknown, value: unknown])[] = [
  ['upstream: HTTP://API.example:80/a/b//', (c) => c.upstream, 'http://api.example/a/b'],
  ['upstream: https://[::1]:8443', (c) => c.upstream, 'https://[::1]:8443/'],
  ['listen: "[::1]:0"', (c) => c.listen, { kind: 'tcp', host: '::1', port: 0 }],
  ['listen: localhost:80', (c) => c.listen, { kind: 'tcp', host: 'localhost', port: 80 }],
  ['listen: unix:/run/a:b.sock', (c) => c.listen, { kind: 'unix', path: '/run/a:b.sock' }],
  ['admin: off', (c) => c.admin, 'off'],
  ['policy: { recheck: never }', (c) => c.policy.recheck, Number.POSITIVE_INFINITY],
  ['policy: { recheck: 0 }', (c) => c.policy.recheck, 0],
  ['policy: { recheck: 90s }', (c) => c.policy.recheck, 90_000],
  ['policy: { validator: json:/a~1b/0 }', (c) => c.policy.validator, { kind: 'json', pointer: '/a~1b/0' }],
  ['policy: { validator: header:X-Rev }', (c) => c.policy.validator, { kind: 'header', name: 'x-rev' }],
  ['policy: { methods: [put, PUT, proppatch] }', (c) => c.policy.methods, ['PUT', 'PROPPATCH']],
  ['policy: { methods: [] }', (c) => c.policy.methods, []],
  ['policy: { query: [id] }', (c) => c.policy.query, ['id']],
  ['policy: { query: include }', (c) => c.policy.query, 'include'],
  ['policy: { credentials: [Cookie] }', (c) => c.policy.credentials, ['cookie']],
  ['policy: { probe: { headers: { X-Key: " a " } } }', (c) => c.policy.probe.headers, { 'x-key': 'a' }],
  ['policy: { timeouts: { idleTimeout: 1h } }', (c) => c.policy.timeouts, { idleTimeout: 3_600_000 }],
  ['policy: { timeouts: { idleTimeout: null } }', (c) => c.policy.timeouts, {}],
  ['limits: { header: 16kb }', (c) => c.limits.header, 16_384],
  ['limits: { header: 5000 }', (c) => c.limits.header, 5000],
  ['limits: { upstreamKeepAlive: 0 }', (c) => c.limits.upstreamKeepAlive, 0],
  ['limits: { quarantine: 1500ms }', (c) => c.limits.quarantine, 1500],
  ['tls: { cert: a, key: b }', (c) => c.tls, { cert: 'a', key: 'b' }],
  ['upstreamTls: { serverName: a }', (c) => c.upstreamTls, { insecure: false, serverName: 'a' }],
  ['host: API.example:8080', (c) => c.host, 'api.example:8080'],
  ['trustProxy: true', (c) => c.trustProxy, true],
  ['trustProxy: [10.0.0.0/8, "::1"]', (c) => c.trustProxy, ['10.0.0.0/8', '::1']],
  ['log: { pretty: false, access: all }', (c) => c.log, { level: 'info', access: 'all', pretty: false }],
  ['{ "log": { "level": "warn" } }', (c) => c.log.level, 'warn'],
  [`limits: { resources: "$\{N}" }`, (c) => c.limits.resources, 7],
  [`websocket: $\{NOPE:-false}`, (c) => c.websocket, false],
  [`host: a.$\{EMPTY:-b}.$\{N}`, (c) => c.host, 'a.b.7'],
  ['log: &l { level: warn }\nadminToken:\nstore: { url: memory, ttl: 24h }', (c) => c.adminToken, undefined],
  ['policy: { ignore: &p [/a] }\nroutes: [{ path: /x, ignore: *p }]', (c) => c.routes[0]?.policy.ignore, ['/a']],
  ['', (c) => c.limits.drain, 25_000],
];

t.test('what is right', async (t) => {
  for (const [file, read, value] of understood) {
    t.strictSame(read(loaded({ file, env: { N: '7', EMPTY: '' } }).config), value, file);
  }
});

t.test('flags win over the environment, that over the file, that over the defaults', async (t) => {
  const file = 'policy: { guard: required, mode: report, refresh: never }\nlog: { level: warn }\n';
  const env = {
    IFMATCH_GUARD: 'off',
    IFMATCH_LOG_LEVEL: 'error',
    IFMATCH_POLICY_GUARD: 'off',
    IFMATCH_LIMITS_LEASE_QUEUE: '9',
  };
  const { config, origins } = loaded({ file, env, flags: { guard: 'optional' } });
  const rows = [
    ['policy.guard', config.policy.guard, 'optional', 'flag --guard'],
    ['log.level', config.log.level, 'error', 'environment IFMATCH_LOG_LEVEL'],
    ['limits.leaseQueue', config.limits.leaseQueue, 9, 'environment IFMATCH_LIMITS_LEASE_QUEUE'],
    ['policy.mode', config.policy.mode, 'report', 'x.yaml:1:34'],
    ['policy.refresh', config.policy.refresh, 'never', 'x.yaml:1:51'],
    ['policy.recheck', config.policy.recheck, 0, 'default'],
  ] as const;
  for (const [key, value, expected, origin] of rows) {
    t.equal(value, expected, key);
    t.equal(origins.get(key), origin, key);
  }
});

t.test('routes override keys of the policy, wherever the policy comes from', async (t) => {
  const file = `
policy: { guard: required, timeouts: { idleTimeout: 1s }, probe: { headers: { a: b } } }
routes:
  - path: /docs/:id
    invalidates: [/docs, /docs/:id/parts]
    timeouts: { upstreamTimeout: 2s }
  - { path: /files/*, guard: off, probe: { headers: {} }, invalidates: [/index/*] }
`;
  const { config, origins } = loaded({ file, env: { IFMATCH_MODE: 'report' } });
  const [docs, files] = config.routes;
  const expected: Policy = {
    ...config.policy,
    invalidates: ['/docs', '/docs/:id/parts'],
    timeouts: { idleTimeout: 1000, upstreamTimeout: 2000 },
  };
  t.strictSame(docs, { path: '/docs/:id', policy: expected });
  t.match(docs?.policy, { guard: 'required', mode: 'report' });
  t.match(files?.policy, { guard: 'off', mode: 'report', probe: { headers: {} } });
  t.strictSame(files?.policy.probe.headers, {});
  t.equal(origins.get('routes[1].guard'), 'x.yaml:7:30');
  t.notOk(origins.has('routes[1].mode'));
});

t.test('no upstream, where none is required', async (t) => {
  const result = load({ requireUpstream: false });
  t.equal(result.kind === 'ok' && result.config.upstream, '');
});

t.test('variables that Kubernetes makes for a service called ifmatch are not ours', async (t) => {
  const env = {
    IFMATCH_SERVICE_HOST: '10.0.0.1',
    IFMATCH_SERVICE_PORT: '80',
    IFMATCH_SERVICE_PORT_HTTP: '80',
    IFMATCH_PORT: 'tcp://10.0.0.1:80',
    IFMATCH_PORT_80_TCP: 'tcp://10.0.0.1:80',
    IFMATCH_PORT_80_TCP_ADDR: '10.0.0.1',
    IFMATCH_ADMIN_SERVICE_HOST: '10.0.0.2',
    IFMATCH_ADMIN_PORT_9412_TCP_PROTO: 'tcp',
  };
  t.equal(loaded({ env }).kind, 'ok');
});

t.test('what is allowed but hardly meant', async (t) => {
  const file = 'policy: { invalidates: [/docs/:id] }\nlimits: { hashBody: 1gb }\nupstreamTls: { insecure: true }\n';
  t.strictSame(loaded({ file }).warnings, [
    'x.yaml:2:21: limits.hashBody: is above limits.holdTotal, so that the longest bodies never get an ETag; write less',
    'x.yaml:3:14: upstreamTls: has no effect, because the upstream is not an https URL; leave it out, or write https',
    'x.yaml:1:25: policy.invalidates[0]: has a :name or *, which stands for nothing outside a route; set it in routes',
  ]);
  t.strictSame(loaded({}).warnings, []);
});

t.test('the configuration is frozen through and through', async (t) => {
  const { config } = loaded({ file: 'routes: [{ path: /a, query: [b] }]' });
  for (const part of [
    config,
    config.limits,
    config.policy.probe.headers,
    config.routes[0]?.policy.query,
    config.listen,
  ]) {
    t.ok(part !== undefined && Object.isFrozen(part));
  }
});

t.test('check --print shows every value with its origin, and no secret', async (t) => {
  const file = `
host: \${HOSTNAME_SECRET}
policy:
  probe: { headers: { authorization: s3cret-1, x-key: "\${KEY}" } }
  ignore: [/a, "\${POINTER}"]
routes:
  - path: /a/:b
    recheck: 90s
    timeouts: { idleTimeout: 2m }
    probe: { headers: { cookie: s3cret-4 } }
`;
  const env = { HOSTNAME_SECRET: 's3cret-2', KEY: 's3cret-3', POINTER: '/s3cret-5', IFMATCH_LIMITS_HASH_BODY: '2048' };
  const text = printConfig(loaded({ file, env, flags: { listen: '[::1]:0' } }));
  t.notMatch(text, /s3cret/);
  const lines = text.split('\n').map((line) => line.replace(/ +#/, ' #'));
  for (const expected of [
    'upstream: http://api/ # environment IFMATCH_UPSTREAM',
    'listen: "[::1]:0" # flag --listen',
    'adminToken: null # default',
    'host: *** # x.yaml:2:7',
    '    headers: {authorization: ***, x-key: ***} # x.yaml:4:21',
    '  ignore: *** # x.yaml:5:11',
    '  hashBody: 2kb # environment IFMATCH_LIMITS_HASH_BODY',
    '  recheck: always # default',
    '  - path: /a/:b # x.yaml:7:11',
    '    recheck: 90s # x.yaml:8:14',
    '      idleTimeout: 2m # x.yaml:9:30',
    '      headers: {cookie: ***} # x.yaml:10:23',
  ]) {
    t.ok(lines.includes(expected), expected);
  }
});

t.test('what is printed without secrets can be loaded again', async (t) => {
  const file = `
admin: off
policy: { recheck: never, validator: "json:/a b", ignore: ["/x: #1"], query: [a, "b,c"], methods: [] }
limits: { drain: 0, hashBody: 1, upstreamTimeout: 1500ms }
trustProxy: ["::1"]
routes:
  - { path: "/:a/*", guard: off, recheck: 90s, timeouts: { idleTimeout: 1h }, credentials: [cookie] }
  - { path: /b, validator: "header:x" }
`;
  const first = loaded({ file });
  const second = loaded({ file: printConfig(first) });
  t.strictSame(second.config, first.config);
  t.strictSame(second.warnings, []);
});

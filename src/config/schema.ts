import * as z from 'zod';
import { type Address, formatAddress, readAddress, readHost, readNetwork, readUpstream } from './addresses.js';
import { booleanOfText, count, duration, kinds, list, oneOf, plainText, size, text, toggle } from './kinds.js';
import { given, option, section, unset } from './option.js';
import { policySchema, routePolicy, routeSchema } from './policy-schema.js';
import { type Reading, understood } from './reading.js';
import { storeSchema } from './store-schema.js';

export type { Address } from './addresses.js';
export type { Validator } from './names.js';
export type { StoreUrl } from './store-url.js';

const upstreamForm = 'http://127.0.0.1:3000 or https://api.example.com/base';
const listenForm = '127.0.0.1:8412, [::1]:8412 or unix:/run/ifmatch.sock';
const pemForm = 'the path of a PEM file';

type Admin = Address | 'off';

function readAdmin(value: string): Reading<Admin> {
  return value === 'off' ? understood(value) : readAddress(value);
}

/** A path of a PEM file; the PEM text itself is refused, because paths are shown and keys must not be. */
const pem = () =>
  plainText(pemForm).refine((path) => !/[\r\n]|-----BEGIN/.test(path), {
    error: `is not a path; write ${pemForm}`,
  });

const identity = section({
  caseSensitive: option(toggle(), false, 'true: /Docs and /docs are two resources.'),
  trailingSlash: option(toggle(), false, 'true: /docs and /docs/ are two resources.'),
  duplicateSlashes: option(toggle(), false, 'true: /a/b and /a//b are two resources.'),
  pathParams: option(toggle(), false, 'true: /a and /a;v=1 are two resources.'),
  host: option(toggle(), false, 'true: one path under two host names is two resources.'),
  pathHeaders: option(
    oneOf('drop', 'pass'),
    'drop',
    'What becomes of X-Original-URL and X-Rewrite-URL, by which a request could name another resource.',
  ),
});

const limits = section({
  resources: option(
    count({ min: 1 }),
    100_000,
    'Resources whose versions are kept in memory; the least recently used go first.',
  ),
  hashBody: option(
    size(),
    '1mb',
    'Response bodies up to this are held back to give them an ETag; longer ones stream without.',
  ),
  holdTime: option(duration(), '1s', 'A body is held back no longer than this after the response head.'),
  holdTotal: option(size(), '64mb', 'No more than this is held back at a time, over all responses.'),
  hashProbe: option(size(), '64mb', 'A probe or HEAD hashes a representation up to this size, in passing.'),
  header: option(size({ min: 1024, max: 16 * 1024 ** 2 }), '64kb', 'Longest request head and response head.'),
  leaseWait: option(duration(), '10s', 'How long a write queues for its resource.'),
  leaseQueue: option(count(), 1024, 'How many writes may queue for one resource.'),
  holdRequest: option(
    size({ max: 16 * 1024 ** 2 }),
    '64kb',
    'A request body up to this is received before its write takes the lease.',
  ),
  minBodyRate: option(
    size(),
    '16kb',
    'What longer request bodies must bring per second, over each 30 s; slower ones get 408.',
  ),
  connectTimeout: option(duration({ min: 1 }), '5s', 'How long a connection to the upstream may take.'),
  upstreamTimeout: option(
    duration({ min: 1 }),
    '60s',
    "From the last byte of the request to the head of the upstream's response.",
  ),
  idleTimeout: option(
    duration({ min: 1 }),
    '60s',
    'Between two chunks of a body; none for event streams and upgrades.',
  ),
  clientKeepAlive: option(duration({ min: 1 }), '75s', "How long a client's idle connection stays open."),
  upstreamKeepAlive: option(
    duration(),
    '4s',
    'How long an idle connection to the upstream stays open; 0: a fresh one for every write.',
  ),
  upstreamConnections: option(count({ min: 1 }), 256, 'Connections to the upstream at a time.'),
  quarantine: option(duration(), '5s', 'How long a resource rests after a write whose outcome is unknown.'),
  drainDelay: option(duration(), '5s', 'At SIGTERM, how long new requests are still taken while /readyz says no.'),
  drain: option(duration(), '25s', 'And then how long requests in flight may take.'),
});

const tls = section({
  cert: unset(pem(), 'PEM file with the certificate chain of the listener.'),
  key: unset(pem(), 'PEM file with its private key.'),
}).transform(given);

const upstreamTls = section({
  ca: unset(pem(), "PEM file with the authorities that may sign the upstream's certificate, instead of the system's."),
  cert: unset(pem(), 'PEM file with the certificate that the gate shows to the upstream.'),
  key: unset(pem(), 'PEM file with its private key.'),
  serverName: unset(
    text('a host name', understood),
    "Name asked for (SNI) and expected in the upstream's certificate, instead of the URL's.",
  ),
  insecure: option(toggle(), false, "true: do not verify the upstream's certificate."),
}).transform(given);

const trustProxy = z
  .union([z.boolean(), list('10.0.0.0/8', readNetwork)], {
    error: 'is not a set of proxies; write false, true or a list of networks such as [10.0.0.0/8]',
  })
  .register(kinds, { fromText: booleanOfText });

const log = section({
  level: option(
    oneOf('trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'),
    'info',
    'Least level that is logged.',
    {
      flag: { name: 'log-level', value: 'L' },
    },
  ),
  access: option(
    oneOf('decisions', 'all', 'none'),
    'decisions',
    'Requests that get a line: decisions (guarded writes, and answers that the gate makes), all, or none.',
  ),
  pretty: option(
    z
      .union([z.literal('auto'), z.boolean()], { error: 'is not one of its values; write auto, true or false' })
      .register(kinds, { fromText: booleanOfText }),
    'auto',
    'Lines for people instead of JSON; auto: on a terminal.',
  ),
});

/** Every key of the configuration; the walk in options.ts makes flags, environment names and help text of it. */
export const shape = {
  upstream: unset(
    text(upstreamForm, readUpstream),
    'URL of the API behind the gate: http or https, a base path allowed.',
    {
      flag: { name: 'upstream', value: 'URL' },
    },
  ),
  listen: option(
    text(listenForm, readAddress, { format: formatAddress }),
    '127.0.0.1:8412',
    'Where clients are served: HOST:PORT or unix:PATH; port 0: any free one.',
    {
      flag: { name: 'listen', value: 'ADDR' },
    },
  ),
  admin: option(
    text(`${listenForm}, or off`, readAdmin, {
      format: (admin: Admin) => (admin === 'off' ? admin : formatAddress(admin)),
    }),
    '127.0.0.1:9412',
    'Where health and metrics are served; off: nowhere.',
    { flag: { name: 'admin', value: 'ADDR' } },
  ),
  adminToken: unset(text('a token', understood), 'Token that the admin pages ask for.', {
    flag: { name: 'admin-token', value: 'T' },
    secret: true,
    later: true,
  }),
  store: storeSchema.prefault({}).describe('Where versions and leases are kept.'),
  policy: policySchema.prefault({}).describe('What holds for every resource; a route may override any key of it.'),
  routes: option(
    z
      .array(routeSchema, { error: 'is not a list; write - path: /docs/:id below it' })
      .register(kinds, { compound: true }),
    [],
    'Resources with a policy of their own, by path; the first route that matches wins.',
  ),
  identity: identity
    .prefault({})
    .describe('Which spellings of a URL are different resources; false folds them into one.'),
  limits: limits.prefault({}).describe('Sizes, times and numbers that the gate keeps to.'),
  tls: tls.prefault({}).describe('TLS of the listener; both files, or neither for plain HTTP.'),
  upstreamTls: upstreamTls.prefault({}).describe('TLS to an https upstream.'),
  host: option(
    text('preserve, upstream or a host name', readHost),
    'preserve',
    "Host that the upstream sees: preserve (the client's), upstream (that of its URL), or a name.",
  ),
  forwarded: option(oneOf('append', 'replace', 'off'), 'append', 'What becomes of X-Forwarded-For, -Proto and -Host.'),
  via: option(oneOf('response', 'both', 'off'), 'response', 'Where the gate names itself in Via.'),
  trustProxy: option(
    trustProxy,
    false,
    'Whose X-Forwarded-* fields to believe in logs: false (nobody), true (anybody), or a list of networks.',
  ),
  websocket: option(toggle(), true, 'Tunnel upgrades such as WebSocket.'),
  log: log.prefault({}).describe('What is logged, and how.'),
};

/** The whole configuration: takes what a file may hold, gives a `Config`. */
export const configSchema = section(shape).transform(({ upstream, adminToken, policy, routes, ...rest }) => ({
  ...rest,
  /** Normal form without trailing slashes unless the path is only `/`; empty where none is given. */
  upstream: upstream ?? '',
  ...given({ adminToken: adminToken ?? null }),
  policy,
  routes: routes.map((route) => ({ path: route.path, policy: routePolicy(policy, route) })),
}));

type DeepReadonly<T> = T extends readonly (infer Member)[]
  ? readonly DeepReadonly<Member>[]
  : T extends object
    ? { readonly [K in keyof T]: DeepReadonly<T[K]> }
    : T;

/** The effective configuration: sizes in bytes, durations in milliseconds (0 and Infinity: `recheck` always, never). */
export type Config = DeepReadonly<z.output<typeof configSchema>>;

/** What holds for a resource. */
export type Policy = Config['policy'];

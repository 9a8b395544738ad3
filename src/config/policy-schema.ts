import * as z from 'zod';
import { duration, kinds, list, oneOf, plainText, readBy, text, toggle } from './kinds.js';
import * as names from './names.js';
import { given, misplaced, option, overrides, section, unset } from './option.js';
import { type Reading, understood, wrong } from './reading.js';
import { formatDuration, readDuration } from './units.js';

const recheckForm = 'always, never or a duration such as 5s';

/** `always` is 0, `never` Infinity: how old knowledge may be, in milliseconds. */
function readRecheck(value: string | number): Reading<number> {
  if (value === 'always') return understood(0);
  if (value === 'never') return understood(Number.POSITIVE_INFINITY);
  const age = readDuration(value, { max: Number.MAX_SAFE_INTEGER });
  return age.kind === 'value' ? age : wrong(`is not an age; write ${recheckForm}`);
}

function formatRecheck(age: number): string {
  if (age === 0) return 'always';
  return age === Number.POSITIVE_INFINITY ? 'never' : formatDuration(age);
}

/** Reads the map of `probe.headers`; names become lower case, and two spellings of one name are an error. */
function probeHeaders() {
  const form = 'the value of a header field';
  const input = z.record(z.string(), readBy(plainText(form), names.readFieldValue), {
    error: 'is not a map; write name: value pairs, or {}',
  });
  return input
    .transform((fields, context): Record<string, string> => {
      const result: Record<string, string> = {};
      for (const [field, value] of Object.entries(fields)) {
        const name = names.readProbeField(field);
        const fault =
          name.kind === 'wrong'
            ? name.wrong
            : Object.hasOwn(result, name.value)
              ? 'is given in two spellings; give one'
              : undefined;
        if (fault !== undefined)
          context.addIssue({ code: 'custom', message: fault, path: [field], params: { ofKey: true } });
        else if (name.kind === 'value') result[name.value] = value;
      }
      return result;
    })
    .register(kinds, { compound: true });
}

const timeouts = section({
  upstreamTimeout: unset(duration({ min: 1 }), 'Overrides limits.upstreamTimeout.'),
  idleTimeout: unset(duration({ min: 1 }), 'Overrides limits.idleTimeout.'),
}).register(misplaced, { connectTimeout: 'is one for all routes; set limits.connectTimeout' });

const policyShape = {
  guard: option(
    oneOf('required', 'optional', 'off'),
    'optional',
    'What is asked of a guarded write. required: one without a precondition gets 428. optional: preconditions are checked where there are any. off: neither reads nor writes are touched.',
    { flag: { name: 'guard', value: 'G' } },
  ),
  mode: option(
    oneOf('enforce', 'report'),
    'enforce',
    'enforce: refuse stale writes. report: decide, log and count, but forward.',
    { flag: { name: 'mode', value: 'MODE' } },
  ),
  methods: option(
    list('PUT, PATCH, DELETE', names.readMethod),
    ['PUT', 'PATCH', 'DELETE'],
    'Methods whose requests are guarded writes even without a precondition.',
  ),
  recheck: option(
    readBy(z.union([z.string(), z.literal(0)], { error: `is not an age; write ${recheckForm}` }), readRecheck).register(
      kinds,
      { format: formatRecheck },
    ),
    'always',
    'How old knowledge of the version may be when a write is decided: always (ask the upstream for each write), never, or a duration such as 5s.',
    { flag: { name: 'recheck', value: 'R' } },
  ),
  validator: option(
    text('auto, upstream, body, json:/pointer or header:name', names.readValidator, { format: names.formatValidator }),
    'auto',
    "Where the version comes from. auto: the upstream's strong ETag where it can be trusted, else a hash of the body. upstream: the upstream's alone. body: always a hash. json:/pointer: a member of the representation. header:name: a response header.",
  ),
  ignore: option(
    list('/meta/updatedAt', names.readPointer),
    [],
    'JSON Pointers of members that the hash of the body leaves out, such as timestamps.',
  ),
  query: option(
    z.union([oneOf('ignore', 'include'), list('id, lang', understood)], {
      error: 'is not a query policy; write ignore, include or a list of parameter names such as [id]',
    }),
    'ignore',
    'Which query parameters tell resources apart: ignore (none), include (all), or a list of their names.',
  ),
  invalidates: option(
    list('/docs, /docs/:id', names.readPathPattern),
    [],
    "Paths of other resources that a write to this one changes. :name and * stand for what the route's path matched there.",
  ),
  refresh: option(
    oneOf('auto', 'always', 'never'),
    'auto',
    'Whether to read the new version after a write whose answer carries none; auto: after conditional writes.',
  ),
  lenient: option(
    z
      .array(oneOf('weakened', 'gzip-suffix', 'unquoted'), { error: 'is not a list; write [] or [weakened]' })
      .register(kinds, { compound: true }),
    [],
    'Tags that middleboxes and clients have mangled and that are accepted all the same: weakened (W/"a" in If-Match counts as "a"), gzip-suffix ("a-gzip" counts as "a" too), unquoted (a counts as "a").',
  ),
  alreadyApplied: option(toggle(), false, 'Answer a write that comes again because its answer was lost with success.'),
  probe: section({
    headers: option(
      probeHeaders(),
      {},
      "Headers that replace the client's own where its credentials cannot be used twice.",
      { secret: true },
    ),
  })
    .prefault({})
    .describe('How the upstream is asked for the current version.'),
  credentials: option(
    z.union([oneOf('auto'), list('authorization, cookie', names.readFieldName)], {
      error: 'is not a list of credentials; write auto or a list of field names such as [authorization]',
    }),
    'auto',
    'Request fields that tell clients apart: auto (all that could carry a credential), or a list of their names.',
  ),
  timeouts: timeouts.transform(given).prefault({}).describe('Time limits of this policy that differ from limits.'),
};

/** What holds for a resource: the section `policy`. */
export const policySchema = section(policyShape);

/** A route: its path, and the keys of the policy that it overrides. */
export const routeSchema = section({
  path: text('a path such as /docs/:id', names.readPathPattern).describe(
    'Path of the resources: :name is one segment, a trailing * the rest. The first route that matches wins.',
  ),
  ...overrides(policyShape),
}).superRefine(({ path, invalidates = [] }, context) => {
  const known = new Set(names.patternNames(path));
  for (const [index, pattern] of invalidates.entries()) {
    if (names.patternNames(pattern).every((name) => known.has(name))) continue;
    const message = "has a :name or * that the route's path does not have; write only what is in that";
    context.addIssue({ code: 'custom', message, path: ['invalidates', index] });
  }
});

/** The policy of a route: the route's keys over the general ones. Time limits are merged one by one. */
export function routePolicy(
  general: z.output<typeof policySchema>,
  { path: _, ...own }: z.output<typeof routeSchema>,
): z.output<typeof policySchema> {
  return { ...general, ...own, timeouts: { ...general.timeouts, ...own.timeouts } };
}

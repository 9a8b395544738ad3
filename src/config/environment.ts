import { nearest } from './nearest.js';
import { fileOption, type Option, options } from './options.js';
import { type Mistake, type Setting, type Source, sourceOfSettings } from './source.js';

type Environment = Readonly<Record<string, string | undefined>>;

const prefix = 'IFMATCH_';

/**
 * Kubernetes gives every container the addresses of services beside it, and one called `ifmatch` makes variables such
 * as IFMATCH_SERVICE_HOST and IFMATCH_PORT_8412_TCP_ADDR: nobody wrote them, and no option is called so.
 */
const serviceLink = /_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$/;

/** The environment's `IFMATCH_…` variables as a source. */
export function readEnvironment(environment: Environment): Source {
  const settings: Setting[] = [];
  const mistakes: Mistake[] = [];
  const known = new Set<string>([fileOption.environment]);
  const complain = (name: string, what: string) => mistakes.push({ order: 0, line: `${name}: ${what}` });

  for (const option of options) {
    for (const name of option.environment) known.add(name);
    const given = option.environment.flatMap((name) => {
      const text = environment[name];
      return text === undefined ? [] : [{ name, text }];
    });
    const [first, second] = given;
    if (first === undefined) continue;
    if (option.kind.compound) complain(first.name, compoundMessage(option));
    else if (first.text === '') complain(first.name, 'is empty; give it a value, or unset it');
    else if (second !== undefined && second.text !== first.text) {
      complain(second.name, `differs from ${first.name}, which means the same; unset one of them`);
    } else settings.push({ option, text: first.text, name: first.name, origin: `environment ${first.name}` });
  }
  for (const name of Object.keys(environment)) {
    if (!name.startsWith(prefix) || known.has(name) || serviceLink.test(name)) continue;
    if (environment[name] !== undefined) complain(name, unknownMessage(name, known));
  }
  return sourceOfSettings(settings, mistakes);
}

function compoundMessage(option: Option): string {
  return `is a list or a map, which a variable can not hold; set ${option.key} in the file`;
}

function unknownMessage(name: string, known: Iterable<string>): string {
  const near = nearest(
    name.slice(prefix.length),
    [...known].map((other) => other.slice(prefix.length)),
  );
  const advice =
    near === undefined
      ? 'unset it; limits.leaseWait, for example, is IFMATCH_LIMITS_LEASE_WAIT'
      : `did you mean ${prefix}${near}?`;
  return `is not a variable of ifmatch; ${advice}`;
}

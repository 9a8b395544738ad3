import { answers } from './answers.js';
import { conditions } from './conditions.js';
import { contents } from './content.js';
import { dates } from './dates.js';
import { fields } from './fields.js';
import { headers } from './headers.js';
import { identities } from './identities.js';
import { json } from './json.js';
import { paths } from './paths.js';
import type { Property } from './property.js';
import { routes } from './routes.js';
import { targets } from './targets.js';

/** All properties, in the order in which they are tried. */
export const properties: readonly Property[] = [
  ...conditions,
  ...dates,
  ...fields,
  ...answers,
  ...headers,
  ...json,
  ...contents,
  ...identities,
  ...targets,
  ...paths,
  ...routes,
];

// Writes config/ifmatch.schema.json from the configuration's schema, after a build: `npm run schema`.
import { writeFileSync } from 'node:fs';
import { jsonSchema } from '../dist/config/json-schema.js';

const target = new URL('../config/ifmatch.schema.json', import.meta.url);
writeFileSync(target, `${JSON.stringify(jsonSchema(), null, 2)}\n`);

/**
 * What Fastify is told where no route has a schema: otherwise it loads its compilers all the same, which takes a tenth
 * of the time to start.
 */
export const withoutSchemas = { compilersFactory: { buildValidator: refuse, buildSerializer: refuse } };

function refuse(): never {
  throw new Error('no route has a schema');
}

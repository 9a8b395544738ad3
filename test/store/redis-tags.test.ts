import { deepStrictEqual } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import t from 'tap';
import {
  afterAnswer,
  afterDoubt,
  afterRead,
  afterRest,
  afterWrite,
  isBarred,
  type SeenTag,
} from '../../src/store/seen-tags.js';
import type { GivenTag, Observation } from '../../src/store/store.js';
import { hasRedis, type Redis, startRedis } from '../helpers/redis.js';

/** What is held against tags (V7) is worked out twice, in TypeScript and in Lua: both must come to the same. */

type Step =
  | { readonly op: 'afterWrite' | 'afterDoubt'; readonly observations: readonly Observation[] }
  | { readonly op: 'afterRead'; readonly observation: Observation }
  | { readonly op: 'afterAnswer'; readonly given: GivenTag }
  | { readonly op: 'afterRest' }
  | { readonly op: 'isBarred'; readonly tag: string; readonly hash: string | undefined };

interface Chain {
  readonly seen: readonly SeenTag[];
  /** Each goes on with what the one before it left. */
  readonly steps: readonly Step[];
}

/** What a step left, or whether the tag is barred. */
type Answer = readonly SeenTag[] | boolean;

const script = readFileSync(new URL('../../src/store/redis/scripts/seen-tags.lua', import.meta.url), 'utf8');

/** Goes through chains as the scripts of the steps do: settle.lua adds the tag of an answer. */
const driver = `
local operations = {
  afterWrite = function(seen, step) return after_write(seen, step.observations) end,
  afterDoubt = function(seen, step) return after_doubt(seen, step.observations) end,
  afterRead = function(seen, step) return after_read(seen, step.observation) end,
  afterRest = function(seen) return after_rest(seen) end,
  afterAnswer = function(seen, step)
    step.given.isWrittenOver = false
    return added(seen, step.given)
  end,
}
local answers = {}
for number, chain in ipairs(cjson.decode(ARGV[1])) do
  local seen, answer = chain.seen, {}
  for index, step in ipairs(chain.steps) do
    if step.op == 'isBarred' then
      answer[index] = is_barred(seen, step.tag, step.hash)
    else
      seen = operations[step.op](seen, step)
      answer[index] = seen
    end
  end
  answers[number] = answer
end
return cjson.encode(answers)
`;

async function inLua(redis: Redis, chains: readonly Chain[]): Promise<Answer[][]> {
  const reply = String(await redis.command('EVAL', script + driver, 0, JSON.stringify(chains)));
  // A table with nothing in it is an object to cjson.
  return JSON.parse(reply, (_, value) => (isEmptyObject(value) ? [] : value));
}

function isEmptyObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length === 0;
}

/** Lists that are full before a step: only there it has to choose which tag goes. */
let full = 0;

function inTypeScript({ seen, steps }: Chain): Answer[] {
  let current = seen;
  return steps.map((step) => {
    if (step.op === 'isBarred') return isBarred(current, step.tag, step.hash);
    if (current.length >= 16) full += 1;
    current = after(current, step);
    return current;
  });
}

function after(seen: readonly SeenTag[], step: Exclude<Step, { op: 'isBarred' }>): readonly SeenTag[] {
  switch (step.op) {
    case 'afterWrite':
      return afterWrite(seen, step.observations);
    case 'afterDoubt':
      return afterDoubt(seen, step.observations);
    case 'afterRead':
      return afterRead(seen, step.observation);
    case 'afterAnswer':
      return afterAnswer(seen, step.given);
    case 'afterRest':
      return afterRest(seen);
  }
}

// Few of each, so that they meet.
const views = fc.constantFrom('v', 'w', 'x');
const selections = fc.constantFrom('plain', 'gzip', 'br');
const tags = fc.constantFrom('"a"', '"b"', '""');
const hashes = fc.constantFrom('1', '2', undefined);

const seenTags: fc.Arbitrary<SeenTag> = fc.record({
  view: views,
  selection: selections,
  tag: tags,
  hash: hashes,
  isWrittenOver: fc.boolean(),
});

const observations: fc.Arbitrary<Observation> = fc
  .tuple(views, selections, fc.oneof({ weight: 4, arbitrary: tags }, fc.constantFrom('W/"a"', undefined)), hashes)
  .map(([view, digest, upstreamTag, hash]) => ({
    view,
    selecting: { fields: [], digest },
    exists: true,
    native: undefined,
    upstreamTag,
    hash,
    etag: undefined,
    lastModified: undefined,
    sentAt: 0,
    uncached: true,
    fingerprint: 'f',
  }));

const several = fc.array(observations, { maxLength: 6 });

const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ op: fc.constantFrom('afterWrite', 'afterDoubt'), observations: several }),
  fc.record({ op: fc.constant('afterRead'), observation: observations }),
  fc.record({
    op: fc.constant('afterAnswer'),
    given: fc.record({ view: views, selection: selections, tag: tags, hash: hashes }),
  }),
  fc.constant({ op: 'afterRest' as const }),
  fc.record({ op: fc.constant('isBarred'), tag: tags, hash: hashes }),
);

/** As the store keeps them, one tag of a place is there once; that is not relied on in a part of the cases. */
const lists = fc.oneof(
  fc.array(seenTags, { maxLength: 18, size: 'max' }),
  fc.uniqueArray(seenTags, {
    minLength: 12,
    maxLength: 16,
    selector: ({ view, selection, tag }) => `${view} ${selection} ${tag}`,
  }),
  // None of these is as good as another one.
  fc
    .array(seenTags, { minLength: 14, maxLength: 16 })
    .map((list) => list.map((known, index) => ({ ...known, tag: `"${index}"` }))),
);

const chains: fc.Arbitrary<Chain> = fc.record({
  seen: lists,
  steps: fc.array(steps, { minLength: 1, maxLength: 6 }),
});

if (hasRedis(t)) {
  const redis = await startRedis(t);

  t.test('what is held against tags is the same in Lua as in TypeScript (V7)', async (t) => {
    let compared = 0;
    const property = fc.asyncProperty(fc.array(chains, { maxLength: 60, size: 'max' }), async (batch) => {
      const told = await inLua(redis, batch);
      // What is undefined is left out of JSON, as it is on the way to the scripts.
      deepStrictEqual(told, JSON.parse(JSON.stringify(batch.map(inTypeScript))));
      compared += batch.length;
    });
    await fc.assert(property, { numRuns: 50 });
    t.comment(`${compared} chains; ${full} steps with a full list`);
    t.ok(compared > 500, 'many were compared');
    t.ok(full > 100, 'and many of them had to make room');
  });
}

import type { Awaitable } from '../http/awaitable.js';
import type { Acquired, Observation } from '../store/store.js';
import { UpstreamError } from '../upstream/errors.js';
import { tellTags, withoutTaggedTerms } from './dav-if.js';
import { type Decision, decideConditions } from './decision.js';
import { checkLease, outOfReach } from './lease.js';
import { carriesConditions, type Passage } from './passage.js';
import type { Made } from './repeats.js';
import { scopeOf } from './scope.js';
import type { SideEffects } from './side-effects.js';

/** How often a decision is made again because somebody wrote without a lease meanwhile (W8). */
const decisionsAtMost = 3;

/**
 * W8: the version was read, but a write without a lease (POST, a side effect) may have begun or ended since. Then the
 * decision is made again on what is read afterwards.
 */
export async function decideUnmoved(
  passage: Passage,
  lease: Acquired,
  sideEffects: SideEffects,
  made: Made | undefined,
): Promise<Decision> {
  const { parts } = passage;
  let since: number | undefined;
  // A mark on what is leased moves it once, and nobody else's move may be taken for that.
  const atMost = scopeOf(passage).isPlain ? decisionsAtMost : decisionsAtMost + 1;
  for (let attempt = 1; attempt <= atMost; attempt += 1) {
    const decision = await decide(passage, lease.knowledge, since, made);
    if (decision.kind !== 'forward') return decision;
    if (!(await sideEffects.mark())) return outOfReach;
    if (!(await checkLease(passage, lease.token))) return outOfReach;
    if (!carriesConditions(passage)) return decision;
    // From the store's answer to the first byte upstream nothing else runs in this process.
    if (parts.store.movedSince(lease.token, since ?? lease.since) !== true) return decision;
    since = parts.clock.now();
    passage.seenTags = (await parts.store.epoch(passage.resource.key)).seenTags;
  }
  const detail = 'Other requests changed the resource again and again while this one was being decided.';
  const details = { detail, next: 'Retry with backoff.', retryAfter: 1, outcome: 'not-sent' as const };
  return { kind: 'refuse', name: 'contention', details };
}

/** Decides all that a write carries: its conditions (W4 to W8), then WebDAV's `If` (R5). */
function decide(
  passage: Passage,
  knowledge: readonly Observation[],
  since: number | undefined,
  made: Made | undefined,
): Awaitable<Decision> {
  const onConditions = decideConditions(passage, knowledge, since, made);
  const onBoth = passage.davIf === undefined ? onConditions : decideDavIf(passage, onConditions, knowledge, since);
  return passage.resource.policy.mode === 'report' ? orUndecided(onBoth) : onBoth;
}

async function decideDavIf(
  passage: Passage,
  onConditions: Awaitable<Decision>,
  knowledge: readonly Observation[],
  since: number | undefined,
): Promise<Decision> {
  const decision = await onConditions;
  if (decision.kind !== 'forward') return decision;
  const told = await tellTags(passage, decision, knowledge, since);
  // W14: what is not refused here must not be refused there for tags that it has never seen.
  const reports = passage.resource.policy.mode === 'report' && told.kind === 'forward';
  return reports ? { ...told, fields: withoutTaggedTerms(passage, decision.fields) } : told;
}

/** W14: where the mode only reports, a probe without an answer holds nothing up. */
async function orUndecided(deciding: Awaitable<Decision>): Promise<Decision> {
  try {
    return await deciding;
  } catch (error) {
    if (!(error instanceof UpstreamError)) throw error;
    return { kind: 'refuse', name: 'version-unknown', details: { detail: error.message, next: '' } };
  }
}

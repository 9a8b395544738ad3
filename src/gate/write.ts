import type { Acquired, AcquireRequest, NotAcquired } from '../store/store.js';
import { RequestBodyError } from '../upstream/errors.js';
import { receive } from './body.js';
import { isConditional } from './decide.js';
import { checkForm, decideByKnowledge, type Forward, type Refusal } from './decision.js';
import type { Answer } from './exchange.js';
import { ClientGone, noLease } from './lease.js';
import { carriesConditions, type Passage } from './passage.js';
import { refused, reported } from './refusal.js';
import { failure } from './relay.js';
import { Repeat } from './repeats.js';
import { scopeOf } from './scope.js';
import { neutral, writeUnderLease } from './under-lease.js';
import { passUnguarded } from './unguarded.js';
import { leadingCondition, receivedIn } from './wording.js';

/**
 * A guarded write (W1 to W11): form, lease, version, decision, forwarding, outcome. The lease is settled before the
 * client sees the answer, whatever happens.
 *
 * @returns undefined where the client is gone and nothing was forwarded
 */
export async function write(passage: Passage): Promise<Answer | undefined> {
  const { parts, record, resource, exchange } = passage;
  const name = leadingCondition(passage);
  record.kind = 'write';
  record.condition = name;
  record.received = receivedIn(passage, name);
  const reports = resource.policy.mode === 'report';

  const formal = checkForm(passage);
  if (formal !== undefined && !reports) return refused(passage, formal);
  const receiving = receive(passage);
  const body = receiving instanceof Promise ? await receiving : receiving;
  if (body instanceof RequestBodyError) return failure(passage, body, 'not-sent');
  const repeat = new Repeat(passage, body);
  record.leaseWait = 0;
  const decided = reports ? undefined : decideAtOnce(passage, repeat);
  if (decided?.kind === 'refuse') return refused(passage, decided);

  const request: AcquireRequest = {
    keys: scopeOf(passage).leased,
    kind: carriesConditions(passage) ? 'exclusive' : 'shared',
    wait: reports ? 0 : parts.limits.leaseWait,
    signal: new ClientGone(exchange),
  };
  const taken = parts.store.atOnce?.acquire(request);
  // What was decided in the same step holds under the lease; not what was before a wait.
  if (taken !== undefined) return writeUnderLease(passage, taken, { body, repeat, decided: formal ?? decided });
  const lease = await acquireInLine(passage, request);
  if (lease.kind === 'acquired') return writeUnderLease(passage, lease, { body, repeat, decided: formal });
  if (lease.kind === 'aborted') return undefined;
  if (!reports) return noLease(passage, lease);
  // W14: report mode waits for nobody and takes no lease from those who need it.
  const answer = await passUnguarded(passage, neutral(passage), body.send());
  const text = lease.kind === 'unavailable' ? 'store-unavailable' : 'contended';
  return reported(passage, answer, { text, decision: `report:${text}` });
}

/**
 * W7: what a store in this process knows of a resource for which nobody has a lease decides as it would under a lease
 * that is given in the same step: a write that it refuses needs none.
 *
 * @returns undefined where only a probe can tell, or a wait for whoever writes now
 */
function decideAtOnce(passage: Passage, repeat: Repeat): Forward | Refusal | undefined {
  const { parts, resource, conditions, davIf } = passage;
  if (isConditional(conditions) && resource.policy.recheck === 0) return undefined;
  const known = parts.store.atOnce?.epoch(resource.key);
  if (known === undefined || known.doubtful || repeat.recall() !== undefined) return undefined;
  passage.seenTags = known.seenTags;
  const decision = decideByKnowledge(passage, known.knowledge);
  // What its `If` comes to is not known yet (R5).
  return decision?.kind === 'forward' && davIf !== undefined ? undefined : decision;
}

/** A lease for which somebody has to be waited for: who writes now, or a store that is elsewhere. */
async function acquireInLine(passage: Passage, request: AcquireRequest): Promise<Acquired | NotAcquired> {
  const { parts, record, resource, readTarget } = passage;
  const queuedAt = parts.clock.now();
  const leaveLine = parts.crowds.join(resource.key, readTarget.raw, resource.route);
  const lease = await parts.store.acquire(request);
  leaveLine();
  record.leaseWait = parts.clock.now() - queuedAt;
  return lease;
}

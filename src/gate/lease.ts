import type { Cancellation, NotAcquired, Token } from '../store/store.js';
import type { Call } from '../upstream/call.js';
import { uncovered } from '../upstream/errors.js';
import type { Refusal } from './decision.js';
import type { Answer, Exchange } from './exchange.js';
import { type Passage, refuse, timeoutsOf } from './passage.js';

/** Tells the store when nobody waits for a lease any more. */
export class ClientGone implements Cancellation {
  readonly #exchange: Exchange;
  #listener: (() => void) | undefined;
  #isListening = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  get aborted(): boolean {
    return this.#exchange.isGone;
  }

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listener = listener;
    if (this.#isListening) return;
    this.#isListening = true;
    this.#exchange.onGone(() => this.#listener?.());
  }

  removeEventListener(): void {
    this.#listener = undefined;
  }
}

/**
 * S2: whether the lease outlives the write, if that is sent now: until the upstream has answered, or what it was given up
 * for can no longer take effect. Whoever was held up (a paused process) asks for more time first.
 */
export async function checkLease(passage: Passage, token: Token): Promise<boolean> {
  return coversWrite(passage, token) || ((await passage.parts.store.renew(token)) && coversWrite(passage, token));
}

/** The same without asking for more time. */
export function coversWrite(passage: Passage, token: Token): boolean {
  const { store, limits } = passage.parts;
  // Report mode holds nothing back (W14).
  if (passage.resource.policy.mode === 'report') return true;
  return store.remaining(token) >= timeoutsOf(passage).upstreamTimeout + limits.quarantine;
}

const tryLater = { next: 'Retry with backoff; nothing was changed.', outcome: 'not-sent', decidedBy: 'store' } as const;

/** S4: nothing can be promised, so nothing is sent. */
export const outOfReach: Refusal = {
  kind: 'refuse',
  name: 'store-unavailable',
  details: { detail: 'The store that the gates share is out of reach.', ...tryLater, retryAfter: 1 },
};

/** S2: leases may be held that the store has forgotten. */
const resting: Refusal = {
  ...outOfReach,
  details: { ...outOfReach.details, detail: 'The store that the gates share is new, was restarted or failed over.' },
};

/** S2: the upstream has taken the write, but perhaps when somebody else held the lease already. */
export function leaseLost(passage: Passage, answer: Answer | undefined): Answer {
  if (typeof answer?.body === 'object' && 'abort' in answer.body) answer.body.abort();
  answer?.release?.();
  passage.record.outcome = 'unknown';
  return refuse(passage, 'lease-lost', {
    detail: 'The lease of the resource ended before the write did: somebody else may have written meanwhile.',
    next: 'Fetch the resource to see whether the write took effect before you send it again.',
    outcome: 'unknown',
    decidedBy: 'store',
  });
}

/**
 * Whether a write may be sent, or sent on, under its lease (S2): what is sent may take effect for `quarantine` more.
 *
 * @returns undefined where the lease cannot expire
 */
export function coverOf({ parts, resource }: Passage, token: Token): (() => boolean) | undefined {
  const { store, limits } = parts;
  // Report mode holds nothing back (W14).
  if (resource.policy.mode === 'report' || store.remaining(token) === Number.POSITIVE_INFINITY) return undefined;
  return () => store.remaining(token) > limits.quarantine;
}

/**
 * S2: a write that takes longer than its lease is sure to be held (one that cannot be renewed, because the store is out of
 * reach) is given up while there is time left in which it may still take effect.
 *
 * @param isCovered what `coverOf` gave
 * @returns stops watching
 */
export function endWithLease(passage: Passage, token: Token, call: Call, isCovered: (() => boolean) | undefined) {
  if (isCovered === undefined) return nothing;
  const { store, clock, limits } = passage.parts;
  let cancel = nothing;
  const look = (): void => {
    if (isCovered()) cancel = clock.after(store.remaining(token) - limits.quarantine, look);
    else call.abort(uncovered);
  };
  look();
  return () => cancel();
}

function nothing(): void {}

/** W3: the line for the resource is full, or the wait was too long. S4: the store is out of reach. */
export function noLease(passage: Passage, lease: NotAcquired): Answer {
  if (lease.kind === 'unavailable') {
    const retryAfter = Math.max(1, Math.ceil(lease.retryAfter / 1000));
    const { name, details } = lease.reason === 'resting' ? resting : outOfReach;
    return refuse(passage, name, { ...details, retryAfter });
  }
  const detail =
    lease.kind === 'queue-full'
      ? 'Too many writes wait for this resource.'
      : 'Other writes to this resource took longer than this one may wait.';
  return refuse(passage, 'resource-busy', { detail, ...tryLater, retryAfter: 1 });
}

import fc from 'fast-check';
import type { Validator } from '../../src/gate/settings.js';
import type { BackendKind } from '../helpers/simulated-upstream.js';

/** Whether backends whose strong tags lie take part (V7). */
export const withLiars = process.env.MODEL_LIARS !== '0';

/** What differs from run to run, and stays the same within one. */
export interface Setting {
  readonly kind: BackendKind;
  readonly validator: Validator['kind'] & ('auto' | 'body' | 'upstream');
  /** Whether the backend evaluates conditions itself. */
  readonly checks: boolean;
  readonly recheck: number;
  readonly refresh: 'auto' | 'always' | 'never';
  /** How many resources the store remembers. */
  readonly resources: number;
  /** Longest body that is received before the lease is taken, in bytes. */
  readonly holdRequest: number;
  /** Whether each client has credentials of its own, and so views of its own (I2). */
  readonly identities: boolean;
}

/** Limits of every run, in milliseconds; times go on in steps of which these are multiples. */
export const limits = {
  upstreamTimeout: 4000,
  idleTimeout: 6000,
  quarantine: 3000,
  leaseWait: 12_000,
  leaseQueue: 3,
  holdTime: 1000,
} as const;

export const paths = ['/docs/1', '/docs/2', '/docs/3'] as const;

/** All contents are of one length, so that sizes tell nothing. */
export const documents: Readonly<Record<string, string>> = { '/docs/1': 'init', '/docs/2': 'init' };

export const actors = [0, 1, 2] as const;

/** Kinds whose strong tags stand for one content only, where V7 lets them count. */
const honest: readonly BackendKind[] = ['none', 'weak', 'native', 'upstream', 'dated'];
const liars: readonly BackendKind[] = ['dated-upstream', 'constant'];

export function isLiar(kind: BackendKind): boolean {
  return liars.includes(kind);
}

/** Whether strong tags are what they should be: good for one content each. */
export function trustsTags({ kind }: Setting): boolean {
  return !isLiar(kind);
}

/** `validator: upstream` trusts the backend's tags, so it has to be given such. */
function validatorsFor(kind: BackendKind): Setting['validator'][] {
  return kind === 'dated' || isLiar(kind) ? ['auto', 'body'] : ['auto', 'auto', 'body', 'upstream'];
}

/** What a backend checks itself needs tags that others than the gate know. */
function mayCheck(kind: BackendKind): boolean {
  return kind === 'native' || kind === 'upstream' || kind === 'dated';
}

const kinds = fc.constantFrom(...(withLiars ? [...honest, ...liars, ...liars] : honest));

/** All settings that make sense. */
export const settings: fc.Arbitrary<Setting> = kinds.chain((kind) =>
  fc.record({
    kind: fc.constant(kind),
    validator: fc.constantFrom(...validatorsFor(kind)),
    checks: mayCheck(kind) ? fc.constantFrom(false, false, true) : fc.constant(false),
    recheck: fc.constantFrom(0, 0, 5000, Number.POSITIVE_INFINITY),
    refresh: fc.constantFrom('auto' as const, 'auto' as const, 'always' as const, 'never' as const),
    // What is held against tags is kept for as many resources as are written (V7).
    resources: isLiar(kind) ? fc.constant(100) : fc.constantFrom(100, 100, 2, 1),
    holdRequest: fc.constantFrom(65_536, 0),
    identities: fc.boolean(),
  }),
);

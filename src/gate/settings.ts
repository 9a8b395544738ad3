import type { LenientMode } from '../headers/lenient.js';

/** What makes a version (V1). */
export type Validator =
  | { readonly kind: 'auto' }
  | { readonly kind: 'upstream' }
  | { readonly kind: 'body' }
  | { readonly kind: 'json'; readonly pointer: string }
  | { readonly kind: 'header'; readonly name: string };

/** The rules for a resource. Times in milliseconds. */
export interface RoutePolicy {
  readonly guard: 'required' | 'optional' | 'off';
  readonly mode: 'enforce' | 'report';
  /** Methods whose requests are guarded writes with or without conditions. */
  readonly methods: readonly string[];
  /** How old knowledge may be when it decides; 0: only what is newer than the request; Infinity: any (W4). */
  readonly recheck: number;
  readonly validator: Validator;
  /** JSON Pointers left out of the hash (V3). */
  readonly ignore: readonly string[];
  readonly query: 'ignore' | 'include' | readonly string[];
  /** Path patterns of other resources that a write changes too (W8). */
  readonly invalidates: readonly string[];
  readonly refresh: 'auto' | 'always' | 'never';
  /** What is forgiven in the tags of a request's conditions (W1). */
  readonly lenient: readonly LenientMode[];
  /** Whether a write that comes again because its answer was lost is told that it succeeded (W12). */
  readonly alreadyApplied: boolean;
  readonly probe: { readonly headers: Readonly<Record<string, string>> };
  readonly credentials: 'auto' | readonly string[];
  readonly timeouts: { readonly upstreamTimeout?: number | undefined; readonly idleTimeout?: number | undefined };
}

/** Limits that the gate itself keeps. Bytes, milliseconds, counts. */
export interface GateLimits {
  readonly hashBody: number;
  readonly holdTime: number;
  readonly hashProbe: number;
  readonly leaseWait: number;
  readonly holdRequest: number;
  readonly minBodyRate: number;
  readonly idleTimeout: number;
  readonly upstreamTimeout: number;
  readonly quarantine: number;
}

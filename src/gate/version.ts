import { overrideFields } from '../headers/override.js';
import { fieldLine } from '../http/fields.js';
import { viewId } from '../resource/identity.js';
import { selectsSame } from '../resource/selecting.js';
import type { Observation } from '../store/store.js';
import type { Call, ResponseHead } from '../upstream/call.js';
import { probeFields, type Representation, readRepresentation } from '../upstream/probe.js';
import { discard } from '../upstream/represent.js';
import { headerVersionHash } from '../version/tag.js';
import { namesSynthetic } from './decide.js';
import { isCached, nativeTag, observationOf } from './learn.js';
import { hashingFor, type Passage, sendRead } from './passage.js';

/** What a read of the gate's own told about the current version (W4, W5). */
export type ProbeResult =
  | {
      readonly kind: 'observation';
      readonly observation: Observation;
      /** Whether the version can be compared: false where a representation exists that has no tag of any kind. */
      readonly comparable: boolean;
      readonly head: ResponseHead;
      readonly representation: Representation | undefined;
    }
  /** The upstream's own refusal, which is the answer to the write. */
  | { readonly kind: 'relay'; readonly head: ResponseHead; readonly call: Call }
  | { readonly kind: 'untellable'; readonly reason: string };

/** How to probe. */
export interface ProbeOptions {
  /** Fields that take the place of the client's own, flat: selecting ones (W4), or `probe.headers`. */
  readonly replacing: readonly string[];
  /** Whether the bytes are needed too: for `Prefer: return=representation` (A2), or to compare them (W10). */
  readonly wantsBytes: boolean;
  /** Whether a hash is needed even where a native tag can be used. */
  readonly wantsHash: boolean;
  /** Longest representation, in bytes, and longest time to read it, in milliseconds. */
  readonly limit: number;
  readonly within: number;
  /** Milliseconds to the response head, where it must come sooner than the route's timeout. */
  readonly headWithin?: number;
  /** Whether HEAD may do: native tags are known to be usable. */
  readonly mayUseHead: boolean;
}

/** The view that this request reads and writes (I2). */
export function viewOf({ parts, readTarget, fields, host, resource }: Passage): { view: string; bound: boolean } {
  const identity = parts.identify(fields, host, resource.policy.credentials, readTarget.query);
  return { view: viewId(readTarget, identity), bound: identity.bound };
}

/** Whether this request would select the representation that an observation was read with. */
export function selectsLike({ fields }: Passage): (known: Observation) => boolean {
  return (known) => selectsSame(fields, known.selecting);
}

/** How the version is probed before a write is decided (W4). */
export function probeOptions(passage: Passage, knowledge: readonly Observation[], view: string): ProbeOptions {
  const { validator } = passage.resource.policy;
  const wantsHash = namesSynthetic(passage.conditions) || validator.kind === 'body' || validator.kind === 'json';
  const wantsBytes = /(?:^|[\s,;])return\s*=\s*representation/i.test(fieldLine(passage.fields, 'prefer') ?? '');
  const nativesKnown = knowledge.some((known) => known.view === view && known.native !== undefined);
  return {
    replacing: [],
    wantsBytes,
    wantsHash,
    limit: passage.parts.limits.hashProbe,
    within: passage.parts.limits.upstreamTimeout,
    mayUseHead: !wantsBytes && !wantsHash && (nativesKnown || validator.kind === 'upstream'),
  };
}

/**
 * Reads the current version from the upstream with the fields of this request (W4, W5, V10).
 *
 * @throws {UpstreamError} where the upstream gave no answer
 */
export async function probe(passage: Passage, options: ProbeOptions): Promise<ProbeResult> {
  if (options.mayUseHead) {
    const result = await probeBy(passage, 'HEAD', options);
    // A HEAD that says anything but 200 with what is needed may be a backend that does not know HEAD: GET tells.
    if (result.kind === 'observation' && result.observation.exists && result.comparable) return result;
    if (result.kind === 'relay') discard(result.call);
  }
  return probeBy(passage, 'GET', options);
}

async function probeBy(passage: Passage, method: 'GET' | 'HEAD', options: ProbeOptions): Promise<ProbeResult> {
  const { parts, resource, record } = passage;
  record.probes += 1;
  const fields = probeFields(passage.fields, overrideFields, options.replacing);
  const sentAt = parts.clock.now();
  const call = sendRead(passage, method, fields, options.headWithin);
  const head = await call.head;
  const { status } = head;
  if (isRefusal(status)) return { kind: 'relay', head, call };
  if (status !== 200 && status !== 404 && status !== 410) {
    discard(call);
    return { kind: 'untellable', reason: `A read of the resource was answered with ${status}.` };
  }
  if (isCached(head)) {
    discard(call);
    return { kind: 'untellable', reason: 'A read of the resource was answered by a cache that ignores no-cache.' };
  }
  const { validator } = resource.policy;
  const receivedAt = parts.clock.now();
  const usable = validator.kind === 'upstream' || nativeTag(head, validator, receivedAt) !== undefined;
  const reads = method === 'GET' && status === 200 && (!usable || options.wantsHash || options.wantsBytes);
  const hashing = hashingFor(passage, options.limit);
  const representation = reads
    ? await readRepresentation(call, head, hashing, options.wantsBytes, options.within, parts.clock)
    : undefined;
  if (!reads) discard(call);
  const observation = observationOf({
    view: viewOf(passage).view,
    selecting: parts.select(withSelecting(passage, options), fieldLine(head.rawHeaders, 'vary')),
    fingerprint: resource.fingerprint,
    validator,
    head,
    hash: hashOf(passage, head, representation),
    sentAt,
    receivedAt,
  });
  const { exists, native, hash } = observation;
  const comparable = !exists || native !== undefined || hash !== undefined || validator.kind === 'upstream';
  return { kind: 'observation', observation, comparable, head, representation };
}

/** W5: what the upstream says to a read with the client's own credentials it would say to the write too. */
function isRefusal(status: number): boolean {
  return status === 401 || status === 403 || status === 407 || status === 429 || status >= 500;
}

function hashOf(
  { resource }: Passage,
  head: ResponseHead,
  representation: Representation | undefined,
): string | undefined {
  const { validator } = resource.policy;
  if (validator.kind === 'header') {
    const value = fieldLine(head.rawHeaders, validator.name);
    return value === undefined ? undefined : headerVersionHash(value);
  }
  return validator.kind === 'upstream' ? undefined : representation?.hash;
}

/** The request's fields as the probe was sent: with other selecting fields where those were replaced. */
function withSelecting({ fields }: Passage, { replacing }: ProbeOptions): readonly string[] {
  return replacing.length === 0 ? fields : probeFields(fields, overrideFields, replacing);
}

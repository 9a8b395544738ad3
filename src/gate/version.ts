import { overrideNames } from '../headers/override.js';
import { fieldLine, hasField } from '../http/fields.js';
import { viewId } from '../resource/identity.js';
import { selectionTest } from '../resource/selecting.js';
import type { Target } from '../resource/target.js';
import { isBarred } from '../store/seen-tags.js';
import type { Observation } from '../store/store.js';
import type { Call, ResponseHead } from '../upstream/call.js';
import { probeFields, type Replacement, type Representation, readRepresentation } from '../upstream/probe.js';
import { discard } from '../upstream/represent.js';
import { decodableCodings } from '../version/decoding.js';
import { headerVersionHash } from '../version/tag.js';
import { namesSynthetic } from './decide.js';
import { isCached, nativeTag, observationOf } from './learn.js';
import { hashingFor, type Passage, sendRead, timeoutsOf, type View } from './passage.js';

/** What a read of the gate's own told about the current version (W4, W5). */
export type ProbeResult =
  | {
      readonly kind: 'observation';
      readonly observation: Observation;
      readonly head: ResponseHead;
      readonly representation: Representation | undefined;
    }
  /** The upstream's own refusal, which is the answer to the write. */
  | { readonly kind: 'relay'; readonly head: ResponseHead; readonly call: Call }
  | { readonly kind: 'untellable'; readonly reason: string };

/** Longest time that a probe may delay a write which is forwarded whatever it tells (W14), in milliseconds. */
const reportProbeWithin = 1000;

/** How to probe. */
export interface ProbeOptions {
  /** Selecting fields (W4) or `probe.headers` in the place of the client's own. */
  readonly replacement: Replacement | undefined;
  /** Whether the bytes are needed too: for `Prefer: return=representation` (A2). */
  readonly wantsBytes: boolean;
  /** Whether a hash is needed even where a native tag can be used. */
  readonly wantsHash: boolean;
  /** Longest representation, in bytes. */
  readonly limit: number;
  /** `Clock.now()` when it is given up, where it may not take as long as the route's timeouts allow. */
  readonly deadline: number | undefined;
  /** Whether it is for this client's decision alone: given up when the client goes away. */
  readonly endsWithClient: boolean;
  /** Whether HEAD may do: native tags are known to be usable. */
  readonly mayUseHead: boolean;
  /** The URL, where the client's own carries its signature. */
  readonly target?: Target;
}

/** The view that this request reads and writes (I2). */
export function viewOf(passage: Passage): View {
  if (passage.view === undefined) {
    const { parts, readTarget, fields, host, resource } = passage;
    const identity = parts.identify(fields, host, resource.policy.credentials, readTarget.query);
    passage.view = { view: viewId(readTarget, identity, resource.key), bound: identity.bound };
  }
  return passage.view;
}

/** Whether the gate must not send this request's credentials a second time (W4). */
export function isBound(passage: Passage): boolean {
  return viewOf(passage).bound;
}

/** Whether this request would select the representation that an observation was read with. */
export function selectsLike({ fields }: Passage): (known: Observation) => boolean {
  const selects = selectionTest(fields);
  return (known) => selects(known.selecting);
}

/**
 * V9: two hashes of one view in one epoch, and no write in between: the body changes by itself.
 *
 * @param before what was known when the read that gave `now` began
 */
export function adviseIfUnstable({ parts, resource }: Passage, before: readonly Observation[], now: Observation): void {
  const known = before.find(
    ({ view, selecting, fingerprint }) =>
      view === now.view && selecting.digest === now.selecting.digest && fingerprint === now.fingerprint,
  );
  if (known?.hash !== undefined && now.hash !== undefined && known.hash !== now.hash) {
    parts.observer.advise(resource.route, 'unstable-body');
  }
}

/** V7: the upstream's tag is the one from before a write, and the content is not known to be the same. */
export function adviseIfBarred({ parts, resource, seenTags }: Passage, { upstreamTag, hash }: Observation): void {
  const isAuto = resource.policy.validator.kind === 'auto';
  if (isAuto && upstreamTag !== undefined && isBarred(seenTags, upstreamTag, hash)) {
    parts.observer.advise(resource.route, 'repeated-tag');
  }
}

/** How the version is probed before a write is decided (W4). */
export function probeOptions(passage: Passage, knowledge: readonly Observation[], view: string): ProbeOptions {
  const { validator } = passage.resource.policy;
  const wantsHash = namesSynthetic(passage.conditions) || validator.kind === 'body' || validator.kind === 'json';
  const wantsBytes = /(?:^|[\s,;])return\s*=\s*representation/i.test(fieldLine(passage.fields, 'prefer') ?? '');
  const reports = passage.resource.policy.mode === 'report';
  const isGiven = passage.seenTags.some((seen) => seen.view === view && !seen.isWrittenOver);
  const nativesKnown = isGiven || knowledge.some((known) => known.view === view && known.native !== undefined);
  return {
    replacement: undefined,
    wantsBytes,
    wantsHash,
    limit: passage.parts.limits.hashProbe,
    deadline: reports ? passage.parts.clock.now() + reportProbeWithin : undefined,
    endsWithClient: true,
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
    if (result.kind === 'observation' && isComparable(passage, result.observation)) return result;
    if (result.kind === 'relay') discard(result.call);
  }
  return probeBy(passage, 'GET', options);
}

/** Whether an observation holds a version that tags can be compared with. */
export function isComparable({ resource }: Passage, { exists, native, hash }: Observation): boolean {
  return exists && (native !== undefined || hash !== undefined || resource.policy.validator.kind === 'upstream');
}

async function probeBy(passage: Passage, method: 'GET' | 'HEAD', options: ProbeOptions): Promise<ProbeResult> {
  const { parts, record } = passage;
  record.probes += 1;
  const fields = decodable(passage, probeFields(passage.fields, overrideNames, options.replacement));
  const sentAt = parts.clock.now();
  const call = sendRead(passage, method, fields, options.target);
  const { deadline, endsWithClient } = options;
  if (endsWithClient) passage.exchange.onGone(() => call.abort());
  const cancel = deadline === undefined ? undefined : parts.clock.after(deadline - sentAt, () => call.abort());
  try {
    const head = await call.head;
    if (isRefusal(head.status)) return { kind: 'relay', head, call };
    const reason = whyUntellable(head);
    if (reason === undefined) return await observe(passage, method, options, { head, call, sentAt, fields });
    discard(call);
    return { kind: 'untellable', reason };
  } finally {
    cancel?.();
  }
}

/** The fields of a probe whose answer is hashed: it must not come in a coding that cannot be decoded here (V2). */
function decodable({ resource }: Passage, fields: string[]): string[] {
  const { kind } = resource.policy.validator;
  if (kind === 'upstream' || kind === 'header' || !hasField(fields, 'accept-encoding')) return fields;
  return fields.map((text, index) => {
    const isValue = index % 2 === 1 && fields[index - 1]?.toLowerCase() === 'accept-encoding';
    return isValue ? decodableCodings(text) : text;
  });
}

/** W5, V10: answers that say nothing about the current version. */
function whyUntellable(head: ResponseHead): string | undefined {
  const { status } = head;
  if (status !== 200 && status !== 404 && status !== 410) return `A read of the resource was answered with ${status}.`;
  return isCached(head) ? 'A read of the resource was answered by a cache that ignores no-cache.' : undefined;
}

interface Probed {
  readonly head: ResponseHead;
  readonly call: Call;
  readonly sentAt: number;
  readonly fields: readonly string[];
}

async function observe(
  passage: Passage,
  method: 'GET' | 'HEAD',
  options: ProbeOptions,
  { head, call, sentAt, fields }: Probed,
): Promise<ProbeResult> {
  const { parts, resource } = passage;
  const { validator } = resource.policy;
  const receivedAt = parts.clock.now();
  // What the gate may have to say about this version is for the same scripts to read as the version itself (R6).
  if (head.status === 200) parts.cors.learn(resource.route, fieldLine(passage.fields, 'origin'), head.rawHeaders);
  const native = nativeTag(passage, head);
  const usable = validator.kind === 'upstream' || native !== undefined;
  const reads = method === 'GET' && head.status === 200 && (!usable || options.wantsHash || options.wantsBytes);
  const hashing = hashingFor(passage, options.limit);
  const { upstreamTimeout } = timeoutsOf(passage);
  const representation = reads
    ? await readRepresentation(call, head, hashing, options.wantsBytes, upstreamTimeout, parts.clock)
    : undefined;
  if (!reads) discard(call);
  const observation = observationOf({
    view: viewOf(passage).view,
    // Who asks for a coding that cannot be decoded here gets the same representation in another one.
    selecting: parts.select(options.replacement ? fields : passage.fields, fieldLine(head.rawHeaders, 'vary')),
    fingerprint: resource.fingerprint,
    validator,
    uncached: true,
    seenTags: passage.seenTags,
    head,
    hash: hashOf(passage, head, representation),
    native,
    sentAt,
    receivedAt,
  });
  adviseIfBarred(passage, observation);
  return { kind: 'observation', observation, head, representation };
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

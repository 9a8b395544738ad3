import type { Awaitable } from '../http/awaitable.js';
import { fieldLine } from '../http/fields.js';
import type { Observation } from '../store/store.js';
import type { Call, ResponseHead } from '../upstream/call.js';
import { UpstreamError } from '../upstream/errors.js';
import type { Representation } from '../upstream/probe.js';
import { discard, holdBack } from '../upstream/represent.js';
import { hashRepresentation } from '../version/tag.js';
import type { WriteBody } from './body.js';
import type { Answer } from './exchange.js';
import { nativeTag, observationOf } from './learn.js';
import { carriesConditions, type Passage } from './passage.js';
import { relay, writersTag } from './relay.js';
import { isBound, isComparable, probe, viewOf } from './version.js';

/** Longest time that a refresh may delay the writer's answer, in milliseconds (W10). */
const refreshWithin = 2000;

/** The upstream's answer to a write. */
export interface WriteReply {
  readonly head: ResponseHead;
  readonly call: Call;
  /** `Clock.now()` when the write was sent. */
  readonly sentAt: number;
  /** Whether the client aborted its body meanwhile. */
  readonly aborted: boolean;
  /** Whether the request was not sent to its end although the upstream did not refuse it: nobody knows what it took. */
  readonly broken: boolean;
}

/** What a write made of its resource, as far as the gate has learned it. */
export interface AfterWrite {
  readonly observation: Observation | undefined;
  /** The upstream's own tag in its answer, where it may be used. */
  readonly given: string | undefined;
  /** The writer's. */
  readonly answer: Answer;
}

/**
 * After a write that took effect: learns the new version under the lease where the policy says so, and makes the
 * writer's answer, with the new ETag exactly where RFC 9110 9.3.4 allows it (W10).
 */
export function refreshAfter(passage: Passage, reply: WriteReply, body: WriteBody): Awaitable<AfterWrite> {
  const given = nativeTag(passage, reply.head);
  return wantsRefresh(passage, given) ? readAfter(passage, reply, body, given) : toldByAnswer(passage, reply, given);
}

/** What the upstream's answer alone tells. */
function toldByAnswer(passage: Passage, reply: WriteReply, given: string | undefined): AfterWrite {
  const { head, call } = reply;
  const counts = given !== undefined && passage.resource.policy.validator.kind === 'upstream' && namesTarget(passage);
  const observation = counts ? observationFromAnswer(passage, reply, given) : undefined;
  return { observation, given, answer: relay(passage, head, call, writersTag(passage, head)) };
}

async function readAfter(
  passage: Passage,
  reply: WriteReply,
  body: WriteBody,
  given: string | undefined,
): Promise<AfterWrite> {
  const { head, call } = reply;
  const ownTag = writersTag(passage, head);
  const deadline = passage.parts.clock.now() + refreshWithin;
  const refreshed = await refresh(passage, deadline);
  if (refreshed === undefined) return toldByAnswer(passage, reply, given);
  const { observation, representation } = refreshed;
  if (given !== undefined || observation.etag === undefined || representation?.contentHash === undefined) {
    return { observation, given, answer: relay(passage, head, call, ownTag) };
  }
  const { contentHash } = representation;
  if (passage.method === 'PUT') {
    const isStored = (await body.hash()) === contentHash;
    const tag = isStored ? { etag: observation.etag } : ownTag;
    return { observation, given, answer: relay(passage, head, call, tag) };
  }
  return { observation, given, answer: await answerOfPatch(passage, reply, contentHash, observation.etag, deadline) };
}

/** Methods after which there is nothing to read at the request's own URL, or nothing else than before. */
const leavesNoNews: ReadonlySet<string> = new Set(['DELETE', 'MOVE', 'COPY']);

/**
 * A refresh is for what has a version afterwards, and for writers that wanted to know one (`policy.refresh`), whose
 * credentials can be used again (W4).
 */
function wantsRefresh(passage: Passage, given: string | undefined): boolean {
  const { resource, method } = passage;
  const { refresh: when, mode } = resource.policy;
  if (when === 'never' || mode === 'report' || leavesNoNews.has(method)) return false;
  return (when === 'always' || (carriesConditions(passage) && given === undefined)) && !isBound(passage);
}

async function refresh(
  passage: Passage,
  deadline: number,
): Promise<{ observation: Observation; representation: Representation | undefined } | undefined> {
  const { validator } = passage.resource.policy;
  const fromHead = validator.kind === 'upstream' || validator.kind === 'header';
  try {
    const result = await probe(passage, {
      replacement: undefined,
      wantsBytes: false,
      wantsHash: !fromHead,
      limit: passage.parts.limits.hashBody,
      deadline,
      endsWithClient: false,
      mayUseHead: fromHead,
    });
    if (result.kind === 'observation') return isComparable(passage, result.observation) ? result : undefined;
    if (result.kind === 'relay') discard(result.call);
  } catch (error) {
    // The write has succeeded; that its version could not be read only leaves the resource in doubt.
    if (!(error instanceof UpstreamError)) throw error;
  }
  return undefined;
}

/** PUT and PATCH answer for their target; what POST creates has another URL. */
function namesTarget({ method }: Passage): boolean {
  return method === 'PUT' || method === 'PATCH';
}

/**
 * W9: under `upstream` the strong tag of a write's answer counts. It tells what was true when the write took effect, at
 * any time after it was sent: what was written without a lease since then may be newer (R3).
 */
function observationFromAnswer(passage: Passage, { head, sentAt }: WriteReply, native: string): Observation {
  const { parts, fields, resource } = passage;
  return observationOf({
    view: viewOf(passage).view,
    selecting: parts.select(fields, fieldLine(head.rawHeaders, 'vary')),
    fingerprint: resource.fingerprint,
    validator: resource.policy.validator,
    uncached: true,
    seenTags: passage.seenTags,
    head: { ...head, status: 200 },
    hash: undefined,
    native,
    sentAt,
    receivedAt: parts.clock.now(),
  });
}

/** On PATCH the answer's own representation must be byte for byte what the refresh read (W10). */
async function answerOfPatch(
  passage: Passage,
  { head, call }: WriteReply,
  contentHash: string,
  etag: string,
  deadline: number,
): Promise<Answer> {
  const { parts } = passage;
  const { hashBody } = parts.limits;
  if (passage.method !== 'PATCH' || head.status !== 200) return relay(passage, head, call, { etag: undefined });
  const time = Math.max(1, deadline - parts.clock.now());
  const options = { limit: hashBody, time, budget: parts.budget, clock: parts.clock };
  const held = await holdBack(call, options);
  // Its body broke off, but the write is done: the client sees the same break.
  if (held.kind === 'failed') return relay(passage, head, call, { etag: undefined });
  if (held.kind === 'streaming') return relay(passage, head, held.body, { etag: undefined });
  const coding = fieldLine(head.rawHeaders, 'content-encoding');
  const hash = await hashRepresentation(held.chunks, coding, { ignore: [], pointer: undefined, limit: hashBody });
  const tag = { etag: hash === contentHash ? etag : undefined };
  return relay(passage, head, held, tag);
}

/** W10: keys of the resources that a successful answer names besides its own. */
export function doubtedByAnswer({ parts, target, host, resource }: Passage, head: ResponseHead): string[] {
  const keys: string[] = [];
  for (const name of ['location', 'content-location']) {
    const reference = fieldLine(head.rawHeaders, name);
    const key = reference === undefined ? undefined : parts.keyOf(reference, target, host);
    if (key !== undefined && key !== resource.key && !keys.includes(key)) keys.push(key);
  }
  return keys;
}

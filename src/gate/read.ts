import { fieldLine, hasField } from '../http/fields.js';
import { evaluate, type Preconditions } from '../http/preconditions.js';
import { isBarred } from '../store/seen-tags.js';
import type { Observation, ReadStart } from '../store/store.js';
import type { Call, ResponseHead } from '../upstream/call.js';
import { UpstreamError } from '../upstream/errors.js';
import { readRepresentation } from '../upstream/probe.js';
import { discard, holdBack, mayHold } from '../upstream/represent.js';
import { hashRepresentation, headerVersionHash } from '../version/tag.js';
import { breaksSignature, planRead, planReadAgain, type ReadPlan, withoutConditions } from './conditions.js';
import { asSelected } from './decide.js';
import type { Answer } from './exchange.js';
import { asksPastCaches, isCached, nativeTag, observationOf } from './learn.js';
import { hashingFor, type Passage, refuse, send, sendRead, timeoutsOf } from './passage.js';
import { notModified, relay } from './relay.js';
import { adviseIfBarred, adviseIfUnstable, isBound, viewOf } from './version.js';

/** A read that has been sent, and what it needs to become an observation. */
interface Reading {
  readonly start: ReadStart;
  readonly head: ResponseHead;
  readonly call: Call;
  readonly sentAt: number;
  /** The conditions that the gate took over and has to evaluate on the answer (R1), if any. */
  readonly taken: Preconditions | undefined;
}

/**
 * A GET or HEAD of a guarded resource: forwarded without waiting for anybody (R4), its answer given a usable tag
 * (V1 to V7), and what it tells about the version recorded if no write came in between (R3).
 *
 * @throws {UpstreamError} where the upstream gave no answer
 */
export async function read(passage: Passage): Promise<Answer> {
  passage.record.kind = 'read';
  const { parts, resource, conditions, fields } = passage;
  const start = await parts.store.epoch(resource.key);
  passage.seenTags = start.seenTags;
  let reading = await readOnce(
    passage,
    start,
    signedPlan(passage, planRead(fields, conditions, resource.policy.validator, start.seenTags)),
  );
  if (provesNothing(passage, reading.head) && !isBound(passage)) {
    discard(reading.call);
    reading = await readOnce(passage, start, planReadAgain(fields, conditions));
  }
  if (reading.head.status !== 200) return passOn(passage, reading);
  const known = versionInHead(passage, reading.head);
  if (known !== undefined) return answerFromHead(passage, reading, known);
  return passage.method === 'HEAD' ? answerHead(passage, reading) : answerGet(passage, reading);
}

/** The same plan, but for fields that a signature covers: they travel as they came, and the gate evaluates them too. */
function signedPlan(passage: Passage, plan: ReadPlan): ReadPlan {
  const isChanged = plan.taken !== undefined || plan.rawHeaders.length !== passage.fields.length;
  return isChanged && breaksSignature(passage, plan.rawHeaders) ? { ...plan, rawHeaders: passage.fields } : plan;
}

async function readOnce(passage: Passage, start: ReadStart, { rawHeaders, taken }: ReadPlan): Promise<Reading> {
  const { parts, record } = passage;
  const sentAt = parts.clock.now();
  const call = send(passage, rawHeaders);
  abortWithClient(passage, call);
  const head = await call.head;
  record.upstream = parts.clock.now() - sentAt;
  return { start, head, call, sentAt, taken };
}

/** Nobody waits for the answer of a read whose client is gone. */
function abortWithClient({ exchange }: Passage, call: Call): void {
  exchange.onGone(() => call.abort());
}

/** V7: whether the upstream compared a tag that may stand for two contents, to answer 304 or 206. */
function provesNothing(passage: Passage, head: ResponseHead): boolean {
  const compared = head.status === 304 || (head.status === 206 && hasField(passage.fields, 'if-range'));
  const tag = fieldLine(head.rawHeaders, 'etag');
  const { validator, lenient } = passage.resource.policy;
  if (!compared || validator.kind !== 'auto') return false;
  // What was taken for a tag that somebody else had weakened may be one that the upstream itself calls weak (V6).
  const mayBeWeak = lenient.includes('weakened') && hasField(passage.fields, 'if-none-match');
  if (mayBeWeak && nativeTag(passage, head) === undefined) return true;
  if (tag === undefined) return false;
  const mayRepeat = hasField(head.rawHeaders, 'last-modified') || isBarred(passage.seenTags, tag, undefined);
  return mayRepeat && nativeTag(passage, head) === undefined;
}

/** Anything but 200: as it is, but for a tag that must not be learned (V6, V7). */
async function passOn(passage: Passage, reading: Reading): Promise<Answer> {
  const { head, call } = reading;
  // With a key that nobody has proved yet, an absence may be a lie to whoever does not have it (W4).
  const isAbsent = head.status === 404 || head.status === 410;
  if (isAbsent && !isBound(passage)) await learn(passage, reading, { hash: undefined });
  return relay(passage, head, call, keepsNativeTag(passage, head) ? 'keep' : { etag: undefined });
}

function keepsNativeTag(passage: Passage, head: ResponseHead): boolean {
  return passage.resource.policy.validator.kind === 'upstream' || nativeTag(passage, head) !== undefined;
}

async function answerGet(passage: Passage, reading: Reading): Promise<Answer> {
  const { parts } = passage;
  const { head, call } = reading;
  const { hashBody, hashProbe, holdTime } = parts.limits;
  if (!mayHold(head, hashBody)) return relay(passage, head, call, { etag: undefined });
  const held = await holdBack(call, { limit: hashBody, time: holdTime, budget: parts.budget, clock: parts.clock });
  if (held.kind === 'failed') throw held.error;
  if (held.kind === 'streaming') return relay(passage, head, held.body, { etag: undefined });
  const coding = fieldLine(head.rawHeaders, 'content-encoding');
  const hash = await hashRepresentation(held.chunks, coding, hashingFor(passage, hashProbe));
  const observation = await learn(passage, reading, { hash });
  const whole = (): Answer => relay(passage, head, held, { etag: observation.etag });
  return conclude(passage, reading, observation, whole, held.release);
}

/** V5: where HEAD tells no usable tag, the representation is read upstream for its hash. */
async function answerHead(passage: Passage, reading: Reading): Promise<Answer> {
  const { head, call } = reading;
  const whole = isBound(passage) ? undefined : await readWhole(passage, reading);
  if (whole === undefined) return relay(passage, head, call, { etag: undefined });
  const observation = await learn(passage, whole.reading, { hash: whole.hash });
  const answer = (): Answer => relay(passage, head, call, { etag: observation.etag });
  return conclude(passage, reading, observation, answer, () => discard(call));
}

async function readWhole(
  passage: Passage,
  reading: Reading,
): Promise<{ reading: Reading; hash: string | undefined } | undefined> {
  const { parts, fields, record } = passage;
  const { hashProbe } = parts.limits;
  const { upstreamTimeout } = timeoutsOf(passage);
  const sentAt = parts.clock.now();
  const call = sendRead(passage, 'GET', withoutConditions(fields));
  abortWithClient(passage, call);
  record.probes += 1;
  try {
    const head = await call.head;
    if (head.status !== 200) {
      discard(call);
      return undefined;
    }
    const hashing = hashingFor(passage, hashProbe);
    const { hash } = await readRepresentation(call, head, hashing, false, upstreamTimeout, parts.clock);
    return { reading: { ...reading, head, call, sentAt }, hash };
  } catch (error) {
    // HEAD has been answered well; only its tag could not be found out.
    if (!(error instanceof UpstreamError)) throw error;
    return undefined;
  }
}

/** Where the head tells the version, the body streams past. */
async function answerFromHead(passage: Passage, reading: Reading, version: VersionInHead): Promise<Answer> {
  const { head, call } = reading;
  const observation = await learn(passage, reading, version);
  const answer = (): Answer => relay(passage, head, call, version.keeps ? 'keep' : { etag: observation.etag });
  return conclude(passage, reading, observation, answer, () => discard(call));
}

/** What tells the version: a hash, or the upstream's own tag, where it is known already that it may be used. */
interface Version {
  readonly hash: string | undefined;
  readonly native?: string | undefined;
}

/** What a head tells of it. `keeps`: the upstream's own tag stays. */
interface VersionInHead extends Version {
  readonly keeps: boolean;
}

/**
 * The version, where the head alone tells it: by a usable native tag, or by the field that is the version (V1). Under
 * `upstream` nothing else ever does.
 */
function versionInHead(passage: Passage, head: ResponseHead): VersionInHead | undefined {
  const { validator } = passage.resource.policy;
  const native = nativeTag(passage, head);
  const keeps = validator.kind === 'upstream' || native !== undefined;
  if (validator.kind !== 'header') return keeps ? { keeps, hash: undefined, native } : undefined;
  const value = fieldLine(head.rawHeaders, validator.name);
  return value === undefined ? { keeps, hash: undefined } : { keeps: false, hash: headerVersionHash(value) };
}

/** Makes an observation of the answer, and records it where R3 allows. Without one, readers are given no tag. */
async function learn(passage: Passage, reading: Reading, { hash, native }: Version): Promise<Observation> {
  const { parts, resource, fields } = passage;
  const { head, start, sentAt } = reading;
  const { validator } = resource.policy;
  const facts = {
    view: viewOf(passage).view,
    selecting: parts.select(fields, fieldLine(head.rawHeaders, 'vary')),
    fingerprint: resource.fingerprint,
    validator,
    uncached: asksPastCaches(fields),
    seenTags: start.seenTags,
    head,
    hash,
    native,
    sentAt,
    before: start.knowledge[0],
    receivedAt: parts.clock.now(),
  };
  const observation = observationOf(facts);
  if (!isCached(head)) adviseIfBarred(passage, observation);
  // R3: a read that began while a write was on its way, or before one that has ended, must not be remembered.
  const recordable = !start.doubtful && !isCached(head) && (observation.etag !== undefined || !observation.exists);
  if (recordable && (await parts.store.observe(resource.key, start.epoch, observation))) {
    adviseIfUnstable(passage, start.knowledge, observation);
  }
  return observation;
}

/**
 * Evaluates the conditions that the gate took over on what the answer tells (R1), and answers accordingly.
 *
 * @param whole makes the answer where the conditions let it pass
 * @param drop gives the body up where they do not
 */
function conclude(
  passage: Passage,
  { head, taken }: Reading,
  observation: Observation,
  whole: () => Answer,
  drop: () => void,
): Answer {
  if (taken === undefined) return whole();
  const evaluation = evaluate(passage.method, taken, asSelected(observation));
  if (evaluation.result === 'proceed') return whole();
  drop();
  if (evaluation.result === 'not-modified') {
    // A date says nothing about which content the client has: it must not learn the tag of another one.
    const byTag = evaluation.field === 'If-None-Match' || observation.native !== undefined;
    return notModified(passage, head, { etag: byTag ? observation.etag : undefined });
  }
  passage.record.kind = 'made';
  passage.record.condition = evaluation.field;
  return refuse(passage, 'precondition-failed', {
    detail: `${evaluation.field} does not hold for the current representation.`,
    next: 'Fetch the resource without the condition.',
    condition: evaluation.field,
    current: observation,
    decidedBy: 'probe',
  });
}

import type { AppliedWrite, SentRequest, Version } from '../helpers/simulated-upstream.js';
import {
  bodyTime,
  effectOf,
  type Hold,
  isGuarded,
  isRead,
  type Known,
  type Operation,
  type Reading,
  synthetic,
} from './rules.js';
import { limits, paths, type Setting } from './setting.js';

/**
 * Everything that is known of a run: what clients asked for and were told, and what went on at the backend. Leases, doubt
 * and the versions on which a decision may rest follow from it, by the rules and not by the gate's own code.
 */
export class Model {
  readonly setting: Setting;
  readonly operations: Operation[] = [];
  readonly requests: readonly SentRequest[];
  readonly applied: readonly AppliedWrite[];
  /** Steps of requests that wait for their turn. */
  pendingSteps = 0;
  readonly #memory = new Map<string, Known[]>();
  readonly #byId = new Map<string, Operation>();

  constructor(setting: Setting, backend: Pick<Model, 'requests' | 'applied'>) {
    this.setting = setting;
    this.requests = backend.requests;
    this.applied = backend.applied;
  }

  begin(operation: Operation): void {
    this.operations.push(operation);
    this.#byId.set(operation.id, operation);
  }

  /** Operations that have neither their answer nor left. */
  get active(): Operation[] {
    return this.operations.filter(({ doneAt, leftAt }) => doneAt === undefined && leftAt === undefined);
  }

  /** The tags that a client was given for a resource, the latest first. */
  known(actor: number, path: string): readonly Known[] {
    return this.#memory.get(`${actor} ${path}`) ?? [];
  }

  learn({ actor, path }: Operation, known: Known): void {
    const others = this.known(actor, path).filter(({ tag }) => tag !== known.tag);
    this.#memory.set(`${actor} ${path}`, [known, ...others]);
  }

  operationOf({ id }: SentRequest): Operation {
    const operation = this.#byId.get(id);
    if (operation === undefined) throw new Error(`the gate sent ${id}, which nobody asked for`);
    return operation;
  }

  /** The request by which a write went upstream. */
  forwarded({ id, method }: Operation): SentRequest | undefined {
    return this.requests.find((request) => request.id === id && request.method === method);
  }

  /** W3, W9, W11, W16: when writes to a resource were on their way or rested. */
  holds(path: string): Hold[] {
    return this.requests
      .filter((request) => request.path === path && !isRead(request))
      .map((request) => {
        const { rest, changes } = effectOf(request);
        const { answeredAt = Number.POSITIVE_INFINITY, sentAt: from } = request;
        // Rests end at whole milliseconds; fractions only tell readings of the clock apart.
        const to = rest > 0 ? Math.floor(answeredAt) + rest : answeredAt;
        return { request, operation: this.operationOf(request), from, to, changes };
      });
  }

  /**
   * The versions on which a write could be forwarded at a time (W4, R3, W8): read in its own view, after it came or within
   * `recheck`, and with no other write on its way since. One without a lease, which nothing waits for, may be on its way
   * all the time from before the request's own probe.
   */
  basesToForward(write: Operation, at: number): Reading[] {
    const holds = this.#holdsAgainst(write, at);
    const isHarmless = ({ request, from, to }: Hold, sentAt: number): boolean =>
      !isGuarded(request) && from < sentAt && to > at;
    return this.#bases(write, at).filter(({ request, operation }) =>
      holds.every(
        (hold) =>
          hold.request === request ||
          hold.to < request.sentAt ||
          (operation === write && isHarmless(hold, request.sentAt)),
      ),
    );
  }

  /** The same for a write that was refused. What its own probe found was so, whatever was on its way without a lease. */
  basesToRefuse(write: Operation): Reading[] {
    const { doneAt = 0, decidedAt = 0 } = write;
    const holds = this.#holdsAgainst(write, decidedAt);
    return this.#bases(write, doneAt).filter(({ request, operation }) =>
      holds.every(
        (hold) =>
          hold.request === request || hold.to < request.sentAt || (operation === write && !isGuarded(hold.request)),
      ),
    );
  }

  /** The last read of the backend that was made for an operation and carried out. */
  lastRead({ id }: Operation): SentRequest | undefined {
    return this.requests.findLast((request) => request.id === id && isRead(request) && request.carriedOut);
  }

  /** The tags that stand for a version: a hash of its content, and the backend's own tag where it counts (V1, V6, V7). */
  identifies(tag: string, version: Version, readAt: number): boolean {
    const isNative = tag === version.etag && this.nativeCounts(version, readAt);
    return isNative || (this.setting.validator !== 'upstream' && tag === synthetic(version.content));
  }

  /** V1, V6, V7: strong, and beside a date only if that was two seconds ago. */
  nativeCounts({ etag, modifiedAt }: Version, readAt: number): boolean {
    const { kind, validator } = this.setting;
    if (validator === 'body' || etag === undefined || etag.startsWith('W/')) return false;
    const isDated = kind === 'dated' || kind === 'dated-upstream';
    return !isDated || Math.floor(readAt / 1000) - Math.floor(modifiedAt / 1000) >= 2;
  }

  /**
   * V7: whether the gate may hold against a tag that a write which was not refused has come over it, since somebody was
   * given it. It may until it certainly has seen another tag there, in every view in which this one was seen.
   */
  mayBeBarred(tag: string, write: Operation): boolean {
    const readings = this.#readings(write.path);
    const seen = [...readings, ...this.#answers(write.path)].filter(({ version }) => version?.etag === tag);
    const others = readings.filter(
      (reading) => reading.version?.etag !== tag && this.#isRecordedBefore(reading, write.arrivedAt),
    );
    const isSeenSince = (view: Operation, at: number): boolean =>
      others.some(({ request, operation }) => request.sentAt > at && this.#isSameView(operation, view));
    const before = this.forwarded(write)?.sentAt ?? write.doneAt ?? 0;
    return this.#holdsAgainst(write, before)
      .filter(({ request: { end } }) => end !== 404 && end !== 410 && end !== 412)
      .some(({ to }) => seen.some(({ request, operation }) => request.sentAt < to && !isSeenSince(operation, to)));
  }

  /** V7: whether the gate certainly has learned of a tag before a time: by a read, a probe or the answer to a write. */
  isKnownBefore(tag: string, path: string, at: number): boolean {
    return [...this.#readings(path), ...this.#answers(path)].some((reading) => {
      const { request, operation, version } = reading;
      if (version?.etag !== tag) return false;
      const write = isGuarded(operation) ? this.forwarded(operation) : undefined;
      return (
        this.#isRecordedBefore(reading, at) ||
        ((write?.sentAt ?? 0) >= request.sentAt && (write?.answeredAt ?? at) < at)
      );
    });
  }

  /** Whether the backend had another tag between two times at which it had this one. */
  cameBack(tag: string, path: string): boolean {
    const writes = this.requests.filter((request) => request.path === path && request.carriedOut && !isRead(request));
    const tags = writes
      .sort((one, other) => (one.carriedOut?.at ?? 0) - (other.carriedOut?.at ?? 0))
      .map(({ carriedOut }) => carriedOut?.left?.etag);
    return tags.slice(tags.indexOf(tag), tags.lastIndexOf(tag)).some((other) => other !== tag);
  }

  /** What was told before `at`, to this client, not too early, and with nothing later on record. */
  #bases(write: Operation, at: number): Reading[] {
    const own = this.#readings(write.path).filter(({ operation }) => this.#isSameView(operation, write));
    // What was forgotten meanwhile (S3) keeps nothing out.
    const isKept = this.setting.resources >= paths.length;
    const recorded = own.filter((reading) => isKept && this.#isRecordedBefore(reading, write.arrivedAt));
    const latest = Math.max(...recorded.map(({ request }) => request.sentAt));
    return own.filter(({ request: { sentAt, answeredAt = Number.POSITIVE_INFINITY } }) => {
      const isFresh = sentAt > write.arrivedAt || at - sentAt <= this.setting.recheck + 1;
      return answeredAt < at && isFresh && sentAt >= latest;
    });
  }

  /** R3: whether a client's read certainly was put on record: no write was anywhere between its arrival and its end. */
  #isRecordedBefore({ request, operation }: Reading, at: number): boolean {
    const { doneAt = Number.POSITIVE_INFINITY, client, path, method, arrivedAt } = operation;
    if (method !== 'GET' || doneAt >= at || client.status !== 200 || bodyTime(request) >= limits.holdTime) return false;
    const hasTag = client.etag !== undefined && !client.etag.startsWith('W/');
    const end = (other: Operation): number => other.doneAt ?? Number.POSITIVE_INFINITY;
    const writes = this.operations.filter((other) => other.path === path && !isRead(other));
    const isAlone = writes.every((other) => other.arrivedAt > doneAt || end(other) < arrivedAt);
    return hasTag && isAlone && this.holds(path).every(({ from, to }) => from > doneAt || to < arrivedAt);
  }

  /** Other writes that may have changed what was read, as far as they were sent before a time. */
  #holdsAgainst(write: Operation, before: number): Hold[] {
    return this.holds(write.path).filter(
      ({ operation, changes, from }) => operation !== write && changes && from < before,
    );
  }

  #readings(path: string): Reading[] {
    return this.requests
      .filter((request) => request.path === path && request.carriedOut && this.#tellsVersion(request))
      .map((request) => {
        const version = isRead(request) ? request.carriedOut?.found : request.carriedOut?.left;
        return { request, operation: this.operationOf(request), version };
      });
  }

  /** Answers to writes whose writers were given a tag that no read told of. */
  #answers(path: string): Reading[] {
    if (this.setting.kind !== 'upstream' && this.setting.kind !== 'dated-upstream') return [];
    const writes = this.requests.filter((request) => request.path === path && !isRead(request) && request.carriedOut);
    return writes.map((request) => {
      return { request, operation: this.operationOf(request), version: request.carriedOut?.left };
    });
  }

  #tellsVersion(request: SentRequest): boolean {
    const { method, end } = request;
    if (isRead(request)) return end === 200 || end === 404;
    const { validator, kind } = this.setting;
    const counts = validator === 'upstream' && kind === 'upstream' && (method === 'PUT' || method === 'PATCH');
    return counts && typeof end === 'number' && end < 300 && end !== 202;
  }

  #isSameView(one: Operation, other: Operation): boolean {
    return !this.setting.identities || one.actor === other.actor;
  }
}

import type { AppliedWrite, SentRequest, Version } from '../helpers/simulated-upstream.js';
import type { Model } from './model.js';
import { type Problem, problemOf, unexplained } from './reasons.js';
import { accepts, bodyTime, type Hold, isGuarded, isRead, type Operation, type Reading } from './rules.js';
import { limits, trustsTags } from './setting.js';

/**
 * Holds what has happened since it was last asked against the model: every request that went upstream, every change at
 * the backend, every answer.
 */
export class Judge {
  readonly #model: Model;
  readonly #judged = { requests: 0, applied: 0 };
  readonly #done = new Set<Operation>();
  /** Writes whose clients were told that nothing was changed. */
  readonly #refused = new Set<string>();
  /** What each tag that was given stands for, by path and tag. */
  readonly #meanings = new Map<string, string>();

  constructor(model: Model) {
    this.#model = model;
  }

  /** @returns what should not have happened */
  judge(): string[] {
    const { requests, applied, operations } = this.#model;
    const found: string[] = [];
    const ended = operations.filter((operation) => operation.doneAt !== undefined && !this.#done.has(operation));
    for (const request of requests.slice(this.#judged.requests)) found.push(...this.#sent(request));
    this.#judged.requests = requests.length;
    for (const write of applied.slice(this.#judged.applied)) found.push(...this.#applied(write));
    this.#judged.applied = applied.length;
    for (const operation of ended) {
      this.#done.add(operation);
      if (operation.client.status !== undefined) found.push(...this.#answered(operation, operation.client.status));
      else if (operation.leftAt === undefined) found.push(`${operation.id} got no answer`);
    }
    return found;
  }

  /** W3, W4, W8, W11, W15: whether a write may go upstream now. */
  #sent(request: SentRequest): string[] {
    const model = this.#model;
    if (isRead(request) || !isGuarded(request)) return [];
    const operation = model.operationOf(request);
    const { id, path, condition, leftAt = Number.POSITIVE_INFINITY } = operation;
    const found: string[] = [];
    if (model.forwarded(operation) !== request) found.push(`${id} was forwarded twice`);
    if (leftAt < request.sentAt) found.push(`${id} was forwarded after its client had left`);
    const holds = model.holds(path).filter((hold) => bars(hold, operation, request.sentAt));
    for (const hold of holds) found.push(`${id} was forwarded while ${hold.operation.id} was on its way or rested`);
    if (condition.kind === 'none' || isLeftToBackend(model, operation)) return found;
    if (isOverlooked(model, operation, request.sentAt)) return found;
    const bases = model.basesToForward(operation, request.sentAt);
    if (bases.some(({ version }) => accepts(condition, version?.content))) return found;
    return [...found, `${id} was forwarded although nothing that was read shows what it names`];
  }

  /** What a write replaced: one of the contents that its tags stand for, unless somebody went around the lease. */
  #applied(write: AppliedWrite): string[] {
    const model = this.#model;
    const operation = model.operations.find(({ id }) => id === write.id);
    if (operation === undefined) return [];
    const found: string[] = [];
    const { id, condition } = operation;
    if (this.#refused.has(id)) found.push(`${id} was refused and took effect`);
    if (model.applied.filter((other) => other.id === id).length > 1) found.push(`${id} took effect twice`);
    if (accepts(condition, write.before)) return found;
    if (this.#isExcused(operation, write)) return found;
    return [...found, `${id} replaced ${write.before}, which none of its tags stands for`];
  }

  /** Whether only writes without a lease came between the read on which a decision rests and its write. */
  #isExcused(operation: Operation, write: AppliedWrite): boolean {
    const model = this.#model;
    const { condition } = operation;
    // W8: conditions with `*` travel on as they are.
    if (model.setting.checks && condition.kind !== 'tags') return false;
    if (isLeftToBackend(model, operation)) return !model.setting.checks;
    const sentAt = model.forwarded(operation)?.sentAt ?? 0;
    if (isOverlooked(model, operation, sentAt)) return true;
    const history = model.applied.slice(0, model.applied.indexOf(write)).filter(({ path }) => path === write.path);
    return model.basesToForward(operation, sentAt).some(({ request, version }) => {
      const readAt = request.carriedOut?.at ?? 0;
      if (!accepts(condition, version?.content) || this.#travels(operation, version, readAt)) return false;
      return history.filter(({ at }) => at > readAt).every((other) => !isGuarded(other));
    });
  }

  /** W8: whether a backend that checks conditions is given its own tag of what was read, and so refuses any other. */
  #travels(operation: Operation, version: Version | undefined, readAt: number): boolean {
    const model = this.#model;
    if (!model.setting.checks || version?.etag === undefined || !model.nativeCounts(version, readAt)) return false;
    return !model.mayBeBarred(version.etag, operation);
  }

  #answered(operation: Operation, status: number): string[] {
    const problem = problemOf(operation.client);
    const found = unexplained(this.#model, operation, problem);
    if (isRead(operation)) return [...found, ...this.#read(operation, status)];
    return [...found, ...this.#told(operation, status, problem)];
  }

  /** Whether what a writer was told is true, and a refusal has its reason. */
  #told(operation: Operation, status: number, problem: Problem | undefined): string[] {
    const model = this.#model;
    const { id } = operation;
    const found: string[] = [];
    const effects = model.applied.filter((write) => write.id === id).length;
    const isRefused = problem?.name === 'precondition-failed' || problem?.outcome === 'not-sent';
    if (isRefused) this.#refused.add(id);
    if (isRefused && effects > 0) found.push(`${id} was refused and took effect`);
    if (problem?.name === 'precondition-failed') found.push(...this.#refusal(operation, problem));
    const isConfirmed = status >= 200 && status < 300 && status !== 202;
    if (!isConfirmed) return found;
    if (effects === 0) found.push(`${id} was confirmed and lost`);
    const left = model.forwarded(operation)?.carriedOut?.left;
    const { etag } = operation.client;
    if (etag === undefined || left === undefined || !isGuarded(operation)) return found;
    return [...found, ...this.#given(operation, etag, left, operation.doneAt ?? 0)];
  }

  /** W7: nothing was forwarded, and what was read was none of what the tags stand for. */
  #refusal(operation: Operation, problem: Problem): string[] {
    const model = this.#model;
    const { id } = operation;
    const found = model.forwarded(operation) === undefined ? [] : [`${id} was forwarded, and refused by the gate`];
    const bases = model.basesToRefuse(operation);
    const mayFail = bases.some((reading) => !this.#holds(operation, reading));
    if (!mayFail) found.push(`${id} was refused although what it names is current`);
    if (problem.current === undefined || !trustsTags(model.setting)) return found;
    const { current } = problem;
    const shown = bases.findLast(({ version, request: { carriedOut } }) => {
      return version !== undefined && isTagOf(model, current, version, carriedOut?.at ?? 0);
    });
    if (shown?.version === undefined) return [...found, `${id} was told that ${current} is current`];
    model.learn(operation, { tag: current, content: shown.version.content });
    return found;
  }

  /** W6: whether the condition of a write holds for what was read. V7: a tag that is not to be trusted is none. */
  #holds(operation: Operation, { request, version }: Reading): boolean {
    const { condition } = operation;
    if (condition.kind !== 'tags') return accepts(condition, version?.content);
    const readAt = request.carriedOut?.at ?? 0;
    return condition.names.some(
      ({ tag, content }) =>
        version?.content === content &&
        !tag.startsWith('W/') &&
        this.#model.identifies(tag, version, readAt) &&
        !this.#model.mayBeBarred(tag, operation),
    );
  }

  /** A reader's tag stands for the content beside it; a 304 means the content that its tag came with. */
  #read(operation: Operation, status: number): string[] {
    const { id, method, client, revalidates, doneAt = 0 } = operation;
    const request = this.#model.lastRead(operation);
    const version = request?.carriedOut?.found;
    if (status === 304) {
      const isTrue = !trustsTags(this.#model.setting) || version?.content === revalidates?.content;
      if (!isTrue || version === undefined) return [`${id} was told that ${revalidates?.content} is still current`];
      return client.etag === undefined ? [] : this.#given(operation, client.etag, version, doneAt);
    }
    if (status !== 200 || request === undefined || version === undefined) return [];
    const isWhole = method === 'GET' && request.deliveredAt !== undefined;
    const found = !isWhole || client.content === version.content ? [] : [`${id} got other content than the backend's`];
    if (client.etag !== undefined) return [...found, ...this.#given(operation, client.etag, version, doneAt)];
    const wasHeld = isWhole && bodyTime(request) < limits.holdTime;
    const needsTag = wasHeld && this.#model.setting.validator !== 'upstream';
    return needsTag ? [...found, `${id} got no tag`] : found;
  }

  /** A client is given a tag: from now on it stands for this content, and for no other ever. */
  #given(operation: Operation, tag: string, version: Version, readAt: number): string[] {
    const { id, path } = operation;
    const { content } = version;
    this.#model.learn(operation, { tag, content });
    if (!trustsTags(this.#model.setting)) return [];
    const isRight = isTagOf(this.#model, tag, version, readAt);
    const found = isRight ? [] : [`${id} was given ${tag} for ${content}, which it does not identify`];
    const before = this.#meanings.get(`${path} ${tag}`) ?? content;
    this.#meanings.set(`${path} ${tag}`, content);
    return before === content ? found : [...found, `${id} was given ${tag} for ${content}, and before for ${before}`];
  }
}

/** Whether a tag is that of a version; weak ones are given where nothing better replaces them (R1). */
function isTagOf(model: Model, tag: string, version: Version, readAt: number): boolean {
  const isWeak = tag.startsWith('W/') && model.setting.validator === 'upstream' && tag === version.etag;
  return isWeak || model.identifies(tag, version, readAt);
}

/** W3, W11: whether another guarded write stands in the way of this one. */
function bars(hold: Hold, operation: Operation, at: number): boolean {
  if (hold.operation === operation || !isGuarded(hold.request) || hold.from > at || hold.to <= at) return false;
  return hold.operation.condition.kind !== 'none' || operation.condition.kind !== 'none';
}

/**
 * V7: what is left where tags lie. A write without a lease shows only at its end what it did; nothing is held against a
 * tag of which the gate knew nothing when a write without a condition came over it, nor against one after another one.
 */
function isOverlooked(model: Model, { path, condition }: Operation, at: number): boolean {
  if (trustsTags(model.setting)) return false;
  const names = condition.kind === 'tags' ? condition.names : [];
  if (names.some(({ tag }) => model.cameBack(tag, path))) return true;
  const unchecked = model.holds(path).filter(({ operation, from, changes }) => {
    return changes && from < at && (!isGuarded(operation) || operation.condition.kind === 'none');
  });
  return unchecked.some(
    ({ request, from, to }) =>
      (!isGuarded(request) && to > at) || names.some(({ tag }) => !model.isKnownBefore(tag, path, from)),
  );
}

/** W5: a version that cannot be told is for the backend to judge where no condition names a tag of the gate's own. */
function isLeftToBackend(model: Model, operation: Operation): boolean {
  const { condition } = operation;
  const names = condition.kind === 'tags' ? condition.names : [];
  if (model.setting.validator === 'body' || names.some(({ tag }) => tag.startsWith('"im-'))) return false;
  return model.requests.some((request) => request.id === operation.id && isRead(request) && isUntellable(request));
}

/** W5: an answer to a read that tells no version: another status, or a body that took too long. */
function isUntellable(request: SentRequest): boolean {
  const { end } = request;
  if (typeof end !== 'number' || end >= 500) return false;
  if (end === 200) return bodyTime(request) >= limits.upstreamTimeout;
  return ![401, 403, 404, 407, 410, 429].includes(end);
}

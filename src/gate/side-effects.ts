import type { Outcome, Token } from '../store/store.js';
import type { Passage } from './passage.js';
import { scopeOf } from './scope.js';

/**
 * The resources that a write changes besides those that it has leased (W8), or of what it has leased those that it
 * changes: in doubt from before it is sent until its outcome.
 */
export class SideEffects {
  readonly #passage: Passage;
  #token: Token | undefined;
  #mayForward = true;

  constructor(passage: Passage) {
    this.#passage = passage;
  }

  /** Whether the lease alone tells what is in doubt, as nearly always. */
  get areNone(): boolean {
    const { besides, isPlain } = scopeOf(this.#passage);
    return isPlain && besides.length === 0;
  }

  /** @returns false where the store is out of reach, and the write must not be sent (S4) */
  async mark(): Promise<boolean> {
    const { written, besides, isPlain } = scopeOf(this.#passage);
    const marked = isPlain ? besides : [...written, ...besides];
    if (marked.length === 0 || this.#token !== undefined) return this.#mayForward;
    const mark = await this.#passage.parts.store.touch(marked);
    this.#token = mark.token;
    this.#mayForward = mark.mayForward;
    return mark.mayForward;
  }

  /** A write that may still take effect may still have its side effects. */
  async settle(outcome: Outcome): Promise<void> {
    if (this.#token === undefined) return;
    const { parts, resource } = this.#passage;
    const { written, isPlain } = scopeOf(this.#passage);
    await parts.store.settle(this.#token, ofTheMarks(outcome, !isPlain && written[0] === resource.key));
  }
}

/** @param isOwn whether the write's own resource is the first that is marked: what is told of tags is about that (V7) */
function ofTheMarks(outcome: Outcome, isOwn: boolean): Outcome {
  if (outcome.kind === 'unknown') return { kind: 'unknown', rest: outcome.rest };
  if (outcome.kind !== 'changed') return { kind: outcome.kind };
  const tags = isOwn ? { before: outcome.before, given: outcome.given } : {};
  return { kind: 'changed', ...tags, doubts: outcome.doubts };
}

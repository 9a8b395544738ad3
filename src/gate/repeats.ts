import { fieldLine } from '../http/fields.js';
import type { Observation } from '../store/store.js';
import type { Representation } from '../upstream/probe.js';
import { hashContent } from '../version/tag.js';
import type { WriteBody } from './body.js';
import { isConditional } from './decide.js';
import type { Answer } from './exchange.js';
import type { Passage } from './passage.js';
import { viewOf } from './version.js';

/** What a write made of its resource, as far as that can be known (W12). */
export interface Made {
  /** False after DELETE. */
  readonly exists: boolean;
  /** Hash of the representation that was read after it (V2). */
  readonly hash: string | undefined;
  /** The upstream's own tag in the answer to it. */
  readonly tag: string | undefined;
  /** Hash of the content that a PUT sent. */
  readonly content: string | undefined;
}

/** Writes whose clients may never have learned what became of them (W12). Kept by this process alone. */
export interface Repeats {
  remember(id: string, made: Made): void;
  recall(id: string): Made | undefined;
  forget(id: string): void;
}

/** @param max how many writes are remembered; the oldest go first */
export function createRepeats(max: number): Repeats {
  const known = new Map<string, Made>();
  return {
    remember(id, made) {
      known.delete(id);
      known.set(id, made);
      const [oldest] = known.keys();
      if (known.size > max && oldest !== undefined) known.delete(oldest);
    },
    recall: (id) => known.get(id),
    forget: (id) => void known.delete(id),
  };
}

const conditionFields = ['if-match', 'if-none-match', 'if-unmodified-since'];
const bodyFields = ['content-type', 'content-encoding'];

/** Whether what is there now is what the write made (RFC 9110 13.1.1, W12). */
export function isMade(made: Made, now: Observation, representation: Representation | undefined): boolean {
  if (!made.exists || !now.exists) return made.exists === now.exists;
  const { native, hash } = now;
  const content = representation?.contentHash;
  return (
    (hash !== undefined && hash === made.hash) ||
    (native !== undefined && native === made.tag) ||
    (content !== undefined && content === made.content)
  );
}

/** A write as one that may have come before, and may come again (W12). */
export class Repeat {
  /** What it made when it came before; undefined where it did not, or where nobody can tell. */
  readonly made: Made | undefined;
  readonly #passage: Passage;
  readonly #id: string | undefined;

  constructor(passage: Passage, body: WriteBody) {
    this.#passage = passage;
    this.#id = writeId(passage, body);
    this.made = this.#id === undefined ? undefined : passage.parts.repeats.recall(this.#id);
  }

  /** It has been decided: whoever sends the same again is somebody else, unless this one gets no answer either. */
  forget(): void {
    if (this.#id !== undefined) this.#passage.parts.repeats.forget(this.#id);
  }

  /** Keeps in mind what it made. */
  remember(made: Made): void {
    if (this.#id !== undefined) this.#passage.parts.repeats.remember(this.#id, made);
  }

  /** The same answer; where the client never gets all of it, what its write made is kept in mind. */
  answered(answer: Answer | undefined, made: Made | undefined): Answer | undefined {
    if (this.#id === undefined || made === undefined) return answer;
    if (answer === undefined) {
      this.remember(made);
      return undefined;
    }
    const { release } = answer;
    return {
      ...answer,
      release: () => {
        release?.();
        if (this.#passage.exchange.isGone) this.remember(made);
      },
    };
  }
}

/**
 * What a write and its repetition have in common, and no other write has: who asks, for what, under which conditions,
 * with which body (W12).
 *
 * @returns undefined for a write that is not recognised when it comes again: `alreadyApplied` is off or it only reports,
 *   it has no condition, is neither PUT nor DELETE, its body is longer than `holdRequest`, or its credentials cannot be
 *   used to read
 */
function writeId(passage: Passage, body: WriteBody): string | undefined {
  const { method, fields, conditions, resource } = passage;
  const { alreadyApplied, mode } = resource.policy;
  if (!alreadyApplied || mode === 'report' || !isConditional(conditions)) return undefined;
  if ((method !== 'PUT' && method !== 'DELETE') || body.digest === undefined) return undefined;
  const { view, bound } = viewOf(passage);
  if (bound) return undefined;
  const values = [...conditionFields, ...bodyFields].map((name) => fieldLine(fields, name) ?? null);
  return hashContent(Buffer.from(JSON.stringify([view, method, body.digest, ...values])));
}

import type { Observation } from '../store/store.js';
import type { Representation } from '../upstream/probe.js';
import { hashContent } from '../version/tag.js';
import type { WriteBody } from './body.js';
import { isConditional } from './decide.js';
import type { Answer } from './exchange.js';
import type { Passage } from './passage.js';
import { isBound, viewOf } from './version.js';

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
  /** Whether nothing is remembered: most of the time. */
  readonly isEmpty: boolean;
  /** `key`: of the resource that it wrote. */
  remember(id: string, key: string, made: Made): void;
  recall(id: string): Made | undefined;
  forget(id: string): void;
  /** Somebody may have changed these resources: what was made of them before is not there any more. */
  overwritten(keys: readonly string[]): void;
}

/** @param max how many writes are remembered; the oldest go first */
export function createRepeats(max: number): Repeats {
  const known = new Map<string, { readonly key: string; readonly made: Made }>();
  return {
    get isEmpty() {
      return known.size === 0;
    },
    remember(id, key, made) {
      known.delete(id);
      known.set(id, { key, made });
      const [oldest] = known.keys();
      if (known.size > max && oldest !== undefined) known.delete(oldest);
    },
    recall: (id) => known.get(id)?.made,
    forget: (id) => void known.delete(id),
    overwritten(keys) {
      for (const [id, { key }] of known) if (keys.includes(key)) known.delete(id);
    },
  };
}

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
  readonly #passage: Passage;
  readonly #body: WriteBody;
  readonly #isRecognised: boolean;
  #id: string | undefined;

  constructor(passage: Passage, body: WriteBody) {
    this.#passage = passage;
    this.#body = body;
    this.#isRecognised = isRecognised(passage, body);
  }

  /**
   * What it made when it came before; undefined where it did not, or where nobody can tell. While somebody has a lease of
   * the resource that may be the same write, still on its way.
   */
  recall(): Made | undefined {
    const { repeats } = this.#passage.parts;
    return this.#isRecognised && !repeats.isEmpty ? repeats.recall(this.#identify()) : undefined;
  }

  /** It has been decided: whoever sends the same again is somebody else, unless this one gets no answer either. */
  forget(): void {
    const { repeats } = this.#passage.parts;
    if (this.#isRecognised && !repeats.isEmpty) repeats.forget(this.#identify());
  }

  /** Keeps in mind what it made. */
  remember(made: () => Made): void {
    const { parts, resource } = this.#passage;
    if (this.#isRecognised) parts.repeats.remember(this.#identify(), resource.key, made());
  }

  /** Where the client never gets all of its answer, what its write made is kept in mind. */
  answered(answer: Answer | undefined, made: (() => Made) | undefined): void {
    if (!this.#isRecognised || made === undefined) return;
    if (answer === undefined) this.remember(made);
    else this.#passage.exchange.onGone(() => this.remember(made));
  }

  #identify(): string {
    this.#id ??= writeId(this.#passage, this.#body);
    return this.#id;
  }
}

/** Beside `Content-*`: what makes a write another one. */
const ofTheWrite: ReadonlySet<string> = new Set([
  ...['if', 'if-match', 'if-none-match', 'if-unmodified-since', 'idempotency-key'],
]);

/**
 * Whether a write is recognised when it comes again (W12): not where `alreadyApplied` is off or it only reports, it has no
 * condition, is neither PUT nor DELETE, its body is longer than `holdRequest`, or its credentials cannot be used to read.
 */
function isRecognised(passage: Passage, body: WriteBody): boolean {
  const { method, conditions, resource } = passage;
  const { alreadyApplied, mode } = resource.policy;
  if (!alreadyApplied || mode === 'report' || !isConditional(conditions)) return false;
  return (method === 'PUT' || method === 'DELETE') && body.bytes !== undefined && !isBound(passage);
}

/**
 * What a write and its repetition have in common, and no other write has: who asks, for what, under which conditions,
 * with which body (W12).
 */
function writeId(passage: Passage, { bytes }: WriteBody): string {
  const { method, fields, resource } = passage;
  const { view } = viewOf(passage);
  const said: string[] = [];
  for (let index = 0; index + 1 < fields.length; index += 2) {
    const name = (fields[index] ?? '').toLowerCase();
    const isOfTheContent = name.startsWith('content-') && name !== 'content-length';
    if (isOfTheContent || ofTheWrite.has(name)) said.push(name, fields[index + 1] ?? '');
  }
  const body = bytes === undefined || bytes.length === 0 ? '' : hashContent(bytes);
  return hashContent(Buffer.from(JSON.stringify([resource.key, view, method, body, ...said])));
}

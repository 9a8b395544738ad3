import { isWeak } from '../http/entity-tag.js';
import type { Observation } from './store.js';

/**
 * A strong tag of the upstream's own that was seen at a resource which was written since, or that a writer was given
 * (V7). A tag made of size and time, or a constant one, stays the same over a write: then it stands for two contents, and
 * whoever holds it may mean either.
 */
export interface SeenTag {
  /** Where it was seen: view and selecting digest of the observation. */
  readonly view: string;
  readonly selection: string;
  readonly tag: string;
  /** Hash of the only content that it is known to have stood for; undefined where that is not known. */
  readonly hash: string | undefined;
  /** Whether a write that was not refused has come since. */
  readonly isWrittenOver: boolean;
}

export const nothingSeen: readonly SeenTag[] = Object.freeze([]);

/** Kept of one resource: as many as its views. */
const tagsPerResource = 16;

/**
 * Whether a tag must satisfy no If-Match (V7): a write has come over it, and the content that it stands for now is not
 * known to be the one that it stood for before.
 *
 * @param hash of the content that came with the tag now; undefined where that is not known
 */
export function isBarred(seen: readonly SeenTag[], tag: string, hash: string | undefined): boolean {
  return seen.some(
    (known) => known.isWrittenOver && known.tag === tag && (known.hash === undefined || known.hash !== hash),
  );
}

/**
 * What is held against tags after a write that was not refused: all that was seen before it is written over. What was
 * written over once already may have stood for a content in between that nobody read.
 *
 * @param observations what was known when the write took effect
 */
export function afterWrite(seen: readonly SeenTag[], observations: readonly Observation[]): readonly SeenTag[] {
  const news = observations.filter((one, index) => index === 0 || !tellsSame(one, observations[index - 1]));
  const before = news.reduce(afterRead, seen);
  const overwritten = before.every(isWrittenOverTwice) ? before : before.map(writtenOver);
  return tagsIn(news, true).reduce(added, overwritten);
}

/** Whether two observations say the same of tags, as those of one write nearly always do. */
function tellsSame(one: Observation, other: Observation | undefined): boolean {
  if (other === undefined || one.upstreamTag !== other.upstreamTag || one.hash !== other.hash) return false;
  return one.view === other.view && one.selecting.digest === other.selecting.digest;
}

function isWrittenOverTwice(known: SeenTag): boolean {
  return known.isWrittenOver && known.hash === undefined;
}

function writtenOver(known: SeenTag): SeenTag {
  if (isWrittenOverTwice(known)) return known;
  const { view, selection, tag, hash, isWrittenOver } = known;
  return { view, selection, tag, hash: isWrittenOver ? undefined : hash, isWrittenOver: true };
}

/** The same where what was known is given up without a write: who was given those tags still has them. */
export function afterDoubt(seen: readonly SeenTag[], observations: readonly Observation[]): readonly SeenTag[] {
  return tagsIn(observations, false).reduce(added, seen);
}

/** The same where a write that was on record already may have taken effect only now (W11). */
export function afterRest(seen: readonly SeenTag[]): readonly SeenTag[] {
  return seen.map((known) => ({ ...known, isWrittenOver: true }));
}

/** The tags in observations of one epoch. One without a hash saw what another one with the same tag had hashed. */
function tagsIn(observations: readonly Observation[], isWrittenOver: boolean): readonly SeenTag[] {
  const tags: SeenTag[] = [];
  for (const observation of observations) {
    const tag = strongTag(observation.upstreamTag);
    if (tag === undefined) continue;
    const { view } = observation;
    const selection = observation.selecting.digest;
    const same = tags.findIndex((known) => known.tag === tag && known.view === view && known.selection === selection);
    const hash = observation.hash ?? tags[same]?.hash;
    tags[same < 0 ? tags.length : same] = { view, selection, tag, hash, isWrittenOver };
  }
  return tags;
}

/**
 * The same after a read that may be recorded (R3). The same tag for equal content ends what was held against it, and
 * what is barred stays so. Any other tag in a place that was written over shows that the upstream's tags follow its
 * contents: that ends what was held against those of the same selection, also other readers', whose representations the
 * writes may not have changed.
 */
export function afterRead(seen: readonly SeenTag[], observation: Observation): readonly SeenTag[] {
  const tag = strongTag(observation.upstreamTag);
  if (tag === undefined || seen.length === 0) return seen;
  const place = placeOf(observation);
  if (!seen.some((known) => isSamePlace(known, place))) return seen;
  const here: SeenTag[] = [];
  const others: SeenTag[] = [];
  for (const known of seen) (isSamePlace(known, place) ? here : others).push(known);
  if (isBarred(seen, tag, observation.hash)) return [...others, ...here.filter((known) => known.tag === tag)];
  if (!here.some((known) => known.isWrittenOver && known.tag !== tag)) return others;
  return others.filter((other) => !other.isWrittenOver || other.selection !== observation.selecting.digest);
}

/** The same after a writer was given a tag in the answer to its write: it counts from the next write on. */
export function afterAnswer(seen: readonly SeenTag[], given: Omit<SeenTag, 'isWrittenOver'>): readonly SeenTag[] {
  return added(seen, { ...given, isWrittenOver: false });
}

function added(seen: readonly SeenTag[], next: SeenTag): readonly SeenTag[] {
  const same = seen.find((known) => known.tag === next.tag && isSamePlace(known, next));
  if (same === undefined) return seen.length < tagsPerResource ? [...seen, next] : [...withoutOne(seen), next];
  const merged: SeenTag = {
    view: next.view,
    selection: next.selection,
    tag: next.tag,
    hash: same.hash === next.hash ? next.hash : undefined,
    isWrittenOver: same.isWrittenOver || next.isWrittenOver,
  };
  return [...seen.filter((known) => known !== same), merged];
}

/** Room for one more: it is the same tag at many readers that fills the list, and one of them is as good as all. */
function withoutOne(seen: readonly SeenTag[]): readonly SeenTag[] {
  const spare = seen.findIndex((known) => seen.some((other) => other !== known && says(other, known)));
  return seen.filter((_, index) => index !== Math.max(spare, 0));
}

/** Whether one tag bars all that the other one bars. */
function says(one: SeenTag, other: SeenTag): boolean {
  const isAsStrict = one.hash === undefined || one.hash === other.hash;
  return one.tag === other.tag && (one.isWrittenOver || !other.isWrittenOver) && isAsStrict;
}

function placeOf({ view, selecting }: Observation): Pick<SeenTag, 'view' | 'selection'> {
  return { view, selection: selecting.digest };
}

function isSamePlace(one: Pick<SeenTag, 'view' | 'selection'>, other: Pick<SeenTag, 'view' | 'selection'>): boolean {
  return one.view === other.view && one.selection === other.selection;
}

function strongTag(tag: string | undefined): string | undefined {
  return tag === undefined || isWeak(tag) ? undefined : tag;
}

import type { Observer } from './outcome.js';

/** So many different URLs in line for one key are taken for different resources that it folds together. */
const manyUrls = 8;

/** The writes that are in line for each key, by the URL that they name. */
export interface Crowds {
  /**
   * Enters a write for as long as it waits for its lease. Where many different URLs wait for one key, the operator is
   * told that it may be too coarse (I1).
   *
   * @returns what takes it out again
   */
  join(key: string, url: string, route: string): () => void;
}

/** The URLs that wait for one key: nearly always one, else how many writes wait with each. */
type Line = string | Map<string, number>;

/** @param observer hears the advice */
export function createCrowds(observer: Pick<Observer, 'advise'>): Crowds {
  const lines = new Map<string, Line>();

  function join(key: string, url: string, route: string): void {
    const line = lines.get(key);
    if (line === undefined) {
      lines.set(key, url);
      return;
    }
    const counts = typeof line === 'string' ? new Map([[line, 1]]) : line;
    counts.set(url, (counts.get(url) ?? 0) + 1);
    lines.set(key, counts);
    if (counts.size >= manyUrls) observer.advise(route, 'crowded-key');
  }

  function leave(key: string, url: string): void {
    const line = lines.get(key);
    const counts = typeof line === 'string' ? undefined : line;
    const others = (counts?.get(url) ?? 1) - 1;
    if (others > 0) counts?.set(url, others);
    else counts?.delete(url);
    if (counts === undefined || counts.size === 0) lines.delete(key);
  }

  return {
    join(key, url, route) {
      join(key, url, route);
      return () => leave(key, url);
    },
  };
}

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

/** @param observer hears the advice */
export function createCrowds(observer: Pick<Observer, 'advise'>): Crowds {
  const byKey = new Map<string, Map<string, number>>();
  return {
    join(key, url, route) {
      const waiting = byKey.get(key) ?? new Map<string, number>();
      byKey.set(key, waiting);
      waiting.set(url, (waiting.get(url) ?? 0) + 1);
      if (waiting.size >= manyUrls) observer.advise(route, 'crowded-key');
      return () => {
        const others = (waiting.get(url) ?? 1) - 1;
        if (others > 0) waiting.set(url, others);
        else waiting.delete(url);
        if (waiting.size === 0) byKey.delete(key);
      };
    },
  };
}

import type { StoreEvents } from '../store/store.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';

/** Counts what goes wrong with a shared store, and says when it is out of reach and when it is back (S4). */
export function createStoreObserver(logger: Logger, metrics: Metrics): StoreEvents {
  return {
    failed: () => metrics.storeFailed(),
    down({ message }) {
      metrics.storeIs(false);
      logger.error(
        { reason: message },
        'the shared store is out of reach: reads pass, see store.down for guarded writes',
      );
    },
    rests(ms) {
      logger.warn(
        { ms: Math.ceil(ms) },
        'the shared store is new, was restarted or failed over: it gives no leases until those that it may have forgotten are over',
      );
    },
    up() {
      metrics.storeIs(true);
      logger.info('the shared store is back: what was known before is void');
    },
  };
}

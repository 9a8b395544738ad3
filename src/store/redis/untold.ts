import type { Held, Part } from './holdings.js';
import { type Link, outOfReach } from './link.js';
import { mayHaveChanged, type Protocol } from './protocol.js';

/**
 * Writes that go on without the store (S4). It is told of each as soon as it can be reached, as of a mark: from then on
 * the other gates see that the resource is in doubt, for as long as the write goes on and no longer. In a cluster some of
 * the parts may hear of it long before the others.
 */
export class Untold {
  readonly #link: Link;
  readonly #protocol: Protocol;
  /** What goes on and is not known in all of its parts, with those in which it is. */
  readonly #told = new Map<Held, Set<Part>>();

  constructor(link: Link, protocol: Protocol) {
    this.#link = link;
    this.#protocol = protocol;
  }

  /** Begins: `held.isShared` becomes true when all of the store knows of it. */
  add(held: Held): void {
    this.#told.set(held, new Set());
    for (const part of held.parts) this.#owe(held, part);
  }

  /**
   * What has become of one that is not shared. Where the outcome is unknown it goes on.
   *
   * @param outcome `rested`: the time is over in which an unknown one could still take effect (W11)
   */
  settle(held: Held, outcome: { readonly kind: string }): void {
    if (mayHaveChanged(outcome)) for (const { bucket } of held.parts) this.#link.missed(bucket);
    if (outcome.kind === 'unknown') return;
    const told = this.#told.get(held) ?? [];
    this.#told.delete(held);
    this.#protocol.abandon([...told], held.owner, mayHaveChanged(outcome));
  }

  #owe(held: Held, part: Part): void {
    this.#link.owe(part.bucket, async () => {
      try {
        await this.#tell(held, part);
      } catch (error) {
        outOfReach(error);
        this.#owe(held, part);
      }
    });
  }

  async #tell(held: Held, part: Part): Promise<void> {
    if (this.#told.has(held)) await this.#protocol.mark(part, held.resource, held.owner);
    const told = this.#told.get(held);
    // It may have ended while the store was being told of it.
    if (told === undefined) {
      await this.#protocol.settlePart(part, held.owner, { kind: 'changed' });
      return;
    }
    told.add(part);
    if (told.size < held.parts.length) return;
    held.isShared = true;
    this.#told.delete(held);
  }
}

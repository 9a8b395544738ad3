import { Cohort } from '../http/cohort.js';

/** Those who wait for something that came from the upstream. */
const told = new Cohort();

/**
 * What will be known once. The promise of it is made only where somebody asks for it, and who waits for its value is
 * told with all others who are told something in the same turn of the event loop.
 */
export class Deferred<T> {
  #promise: Promise<T> | undefined;
  #resolve: ((value: T) => void) | undefined;
  #reject: ((error: Error) => void) | undefined;
  #known: { readonly value: T } | { readonly error: Error } | undefined;

  get isKnown(): boolean {
    return this.#known !== undefined;
  }

  get promise(): Promise<T> {
    this.#promise ??= this.#make();
    return this.#promise;
  }

  /** Nothing after the first time. */
  resolve(value: T): void {
    if (this.#known !== undefined) return;
    this.#known = { value };
    const resolve = this.#resolve;
    if (resolve !== undefined) told.add(() => resolve(value));
  }

  /** Nothing after the first time. Where nobody has asked, nobody is told. */
  reject(error: Error): void {
    if (this.#known !== undefined) return;
    this.#known = { error };
    this.#reject?.(error);
  }

  #make(): Promise<T> {
    const known = this.#known;
    if (known !== undefined) return 'error' in known ? Promise.reject(known.error) : Promise.resolve(known.value);
    return new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }
}

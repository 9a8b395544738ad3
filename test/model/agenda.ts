import type { SentRequest, Steps } from '../helpers/simulated-upstream.js';

/** A step of a request at the backend that waits for its turn. */
interface Task {
  readonly request: SentRequest | undefined;
  readonly run: () => void;
}

/** All steps that could come next, in the order in which they became possible. Commands say which one does. */
export class Agenda implements Steps {
  readonly #tasks: Task[] = [];

  schedule<T>(task: Promise<T>, _label?: string, request?: SentRequest): Promise<T> {
    return new Promise((resolve) => {
      this.#tasks.push({ request, run: () => resolve(task) });
    });
  }

  count(): number {
    return this.#tasks.length;
  }

  async waitNext(count: number): Promise<void> {
    for (let index = 0; index < count; index += 1) this.take();
  }

  /** Whether a step of such a request waits for its turn. */
  has(isWanted: (request: SentRequest) => boolean): boolean {
    return this.#tasks.some(({ request }) => request !== undefined && isWanted(request));
  }

  /** Lets the first step have its turn, or the first one of such a request. */
  take(isWanted: (request: SentRequest) => boolean = () => true): void {
    this.#takeAt(this.#tasks.findIndex(({ request }) => request === undefined || isWanted(request)));
  }

  /** Lets any step have its turn. */
  takeAny(choice: number): void {
    this.#takeAt(choice % Math.max(1, this.#tasks.length));
  }

  #takeAt(index: number): void {
    const [task] = this.#tasks.splice(index, 1);
    task?.run();
  }
}

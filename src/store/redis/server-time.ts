/** A reading older than this is replaced even by one that tells less: clocks drift. In milliseconds. */
const readingAge = 30_000;

/**
 * How the server's clock stands against this process's own. What was read when is recorded in the server's time, because
 * the clocks of gates differ; every conversion errs to the side of too old, which costs a probe and never a wrong decision
 * (W4).
 */
export class ServerTime {
  /** Server time minus own time is at least `#least` and at most `#most`. */
  #least = 0;
  #most = 0;
  #readAt = Number.NEGATIVE_INFINITY;

  /** Whether the server has told its time. */
  get isKnown(): boolean {
    return this.#readAt !== Number.NEGATIVE_INFINITY;
  }

  /**
   * @param serverNow the server's time when it carried out a step
   * @param sentAt own time when the step was sent
   * @param receivedAt own time when its answer was there
   */
  learn(serverNow: number, sentAt: number, receivedAt: number): void {
    const isOld = receivedAt - this.#readAt > readingAge;
    if (!isOld && receivedAt - sentAt >= this.#most - this.#least) return;
    this.#least = serverNow - receivedAt;
    this.#most = serverNow - sentAt;
    this.#readAt = receivedAt;
  }

  /** @returns the server's time at an own time: not later than it was */
  earliest(own: number): number {
    return own + this.#least;
  }

  /** @returns the server's time at an own time: not earlier than it was */
  latest(own: number): number {
    return own + this.#most;
  }

  /** @returns own time at the server's: not later than it was */
  own(server: number): number {
    return server - this.#most;
  }
}

/** A reading older than this is replaced even by one that tells less. In milliseconds. */
const readingAge = 30_000;

/** How far two clocks may drift apart in a millisecond: twice what NTP allows itself to slew one. */
const drift = 0.001;

/**
 * How a server's clock stands against this process's own. What was read when is recorded in the server's time, because the
 * clocks of gates differ; every conversion errs to the side of too old, which costs a probe and never a wrong decision
 * (W4).
 */
export class ServerTime {
  /** Server time minus own time was at least `#least` and at most `#most`. */
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
    const [least, most] = [serverNow - receivedAt, serverNow - sentAt];
    const slack = this.#slack(receivedAt);
    // A clock that was set, or another server's.
    const isAnother = least > this.#most + slack || most < this.#least - slack;
    const isOld = receivedAt - this.#readAt > readingAge;
    if (!isAnother && !isOld && most - least >= this.#most - this.#least) return;
    this.#least = least;
    this.#most = most;
    this.#readAt = receivedAt;
  }

  /** @returns the server's time at an own time: not later than it was */
  earliest(own: number): number {
    return own + this.#least - this.#slack(own);
  }

  /** @returns the server's time at an own time: not earlier than it was */
  latest(own: number): number {
    return own + this.#most + this.#slack(own);
  }

  /** @returns own time at the server's: not later than it was */
  own(server: number): number {
    const own = server - this.#most;
    return own - this.#slack(own);
  }

  #slack(own: number): number {
    return this.isKnown ? Math.abs(own - this.#readAt) * drift : 0;
  }
}

/** Does work that takes several steps in the order in which it came. */

export class Lane {
  #onError;
  #epoch = 0; // counts restarts
  /** @type {Promise<void>} */
  #last = Promise.resolve();

  /** @param {(error: Error) => void} onError called when work that is still current has failed */
  constructor(onError) {
    this.#onError = onError;
  }

  /**
   * Adds work.
   * @param {(current: () => boolean) => Promise<void>} work begins when all before is done;
   *   `current` tells it whether its results are still wanted
   */
  add(work) {
    const epoch = this.#epoch;
    const current = () => epoch === this.#epoch;
    this.#last = this.#last.then(async () => {
      try {
        await work(current);
      } catch (error) {
        if (current()) this.#onError(error);
      }
    });
  }

  /** Makes all work that was added before no longer current. */
  restart() {
    this.#epoch += 1;
  }
}

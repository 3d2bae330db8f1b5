/** Finds out that a codec falls behind for good: much sound has waited for it for a while. */

const MUCH = 0.5; // s of sound that may wait for a moment, as when the page was in the background
const LONG = 2; // s after which it is no moment any more

export class Backlog {
  #since = null; // seconds

  /**
   * @param {number} waiting seconds of sound that wait now
   * @param {number} now seconds
   * @returns {boolean} whether too much has waited for too long
   */
  grows(waiting, now) {
    if (waiting < MUCH) this.#since = null;
    else this.#since ??= now;
    return this.#since !== null && now - this.#since >= LONG;
  }
}

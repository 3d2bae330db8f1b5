/** Keeps work that is done in pieces in the order in which it came. */

/** Work that is done one after the other. */
export class Lane {
  /** @type {Promise<void>} */
  #last = Promise.resolve();

  /** @param {() => Promise<void>} work never rejects */
  add(work) {
    this.#last = this.#last.then(work);
  }
}

/** The codec of one call: the one in this browser, until the server's takes over. */

export class CallCodec {
  /** @type {import('./server_codec.js').ServerCodec | null} */
  server = null; // once it has taken over; `here` is closed then

  /** @param {import('./codec.js').Codec} here */
  constructor(here) {
    this.here = here;
  }

  /** Mean ms that a frame takes; see Codec and ServerCodec. */
  get codingMs() {
    return (this.server ?? this.here).codingMs;
  }

  /**
   * Waits for a result of the codec here.
   * @template T
   * @param {Promise<T>} result
   * @returns {Promise<T | null>} null: the server's codec has taken over meanwhile
   */
  async madeHere(result) {
    try {
      return await result;
    } catch (error) {
      if (!this.server) throw error;
      return null;
    }
  }

  /** Prepares for another session. */
  reset() {
    // A codec that has failed says so to the next request.
    if (!this.server) void this.here.reset().catch(() => {});
  }
}

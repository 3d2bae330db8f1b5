/** The bit rate of the codes, averaged over the last seconds. */

const WINDOW = 5; // seconds; long enough that bursts do not show
const PAUSE = 2; // seconds without codes that count as a pause

export class BitRate {
  /** @type {{time: number, frames: number}[]} */
  #arrivals = [];
  #frameBits = 0;

  /** @param {number} frameBits of one frame */
  begin(frameBits) {
    this.#frameBits = frameBits;
    this.#arrivals = [];
  }

  /**
   * @param {number} frames that have come or gone
   * @param {number} now seconds
   */
  add(frames, now) {
    const last = this.#arrivals.at(-1);
    if (last && now - last.time > PAUSE) this.#arrivals = [];
    this.#arrivals.push({ time: now, frames });
  }

  /**
   * @param {number} now seconds
   * @returns {number | null} bits a second; null: not known yet
   */
  at(now) {
    const arrivals = this.#arrivals;
    while (arrivals.length > 1 && now - arrivals[1].time > WINDOW) arrivals.shift();
    if (!arrivals.length) return null;
    if (now - arrivals[arrivals.length - 1].time > PAUSE) return 0;
    // The frames after the first arrival, in the time since it: both grow together.
    const seconds = arrivals[arrivals.length - 1].time - arrivals[0].time;
    if (seconds < 1) return null;
    const frames = arrivals.slice(1).reduce((sum, each) => sum + each.frames, 0);
    return (this.#frameBits * frames) / seconds;
  }
}

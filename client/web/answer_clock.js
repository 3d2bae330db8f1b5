/**
 * Finds the frames of a conversation in which the model is silent: no codes come for them, but the
 * loudspeaker needs silence in their place, on time, or its buffer would run dry.
 */

const FIRST_DELAY = 0.25; // s after a frame was sent within which its first answers are waited for
const MARGIN = 0.04; // s beyond the longest recent delay
const WINDOW = 50; // answers whose longest delay counts

export class AnswerClock {
  #sentAt = []; // of the frames from #next on, seconds
  #next = 0; // the first frame that is neither answered nor silent
  #sent = 0; // frames
  #delays = [];

  /**
   * A frame of the user's was sent.
   * @param {number} now seconds
   */
  sent(now) {
    if (this.#sent++ >= this.#next) this.#sentAt.push(now);
  }

  /**
   * Codes have come.
   * @param {number} frame of the clock, the first of them
   * @param {number} count
   * @param {number} now seconds
   * @returns {number} silent frames that lie before them
   */
  arrived(frame, count, now) {
    const silent = Math.max(0, frame - this.#next);
    const sentAt = this.#sentAt[frame - this.#next];
    if (sentAt !== undefined) this.#delays = [...this.#delays, now - sentAt].slice(-WINDOW);
    this.#advance(Math.max(0, frame + count - this.#next));
    return silent;
  }

  /**
   * The number of frames whose answer would have come by now: they are silent.
   * @param {number} now seconds
   */
  overdue(now) {
    const delay = this.#delays.length ? Math.max(...this.#delays) : FIRST_DELAY;
    const index = this.#sentAt.findIndex((sentAt) => now - sentAt <= delay + MARGIN);
    const silent = index < 0 ? this.#sentAt.length : index;
    this.#advance(silent);
    return silent;
  }

  #advance(frames) {
    this.#next += frames;
    this.#sentAt = this.#sentAt.slice(frames);
  }
}

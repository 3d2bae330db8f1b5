/** Notices that the codec in this browser is too slow, and moves it to the server or says so. */

import { Backlog } from './backlog.js';

const AGAIN = 30; // s between two notices, and between two attempts to move the codec

export class SlowCodec {
  #backlogs = { encode: new Backlog(), decode: new Backlog() };
  #move;
  #tell;
  #moving = false;
  #moveAgainAt = 0; // seconds
  #tellAgainAt = 0; // seconds

  /**
   * @param {(() => Promise<boolean>) | null} move has the server's codec take over; false: the call
   *   goes on with the one here; null: the server's must not take over
   * @param {() => void} tell says that sound is left out
   */
  constructor(move, tell) {
    this.#move = move;
    this.#tell = tell;
  }

  /**
   * Acts once the codec falls behind for good.
   * @param {'encode' | 'decode'} direction
   * @param {number} waiting seconds of sound that wait for it now
   */
  watch(direction, waiting) {
    const now = performance.now() / 1e3;
    if (!this.#backlogs[direction].grows(waiting, now)) return;
    if (this.#moving || now < this.#moveAgainAt) return;
    this.#moveAgainAt = now + AGAIN;
    if (this.#move) void this.#attempt();
    else this.soundLeftOut();
  }

  /** Says that sound is left out, unless the server's codec is about to take over. */
  soundLeftOut() {
    const now = performance.now() / 1e3;
    if (this.#moving || now < this.#tellAgainAt) return;
    this.#tellAgainAt = now + AGAIN;
    this.#tell();
  }

  async #attempt() {
    this.#moving = true;
    const moved = await this.#move();
    this.#moving = false;
    if (!moved) this.soundLeftOut();
  }
}

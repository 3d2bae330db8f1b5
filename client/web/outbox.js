/** What a resumed session needs: media that are not acknowledged, and when to acknowledge. */

const EVERY_MESSAGES = 16; // after so much the receiver says that it has it
const EVERY_BYTES = 1 << 16;

export class Outbox {
  /** @type {{seq: number, data: ArrayBuffer}[]} */
  #kept = [];
  #bytes = 0;

  /** @param {boolean} keeps whether the session can be resumed */
  constructor(keeps) {
    this.keeps = keeps;
  }

  /**
   * A message that is about to be sent.
   * @param {number} seq
   * @param {ArrayBuffer} data
   */
  add(seq, data) {
    if (!this.keeps) return;
    this.#kept.push({ seq, data });
    this.#bytes += data.byteLength;
  }

  /**
   * The other end has this message and all before it.
   * @param {number | null} received sequence number; null: none
   */
  acknowledged(received) {
    while (this.#kept.length && received !== null && this.#kept[0].seq <= received) {
      this.#bytes -= this.#kept.shift().data.byteLength;
    }
  }

  /** Of all that is kept. */
  get bytes() {
    return this.#bytes;
  }

  /** All that is kept, oldest first. */
  get unsent() {
    return this.#kept.map(({ data }) => data);
  }
}

export class Receipts {
  #messages = 0;
  #bytes = 0;

  /**
   * One message more has been taken in.
   * @param {number} size bytes
   * @returns {boolean} whether it is time to say so; then it counts as said
   */
  took(size) {
    this.#messages += 1;
    this.#bytes += size;
    if (this.#messages < EVERY_MESSAGES && this.#bytes < EVERY_BYTES) return false;
    this.#messages = this.#bytes = 0;
    return true;
  }
}

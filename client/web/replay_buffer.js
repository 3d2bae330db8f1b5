/** Keeps media messages until they are acknowledged, so that a resumed session can resend them. */

export const ACK_MESSAGES = 16; // messages after which an acknowledgement is due
const ACK_BYTES = 1 << 16; // bytes after which an acknowledgement is due

export class ReplayBuffer {
  /** @type {{seq: number, data: ArrayBuffer}[]} */
  #messages = [];
  #bytes = 0;

  /** @param {boolean} keeps whether the session can be resumed; if not, nothing is kept */
  constructor(keeps) {
    this.keeps = keeps;
  }

  /**
   * Adds a message; call it just before sending.
   * @param {number} seq
   * @param {ArrayBuffer} data
   */
  add(seq, data) {
    if (!this.keeps) return;
    this.#messages.push({ seq, data });
    this.#bytes += data.byteLength;
  }

  /**
   * Drops the message with this sequence number and all before it.
   * @param {number | null} received sequence number; null: no message
   */
  acknowledge(received) {
    while (this.#messages.length && received !== null && this.#messages[0].seq <= received) {
      this.#bytes -= this.#messages.shift().data.byteLength;
    }
  }

  /** Bytes of the messages that are kept. */
  get bytes() {
    return this.#bytes;
  }

  /** The messages that are kept, oldest first. */
  get unacknowledged() {
    return this.#messages.map(({ data }) => data);
  }
}

/** Decides when the receiver acknowledges: after 16 messages or 64 KiB. */
export class AckPolicy {
  #messages = 0;
  #bytes = 0;

  /**
   * Counts one received message.
   * @param {number} size bytes
   * @returns {boolean} whether an acknowledgement is due; counting then starts anew
   */
  count(size) {
    this.#messages += 1;
    this.#bytes += size;
    if (this.#messages < ACK_MESSAGES && this.#bytes < ACK_BYTES) return false;
    this.#messages = this.#bytes = 0;
    return true;
  }
}

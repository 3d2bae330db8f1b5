/** Seals the frames of one session, and opens those of a message. */

import { ProtocolError, codeBits, frameBytes, packCodes, unpackCodes } from './protocol.js';
import { OVERHEAD, Sealing } from './sealing.js';

/** The frames of one session in an encrypted room; one call of each kind at a time. */
export class SealedFrames {
  #sealing;
  #model;
  #size; // bytes of a sealed frame

  /**
   * @param {string} key of the room
   * @param {string} role as in `hello`
   * @param {string | null} room
   * @param {{codebooks: number, codebook_size: number}} model as in `ready`
   */
  constructor(key, role, room, model) {
    this.#sealing = new Sealing(key, role, room);
    this.#model = model;
    this.#size = frameBytes(model.codebooks, codeBits(model.codebook_size)) + OVERHEAD;
  }

  /**
   * @param {Uint16Array[]} frames
   * @returns {Promise<Uint8Array<ArrayBuffer>[]>}
   */
  async seal(frames) {
    const sealed = [];
    for (const frame of frames) {
      sealed.push(await this.#sealing.seal(packCodes([frame], this.#model)));
    }
    return sealed;
  }

  /**
   * Number of frames in a message; throws a ProtocolError unless it is whole.
   * @param {Uint8Array} payload
   */
  count(payload) {
    if (payload.length % this.#size) {
      throw new ProtocolError('bad_codes', 'The payload is no whole number of sealed frames.');
    }
    return payload.length / this.#size;
  }

  /**
   * Opens the frames of a message.
   * @param {Uint8Array} payload
   * @returns {Promise<Uint16Array[]>}
   */
  async open(payload) {
    const frames = [];
    for (let at = 0; at < payload.length; at += this.#size) {
      const frame = await this.#sealing.open(payload.subarray(at, at + this.#size));
      frames.push(...unpackCodes(frame, this.#model));
    }
    return frames;
  }
}

/** Decodes a clip from its first codebooks only: in this browser or on the server. */

import { Session } from './session.js';

/**
 * @param {Uint16Array[]} frames codes of all codebooks
 * @param {number} codebooks so many are decoded
 * @returns {Uint16Array[]}
 */
export const firstOf = (frames, codebooks) => frames.map((codes) => codes.slice(0, codebooks));

/** Decodes one clip from as many of its codebooks as are wanted. */
export class FewerCodebooks {
  /** @type {Map<number, Promise<Int16Array>>} by codebooks */
  #decoded = new Map();

  /**
   * @param {import('./take.js').Recording} recording
   * @param {string} url of the server's websocket
   * @param {string} token '' for none
   * @param {import('./codec.js').Codec | null} codec in this browser; null: the server's
   */
  constructor(recording, url, token, codec) {
    this.recording = recording;
    this.url = url;
    this.token = token;
    this.codec = codec;
    this.#decoded.set(recording.model.codebooks, Promise.resolve(recording.decoded));
  }

  /**
   * The sound of the first codebooks, as long as the original; each is decoded once.
   * @param {number} codebooks
   * @returns {Promise<Int16Array>}
   */
  decode(codebooks) {
    const known = this.#decoded.get(codebooks);
    if (known) return known;
    const sound = this.#decode(codebooks);
    this.#decoded.set(codebooks, sound);
    sound.catch(() => this.#decoded.delete(codebooks)); // the next call tries again
    return sound;
  }

  async #decode(codebooks) {
    const frames = firstOf(this.recording.frames, codebooks);
    const here = this.codec && !this.codec.failed; // a call may have given it up
    const sound = here
      ? await this.codec.decodeClip(frames)
      : await this.#onServer(frames, codebooks);
    const whole = new Int16Array(this.recording.decoded.length);
    whole.set(sound.subarray(0, whole.length));
    return whole;
  }

  #onServer(frames, codebooks) {
    const { model } = this.recording;
    const hello = {
      ...{ role: 'decode', room: null, receive: ['pcm'], token: this.token || null },
      ...{ model_hash: model.hash, codebooks, receive_rate: this.recording.rate },
    };
    return new Promise((resolve, reject) => {
      const chunks = [];
      const fail = (error) => {
        session.close();
        reject(error);
      };
      const nothing = () => {};
      const session = new Session(this.url, hello, {
        ...{ pong: nothing, notice: nothing, clear: nothing, resumed: nothing, codes: nothing },
        ready: () => {
          session.sendCodes(frames); // ten seconds are one short message
          session.end();
        },
        pcm: ({ samples }) => chunks.push(...samples),
        ended: () => resolve(Int16Array.from(chunks)),
        interrupted: () => fail(new Error('The connection was lost. Try again.')),
        failed: fail,
      });
    });
  }
}

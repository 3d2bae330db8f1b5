/** Sends a short recording through the codec, and keeps both: what went in and what came out. */

import { CodingSession } from './coding_session.js';
import { Session } from './session.js';

/**
 * @typedef {object} Recording
 * @property {Int16Array} original at `model.input_rate`
 * @property {Int16Array} decoded at `rate`
 * @property {number} rate Hz of the decoded sound
 * @property {Uint16Array[]} frames the codes
 * @property {any} model as the server describes it
 */

export class Take {
  #original = [];
  #decoded = [];
  #frames = [];
  #ready = null;
  #settle;

  /**
   * @param {string} url of the server's websocket
   * @param {string} token '' for none
   * @param {import('./codec.js').Codec | null} codec in this browser; null: the server's
   */
  constructor(url, token, codec) {
    const hello = { role: 'loopback', room: null, receive: ['pcm', 'codes'], token: token || null };
    /** Settles when all has come back. @type {Promise<Recording>} */
    this.done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.begun = new Promise((resolve, reject) => {
      this.done.catch(reject);
      const nothing = () => {};
      const listener = {
        ready: (ready, restarted) => {
          this.#ready = ready;
          if (restarted) this.#fail(new Error('The connection was lost. Try again.'));
          else resolve(ready);
        },
        pcm: ({ samples }) => this.#decoded.push(samples),
        codes: ({ frames }) => this.#frames.push(...frames),
        ended: () => this.#ended(),
        failed: (error) => this.#fail(error),
        ...{ pong: nothing, notice: nothing, clear: nothing, interrupted: nothing, resumed: nothing },
      };
      this.session = codec
        ? new CodingSession(url, hello, listener, codec, null)
        : new Session(url, hello, listener);
    });
  }

  /** @param {Int16Array} samples the next ones, in real time */
  push(samples) {
    if (this.session.sendPcm(samples)) this.#original.push(samples);
  }

  /** Ends the recording; `done` settles when the rest has come. */
  end() {
    this.session.end();
  }

  #ended() {
    const original = joined(this.#original);
    const { receive_rate: rate, model } = this.#ready;
    const length = Math.round((original.length * rate) / model.input_rate);
    const decoded = new Int16Array(length);
    decoded.set(joined(this.#decoded).subarray(0, length));
    this.#settle.resolve({ original, decoded, rate, frames: this.#frames, model });
  }

  #fail(error) {
    this.session?.close();
    this.#settle.reject(error);
  }
}

function joined(chunks) {
  const whole = new Int16Array(chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const chunk of chunks) {
    whole.set(chunk, at);
    at += chunk.length;
  }
  return whole;
}

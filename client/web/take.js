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

const PAUSE = 20; // ms between two looks whether more can be sent

export class Take {
  #waiting = []; // sound that is not sent yet
  #ended = false; // whether no more will be pushed
  #over = false; // whether `done` has settled
  #timer = 0;
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
        ended: () => this.#finish(),
        failed: (error) => this.#fail(error),
        ...{ pong: nothing, notice: nothing, clear: nothing, interrupted: nothing, resumed: nothing },
      };
      this.session = codec
        ? new CodingSession(url, hello, listener, codec, null)
        : new Session(url, hello, listener);
    });
  }

  /**
   * Adds sound. It waits as long as the codec or the connection needs: nothing is left out.
   * @param {Int16Array} samples the next ones, in real time
   */
  push(samples) {
    this.#waiting.push(samples);
    this.#send();
  }

  /** Ends the recording; `done` settles when the rest has come. */
  end() {
    this.#ended = true;
    this.#send();
  }

  #send() {
    clearTimeout(this.#timer);
    if (this.#over) return; // sound may still come, and is of no use
    while (this.#waiting.length && !this.session.lags) {
      const samples = this.#waiting.shift();
      if (this.session.sendPcm(samples)) this.#original.push(samples);
    }
    const waits = this.#waiting.length || this.session.lags; // what was sent may have to go again
    if (!waits && this.#ended) this.session.end();
    else if (waits) this.#timer = setTimeout(() => this.#send(), PAUSE);
  }

  #finish() {
    this.#over = true;
    const original = joined(this.#original);
    const { receive_rate: rate, model } = this.#ready;
    const length = Math.round((original.length * rate) / model.input_rate);
    const decoded = new Int16Array(length);
    decoded.set(joined(this.#decoded).subarray(0, length));
    this.#settle.resolve({ original, decoded, rate, frames: this.#frames, model });
  }

  #fail(error) {
    this.#over = true;
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

/** A session whose codec runs in this browser: codes are all that it sends and receives. */

import { Session } from './session.js';

const MAX_WAITING = 1.5; // s of sound that may wait for the codec; beyond it, sound is dropped

/**
 * Offers what Session does to a call: sound in, sound out. `ready` and `pong` describe the codec
 * here in place of the server's.
 */
export class CodingSession {
  #epoch = 0; // counts sessions of the server's: what was coded for an earlier one is dropped
  #ready = null;
  #ending = false;
  /** @type {Promise<void>} */
  #arrivals = Promise.resolve();

  /**
   * @param {string} url
   * @param {{role: string, receive: string[] | null}} hello
   * @param {import('./session.js').SessionListener} listener `failed` also gets a CodecError
   * @param {import('./codec.js').Codec} codec
   */
  constructor(url, hello, listener, codec) {
    this.listener = listener;
    this.codec = codec;
    this.samplesSent = 0; // accepted since the session began
    const speaks = hello.role !== 'speaker';
    const own = {
      ...hello,
      send: speaks ? 'codes' : null,
      receive: hello.receive && ['codes'],
      model_hash: codec.model.hash,
    };
    this.session = new Session(url, own, {
      ...listener,
      ready: (ready, restarted) => this.#begin(ready, restarted),
      codes: (message) => this.#received(message),
      pong: (roundTrip) => listener.pong(roundTrip, codec.codingMs),
      clear: () => this.#inOrder(() => listener.clear()),
      ended: () => this.#ended(),
    });
  }

  /** See Traffic. */
  get traffic() {
    return this.session.traffic;
  }

  /**
   * Encodes and sends sound of the codec's rate; it is dropped as Session.sendPcm says, and while
   * too much waits for the codec.
   * @param {Int16Array} samples
   * @returns {boolean} whether it was accepted
   */
  sendPcm(samples) {
    const epoch = this.#epoch;
    const most = (MAX_WAITING * this.codec.model.input_rate) / samples.length;
    if (!this.session.open || this.#ending || this.codec.waiting > most) {
      this.session.gap = this.session.sent > 0;
      return false;
    }
    this.samplesSent += samples.length;
    this.#guarded(async () => {
      const frames = await this.codec.encode(samples);
      if (frames.length && epoch === this.#epoch) this.session.sendCodes(frames);
    });
    return true;
  }

  /** See Session. */
  clear() {
    this.session.clear();
  }

  /** See Session. */
  cleared(unplayed) {
    this.session.cleared(unplayed);
  }

  /** Encodes the last, partial frame and ends the input; see Session. */
  end() {
    if (!this.session.open) {
      this.session.end();
      return;
    }
    this.#ending = true;
    const epoch = this.#epoch;
    this.#guarded(async () => {
      const frames = await this.codec.flushEncoder();
      if (epoch === this.#epoch && frames.length) this.session.sendCodes(frames);
      this.session.end();
    });
  }

  /** Ends the session at once. */
  close() {
    this.#epoch += 1;
    this.session.close();
  }

  #begin(ready, restarted) {
    const { model } = this.codec;
    this.#epoch += 1;
    this.samplesSent = 0;
    void this.codec.reset().catch(() => {}); // a codec that has failed says so to the next request
    this.#ready = {
      ...ready,
      send: ready.send && 'pcm',
      receive: ready.receive.length ? ['pcm', 'codes'] : [],
      send_rate: model.input_rate,
      receive_rate: model.output_rate,
      codec_here: true,
      delay_ms: { encode: 1e3 * model.encoder.delay, decode: 1e3 * model.decoder.delay },
    };
    this.listener.ready(this.#ready, restarted);
  }

  #received(message) {
    this.listener.codes(message);
    this.#inOrder(async (current) => {
      const samples = await this.codec.decode(message.frames);
      const frame = message.frame + message.frames.length - 1;
      if (current()) this.listener.pcm({ frame, samples, gap: message.gap });
    });
  }

  /** The rest of the sound comes before the end. */
  #ended() {
    this.#inOrder(async (current) => {
      const samples = this.#ready?.receive.length ? await this.codec.flushDecoder() : [];
      if (current() && samples.length) {
        this.listener.pcm({ frame: -1, samples: Int16Array.from(samples), gap: false });
      }
      if (current()) this.listener.ended();
    });
  }

  /** Does what a message of the server's asks for, after all that came before it. */
  #inOrder(act) {
    const epoch = this.#epoch;
    const current = () => epoch === this.#epoch;
    this.#arrivals = this.#arrivals.then(() => this.#guarded(() => act(current)));
  }

  /** Runs `work`; an error of the codec ends the session. */
  async #guarded(work) {
    const epoch = this.#epoch;
    try {
      await work();
    } catch (error) {
      if (epoch !== this.#epoch) return;
      this.close();
      this.listener.failed(error);
    }
  }
}

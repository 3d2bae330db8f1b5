/**
 * The server's codec for a call that goes on with codes: sound is encoded and codes are decoded in
 * sessions of their own beside the call's, so that the call and all who hear it notice nothing.
 */

import { Session } from './session.js';

const MAX_WAITING = 12; // frames, 1 s, that may wait for the server; beyond them sound is left out
const WINDOW = 25; // frames that the times are averaged over

export class ServerCodec {
  #encoding = null;
  #decoding = null;

  /**
   * Opens the sessions that a call needs.
   * @param {string} url of the server's websocket
   * @param {any} model as model.json describes it
   * @param {{token: string | null, encodes: boolean, decodes: boolean,
   *   traffic: import('./traffic.js').Traffic}} call
   * @param {{codes: (frames: Uint16Array[]) => void,
   *   sound: (message: {frame: number, samples: Int16Array, gap: boolean}) => void,
   *   failed: (error: Error) => void}} listener `sound` gets the numbers that `decode` was given
   * @returns {Promise<ServerCodec>}
   * @throws {import('./protocol.js').ProtocolError} the server refuses
   */
  static async open(url, model, { token, encodes, decodes, traffic }, listener) {
    const common = { room: null, token, model_hash: model.hash };
    const codec = new ServerCodec();
    const { codes, sound, failed } = listener;
    if (encodes) {
      const hello = { role: 'encode', receive: ['codes'], send_rate: model.input_rate, ...common };
      codec.#encoding = new Coding(url, hello, traffic, ({ frames }) => codes(frames), failed);
    }
    if (decodes) {
      const hello = { role: 'decode', receive: ['pcm'], receive_rate: model.output_rate, ...common };
      codec.#decoding = new Coding(url, hello, traffic, (message) => sound(message), failed);
    }
    try {
      await Promise.all([codec.#encoding?.opened, codec.#decoding?.opened]);
    } catch (error) {
      codec.close();
      throw error;
    }
    codec.frameSamples = model.frame_samples_in;
    return codec;
  }

  /**
   * Sends sound to be encoded; the codes go to the listener.
   * @param {Int16Array} samples
   * @returns {boolean} whether it was accepted
   */
  encode(samples) {
    if (this.#encoding.late) return this.#encoding.session.drop();
    const before = Math.floor(this.#encoding.session.samplesSent / this.frameSamples);
    if (!this.#encoding.session.sendPcm(samples)) return false;
    const after = Math.floor(this.#encoding.session.samplesSent / this.frameSamples);
    for (let frame = before; frame < after; frame++) this.#encoding.sent(frame);
    return true;
  }

  /** Has the last, partial frame encoded; resolves when all codes have gone to the listener. */
  async flushEncoder() {
    await this.#encoding?.end();
  }

  /**
   * Sends frames to be decoded; the sound goes to the listener.
   * @param {Uint16Array[]} frames
   * @param {number} frame number of the first
   */
  decode(frames, frame) {
    if (this.#decoding.late) this.#decoding.session.drop();
    else if (this.#decoding.session.sendCodes(frames)) {
      frames.forEach((_, i) => this.#decoding.sent(frame + i));
    }
  }

  /** Resolves when the sound of all frames has gone to the listener. */
  async drained() {
    await this.#decoding?.answered();
  }

  /** Has the rest of the sound decoded, too. */
  async flushDecoder() {
    await this.#decoding?.end();
  }

  /** Mean ms until a frame was encoded or decoded, the network included; null: there was none. */
  get codingMs() {
    return { encode: this.#encoding?.ms ?? null, decode: this.#decoding?.ms ?? null };
  }

  /** Ends its sessions. */
  close() {
    this.#encoding?.close();
    this.#decoding?.close();
  }
}

/** A session that encodes or decodes one stream. */
class Coding {
  #waiting = []; // {frame, at}: frames of the call that have no result yet, and when they went, ms
  #results = 0; // frames that have one
  #times = []; // ms of the latest frames
  #idle = []; // called when no frame waits any more
  #isOpen = false;
  #over = false;

  /**
   * @param {string} url
   * @param {any} hello
   * @param {import('./traffic.js').Traffic} traffic of the call
   * @param {(message: any) => void} take called with each result; its frame is the call's
   * @param {(error: Error) => void} failed called if it fails after it was opened
   */
  constructor(url, hello, traffic, take, failed) {
    const nothing = () => {};
    const result = (message, last) => {
      const done = this.#waiting.splice(0, Math.max(0, last + 1 - this.#results));
      this.#results += done.length;
      const now = performance.now();
      this.#times = [...this.#times, ...done.map(({ at }) => now - at)].slice(-WINDOW);
      take({ ...message, frame: done.at(-1)?.frame ?? -1 });
      if (!this.#waiting.length) this.#settle();
    };
    this.opened = new Promise((resolve, reject) => {
      const listener = {
        ...{ pong: nothing, notice: nothing, clear: nothing, interrupted: nothing, resumed: nothing },
        ready: () => {
          this.#isOpen = true;
          this.#results = 0;
          this.#waiting = []; // what an earlier session was sent is lost with it
          this.#settle();
          resolve(undefined);
        },
        codes: (message) => result(message, message.frame + message.frames.length - 1),
        pcm: (message) => result(message, message.frame),
        ended: () => this.#finish(),
        failed: (error) => {
          this.#finish();
          reject(error);
          if (this.#isOpen) failed(error);
        },
      };
      this.session = new Session(url, hello, listener, traffic);
    });
  }

  /** Whether more frames wait for the server than are of use in a call. */
  get late() {
    return this.#waiting.length > MAX_WAITING;
  }

  /** Mean ms of the latest frames; null: there was none. */
  get ms() {
    const sum = this.#times.reduce((all, ms) => all + ms, 0);
    return this.#times.length ? sum / this.#times.length : null;
  }

  /** @param {number} frame of the call, which was sent now */
  sent(frame) {
    this.#waiting.push({ frame, at: performance.now() });
  }

  /** Resolves when no frame waits for its result. */
  answered() {
    if (this.#over || !this.#waiting.length) return Promise.resolve();
    return new Promise((resolve) => this.#idle.push(resolve));
  }

  /** Ends the input; resolves when all results have come. */
  end() {
    if (this.#over) return Promise.resolve();
    const ended = new Promise((resolve) => (this.ended = resolve));
    this.session.end();
    return ended;
  }

  close() {
    this.session.close();
    this.#finish();
  }

  #finish() {
    this.#over = true;
    this.#settle();
    this.ended?.();
  }

  #settle() {
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

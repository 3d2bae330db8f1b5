/** A session whose codec runs in this browser: codes are all that it sends and receives. */

import { AnswerClock } from './answer_clock.js';
import { ProtocolError, codeBits, frameBytes, packCodes, unpackCodes } from './protocol.js';
import { OVERHEAD, Sealing } from './sealing.js';
import { Session } from './session.js';

const MAX_WAITING = 1.5; // s of sound that may wait for the codec; beyond it, sound is dropped
const TELL_AGAIN = 30; // seconds between two notices that sound is dropped

/**
 * Offers what Session does to a call: sound in, sound out. `ready` and `pong` describe the codec
 * here in place of the server's.
 */
export class CodingSession {
  #epoch = 0; // counts sessions of the server's: what was coded for an earlier one is dropped
  #ready = null;
  #ending = false;
  #tellAgainAt = 0; // seconds
  /** @type {Sealing | null} */
  #sealing = null;
  /** @type {AnswerClock | null} */
  #clock = null; // of a conversation
  #speaking = false; // whether the decoder holds a rest of sound
  #arrivals = new Lane();
  #departures = new Lane();

  /**
   * @param {string} url
   * @param {{role: string, room: string | null, receive: string[] | null}} hello
   * @param {import('./session.js').SessionListener} listener `failed` also gets a CodecError
   * @param {import('./codec.js').Codec} codec
   * @param {string | null} key of an encrypted room; null: it is not encrypted
   */
  constructor(url, hello, listener, codec, key) {
    this.listener = listener;
    this.codec = codec;
    this.key = key;
    this.hello = hello;
    this.samplesSent = 0; // accepted since the session began
    const speaks = hello.role !== 'speaker';
    const kind = key === null ? 'codes' : 'sealed';
    const own = {
      ...hello,
      send: speaks ? kind : null,
      receive: hello.receive && [kind],
      model_hash: codec.model.hash,
    };
    this.session = new Session(url, own, {
      ...listener,
      ready: (ready, restarted) => this.#begin(ready, restarted),
      codes: (message) => this.#arrived(message, message.frames.length, () => message.frames),
      sealed: (message) => this.#sealedArrived(message),
      pong: (roundTrip, _, listeners) => listener.pong(roundTrip, codec.codingMs, listeners),
      clear: () => this.#inOrder(this.#arrivals, () => listener.clear()),
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
    const most = (MAX_WAITING * this.codec.model.input_rate) / samples.length;
    if (this.codec.waiting > most) this.#tellTooSlow();
    if (!this.session.open || this.#ending || this.codec.waiting > most) {
      return this.session.drop();
    }
    this.samplesSent += samples.length;
    this.#depart(this.codec.encode(samples));
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
    this.#depart(this.codec.flushEncoder());
    this.#inOrder(this.#departures, () => this.session.end());
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
    const { role, room } = this.hello;
    this.#sealing = this.key === null ? null : new Sealing(this.key, role, room);
    this.#clock = role === 'user' ? new AnswerClock() : null;
    this.#speaking = false;
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

  #tellTooSlow() {
    const now = performance.now() / 1e3;
    if (now < this.#tellAgainAt) return;
    this.#tellAgainAt = now + TELL_AGAIN;
    const message = 'This device is too slow for the codec: sound is left out.';
    this.listener.notice({ name: 'too_slow_here', message });
  }

  /** Sends frames when they are encoded, after those before. */
  #depart(encoded) {
    encoded.catch(() => {}); // its error comes again when its turn has come
    this.#inOrder(this.#departures, async (current) => {
      const frames = await encoded;
      if (!frames.length || !current()) return;
      const sealed = this.#sealing && (await this.#seal(frames));
      if (!current()) return;
      const sent = sealed ? this.session.sendSealed(sealed) : this.session.sendCodes(frames);
      if (sent) this.listener.said?.(frames);
      if (sent && this.#clock) this.#tick(frames.length);
    });
  }

  async #seal(frames) {
    const sealed = [];
    for (const frame of frames) {
      sealed.push(await this.#sealing.seal(packCodes([frame], this.#ready.model)));
    }
    return sealed;
  }

  /** Counts frames of a conversation that were sent, and plays the silence that is due. */
  #tick(frames) {
    const now = performance.now() / 1e3;
    for (let i = 0; i < frames; i++) this.#clock.sent(now);
    this.#silence(this.#clock.overdue(now));
  }

  /** Plays silent frames, after all that came before. */
  #silence(frames) {
    if (!frames) return;
    this.#inOrder(this.#arrivals, async (current) => {
      const rest = this.#speaking ? await this.codec.flushDecoder() : [];
      this.#speaking = false;
      const samples = new Int16Array(rest.length + frames * this.codec.model.frame_samples_out);
      samples.set(rest);
      if (current()) this.listener.pcm({ frame: -1, samples, gap: false });
    });
  }

  /** Decodes frames that have come, after those before. */
  #arrived({ frame, gap }, count, frames) {
    this.#silence(this.#clock?.arrived(frame, count, performance.now() / 1e3) ?? 0);
    this.#inOrder(this.#arrivals, async (current) => {
      const codes = await frames();
      if (!current()) return;
      this.listener.codes({ frame, frames: codes, gap });
      this.#speaking = true;
      const samples = await this.codec.decode(codes);
      if (current()) this.listener.pcm({ frame: frame + codes.length - 1, samples, gap });
    });
  }

  #sealedArrived(message) {
    const { model } = this.#ready;
    const { payload } = message;
    const size = frameBytes(model.codebooks, codeBits(model.codebook_size)) + OVERHEAD;
    if (payload.length % size) {
      throw new ProtocolError('bad_codes', 'The payload is no whole number of sealed frames.');
    }
    this.#arrived(message, payload.length / size, async () => {
      const frames = [];
      for (let at = 0; at < payload.length; at += size) {
        const frame = await this.#sealing.open(payload.subarray(at, at + size));
        frames.push(...unpackCodes(frame, model));
      }
      return frames;
    });
  }

  /** The rest of the sound comes before the end. */
  #ended() {
    this.#inOrder(this.#arrivals, async (current) => {
      const samples = this.#ready?.receive.length ? await this.codec.flushDecoder() : [];
      if (current() && samples.length) {
        this.listener.pcm({ frame: -1, samples: Int16Array.from(samples), gap: false });
      }
      if (current()) this.listener.ended();
    });
  }

  /** Runs `act` after all that is in the lane; an error of the codec or the key ends the session. */
  #inOrder(lane, act) {
    const epoch = this.#epoch;
    const current = () => epoch === this.#epoch;
    lane.add(async () => {
      try {
        await act(current);
      } catch (error) {
        if (!current()) return;
        this.close();
        this.listener.failed(error);
      }
    });
  }
}

/** Work that is done one after the other. */
class Lane {
  /** @type {Promise<void>} */
  #last = Promise.resolve();

  /** @param {() => Promise<void>} work never rejects */
  add(work) {
    this.#last = this.#last.then(work);
  }
}

/** A session whose codec runs in this browser: codes are all that it sends and receives. */

import { AnswerClock } from './answer_clock.js';
import { Backlog } from './backlog.js';
import { Lane } from './lane.js';
import { SealedFrames } from './sealed_frames.js';
import { ServerCodec } from './server_codec.js';
import { Session } from './session.js';

const MAX_WAITING = 1.5; // s of sound that may wait for the codec; beyond it, sound is dropped
const MAX_LATE = 0.5; // s of it that the server's codec still takes when it takes over
const CHUNK = 0.02; // s of that in a message: messages are acknowledged by their number
const TELL_AGAIN = 30; // seconds between two notices that sound is dropped
const TOO_SLOW = 'This device is too slow for the codec: sound is left out.';
const MOVED = 'This device is too slow for the codec: the call goes on with the server’s.';

/**
 * Offers what Session does to a call: sound in, sound out. `ready` and `pong` describe the codec
 * here in place of the server's.
 *
 * When the codec here falls behind for good, the server's takes its place in the middle of the
 * call, if there is one and the room is not encrypted: see server_codec.js. The session stays.
 */
export class CodingSession {
  #epoch = 0; // counts sessions of the server's: what was coded for an earlier one is dropped
  #ready = null;
  #ending = false;
  #tellAgainAt = 0; // seconds
  #moveAgainAt = 0; // seconds
  #moving = false; // whether the server's codec is being opened
  /** @type {ServerCodec | null} */
  #server = null; // the server's codec, once it has taken over
  #unencoded = new Int16Array(0); // sound that no frame was made of yet
  #undecoded = 0; // frames that wait for the decoder
  #backlogs = { encode: new Backlog(), decode: new Backlog() };
  /** @type {SealedFrames | null} */
  #sealed = null; // of an encrypted room
  /** @type {AnswerClock | null} */
  #clock = null; // of a conversation
  #speaking = false; // whether the decoder holds a rest of sound
  #arrivals = new Lane();
  #departures = new Lane();

  /**
   * @param {string} url
   * @param {{role: string, room: string | null, receive: string[] | null}} hello
   * @param {import('./session.js').SessionListener & {moved?: () => void}} listener `failed` also
   *   gets a CodecError; moved: the codec runs on the server from now on, and `codec` is closed
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
      sealed: (message) => {
        const { payload } = message;
        const sealed = this.#sealed;
        this.#arrived(message, sealed.count(payload), () => sealed.open(payload));
      },
      pong: (roundTrip, _, listeners) =>
        listener.pong(roundTrip, (this.#server ?? codec).codingMs, listeners),
      clear: () =>
        this.#inOrder(this.#arrivals, async () => {
          await this.#server?.drained();
          listener.clear();
        }),
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
    if (!this.session.open || this.#ending) return this.session.drop();
    if (this.#server) {
      if (!this.#server.encode(samples)) return this.session.drop();
      this.samplesSent += samples.length;
      return true;
    }
    const waiting = this.#unencoded.length / this.codec.model.input_rate;
    this.#watch('encode', waiting);
    if (waiting > MAX_WAITING) {
      this.#tellTooSlow();
      return this.session.drop();
    }
    this.samplesSent += samples.length;
    this.#unencoded = joined(this.#unencoded, samples);
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
    if (!this.#server) this.#depart(this.codec.flushEncoder());
    this.#inOrder(this.#departures, async () => {
      await this.#server?.flushEncoder();
      this.session.end();
    });
  }

  /** Ends the session at once. */
  close() {
    this.#epoch += 1;
    this.session.close();
    this.#server?.close();
  }

  #begin(ready, restarted) {
    const { model } = this.codec;
    this.#epoch += 1;
    this.samplesSent = 0;
    const { role, room } = this.hello;
    this.#sealed = this.key === null ? null : new SealedFrames(this.key, role, room, ready.model);
    this.#clock = role === 'user' ? new AnswerClock() : null;
    this.#speaking = false;
    this.#unencoded = new Int16Array(0);
    this.#undecoded = 0;
    // A codec that has failed says so to the next request.
    if (!this.#server) void this.codec.reset().catch(() => {});
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

  /** Says that sound is left out, unless the server's codec is about to take over. */
  #tellTooSlow() {
    const now = performance.now() / 1e3;
    if (this.#moving || now < this.#tellAgainAt) return;
    this.#tellAgainAt = now + TELL_AGAIN;
    this.listener.notice({ name: 'too_slow_here', message: TOO_SLOW });
  }

  /**
   * Has the server's codec take over once the one here falls behind for good.
   * @param {'encode' | 'decode'} direction
   * @param {number} waiting seconds of sound
   */
  #watch(direction, waiting) {
    const now = performance.now() / 1e3;
    if (!this.#backlogs[direction].grows(waiting, now)) return;
    if (this.#moving || this.#ending || this.#server || now < this.#moveAgainAt) return;
    this.#moveAgainAt = now + TELL_AGAIN;
    if (this.key === null) void this.#moveToServer();
    else this.#tellTooSlow(); // the server must not hear an encrypted room
  }

  async #moveToServer() {
    const epoch = this.#epoch;
    const { token = null, role, receive } = this.hello;
    const { traffic } = this;
    const call = { token, encodes: role !== 'speaker', decodes: receive !== null, traffic };
    let gap = true; // the rest of the sound that was decoded here is left out
    this.#moving = true;
    try {
      const server = await ServerCodec.open(this.session.url, this.codec.model, call, {
        codes: (frames) => this.#sendCodes(frames),
        sound: (message) => {
          this.listener.pcm({ ...message, gap: gap || message.gap });
          gap = false;
        },
        failed: (error) => {
          this.close();
          this.listener.failed(error);
        },
      });
      if (epoch !== this.#epoch || this.#ending) return server.close();
      this.#server = server;
    } catch {
      return this.#tellTooSlow(); // a relay, or a server without a place for it
    } finally {
      this.#moving = false;
    }
    this.codec.close(); // what still waits for it is coded on the server
    const { input_rate: rate } = this.codec.model;
    const late = this.#unencoded.slice(-MAX_LATE * rate);
    this.samplesSent -= this.#unencoded.length; // what is left out is in no frame
    for (let at = 0; at < late.length; at += CHUNK * rate) {
      const chunk = late.slice(at, at + CHUNK * rate);
      if (this.#server.encode(chunk)) this.samplesSent += chunk.length;
    }
    this.listener.notice({ name: 'codec_moved', message: MOVED });
    this.listener.moved?.();
  }

  /** Sends frames when they are encoded, after those before. */
  #depart(encoded) {
    encoded.catch(() => {}); // its error comes again when its turn has come
    this.#inOrder(this.#departures, async (current) => {
      const frames = await this.#madeHere(encoded);
      if (this.#server || !frames.length || !current()) return;
      this.#unencoded = this.#unencoded.slice(frames.length * this.codec.model.frame_samples_in);
      const sealed = this.#sealed && (await this.#sealed.seal(frames));
      if (current()) this.#sendCodes(frames, sealed);
    });
  }

  /** Sends frames, sealed or as they are. */
  #sendCodes(frames, sealed = null) {
    const sent = sealed ? this.session.sendSealed(sealed) : this.session.sendCodes(frames);
    if (sent) this.listener.said?.(frames);
    if (sent && this.#clock) this.#tick(frames.length);
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
      // The server's decoder keeps its rest: flushing it would end its session.
      await this.#server?.drained();
      const rest = this.#speaking && !this.#server ? await this.codec.flushDecoder() : [];
      this.#speaking = false;
      const samples = new Int16Array(rest.length + frames * this.codec.model.frame_samples_out);
      samples.set(rest);
      if (current()) this.listener.pcm({ frame: -1, samples, gap: false });
    });
  }

  /** Decodes frames that have come, after those before. */
  #arrived({ frame, gap }, count, frames) {
    this.#silence(this.#clock?.arrived(frame, count, performance.now() / 1e3) ?? 0);
    this.#undecoded += count;
    const { frame_samples_in: frameSamples, input_rate: rate } = this.codec.model;
    this.#watch('decode', (this.#undecoded * frameSamples) / rate);
    this.#inOrder(this.#arrivals, async (current) => {
      const codes = await frames();
      if (!current()) return;
      this.listener.codes({ frame, frames: codes, gap });
      this.#speaking = true;
      const samples = this.#server ? null : await this.#madeHere(this.codec.decode(codes));
      if (!current()) return;
      this.#undecoded -= count;
      if (samples) this.listener.pcm({ frame: frame + codes.length - 1, samples, gap });
      else this.#server.decode(codes, frame);
    });
  }

  /** What the codec here makes; null: the server's codec has taken over meanwhile. */
  async #madeHere(result) {
    try {
      return await result;
    } catch (error) {
      if (!this.#server) throw error;
      return null;
    }
  }

  /** The rest of the sound comes before the end. */
  #ended() {
    this.#inOrder(this.#arrivals, async (current) => {
      const hears = this.#ready?.receive.length;
      const samples = hears && !this.#server ? await this.codec.flushDecoder() : [];
      await this.#server?.flushDecoder();
      if (current() && samples.length) {
        this.listener.pcm({ frame: -1, samples: Int16Array.from(samples), gap: false });
      }
      if (!current()) return;
      this.#server?.close();
      this.listener.ended();
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

function joined(first, second) {
  const whole = new Int16Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

/** A session whose codec runs in this browser: codes are all that it sends and receives. */

import { CallCodec } from './call_codec.js';
import { CodePlayer } from './code_player.js';
import { Lane } from './lane.js';
import { SealedFrames } from './sealed_frames.js';
import { ServerCodec } from './server_codec.js';
import { Session } from './session.js';
import { SlowCodec } from './slow_codec.js';

const MAX_WAITING = 1.5; // s of sound that may wait for the codec; beyond it, sound is dropped
const MAX_LATE = 0.5; // s of waiting sound that the server's codec still takes when it takes over
const HELD = 0.5; // s of sound that may wait before `lags` says so
const CHUNK = 0.02; // s of it in a message: messages are acknowledged by their number
const TOO_SLOW = 'This device is too slow for the codec: sound is left out.';
const MOVED = 'This device is too slow for the codec: the call goes on with the server’s.';

/**
 * Offers what Session does to a call: sound in, sound out. `ready` and `pong` describe the codec
 * here in place of the server's.
 *
 * When the codec here falls behind for good, the server's takes its place in the middle of the
 * call, if there is one, the room is not encrypted and the listener has `moved`: see
 * server_codec.js. The session stays.
 */
export class CodingSession {
  #ready = null; // of the server's session; what was coded for an earlier one is dropped
  #ending = false;
  #codec;
  #unencoded = new Int16Array(0); // sound that no frame was made of yet
  #slow;
  /** @type {SealedFrames | null} */
  #sealed = null; // of an encrypted room
  #player;
  #departures;

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
    this.key = key;
    this.hello = hello;
    this.samplesSent = 0; // accepted since the session began
    this.#codec = new CallCodec(codec);
    const failed = (error) => this.#fail(error);
    this.#departures = new Lane(failed);
    const watch = (waiting) => this.#watch('decode', waiting);
    this.#player = new CodePlayer(this.#codec, listener, watch, failed);
    // The server must not hear an encrypted room.
    const move = key === null && listener.moved ? () => this.#moveToServer() : null;
    this.#slow = new SlowCodec(move, () =>
      listener.notice({ name: 'too_slow_here', message: TOO_SLOW }),
    );
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
      codes: (message) =>
        this.#player.arrived(message, message.frames.length, () => message.frames),
      sealed: (message) => {
        const { payload } = message;
        const sealed = this.#sealed;
        this.#player.arrived(message, sealed.count(payload), () => sealed.open(payload));
      },
      pong: (roundTrip, _, listeners) =>
        listener.pong(roundTrip, this.#codec.codingMs, listeners),
      clear: () => this.#player.clear(),
      ended: () => this.#player.end(this.#ready?.receive.length > 0),
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
    const { here, server } = this.#codec;
    if (server) {
      if (!server.encode(samples)) return this.session.drop();
      this.samplesSent += samples.length;
      return true;
    }
    const waiting = this.#unencoded.length / here.model.input_rate;
    this.#watch('encode', waiting);
    if (waiting > MAX_WAITING) {
      this.#slow.soundLeftOut();
      return this.session.drop();
    }
    this.samplesSent += samples.length;
    this.#unencoded = joined(this.#unencoded, samples);
    this.#depart(here.encode(samples));
    return true;
  }

  /** See Session; the codec here counts, too. */
  get lags() {
    const { frame_samples_in: frame, input_rate: rate } = this.#codec.here.model;
    const waiting = Math.max(this.#unencoded.length, this.#player.undecoded * frame);
    return this.session.lags || waiting > HELD * rate;
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
    if (!this.#codec.server) this.#depart(this.#codec.here.flushEncoder());
    this.#departures.add(async () => {
      await this.#codec.server?.flushEncoder();
      this.session.end();
    });
  }

  /** Ends the session at once. */
  close() {
    this.#ready = null;
    this.#departures.restart();
    this.#player.drop();
    this.session.close();
    this.#codec.server?.close();
  }

  #fail(error) {
    this.close();
    this.listener.failed(error);
  }

  #begin(ready, restarted) {
    const { model } = this.#codec.here;
    const { role, room } = this.hello;
    this.samplesSent = 0;
    this.#sealed = this.key === null ? null : new SealedFrames(this.key, role, room, ready.model);
    this.#unencoded = new Int16Array(0);
    this.#departures.restart();
    this.#player.begin(role);
    this.#codec.reset();
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

  /**
   * Has the server's codec take over once the one here falls behind for good.
   * @param {'encode' | 'decode'} direction
   * @param {number} waiting seconds of sound
   */
  #watch(direction, waiting) {
    if (!this.#ending && !this.#codec.server) this.#slow.watch(direction, waiting);
  }

  /**
   * Has the server's codec take over.
   * @returns {Promise<boolean>} false: the call goes on here, because the server is a relay or has
   *   no place for it
   */
  async #moveToServer() {
    const ready = this.#ready;
    let server = null;
    try {
      server = await this.#openServerCodec();
    } catch {
      // The server says no: nothing changes.
    }
    const tooLate = ready !== this.#ready || this.#ending;
    if (tooLate) server?.close();
    else if (server) this.#takeOver(server);
    return tooLate || server !== null;
  }

  #openServerCodec() {
    const { token = null, role, receive } = this.hello;
    const { traffic } = this;
    const call = { token, encodes: role !== 'speaker', decodes: receive !== null, traffic };
    let gap = true; // the rest of the sound that was decoded here is left out
    return ServerCodec.open(this.session.url, this.#codec.here.model, call, {
      codes: (frames) => this.#sendCodes(frames),
      sound: (message) => {
        this.listener.pcm({ ...message, gap: gap || message.gap });
        gap = false;
      },
      failed: (error) => this.#fail(error),
    });
  }

  /** Closes the codec here; the server's takes the latest of what still waits for it. */
  #takeOver(server) {
    const { here } = this.#codec;
    const { input_rate: rate } = here.model;
    this.#codec.server = server;
    here.close();
    const late = this.#unencoded.slice(-MAX_LATE * rate);
    this.samplesSent -= this.#unencoded.length; // what is left out is in no frame
    for (let at = 0; at < late.length; at += CHUNK * rate) {
      const chunk = late.slice(at, at + CHUNK * rate);
      if (server.encode(chunk)) this.samplesSent += chunk.length;
    }
    this.listener.notice({ name: 'codec_moved', message: MOVED });
    this.listener.moved();
  }

  /** Sends frames when they are encoded, after those before. */
  #depart(encoded) {
    encoded.catch(() => {}); // its error comes again when its turn has come
    this.#departures.add(async (current) => {
      const frames = await this.#codec.madeHere(encoded);
      const { here, server } = this.#codec;
      if (server || !frames.length || !current()) return;
      this.#unencoded = this.#unencoded.slice(frames.length * here.model.frame_samples_in);
      const sealed = this.#sealed && (await this.#sealed.seal(frames));
      if (current()) this.#sendCodes(frames, sealed);
    });
  }

  /** Sends frames, sealed or as they are. */
  #sendCodes(frames, sealed = null) {
    const sent = sealed ? this.session.sendSealed(sealed) : this.session.sendCodes(frames);
    if (!sent) return;
    this.listener.said?.(frames);
    this.#player.sent(frames.length);
  }
}

/** Two pieces of sound as one. */
function joined(first, second) {
  const whole = new Int16Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

/** Makes sound of the codes that arrive in a call, and silence of the frames without codes. */

import { AnswerClock } from './answer_clock.js';
import { Lane } from './lane.js';

export class CodePlayer {
  #codec;
  #listener;
  #watch;
  #speaking = false; // whether the decoder holds a rest of sound
  /** @type {AnswerClock | null} */
  #clock = null; // of a conversation
  #lane;
  undecoded = 0; // frames that wait for the decoder

  /**
   * @param {import('./call_codec.js').CallCodec} codec
   * @param {import('./session.js').SessionListener} listener gets codes, sound and the end
   * @param {(waiting: number) => void} watch called with the seconds of sound that wait
   * @param {(error: Error) => void} onError called when the codec or the key has failed
   */
  constructor(codec, listener, watch, onError) {
    this.#codec = codec;
    this.#listener = listener;
    this.#watch = watch;
    this.#lane = new Lane(onError);
  }

  /**
   * Begins another session: what was received in an earlier one is dropped.
   * @param {string} role
   */
  begin(role) {
    this.drop();
    this.#clock = role === 'user' ? new AnswerClock() : null;
    this.#speaking = false;
    this.undecoded = 0;
  }

  /** Drops all that is not played yet. */
  drop() {
    this.#lane.restart();
  }

  /**
   * Decodes frames that have arrived, after those before.
   * @param {{frame: number, gap: boolean}} message
   * @param {number} count of its frames
   * @param {() => Uint16Array[] | Promise<Uint16Array[]>} frames opens them
   */
  arrived({ frame, gap }, count, frames) {
    this.#silence(this.#clock?.arrived(frame, count, performance.now() / 1e3) ?? 0);
    this.undecoded += count;
    const { model } = this.#codec.here;
    this.#watch((this.undecoded * model.frame_samples_in) / model.input_rate);
    this.#lane.add(async (current) => {
      const codes = await frames();
      if (!current()) return;
      const { here, server } = this.#codec;
      this.#listener.codes({ frame, frames: codes, gap });
      this.#speaking = true;
      const samples = server ? null : await this.#codec.madeHere(here.decode(codes));
      if (!current()) return;
      this.undecoded -= count;
      if (samples) this.#listener.pcm({ frame: frame + codes.length - 1, samples, gap });
      else this.#codec.server.decode(codes, frame);
    });
  }

  /**
   * Counts frames of a conversation that were sent, and plays the silence that is due.
   * @param {number} frames
   */
  sent(frames) {
    if (!this.#clock) return;
    const now = performance.now() / 1e3;
    for (let i = 0; i < frames; i++) this.#clock.sent(now);
    this.#silence(this.#clock.overdue(now));
  }

  /** Has the listener drop what it has not played, after all that came before. */
  clear() {
    this.#lane.add(async () => {
      await this.#codec.server?.drained();
      this.#listener.clear();
    });
  }

  /**
   * Plays the rest of the sound; then the session has ended.
   * @param {boolean} hears whether there is any
   */
  end(hears) {
    this.#lane.add(async (current) => {
      const { here, server } = this.#codec;
      const samples = hears && !server ? await here.flushDecoder() : [];
      await this.#codec.server?.flushDecoder();
      if (current() && samples.length) {
        this.#listener.pcm({ frame: -1, samples: Int16Array.from(samples), gap: false });
      }
      if (!current()) return;
      this.#codec.server?.close();
      this.#listener.ended();
    });
  }

  /** Plays silent frames, after all that came before. */
  #silence(frames) {
    if (!frames) return;
    this.#lane.add(async (current) => {
      // The server's decoder keeps its rest: flushing it would end its session.
      await this.#codec.server?.drained();
      const { here, server } = this.#codec;
      const rest = this.#speaking && !server ? await here.flushDecoder() : [];
      this.#speaking = false;
      const samples = new Int16Array(rest.length + frames * here.model.frame_samples_out);
      samples.set(rest);
      if (current()) this.#listener.pcm({ frame: -1, samples, gap: false });
    });
  }
}

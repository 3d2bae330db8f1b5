/** The microphone's side of the audio thread: its sound becomes pieces at the wire's rate. */

import { Resampler } from './resample.js';

const PIECE = 0.02; // seconds; four make a frame

class Capture extends AudioWorkletProcessor {
  #silence = new Float32Array(128);
  #made = 0; // samples at the wire's rate
  #filled = 0;
  #startedAt = null; // seconds of the context

  /** @param {{processorOptions: {rate: number}}} options the wire's rate, Hz */
  constructor({ processorOptions: { rate } }) {
    super();
    this.rate = rate;
    this.resampler = new Resampler(sampleRate, rate);
    this.piece = new Int16Array(Math.round(PIECE * rate));
  }

  process([[channel]]) {
    this.#startedAt ??= currentTime;
    // Between two microphones there is none: time goes on all the same.
    for (const sample of this.resampler.push(channel ?? this.#silence)) {
      const step = Math.round(sample * 32768);
      this.piece[this.#filled++] = Math.max(-32768, Math.min(32767, step));
      this.#made += 1;
      if (this.#filled === this.piece.length) this.#give();
    }
    return true;
  }

  /** Tells the piece, and when its last sample was heard. */
  #give() {
    const time = this.#startedAt + this.#made / this.rate;
    this.port.postMessage({ samples: this.piece.slice(), time });
    this.#filled = 0;
  }
}

registerProcessor('capture', Capture);

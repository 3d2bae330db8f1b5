/** Runs on the audio thread: resamples the microphone to the wire's rate, in chunks. */

import { Resampler } from './resample.js';

const CHUNK = 0.02; // seconds; four chunks make a frame

class Capture extends AudioWorkletProcessor {
  #silence = new Float32Array(128);
  #samples = 0; // produced so far, at the wire's rate
  #filled = 0;
  #startedAt = null; // seconds of the context

  /** @param {{processorOptions: {rate: number}}} options the wire's rate, Hz */
  constructor({ processorOptions: { rate } }) {
    super();
    this.rate = rate;
    this.resampler = new Resampler(sampleRate, rate);
    this.chunk = new Int16Array(Math.round(CHUNK * rate));
  }

  process([[channel]]) {
    this.#startedAt ??= currentTime;
    // While the microphone is being exchanged there is no input, but time must go on.
    for (const sample of this.resampler.push(channel ?? this.#silence)) {
      const step = Math.round(sample * 32768);
      this.chunk[this.#filled++] = Math.max(-32768, Math.min(32767, step));
      this.#samples += 1;
      if (this.#filled === this.chunk.length) this.#send();
    }
    return true;
  }

  /** Posts the chunk, with the time at which its last sample was captured. */

  #send() {
    const time = this.#startedAt + this.#samples / this.rate;
    this.port.postMessage({ samples: this.chunk.slice(), time });
    this.#filled = 0;
  }
}

registerProcessor('capture', Capture);

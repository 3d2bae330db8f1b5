/** Runs on the audio thread: plays audio from the wire through the jitter buffer. */

import { JitterBuffer } from './jitter.js';
import { Resampler } from './resample.js';

class Playback extends AudioWorkletProcessor {
  #reported = false;

  /** @param {{processorOptions: {rate: number}}} options the wire's rate, Hz */
  constructor({ processorOptions: { rate } }) {
    super();
    this.resampler = new Resampler(rate, sampleRate);
    this.buffer = new JitterBuffer(sampleRate);
    this.port.onmessage = ({ data }) => {
      if (data.samples) this.#push(data);
      else if (data.clear) {
        const dropped = Math.round((this.buffer.clear() * rate) / sampleRate);
        this.port.postMessage({ dropped });
      } else this.buffer.finish();
    };
  }

  process(_inputs, [[channel]]) {
    this.buffer.pull(channel);
    if (this.buffer.done && !this.#reported) {
      this.#reported = true;
      this.port.postMessage({ done: true });
    }
    return !this.#reported;
  }

  /** Adds audio that arrived at `time`, and posts how long it will wait from then on. */

  #push({ samples, gap, time }) {
    const { buffer, resampler } = this;
    const wait = buffer.depth + resampler.lag + Math.max(0, currentTime - time);
    buffer.push(resampler.push(Float32Array.from(samples, (step) => step / 32768)), gap);
    const { target, underruns } = buffer;
    this.port.postMessage({ wait, target, underruns });
  }
}

registerProcessor('playback', Playback);

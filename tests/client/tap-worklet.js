// Served beside the page in tests: records what passes an audio node, on the audio thread's clock.

class Tap extends AudioWorkletProcessor {
  #samples = new Float32Array(4096);
  #filled = 0;

  process([[channel]]) {
    if (this.#filled === 0) this.start = currentFrame;
    if (channel) this.#samples.set(channel, this.#filled);
    else this.#samples.fill(0, this.#filled, this.#filled + 128);
    this.#filled += 128;
    if (this.#filled === this.#samples.length) {
      this.port.postMessage({ start: this.start, samples: this.#samples.slice() });
      this.#filled = 0;
    }
    return true;
  }
}

registerProcessor('tap', Tap);

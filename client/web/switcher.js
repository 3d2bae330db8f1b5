/** Plays two versions of a clip in step, and switches between them without a click. */

const FADE = 0.01; // seconds

export class Switcher {
  #context = null;
  #sources = [];
  #gains = [];
  #chosen = 0;

  /**
   * @param {[Int16Array, number]} first samples and Hz
   * @param {[Int16Array, number]} second
   * @param {(playing: boolean) => void} onChange
   */
  constructor(first, second, onChange) {
    this.versions = [first, second];
    this.onChange = onChange;
  }

  get playing() {
    return this.#context !== null;
  }

  /** Plays from the beginning, again and again, until `stop`; call it in a click handler. */
  play() {
    const context = new AudioContext();
    this.#context = context;
    this.#gains = this.versions.map((_, i) => {
      const gain = context.createGain();
      gain.gain.value = Number(i === this.#chosen);
      gain.connect(context.destination);
      return gain;
    });
    this.#sources = this.versions.map(([samples, rate], i) => {
      const buffer = context.createBuffer(1, samples.length, rate);
      buffer.copyToChannel(Float32Array.from(samples, (x) => x / 32768), 0);
      const source = context.createBufferSource();
      source.buffer = buffer;
      source.loop = true;
      source.connect(this.#gains[i]);
      return source;
    });
    const at = context.currentTime + 0.05; // both at the same moment
    for (const source of this.#sources) source.start(at);
    this.onChange(true);
  }

  stop() {
    const context = this.#context;
    this.#context = null;
    void context?.close();
    this.onChange(false);
  }

  /** @param {0 | 1} version to be heard from now on */
  choose(version) {
    this.#chosen = version;
    if (!this.#context) return;
    const now = this.#context.currentTime;
    this.#gains.forEach(({ gain }, i) => {
      gain.setValueAtTime(gain.value, now);
      gain.linearRampToValueAtTime(Number(i === version), now + FADE);
    });
  }
}

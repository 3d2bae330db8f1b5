/** Plays two versions of a clip in step, and switches between them without a click. */

const FADE = 0.01; // seconds

export class Switcher {
  #context = null;
  #sources = [];
  #gains = [];
  #chosen = 0;
  #began = 0; // seconds of the context

  /**
   * @param {[Int16Array, number]} first samples and Hz
   * @param {[Int16Array, number]} second
   * @param {(playing: boolean) => void} onChange
   */
  constructor(first, second, onChange) {
    this.versions = [first, second];
    this.onChange = onChange;
  }

  /**
   * Puts other sound of the same length in the place of a version; it goes on where that was.
   * @param {0 | 1} version
   * @param {Int16Array} samples
   */
  replace(version, samples) {
    const [, rate] = this.versions[version];
    this.versions[version] = [samples, rate];
    if (!this.#context) return;
    const now = this.#context.currentTime;
    const old = this.#gains[version];
    this.#fade(old, 0);
    this.#sources[version].stop(now + 2 * FADE);
    this.#gains[version] = this.#gain(0);
    this.#sources[version] = this.#source(version);
    const at = Math.max(0, now - this.#began) % this.#sources[version].buffer.duration;
    this.#sources[version].start(now, at);
    this.#fade(this.#gains[version], Number(version === this.#chosen));
  }

  get playing() {
    return this.#context !== null;
  }

  /** Plays from the beginning, again and again, until `stop`; call it in a click handler. */
  play() {
    const context = new AudioContext();
    this.#context = context;
    this.#gains = this.versions.map((_, i) => this.#gain(Number(i === this.#chosen)));
    this.#sources = this.versions.map((_, i) => this.#source(i));
    this.#began = context.currentTime + 0.05; // both at the same moment
    for (const source of this.#sources) source.start(this.#began);
    this.onChange(true);
  }

  #gain(value) {
    const gain = this.#context.createGain();
    gain.gain.value = value;
    gain.connect(this.#context.destination);
    return gain;
  }

  /** A version that is to be started, behind its gain. */
  #source(version) {
    const [samples, rate] = this.versions[version];
    const buffer = this.#context.createBuffer(1, samples.length, rate);
    buffer.copyToChannel(Float32Array.from(samples, (x) => x / 32768), 0);
    const source = this.#context.createBufferSource();
    source.buffer = buffer;
    source.loop = true;
    source.connect(this.#gains[version]);
    return source;
  }

  #fade({ gain }, value) {
    const now = this.#context.currentTime;
    gain.setValueAtTime(gain.value, now);
    gain.linearRampToValueAtTime(value, now + FADE);
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
    this.#gains.forEach((gain, i) => this.#fade(gain, Number(i === version)));
  }
}

/** Level and spectrogram of what an AnalyserNode hears. */

const FLOOR = -60; // dB of full scale that show as nothing
const FALL = 30; // dB a second by which the level sinks
const TICK = 1000 / 30; // ms between columns
const LOW = 80; // Hz at the spectrogram's bottom
const HIGH = 8000; // and at its top

/** From the background over teal to cream: the one scale of all spectrograms. */
const SCALE = Array.from({ length: 256 }, (_, i) => {
  const x = i / 255;
  const stops = [
    [20, 24, 27],
    [17, 78, 84],
    [45, 166, 150],
    [250, 240, 205],
  ];
  const at = Math.min(2.999, x * 3);
  const [from, to] = [stops[Math.floor(at)], stops[Math.floor(at) + 1]];
  return from.map((value, channel) => Math.round(value + (to[channel] - value) * (at % 1)));
});

export class Meter {
  #level = FLOOR;
  #drawnAt = 0;
  #column = 0;
  #analyser = null;
  #next = 0;
  #context;

  /**
   * @param {HTMLElement} bar with role="meter"; its --level goes from 0 to 1
   * @param {HTMLCanvasElement} canvas
   * @param {() => boolean} still whether nothing may move
   * @param {HTMLElement} [ring] gets --level, too
   */
  constructor(bar, canvas, still, ring = bar) {
    this.bar = bar;
    this.ring = ring;
    this.canvas = canvas;
    this.still = still;
    this.#context = canvas.getContext('2d', { alpha: false });
    this.clear();
  }

  /** Empties the spectrogram. */
  clear() {
    const { width, height } = this.canvas;
    this.#column = 0;
    this.#context.fillStyle = `rgb(${SCALE[0].join(' ')})`;
    this.#context.fillRect(0, 0, width, height);
  }

  /** @param {AnalyserNode | null} analyser what to show from now on */
  watch(analyser) {
    this.#analyser = analyser;
    cancelAnimationFrame(this.#next);
    if (!analyser) {
      this.#level = FLOOR;
      this.#show();
      return;
    }
    this.samples = new Float32Array(analyser.fftSize);
    this.bins = new Uint8Array(analyser.frequencyBinCount);
    this.#next = requestAnimationFrame((now) => this.#tick(now));
  }

  /** 0 to 1: how loud it is now. */
  get level() {
    return 1 - this.#level / FLOOR;
  }

  #tick(now) {
    this.#next = requestAnimationFrame((later) => this.#tick(later));
    if (now - this.#drawnAt < TICK - 4) return;
    const sunk = this.#level - (FALL * Math.min(500, now - this.#drawnAt)) / 1e3;
    this.#drawnAt = now;
    this.#analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length;
    this.#level = Math.max(FLOOR, sunk, Math.min(0, 10 * Math.log10(power + 1e-12)));
    this.#show();
    this.#analyser.getByteFrequencyData(this.bins);
    this.#draw();
  }

  #show() {
    for (const shown of [this.bar, this.ring]) {
      shown.style.setProperty('--level', this.level.toFixed(3));
    }
    const text = `${Math.round(this.#level)} dB`;
    if (this.bar.getAttribute('aria-valuetext') !== text) {
      this.bar.setAttribute('aria-valuetext', text);
      this.bar.setAttribute('aria-valuenow', String(Math.round(this.#level)));
    }
  }

  /** One column more. */
  #draw() {
    const { width, height } = this.canvas;
    const context = this.#context;
    let x = width - 1;
    if (this.still()) x = this.#column++ % width;
    else context.drawImage(this.canvas, -1, 0);
    const column = context.createImageData(1, height);
    const step = this.#analyser.context.sampleRate / this.#analyser.fftSize;
    for (let y = 0; y < height; y++) {
      const hertz = LOW * (HIGH / LOW) ** (1 - y / (height - 1));
      const colour = SCALE[this.bins[Math.min(this.bins.length - 1, Math.round(hertz / step))]];
      column.data.set([...colour, 255], 4 * y);
    }
    context.putImageData(column, x, 0);
  }
}

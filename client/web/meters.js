/** Draws the level and the spectrogram of an AnalyserNode's input. */

const FLOOR = -60; // dB of full scale shown as silence
const DECAY = 30; // dB per second by which the level falls
const COLUMN_INTERVAL = 1000 / 30; // ms between columns
const LOW = 80; // Hz at the bottom of the spectrogram
const HIGH = 8000; // Hz at the top

/** The colours of the spectrogram: from the background over teal to cream. */
const COLOURS = Array.from({ length: 256 }, (_, i) => {
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
   * @param {HTMLElement} bar has role="meter"; its property --level is set to 0 to 1
   * @param {HTMLCanvasElement} canvas
   * @param {() => boolean} still whether the user prefers reduced motion
   * @param {HTMLElement} [ring] also gets --level
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
    this.#context.fillStyle = `rgb(${COLOURS[0].join(' ')})`;
    this.#context.fillRect(0, 0, width, height);
  }

  /** @param {AnalyserNode | null} analyser the input to show from now on; null: none */
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

  /** The current level, 0 to 1. */
  get level() {
    return 1 - this.#level / FLOOR;
  }

  #tick(now) {
    this.#next = requestAnimationFrame((later) => this.#tick(later));
    if (now - this.#drawnAt < COLUMN_INTERVAL - 4) return;
    const decayed = this.#level - (DECAY * Math.min(500, now - this.#drawnAt)) / 1e3;
    this.#drawnAt = now;
    this.#analyser.getFloatTimeDomainData(this.samples);
    const power = this.samples.reduce((sum, x) => sum + x * x, 0) / this.samples.length;
    this.#level = Math.max(FLOOR, decayed, Math.min(0, 10 * Math.log10(power + 1e-12)));
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

  /** Draws one more column of the spectrogram. */

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
      const colour = COLOURS[this.bins[Math.min(this.bins.length - 1, Math.round(hertz / step))]];
      column.data.set([...colour, 255], 4 * y);
    }
    context.putImageData(column, x, 0);
  }
}

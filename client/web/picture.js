/** Draws the code streams live: one row per codebook, one column per frame. */

const COLUMN = 8; // CSS pixels, including the gap
const GAP = 2; // CSS pixels

/**
 * The colour of a code, unique in its row: five bits give the lightness and five the hue. From row
 * to row, the hue goes from green to violet.
 * @param {number} row
 * @param {number} code 0 to 1023
 * @param {number} rows
 * @returns {[number, number, number]} 0 to 255
 */
export function colourOf(row, code, rows = 8) {
  const light = 0.4 + (0.5 * (code >> 5)) / 31;
  const hue = 150 + (150 * row) / rows + 90 * ((code & 31) / 31 - 0.5);
  const chroma = 0.05 + 0.08 * Math.sin(Math.PI * light);
  return rgb(light, chroma, (hue * Math.PI) / 180);
}

/** Oklch to sRGB, clipped (B. Ottosson, "A perceptual color space for image processing"). */
function rgb(light, chroma, hue) {
  const a = chroma * Math.cos(hue);
  const b = chroma * Math.sin(hue);
  const l = (light + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (light - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (light - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return /** @type {[number, number, number]} */ (
    linear.map((x) => {
      const y = Math.max(0, Math.min(1, x));
      return Math.round(255 * (y <= 0.0031308 ? 12.92 * y : 1.055 * y ** (1 / 2.4) - 0.055));
    })
  );
}

export class Picture {
  /** @type {Uint16Array[]} the latest frames, oldest first */
  #frames = [];
  #count = 0;
  #due = false;
  #context;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => boolean} still whether the user prefers reduced motion: columns are then
   *   overwritten in turn instead of scrolling
   */
  constructor(canvas, still) {
    this.canvas = canvas;
    this.still = still;
    this.#context = canvas.getContext('2d', { alpha: false });
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  /** @param {Uint16Array[]} frames the next frames */
  add(frames) {
    this.#frames.push(...frames);
    this.#count += frames.length;
    this.#frames.splice(0, this.#frames.length - 512);
    this.#drawSoon();
  }

  clear() {
    this.#frames = [];
    this.#count = 0;
    this.#drawSoon();
  }

  #resize() {
    const scale = Math.min(2, Math.max(1, Math.round(devicePixelRatio)));
    this.scale = scale;
    this.canvas.width = Math.floor(this.canvas.clientWidth * scale);
    this.canvas.height = Math.floor(this.canvas.clientHeight * scale);
    this.#draw();
  }

  #drawSoon() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#due = false;
    const { canvas, scale } = this;
    const context = this.#context;
    context.fillStyle = '#14181b';
    context.fillRect(0, 0, canvas.width, canvas.height);
    const columns = Math.floor(canvas.width / (COLUMN * scale));
    const rows = this.#frames[0]?.length ?? 8;
    const row = canvas.height / rows;
    const shown = this.#frames.slice(-(this.still() ? columns - 1 : columns));
    shown.forEach((codes, i) => {
      const index = this.#count - shown.length + i;
      // Scrolling: the newest column is at the right. Still: a gap follows the newest column.

      const column = this.still() ? index % columns : columns - shown.length + i;
      codes.forEach((code, codebook) => {
        context.fillStyle = `rgb(${colourOf(codebook, code, rows).join(' ')})`;
        context.fillRect(
          column * COLUMN * scale,
          Math.round(codebook * row),
          (COLUMN - GAP) * scale,
          Math.round((codebook + 1) * row) - Math.round(codebook * row) - GAP * scale,
        );
      });
    });
  }
}

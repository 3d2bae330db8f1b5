/** Counts the bytes of a session on the wire, and draws how many there were in each second. */

const MASK = 4; // bytes that mask what a browser sends
const SECONDS = 60; // that the picture shows
const LOWEST = 10; // bytes a second at the bottom of the picture
const HIGHEST = 1e5; // at the top; one step for each power of ten between
const COLOURS = { sent: '#2da696', received: '#d9a441', grid: '#39424a', text: '#a0a8ae' };

/** Bytes in each direction, the websocket's own headers included; TLS, TCP and IP come on top. */
export class Traffic {
  sent = 0;
  received = 0;

  /** @param {string | ArrayBuffer} data a message */
  countSent(data) {
    this.sent += sizeOf(data) + MASK;
  }

  /** @param {string | ArrayBuffer} data a message */
  countReceived(data) {
    this.received += sizeOf(data);
  }
}

/** @param {string | ArrayBuffer} data */
function sizeOf(data) {
  const size = typeof data === 'string' ? new TextEncoder().encode(data).length : data.byteLength;
  return size + (size > 65535 ? 10 : size > 125 ? 4 : 2);
}

/** The bytes of each of the last seconds, as two rows of bars on a logarithmic scale. */
export class TrafficPicture {
  /** @type {{sent: number, received: number}[]} latest last, bytes a second */
  #seconds = [];
  #before = { sent: 0, received: 0 };
  #traffic = null;
  #at = 0;
  #timer;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {(rates: {sent: number, received: number}) => void} show called with the means of the
   *   last seconds, bytes a second
   */
  constructor(canvas, show) {
    this.canvas = canvas;
    this.show = show;
    this.#draw();
    this.#begin();
  }

  /** @param {Traffic | null} traffic to follow from now on; null: none */
  watch(traffic) {
    this.#traffic = traffic;
    this.#before = { sent: traffic?.sent ?? 0, received: traffic?.received ?? 0 };
    this.#begin();
  }

  /** Begins a second: a shorter one would show a rate that never was. */
  #begin() {
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), 1000);
    this.#at = performance.now();
  }

  #tick() {
    if (!this.#traffic) return;
    const { sent, received } = this.#traffic;
    const now = performance.now();
    const rate = (bytes) => (bytes * 1e3) / (now - this.#at);
    const second = {
      sent: rate(sent - this.#before.sent),
      received: rate(received - this.#before.received),
    };
    this.#before = { sent, received };
    this.#at = now;
    this.#seconds = [...this.#seconds, second].slice(-SECONDS);
    const latest = this.#seconds.slice(-5);
    const mean = (way) => latest.reduce((sum, each) => sum + each[way], 0) / latest.length;
    this.show({ sent: mean('sent'), received: mean('received') });
    this.#draw();
  }

  #draw() {
    const scale = Math.min(2, devicePixelRatio || 1);
    const [width, height] = [this.canvas.clientWidth * scale, this.canvas.clientHeight * scale];
    Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext('2d');
    const decades = Math.log10(HIGHEST / LOWEST);
    const y = (bytes) =>
      height * (1 - Math.log10(Math.max(LOWEST, Math.min(HIGHEST, bytes)) / LOWEST) / decades);
    context.font = `${11 * scale}px system-ui, sans-serif`;
    context.textBaseline = 'bottom';
    for (let bytes = 10 * LOWEST; bytes < HIGHEST; bytes *= 10) {
      context.fillStyle = COLOURS.grid;
      context.fillRect(0, Math.round(y(bytes)), width, scale);
      context.fillStyle = COLOURS.text;
      context.fillText(`${bytes.toLocaleString('en')} bytes/s`, 6 * scale, y(bytes) - scale);
    }
    const column = width / SECONDS;
    this.#seconds.forEach((second, i) => {
      const x = (SECONDS - this.#seconds.length + i) * column;
      for (const [n, way] of ['sent', 'received'].entries()) {
        context.fillStyle = COLOURS[way];
        const top = y(second[way]);
        context.fillRect(x + n * 0.45 * column, top, 0.4 * column, height - top);
      }
    });
  }
}

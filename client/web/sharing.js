/** Shows a room's link and its QR code, for a phone's camera. */

import { roomLink } from './links.js';
import { encode } from './uqr.js';

const HERE = ['localhost', '127.0.0.1', '[::1]']; // what these name is another device elsewhere
const MODULE = 6; // pixels of a module of the code
const BORDER = 4; // modules around it, as the standard asks

export class Sharing {
  /**
   * @param {{button: HTMLElement, dialog: HTMLDialogElement, canvas: HTMLCanvasElement,
   *   anchor: HTMLAnchorElement, unreachable: HTMLElement, close: HTMLElement}} elements
   * @param {URL} page
   * @param {() => {room: string, token: string, key: string}} named by the page's fields
   */
  constructor(elements, page, named) {
    Object.assign(this, elements);
    this.page = page;
    this.named = named;
    this.button.addEventListener('click', () => this.#open());
    this.close.addEventListener('click', () => this.dialog.close());
  }

  #open() {
    const { room, token, key } = this.named();
    const link = roomLink(this.page, room, token, key);
    this.anchor.href = link;
    this.anchor.textContent = link;
    this.unreachable.hidden = !HERE.includes(this.page.hostname);
    draw(this.canvas, link);
    this.dialog.showModal();
  }
}

/**
 * Draws a QR code.
 * @param {HTMLCanvasElement} canvas
 * @param {string} text
 */
function draw(canvas, text) {
  const { data, size } = encode(text, { border: BORDER });
  canvas.width = canvas.height = size * MODULE;
  const context = canvas.getContext('2d');
  context.fillStyle = '#fff';
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = '#000';
  data.forEach((row, y) =>
    row.forEach((dark, x) => dark && context.fillRect(x * MODULE, y * MODULE, MODULE, MODULE)),
  );
}

/** Draws a conversation: the user's lane above, the model's below, on one clock. */

import { Dialogue, SLOT, slotOf, speakingText } from './dialogue.js';
import { colourOf } from './picture.js';

const WIDTH = 6; // CSS pixels of a slot
const LANE = 72; // CSS pixels
const SPACE = 8; // CSS pixels between the lanes
const KEEP = 60; // seconds
const LOUDEST = 0.3; // RMS that fills the lane
const INTERVAL = 1e3 * SLOT; // ms between two pictures

export class DialoguePicture {
  #timer = 0;
  #dialogue = new Dialogue(KEEP);

  /**
   * @param {{canvas: HTMLCanvasElement, speaking: HTMLElement, answer: HTMLElement}} elements
   */
  constructor({ canvas, speaking, answer }) {
    Object.assign(this, { canvas, speaking, answer });
  }

  /** Begins with an empty picture, and moves until `end`. */
  begin() {
    this.end();
    this.#dialogue = new Dialogue(KEEP);
    this.#timer = setInterval(() => this.#show(), INTERVAL);
  }

  end() {
    clearInterval(this.#timer);
  }

  heard(samples) {
    this.#dialogue.heard(samples, seconds());
  }

  said(frames) {
    this.#dialogue.said(frames, seconds());
  }

  answered(frames) {
    this.#dialogue.answered(frames, seconds());
  }

  interrupted() {
    this.#dialogue.interrupted(seconds());
  }

  #show() {
    const { answerMs } = this.#dialogue;
    this.answer.textContent = answerMs === null ? '–' : String(answerMs);
    const text = speakingText(this.#dialogue.speaking(seconds()));
    if (this.speaking.textContent !== text) this.speaking.textContent = text;
    this.#draw();
  }

  #draw() {
    const { canvas } = this;
    const scale = Math.min(2, Math.max(1, Math.round(devicePixelRatio)));
    canvas.width = Math.floor(canvas.clientWidth * scale);
    canvas.height = (2 * LANE + SPACE) * scale;
    const context = canvas.getContext('2d', { alpha: false });
    context.scale(scale, scale);
    context.fillStyle = '#14181b';
    context.fillRect(0, 0, canvas.clientWidth, 2 * LANE + SPACE);
    const columns = Math.floor(canvas.clientWidth / WIDTH);
    const last = slotOf(seconds());
    for (let column = 0; column < columns; column++) {
      const slot = this.#dialogue.at(last - columns + 1 + column);
      if (!slot) continue;
      const x = column * WIDTH;
      if (slot.said) drawCodes(context, x, 0, slot.said);
      else drawLevel(context, x, slot.level);
      if (slot.answered) drawCodes(context, x, LANE + SPACE, slot.answered);
      if (slot.cut) {
        context.fillStyle = '#f08a6c';
        context.fillRect(x, 0, 2, 2 * LANE + SPACE);
      }
    }
  }
}

function drawCodes(context, x, y, codes) {
  const height = LANE / codes.length;
  codes.forEach((code, row) => {
    context.fillStyle = `rgb(${colourOf(row, code, codes.length).join(' ')})`;
    context.fillRect(x, y + row * height, WIDTH - 1, height - 1);
  });
}

function drawLevel(context, x, level) {
  const height = LANE * Math.min(1, Math.sqrt(level / LOUDEST));
  context.fillStyle = '#7d8b99';
  context.fillRect(x, LANE - height, WIDTH - 1, height);
}

const seconds = () => performance.now() / 1e3;

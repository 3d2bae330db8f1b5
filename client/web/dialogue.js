/** Follows a conversation on one clock: who speaks, who interrupts, how soon the answer comes. */

export const SLOT = 0.08; // seconds; a frame of codes
const VOICED = 0.01; // RMS, full scale at 1, from which on the user is taken to speak
const PAUSE = 0.4; // seconds without voice within one utterance of the user
const UTTERANCE = 0.24; // seconds; shorter noises get no answer

/**
 * @typedef {object} Slot what happened in 80 ms
 * @property {number} level RMS of the user's sound
 * @property {Uint16Array | null} said codes of the user's, if they are known
 * @property {Uint16Array | null} answered codes of the model's
 * @property {boolean} cut whether the model was interrupted
 */

export class Dialogue {
  /** @type {Map<number, Slot>} by number of the slot */
  #slots = new Map();
  #modelAt = -1; // the latest slot in which the model spoke
  #userAt = -1; // likewise
  #voicedSince = 0; // seconds, of the present or the latest utterance
  #voicedUntil = -Infinity;
  /** Milliseconds from the user's last sound to the first of the answer; null: no answer yet. */
  answerMs = null;

  /** @param {number} keep seconds that are remembered */
  constructor(keep) {
    this.keep = keep;
  }

  /**
   * @param {Int16Array} samples of the user's
   * @param {number} now seconds
   */
  heard(samples, now) {
    let energy = 0;
    for (const sample of samples) energy += (sample / 32768) ** 2;
    const level = Math.sqrt(energy / (samples.length || 1));
    const slot = this.#slot(slotOf(now), now);
    slot.level = Math.max(slot.level, level);
    if (level < VOICED) return;
    if (now - this.#voicedUntil > PAUSE) this.#voicedSince = now;
    this.#voicedUntil = now;
  }

  /**
   * @param {Uint16Array[]} frames of the user's
   * @param {number} now seconds
   */
  said(frames, now) {
    for (const codes of frames) {
      this.#userAt = Math.max(this.#userAt + 1, slotOf(now) - frames.length + 1);
      this.#slot(this.#userAt, now).said = codes;
    }
  }

  /**
   * @param {Uint16Array[]} frames of the model's
   * @param {number} now seconds
   */
  answered(frames, now) {
    if (!this.speaking(now).model && this.#voicedUntil - this.#voicedSince >= UTTERANCE) {
      this.answerMs = Math.round(1e3 * Math.max(0, now - this.#voicedUntil));
    }
    for (const codes of frames) {
      this.#modelAt = Math.max(this.#modelAt + 1, slotOf(now));
      this.#slot(this.#modelAt, now).answered = codes;
    }
  }

  /** The model was interrupted: what it had still to say is dropped. */
  interrupted(now) {
    this.#slot(slotOf(now), now).cut = true;
    for (const number of this.#slots.keys()) {
      if (number > slotOf(now)) this.#slots.get(number).answered = null;
    }
    this.#modelAt = Math.min(this.#modelAt, slotOf(now));
  }

  /** Who speaks. */
  speaking(now) {
    return {
      user: now - this.#voicedUntil < PAUSE,
      model: this.#modelAt >= slotOf(now) - 2, // frames do not come evenly
    };
  }

  /** What happened in a slot. @returns {Slot | undefined} */
  at(number) {
    return this.#slots.get(number);
  }

  #slot(number, now) {
    const oldest = slotOf(now - this.keep);
    for (const each of this.#slots.keys()) {
      if (each >= oldest) break;
      this.#slots.delete(each);
    }
    let slot = this.#slots.get(number);
    if (!slot) {
      slot = { level: 0, said: null, answered: null, cut: false };
      this.#slots.set(number, slot);
    }
    return slot;
  }
}

/** @param {number} now seconds */
export const slotOf = (now) => Math.floor(now / SLOT);

/**
 * Who speaks, in words.
 * @param {{user: boolean, model: boolean}} speaking
 * @returns {string}
 */
export function speakingText({ user, model }) {
  if (user && model) return 'Both speak.';
  if (user) return 'You speak.';
  return model ? 'The model speaks.' : 'Nobody speaks.';
}

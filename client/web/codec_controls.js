/** The switch that says where the codec runs, and the progress of fetching it. */

import { CodecChoice } from './codec_choice.js';

const UNREACHABLE = 'The codec for this page cannot be fetched from the server.';

export class CodecControls {
  #attempt = 0; // that waits for its codec; 0: none does
  #attempts = 0;

  /**
   * @param {URL} server the page's own address
   * @param {{select: HTMLSelectElement, progress: HTMLProgressElement, note: HTMLElement}} elements
   * @param {(text: string) => void} say shows the state of a call that waits
   */
  constructor(server, elements, say) {
    Object.assign(this, elements);
    this.say = say;
    this.choice = new CodecChoice(server, (progress) => this.#progress(progress));
    void this.#showOffers();
  }

  /** Whether a call waits for its codec. */
  get waiting() {
    return this.#attempt > 0;
  }

  /** Waits no longer: the user has given up. */
  cancel() {
    this.#attempt = 0;
    this.progress.hidden = true;
  }

  /**
   * The codec for a call. Where it cannot run here, the call goes on with the server's, unless the
   * room is encrypted: the server must not hear it.
   * @param {{speaks: boolean, hears: boolean, sealed: boolean}} call
   * @returns {Promise<{codec: import('./codec.js').Codec | null, refusal: string | null} | null>}
   *   codec null: the server's; refusal: why there can be no call; null: the user has given up
   */
  async take({ speaks, hears, sealed }) {
    if (this.select.value !== 'here' && !sealed) return { codec: null, refusal: null };
    const attempt = (this.#attempt = ++this.#attempts);
    this.say('Starting the codec…');
    let codec = null;
    let reason = '';
    try {
      codec = await this.choice.load({ speaks, hears });
    } catch (error) {
      reason = error.name === 'codec' ? error.message : UNREACHABLE;
    }
    const server = !codec && !sealed && (await this.#serverHasOne());
    if (attempt !== this.#attempt) return null;
    this.cancel();
    if (codec) {
      this.select.value = 'here'; // the room's key may have decided that
      const [encode, decode] = [codec.trial.encode, codec.trial.decode].map(Math.round);
      this.note.textContent = `Here a frame takes ${encode} ms to encode and ${decode} ms to decode.`;
    } else if (server) {
      this.note.textContent = `${reason} The call goes on with the server’s codec.`;
    }
    return { codec, refusal: codec || server ? null : reason };
  }

  /** Says that the codec here fell behind in a call, and that the server's took its place. */
  moved() {
    this.note.textContent =
      'The codec in this browser fell behind: the rest of the call runs on the server’s.';
  }

  async #serverHasOne() {
    try {
      return (await this.choice.offers()).server;
    } catch {
      return false;
    }
  }

  #progress({ done, total }) {
    if (!this.waiting) return;
    Object.assign(this.progress, { hidden: done === total, max: total, value: done });
    const [come, all] = [done, total].map((bytes) => Math.round(bytes / 1e6));
    this.say(
      done < total ? `Fetching the codec: ${come} of ${all} MB…` : 'Starting the codec…',
    );
  }

  /** Shows where the codec can run; a server without one leaves no choice. */
  async #showOffers() {
    let offers;
    try {
      offers = await this.choice.offers();
    } catch {
      return; // the session will report what is missing
    }
    const option = (value) =>
      /** @type {HTMLOptionElement} */ (this.select.querySelector(`[value="${value}"]`));
    if (!offers.server) {
      this.select.value = 'here';
      option('server').disabled = true;
    }
    if (offers.here) {
      option('here').disabled = offers.server;
      this.note.textContent = offers.here;
    }
  }
}

/** Decides where the codec runs, and loads it: in this browser or on the server. */

import { Codec, CodecError } from './codec.js';

const BUDGET = 0.6; // share of real time that a frame may take here; the rest is for the page
const FRAME = 80; // ms

export class CodecChoice {
  /** @type {Promise<any> | null} */
  #listing = null;
  /** @type {Promise<Codec> | null} */
  #codec = null;

  /**
   * @param {URL} server the page's own address
   * @param {(progress: {done: number, total: number}) => void} onProgress bytes
   */
  constructor(server, onProgress) {
    this.server = server;
    this.onProgress = onProgress;
  }

  /** Asks the server what it offers. `here`: why the codec cannot run here; null: it can. */
  async offers() {
    const { server, missing } = await this.#list();
    return { server: server.codes, here: missing ?? (await this.#otherModel()) };
  }

  /**
   * The codec in this browser, loaded.
   * @param {{speaks: boolean, hears: boolean}} directions that it must keep up with
   * @returns {Promise<Codec>}
   * @throws {CodecError} it cannot run here; the message says why
   */
  async load({ speaks, hears }) {
    const { here } = await this.offers();
    if (here) throw new CodecError(here);
    if (await this.#failed()) this.#codec = null;
    this.#codec ??= Codec.load(await this.#list(), this.server.href, this.onProgress);
    const codec = await this.#codec;
    const frameMs = () => (speaks ? codec.trial.encode : 0) + (hears ? codec.trial.decode : 0);
    if (frameMs() > BUDGET * FRAME) await codec.measure(); // something else may have run
    const ms = frameMs();
    if (ms > BUDGET * FRAME) {
      throw new CodecError(
        `This device is too slow for the codec: ${Math.round(ms)} ms for each ${FRAME} ms of sound.`,
      );
    }
    return codec;
  }

  async #failed() {
    try {
      return (await this.#codec)?.failed;
    } catch {
      return true; // fetching it has failed: the next call tries again
    }
  }

  async #otherModel() {
    const { server, model } = await this.#list();
    if (server.hash === model.hash) return null;
    return 'The server has another model than the codec for this page.';
  }

  #list() {
    this.#listing ??= fetch(new URL('codec.json', this.server)).then((answer) => {
      if (!answer.ok) throw new CodecError('The server has no codec for this page.');
      return answer.json();
    });
    this.#listing.catch(() => (this.#listing = null));
    return this.#listing;
  }
}

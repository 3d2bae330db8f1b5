/** The codec in this browser: a Worker that encodes one stream and decodes another. */

/** A codec that cannot be loaded or has failed; its message is for the user. */
export class CodecError extends Error {
  name = 'codec';
}

const WORKER = new URL('codec-worker.js', import.meta.url).href;
const WINDOW = 25; // frames that the times are averaged over

// Names the one script that may become a worker, for browsers that have trusted types.
const policy = /** @type {any} */ (globalThis).trustedTypes?.createPolicy('codec', {
  createScriptURL: () => WORKER,
});

export class Codec {
  #worker;
  #requests = new Map(); // by id: {resolve, reject}
  #next = 0;
  #failure = null;
  #times = { encode: [], decode: [] };

  /**
   * Loads the codec: fetches its files, or takes them from the cache, and measures its speed.
   * @param {any} listing the contents of codec.json
   * @param {string} base the page's own address
   * @param {(progress: {done: number, total: number}) => void} onProgress bytes
   * @returns {Promise<Codec>}
   * @throws {CodecError}
   */
  static async load(listing, base, onProgress) {
    const codec = new Codec(listing.model, onProgress);
    try {
      codec.trial = await codec.#ask('load', { listing, base });
    } catch (error) {
      codec.close();
      throw error;
    }
    return codec;
  }

  /** Use `load`. */
  constructor(model, onProgress) {
    this.model = model;
    /** ms of a frame when it was loaded, and its threads */
    this.trial = { encode: 0, decode: 0, threads: 1 };
    this.waiting = 0; // requests that are not answered yet
    this.#worker = new Worker(policy?.createScriptURL(WORKER) ?? WORKER, { type: 'module' });
    this.#worker.onmessage = ({ data }) => {
      if (data.progress) onProgress(data.progress);
      else this.#answered(data);
    };
    this.#worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message || 'its Worker does not start');
    };
  }

  /**
   * Encodes sound of `model.input_rate`.
   * @param {Int16Array} samples
   * @returns {Promise<Uint16Array[]>} the frames that are full
   */
  encode(samples) {
    return this.#coded('encode', 'encode', { samples: Float32Array.from(samples, (x) => x / 32768) });
  }

  /** Encodes what is left as a last frame; the next one begins a fresh stream. */
  flushEncoder() {
    return this.#coded('encode', 'flushEncoder');
  }

  /**
   * Decodes frames to sound of `model.output_rate`.
   * @param {Uint16Array[]} frames
   * @returns {Promise<Int16Array>}
   */
  async decode(frames) {
    return toInt16(await this.#coded('decode', 'decode', { frames }, frames.length));
  }

  /** The rest of the sound; the next frame begins a fresh stream. */
  async flushDecoder() {
    return toInt16(await this.#coded('decode', 'flushDecoder', {}, 0));
  }

  /**
   * Decodes a whole clip, beside the stream of a call.
   * @param {Uint16Array[]} frames codes of the first one or more codebooks
   * @returns {Promise<Int16Array>}
   */
  async decodeClip(frames) {
    return toInt16(await this.#ask('decodeClip', { frames }));
  }

  /** Measures the speed again; it begins fresh streams. */
  async measure() {
    this.trial = await this.#ask('trial');
  }

  /** Begins fresh streams. */
  reset() {
    return this.#ask('reset');
  }

  /** Whether it cannot be used any more. */
  get failed() {
    return this.#failure !== null;
  }

  /** Mean ms of the latest frames, by direction; null: there was none. */
  get codingMs() {
    const mean = (values) =>
      values.length ? values.reduce((sum, x) => sum + x, 0) / values.length : null;
    return { encode: mean(this.#times.encode), decode: mean(this.#times.decode) };
  }

  /** Ends the Worker. */
  close() {
    this.#worker.terminate();
    this.#fail('it was closed');
  }

  async #coded(direction, action, request = {}, frames = null) {
    const { result, ms } = await this.#ask(action, request);
    const count = frames ?? result.length;
    const times = this.#times[direction];
    if (count) times.push(ms / count);
    if (times.length > WINDOW) times.shift();
    return result;
  }

  #ask(action, request = {}) {
    return new Promise((resolve, reject) => {
      if (this.#failure) throw this.#failure;
      const id = this.#next++;
      this.waiting += 1;
      this.#requests.set(id, { resolve, reject });
      this.#worker.postMessage({ id, action, ...request });
    });
  }

  #answered({ id, result, error }) {
    const { resolve, reject } = this.#requests.get(id);
    this.#requests.delete(id);
    this.waiting -= 1;
    if (error === undefined) resolve(result);
    else reject(new CodecError(`The codec in this browser fails: ${error}`));
  }

  #fail(reason) {
    this.#failure ??= new CodecError(`The codec in this browser fails: ${reason}.`);
    for (const { reject } of this.#requests.values()) reject(this.#failure);
    this.#requests.clear();
    this.waiting = 0;
  }
}

function toInt16(samples) {
  return Int16Array.from(samples, (x) =>
    Math.max(-32768, Math.min(32767, Math.round(x * 32768))),
  );
}

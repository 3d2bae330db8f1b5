/**
 * Encodes and decodes live streams with the exported graphs, as xyt_stream/edge does: one frame of
 * 80 ms a step, all state in and out by value. model.json names and describes every tensor.
 */

const NEXT = '.next'; // behind the name of a state: its value after the step
const ARRAYS = { float32: Float32Array, int64: BigInt64Array };

/** One graph and the state of one stream. */
class Step {
  /**
   * @param {any} ort the module of onnxruntime-web
   * @param {any} session of the graph
   * @param {any} spec of the graph: "encoder" or "decoder" of model.json
   */
  constructor(ort, session, spec) {
    this.ort = ort;
    this.session = session;
    this.spec = spec;
    this.reset();
  }

  /** Begins a fresh stream. */
  reset() {
    this.state = Object.fromEntries(
      this.spec.state.map(({ name, dtype, shape, first }) => {
        const count = shape.reduce((size, each) => size * each, 1);
        const value = dtype === 'int64' ? BigInt(first) : first;
        const data = new ARRAYS[dtype](count).fill(/** @type {never} */ (value));
        return [name, new this.ort.Tensor(dtype, data, [1, ...shape])];
      }),
    );
  }

  /**
   * Runs one frame.
   * @param {Float32Array | BigInt64Array} data
   * @returns {Promise<any[]>} the outputs' data, in the order of the manifest
   */
  async run(data) {
    const { input, outputs, state } = this.spec;
    const given = new this.ort.Tensor(input.dtype, data, [1, data.length]); // or fewer codebooks
    const results = await this.session.run({ [input.name]: given, ...this.state });
    this.state = Object.fromEntries(state.map(({ name }) => [name, results[name + NEXT]]));
    return outputs.map(({ name }) => results[name].data);
  }
}

/** Encodes one stream of sound. */
export class StreamEncoder {
  #waiting = new Float32Array(0); // less than a frame

  /**
   * @param {any} ort
   * @param {any} session of the encoder's graph
   * @param {any} model the contents of model.json
   */
  constructor(ort, session, model) {
    this.step = new Step(ort, session, model.encoder);
    this.frameSamples = model.frame_samples_in;
  }

  /** Begins a fresh stream. */
  reset() {
    this.step.reset();
    this.#waiting = new Float32Array(0);
  }

  /**
   * Encodes any number of samples.
   * @param {Float32Array} samples
   * @returns {Promise<Uint16Array[]>} the new frames, one code per codebook
   */
  async push(samples) {
    const all = new Float32Array(this.#waiting.length + samples.length);
    all.set(this.#waiting);
    all.set(samples, this.#waiting.length);
    const frames = [];
    let at = 0;
    for (; at + this.frameSamples <= all.length; at += this.frameSamples) {
      const [codes] = await this.step.run(all.slice(at, at + this.frameSamples));
      frames.push(Uint16Array.from(codes, Number));
    }
    this.#waiting = all.slice(at);
    return frames;
  }

  /** Encodes a last partial frame, padded with silence; the next push begins a fresh stream. */
  async flush() {
    const left = this.#waiting.length;
    const frames = left ? await this.push(new Float32Array(this.frameSamples - left)) : [];
    this.reset();
    return frames;
  }
}

/** Decodes one stream of codes. */
export class StreamDecoder {
  #started = false;
  #rest = new Float32Array(0); // what is left to play at the end

  /**
   * @param {any} ort
   * @param {any} session of the decoder's graph
   * @param {any} model the contents of model.json
   */
  constructor(ort, session, model) {
    this.model = model;
    this.step = new Step(ort, session, model.decoder);
    this.delaySamples = model.decoder.delay_samples;
    this.frameSamples = model.frame_samples_out;
  }

  /** A decoder of another stream, with the same graph. */
  another() {
    return new StreamDecoder(this.step.ort, this.step.session, this.model);
  }

  /** Begins a fresh stream. */
  reset() {
    this.step.reset();
    this.#started = false;
    this.#rest = new Float32Array(0);
  }

  /**
   * Decodes frames.
   * @param {Uint16Array[]} frames one code per codebook, of the first one or more codebooks
   * @returns {Promise<Float32Array>} the new samples; a stream's first frame gives fewer
   */
  async push(frames) {
    const sound = new Float32Array(frames.length * this.frameSamples);
    const skipped = this.#started || !frames.length ? 0 : this.delaySamples;
    for (const [i, codes] of frames.entries()) {
      const [pcm, rest] = await this.step.run(BigInt64Array.from(codes, BigInt));
      sound.set(pcm, i * this.frameSamples);
      this.#rest = rest;
      this.#started = true;
    }
    return sound.subarray(skipped);
  }

  /** Returns the rest of the sound; the next push begins a fresh stream. */
  async flush() {
    const rest = this.#rest;
    this.reset();
    return rest;
  }
}

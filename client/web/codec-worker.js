/** Runs the codec in a Worker of its own, beside the page: see codec.js, which starts it. */

import { StreamDecoder, StreamEncoder } from './codec_streams.js';
import { fetchFiles } from './downloads.js';

const TRIAL_FRAMES = 12; // coded at the beginning to see how fast this machine is
const WARM_UP = 4; // of those are not counted
const MANY_CORES = 8; // from which on a second thread is free; with fewer, the page needs them

let encoder = null;
let decoder = null;
let threads = 1;

/** @type {Record<string, (request: any) => Promise<any>>} */
const ACTIONS = {
  load,
  trial,
  async encode({ samples }) {
    return timed(() => encoder.push(samples));
  },
  async decode({ frames }) {
    return timed(() => decoder.push(frames));
  },
  async decodeClip({ frames }) {
    const clip = decoder.another();
    const sound = await clip.push(frames);
    const rest = await clip.flush();
    const whole = new Float32Array(sound.length + rest.length);
    whole.set(sound);
    whole.set(rest, sound.length);
    return whole;
  },
  async flushEncoder() {
    return timed(() => encoder.flush());
  },
  async flushDecoder() {
    return timed(() => decoder.flush());
  },
  async reset() {
    encoder.reset();
    decoder.reset();
    return null;
  },
};

let last = Promise.resolve();
self.onmessage = ({ data: { id, action, ...request } }) => {
  // One after the other: a step needs the state that the one before leaves.
  last = last.then(async () => {
    try {
      self.postMessage({ id, result: await ACTIONS[action](request) });
    } catch (error) {
      self.postMessage({ id, error: error?.message ?? String(error) });
    }
  });
};

/**
 * Fetches the files and makes the two sessions.
 * @returns {ReturnType<typeof trial>} how fast they are
 */
async function load({ listing, base }) {
  const { files, model, piece } = listing;
  const { script, ...rest } = files;
  allowThreads(new URL(script.address, base).href);
  const total = Object.values(rest).reduce((sum, { bytes }) => sum + bytes, 0);
  const contents = await fetchFiles(rest, base, piece, (done) =>
    self.postMessage({ progress: { done, total } }),
  );
  const ort = await import(new URL(script.address, base).href);
  threads = self.crossOriginIsolated && navigator.hardwareConcurrency >= MANY_CORES ? 2 : 1;
  Object.assign(ort.env.wasm, { wasmBinary: contents.wasm.buffer, numThreads: threads });
  const make = (graph) =>
    ort.InferenceSession.create(graph, {
      executionProviders: ['wasm'],
      externalData: [{ path: model.weights.file, data: contents.weights }],
    });
  encoder = new StreamEncoder(ort, await make(contents.encoder), model);
  decoder = new StreamDecoder(ort, await make(contents.decoder), model);
  return trial();
}

/**
 * Codes a little noise; the median leaves out what other programs disturb.
 * @returns {Promise<{encode: number, decode: number, threads: number}>} ms of a frame
 */
async function trial() {
  const samples = Float32Array.from(
    { length: encoder.frameSamples },
    () => 0.1 * Math.random() - 0.05,
  );
  const times = { encode: [], decode: [] };
  for (let i = 0; i < TRIAL_FRAMES; i++) {
    const encoded = await timed(() => encoder.push(samples));
    const decoded = await timed(() => decoder.push(encoded.result));
    times.encode.push(encoded.ms);
    times.decode.push(decoded.ms);
  }
  encoder.reset();
  decoder.reset();
  const median = (values) => values.slice(WARM_UP).sort((a, b) => a - b)[4];
  return { encode: median(times.encode), decode: median(times.decode), threads };
}

async function timed(work) {
  const began = performance.now();
  const result = await work();
  return { result, ms: performance.now() - began };
}

/** Allows the runtime to start its threads, which are workers of its own script, and no others. */
function allowThreads(script) {
  /** @type {any} */ (self).trustedTypes?.createPolicy('default', {
    createScriptURL(url) {
      if (new URL(url, self.location.href).href === script) return url;
      throw new TypeError(`${url} is not the codec's`);
    },
  });
}

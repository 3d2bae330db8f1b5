/**
 * The bytes of xyt.v1, as docs/protocol.md tells them: JSON text for control, a 12-byte header for
 * media. What is not known is ignored. No sockets here.
 */

export const SUBPROTOCOL = 'xyt.v1';
export const PCM = 1;
export const CODES = 2;
export const GAP = 1;
const HEADER = 12;

/** Something that ends a session, with its name on the wire and a sentence for a person. */
export class ProtocolError extends Error {
  /**
   * @param {string} name
   * @param {string} message
   * @param {number | null} [retryAfter] seconds; null: trying again makes no sense
   */
  constructor(name, message, retryAfter = null) {
    super(message);
    this.name = name;
    this.retryAfter = retryAfter;
  }
}

const bad = (what) =>
  new ProtocolError('bad_message', `The message is not one of xyt.v1: ${what}.`);

/** A value that must pass a test. */
const must = (test, name) => (value) => {
  if (!test(value)) throw bad(`this is no ${name}`);
  return value;
};
const text = must((value) => typeof value === 'string', 'text');
const number = must((value) => Number.isFinite(value), 'number');
const whole = must((value) => Number.isInteger(value), 'whole number');
const truth = must((value) => typeof value === 'boolean', 'true or false');
const maybe = (read) => (value) => (value === null ? null : read(value));
const list = (read) => (value) => must(Array.isArray, 'list')(value).map(read);

/** An object's known fields in this order: [how to read it, what it is if it is left out]. */
const object = (fields) => (value) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad('no object');
  const result = {};
  for (const [name, [read, standard]] of Object.entries(fields)) {
    if (!Object.hasOwn(value, name) || value[name] === undefined) {
      if (standard === undefined) throw bad(`${name} is missing`);
      result[name] = standard;
    } else {
      result[name] = read(value[name]);
    }
  }
  return result;
};

const resume = object({ token: [text], received: [maybe(whole), null], ended: [truth, false] });
const model = object({
  name: [text],
  hash: [text],
  codebooks: [whole],
  codebook_size: [whole],
  input_rate: [whole],
  output_rate: [whole],
  causal: [truth],
});

const coding = object({ encode: [maybe(number), null], decode: [maybe(number), null] });

const CONTROL = {
  hello: object({
    role: [text],
    room: [maybe(text), null],
    receive: [maybe(list(text)), null],
    send_rate: [maybe(whole), null],
    receive_rate: [maybe(whole), null],
    format: [text, 'pcm_s16le'],
    voice: [maybe(text), null],
    token: [maybe(text), null],
    resumable: [truth, false],
    resume: [maybe(resume), null],
  }),
  ready: object({
    session: [text],
    role: [text],
    send: [maybe(text)],
    receive: [list(text)],
    send_rate: [whole],
    receive_rate: [whole],
    frame_ms: [number],
    delay_ms: [object({ encode: [number], decode: [number] })],
    model: [model],
    room: [maybe(text), null],
    resume: [maybe(resume), null],
  }),
  end: object({
    frames: [maybe(whole), null],
    samples: [maybe(whole), null],
    step_ms: [maybe(object({ median: [number], p99: [number] })), null],
  }),
  clear: object({}),
  cleared: object({
    frame: [maybe(whole), null],
    played: [maybe(whole), null],
    dropped: [maybe(whole), null],
    unplayed: [maybe(whole), null],
  }),
  ack: object({ received: [whole] }),
  ping: object({ time: [number] }),
  pong: object({
    time: [number],
    coding_ms: [maybe(coding), null],
  }),
  notice: object({ name: [text], message: [text] }),
  error: object({
    name: [text],
    message: [text],
    code: [whole],
    retry_after: [maybe(number), null],
  }),
};

/**
 * @param {string} type
 * @param {object} [fields] those with a default may be left out
 * @returns {string}
 */
export function writeControl(type, fields = {}) {
  return JSON.stringify({ type, ...CONTROL[type](fields) });
}

/**
 * @param {string} data
 * @returns {{type: string} & Record<string, any> | null} null for a type that is not known here
 * @throws {ProtocolError} bad_message
 */
export function readControl(data) {
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    throw bad('no JSON');
  }
  const { type } = object({ type: [text] })(value);
  return Object.hasOwn(CONTROL, type) ? { type, ...CONTROL[type](value) } : null;
}

/**
 * A media message.
 * @typedef {object} Media
 * @property {number} kind PCM, CODES, or a later version's
 * @property {number} flags
 * @property {number} seq
 * @property {number} frame
 * @property {Uint8Array} payload
 *
 * @param {Media} media
 * @returns {ArrayBuffer}
 */
export function writeMedia({ kind, flags, seq, frame, payload }) {
  const data = new ArrayBuffer(HEADER + payload.byteLength);
  const head = new DataView(data);
  head.setUint8(0, kind);
  head.setUint8(1, flags);
  head.setUint32(4, seq, true);
  head.setUint32(8, frame, true);
  new Uint8Array(data, HEADER).set(payload);
  return data;
}

/**
 * @param {ArrayBuffer} data
 * @returns {Media} whose payload lies in `data`
 * @throws {ProtocolError} bad_message
 */
export function readMedia(data) {
  if (data.byteLength < HEADER) throw bad('it is shorter than its header');
  const head = new DataView(data);
  return {
    kind: head.getUint8(0),
    flags: head.getUint8(1),
    seq: head.getUint32(4, true),
    frame: head.getUint32(8, true),
    payload: new Uint8Array(data, HEADER),
  };
}

/** @param {Int16Array} samples */
export function packSamples(samples) {
  // Little-endian on the wire, as is every machine that runs a browser.
  return new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
}

/**
 * @param {Uint8Array} payload
 * @returns {Int16Array} a copy
 * @throws {ProtocolError} bad_audio
 */
export function unpackSamples(payload) {
  if (payload.byteLength % 2) {
    throw new ProtocolError('bad_audio', 'The payload is no whole number of 16-bit samples.');
  }
  return new Int16Array(payload.slice().buffer);
}

/**
 * Bits that one code takes.
 * @param {number} codebookSize
 */
export function codeBits(codebookSize) {
  return Math.max(1, Math.ceil(Math.log2(codebookSize)));
}

/**
 * Bytes that one frame takes.
 * @param {number} codebooks
 * @param {number} bits
 */
export function frameBytes(codebooks, bits) {
  return Math.ceil((codebooks * bits) / 8);
}

/**
 * @param {Uint8Array} payload
 * @param {{codebooks: number, codebook_size: number}} model
 * @returns {Uint16Array[]} one for each frame, its codes by codebook
 * @throws {ProtocolError} bad_codes
 */
export function unpackCodes(payload, { codebooks, codebook_size }) {
  const bits = codeBits(codebook_size);
  const size = frameBytes(codebooks, bits);
  if (payload.length % size) {
    throw new ProtocolError('bad_codes', 'The payload is no whole number of frames.');
  }
  return Array.from({ length: payload.length / size }, (_, frame) => {
    const codes = new Uint16Array(codebooks);
    for (let bit = 0; bit < codebooks * bits; bit++) {
      const one = (payload[frame * size + (bit >> 3)] >> (bit & 7)) & 1;
      codes[Math.floor(bit / bits)] |= one << (bit % bits);
    }
    if (codes.some((code) => code >= codebook_size)) {
      throw new ProtocolError('bad_codes', 'A code is out of range.');
    }
    return codes;
  });
}

/**
 * Encodes and decodes the messages of xyt.v1 (docs/protocol.md): JSON text for control, binary with
 * a 12-byte header for media. Unknown types and fields are ignored. Uses no sockets.
 */

export const SUBPROTOCOL = 'xyt.v1';
export const PCM = 1;
export const CODES = 2;
export const SEALED = 3;
export const GAP = 1;
export const HEADER = 12; // bytes before the payload of media

/** An error that ends a session: its name on the wire and a sentence for the user. */
export class ProtocolError extends Error {
  /**
   * @param {string} name
   * @param {string} message
   * @param {number | null} [retryAfter] seconds until a retry makes sense; null: never
   */
  constructor(name, message, retryAfter = null) {
    super(message);
    this.name = name;
    this.retryAfter = retryAfter;
  }
}

const badMessage = (reason) =>
  new ProtocolError('bad_message', `The message is not one of xyt.v1: ${reason}.`);

/** Makes a function that returns its value if it passes a test, and throws otherwise. */
const validator = (test, name) => (value) => {
  if (!test(value)) throw badMessage(`a ${name} is expected`);
  return value;
};
const text = validator((value) => typeof value === 'string', 'text');
const number = validator((value) => Number.isFinite(value), 'number');
const integer = validator((value) => Number.isInteger(value), 'whole number');
const boolean = validator((value) => typeof value === 'boolean', 'true or false');
const nullable = (read) => (value) => (value === null ? null : read(value));
const list = (read) => (value) => validator(Array.isArray, 'list')(value).map(read);

const ABSENT = Symbol('a field that is left out'); // as a default

/** Makes a validator of objects; `fields` maps each known name to [validator, default]. */
const object = (fields) => (value) => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badMessage('an object is expected');
  }
  const result = {};
  for (const [name, [read, standard]] of Object.entries(fields)) {
    if (!Object.hasOwn(value, name) || value[name] === undefined) {
      if (standard === undefined) throw badMessage(`${name} is missing`);
      if (standard !== ABSENT) result[name] = standard;
    } else {
      result[name] = read(value[name]);
    }
  }
  return result;
};

const resume = object({
  token: [text],
  received: [nullable(integer), null],
  ended: [boolean, false],
});
const model = object({
  name: [text],
  hash: [text],
  codebooks: [integer],
  codebook_size: [integer],
  input_rate: [integer],
  output_rate: [integer],
  causal: [boolean],
});

const coding = object({ encode: [nullable(number), null], decode: [nullable(number), null] });

const CONTROL = {
  hello: object({
    role: [text],
    room: [nullable(text), null],
    send: [nullable(text), null],
    receive: [nullable(list(text)), null],
    send_rate: [nullable(integer), null],
    receive_rate: [nullable(integer), null],
    format: [text, 'pcm_s16le'],
    voice: [nullable(text), null],
    model_hash: [nullable(text), null],
    codebooks: [nullable(integer), null],
    codebook_size: [nullable(integer), null],
    token: [nullable(text), null],
    resumable: [boolean, false],
    resume: [nullable(resume), null],
  }),
  ready: object({
    session: [text],
    role: [text],
    send: [nullable(text)],
    receive: [list(text)],
    send_rate: [integer],
    receive_rate: [integer],
    frame_ms: [number],
    delay_ms: [object({ encode: [number], decode: [number] })],
    model: [model],
    room: [nullable(text), null],
    resume: [nullable(resume), null],
    node: [nullable(text), null],
  }),
  end: object({
    frames: [nullable(integer), null],
    samples: [nullable(integer), null],
    step_ms: [nullable(object({ median: [number], p99: [number] })), null],
  }),
  clear: object({}),
  cleared: object({
    frame: [nullable(integer), null],
    played: [nullable(integer), null],
    dropped: [nullable(integer), null],
    unplayed: [nullable(integer), null],
  }),
  ack: object({ received: [integer] }),
  ping: object({ time: [number] }),
  pong: object({
    time: [number],
    coding_ms: [nullable(coding), null],
    load: [nullable(number), null],
    listeners: [integer, ABSENT],
  }),
  notice: object({ name: [text], message: [text] }),
  error: object({
    name: [text],
    message: [text],
    node: [nullable(text), null],
    code: [integer],
    retry_after: [nullable(number), null],
  }),
};

/**
 * Encodes a control message.
 * @param {string} type
 * @param {object} [fields] those with a default may be left out
 * @returns {string}
 */
export function writeControl(type, fields = {}) {
  return JSON.stringify({ type, ...CONTROL[type](fields) });
}

/**
 * Decodes a control message.
 * @param {string} data
 * @returns {{type: string} & Record<string, any> | null} null for an unknown type
 * @throws {ProtocolError} bad_message
 */
export function readControl(data) {
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    throw badMessage('it is not JSON');
  }
  const { type } = object({ type: [text] })(value);
  return Object.hasOwn(CONTROL, type) ? { type, ...CONTROL[type](value) } : null;
}

/**
 * Encodes a media message.
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
 * Decodes a media message.
 * @param {ArrayBuffer} data
 * @returns {Media} its payload is a view of `data`
 * @throws {ProtocolError} bad_message
 */
export function readMedia(data) {
  if (data.byteLength < HEADER) throw badMessage('it is shorter than its header');
  const head = new DataView(data);
  return {
    kind: head.getUint8(0),
    flags: head.getUint8(1),
    seq: head.getUint32(4, true),
    frame: head.getUint32(8, true),
    payload: new Uint8Array(data, HEADER),
  };
}

/**
 * Encodes samples as a payload.
 * @param {Int16Array} samples
 * @returns {Uint8Array} a view of `samples`
 */
export function packSamples(samples) {
  // The wire is little-endian, and so is every machine that runs a browser.
  return new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
}

/**
 * Decodes a payload of samples.
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
 * Bits of one code.
 * @param {number} codebookSize
 */
export function codeBits(codebookSize) {
  return Math.max(1, Math.ceil(Math.log2(codebookSize)));
}

/**
 * Bytes of one packed frame.
 * @param {number} codebooks
 * @param {number} bits
 */
export function frameBytes(codebooks, bits) {
  return Math.ceil((codebooks * bits) / 8);
}

/**
 * Encodes codes as a payload.
 * @param {Uint16Array[]} frames one code per codebook
 * @param {{codebooks: number, codebook_size: number}} model
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function packCodes(frames, { codebooks, codebook_size }) {
  const bits = codeBits(codebook_size);
  const size = frameBytes(codebooks, bits);
  const payload = new Uint8Array(frames.length * size);
  for (const [frame, codes] of frames.entries()) {
    for (let bit = 0; bit < codebooks * bits; bit++) {
      const one = (codes[Math.floor(bit / bits)] >> (bit % bits)) & 1;
      payload[frame * size + (bit >> 3)] |= one << (bit & 7);
    }
  }
  return payload;
}

/**
 * Decodes a payload of codes.
 * @param {Uint8Array} payload
 * @param {{codebooks: number, codebook_size: number}} model
 * @returns {Uint16Array[]} one array per frame, one code per codebook

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

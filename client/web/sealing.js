/**
 * Seals frames of codes from end to end, as docs/protocol.md and xyt_stream/protocol/sealing.py say:
 *
 *     stream, 8 bytes | number, 4 bytes | AES-256-GCM of the packed codes | tag, 16 bytes
 *
 * The key is HKDF-SHA-256 of the room's, with the stream as salt; the nonce is the number.
 */

import { ProtocolError } from './protocol.js';

export const SHORTEST_KEY = 16; // characters
export const OVERHEAD = 28; // bytes that sealing adds to a frame
const STREAM = 8; // bytes
const HEAD = 12; // bytes of stream and number

// By role: the speaker as which a client seals, and those whom it hears.
const SEALS_AS = { mic: 'mic', loopback: 'loopback', user: 'user', model: 'model' };
const HEARS = {
  loopback: ['loopback'],
  user: ['model'],
  model: ['user'],
  speaker: ['mic', 'model'],
};

const utf8 = (text) => new TextEncoder().encode(text);
const unfit = () =>
  new ProtocolError(
    'bad_seal',
    'The sound of this room cannot be opened: its key is another one, or it was altered.',
  );

/** Makes a key for a room: 128 random bits as 22 characters. */
export function makeKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replaceAll('=', '');
}

/** Seals one session's frames and opens those that it hears; one call at a time. */
export class Sealing {
  #secret;
  #seal = null; // key of the own stream
  #sent = 0;
  #heard = new Map(); // by stream: {key, latest: its latest number}
  #current = ''; // stream of the latest frame

  /**
   * @param {string} key of the room
   * @param {string} role as in `hello`
   * @param {string | null} room
   */
  constructor(key, role, room) {
    this.role = role;
    this.room = room ?? '';
    this.stream = crypto.getRandomValues(new Uint8Array(STREAM));
    this.#secret = crypto.subtle.importKey('raw', utf8(key), 'HKDF', false, ['deriveKey']);
  }

  /**
   * Seals the next frame of the session.
   * @param {Uint8Array<ArrayBuffer>} frame
   * @returns {Promise<Uint8Array<ArrayBuffer>>} OVERHEAD bytes more
   */
  async seal(frame) {
    this.#seal ??= this.#derive(SEALS_AS[this.role], this.stream);
    const sealed = new Uint8Array(frame.length + OVERHEAD);
    sealed.set(this.stream);
    new DataView(sealed.buffer).setUint32(STREAM, this.#sent++, true);
    const algorithm = { name: 'AES-GCM', iv: nonceOf(sealed) };
    const text = await crypto.subtle.encrypt(algorithm, await this.#seal, frame);
    sealed.set(new Uint8Array(text), HEAD);
    return sealed;
  }

  /**
   * Opens a frame.
   * @param {Uint8Array} sealed
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   * @throws {ProtocolError} bad_seal: another key, or a frame that was altered, repeated or moved
   */
  async open(sealed) {
    const head = sealed.slice(0, HEAD);
    const stream = head.slice(0, STREAM).join();
    const number = new DataView(head.buffer).getUint32(STREAM, true);
    const rest = sealed.slice(HEAD);
    const heard = this.#heard.get(stream);
    const { key, frame } = heard
      ? { key: heard.key, frame: await decrypt(heard.key, head, rest) }
      : await this.#first(head, rest);
    if (!frame) throw unfit();
    if (heard && (stream !== this.#current || number <= heard.latest)) {
      throw new ProtocolError(
        'bad_seal',
        'Sound of this room came again or out of order: it is not to be trusted.',
      );
    }
    this.#heard.set(stream, { key, latest: number });
    this.#current = stream;
    return frame;
  }

  /** Opens the first frame of a stream; returns its key, too. */
  async #first(head, rest) {
    for (const speaker of HEARS[this.role] ?? []) {
      const key = await this.#derive(speaker, head.slice(0, STREAM));
      const frame = await decrypt(key, head, rest);
      if (frame) return { key, frame };
    }
    throw unfit();
  }

  async #derive(speaker, stream) {
    const info = utf8(`xyt.v1 sealed ${speaker} ${this.room}`);
    const derivation = { name: 'HKDF', hash: 'SHA-256', salt: stream, info };
    const key = { name: 'AES-GCM', length: 256 };
    return crypto.subtle.deriveKey(derivation, await this.#secret, key, false, [
      'encrypt',
      'decrypt',
    ]);
  }
}

/** The nonce of a frame: its number, followed by zeros. */
function nonceOf(head) {
  const nonce = new Uint8Array(HEAD);
  nonce.set(head.subarray(STREAM, HEAD));
  return nonce;
}

/** @returns {Promise<Uint8Array<ArrayBuffer> | null>} null: it does not fit the key */
async function decrypt(key, head, rest) {
  try {
    const algorithm = { name: 'AES-GCM', iv: nonceOf(head) };
    return new Uint8Array(await crypto.subtle.decrypt(algorithm, key, rest));
  } catch {
    return null;
  }
}

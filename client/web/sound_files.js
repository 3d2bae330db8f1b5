/** Makes files to download: sound as WAV, codes as .xyt (xyt_stream/protocol/code_file.py). */

import { packCodes } from './protocol.js';

const WAV_HEADER = 44; // bytes
const CODE_HEADER = 30; // bytes before the names

/**
 * A WAV file.
 * @param {Int16Array} samples
 * @param {number} rate Hz
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function wavFile(samples, rate) {
  const bytes = new Uint8Array(WAV_HEADER + 2 * samples.length);
  const view = new DataView(bytes.buffer);
  const text = (at, letters) => [...letters].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  text(0, 'RIFF');
  view.setUint32(4, bytes.length - 8, true);
  text(8, 'WAVEfmt ');
  view.setUint32(16, 16, true); // bytes of the format
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channel
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true); // bytes of a sample
  view.setUint16(34, 16, true); // bits of a sample
  text(36, 'data');
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((sample, i) => view.setInt16(WAV_HEADER + 2 * i, sample, true));
  return bytes;
}

/**
 * A code file of sound at the model's input rate.
 * @param {Uint16Array[]} frames
 * @param {number} samples length of the sound
 * @param {{name: string, hash: string, codebooks: number, codebook_size: number,
 *   input_rate: number}} model
 * @param {number} frameSamples samples in a frame
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function codeFile(frames, samples, model, frameSamples) {
  const names = [model.name, model.hash].map((text) => new TextEncoder().encode(text));
  const codes = packCodes(frames, model);
  const size = CODE_HEADER + names[0].length + names[1].length + 2 + codes.length + 4;
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  bytes.set([0x58, 0x59, 0x54, 0, 1, model.codebooks]); // "XYT", a zero byte, the version
  view.setUint16(6, model.codebook_size, true);
  view.setUint32(8, model.input_rate, true);
  view.setUint16(12, frameSamples, true);
  view.setUint32(14, model.input_rate, true); // of the original
  view.setBigUint64(18, BigInt(samples), true);
  view.setUint32(26, frames.length, true);
  let at = CODE_HEADER;
  for (const name of names) {
    bytes[at++] = name.length;
    bytes.set(name, at);
    at += name.length;
  }
  bytes.set(codes, at);
  view.setUint32(size - 4, crc32(bytes.subarray(0, size - 4)), true);
  return bytes;
}

/** CRC-32 as in zip and zlib. */
function crc32(bytes) {
  let crc = ~0;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

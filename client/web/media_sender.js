/** Numbers the media of one session, sends them, and keeps them until they are acknowledged. */

import {
  CODES,
  GAP,
  HEADER,
  PCM,
  SEALED,
  packCodes,
  packSamples,
  writeMedia,
} from './protocol.js';
import { ACK_MESSAGES, ReplayBuffer } from './replay_buffer.js';

const MAX_LAG = 1.5; // s of sound that may be unsent or unacknowledged; beyond it, sound is dropped

export class MediaSender {
  #sent = 0; // messages
  #most = Infinity; // bytes that may wait when the next message is sent
  #gap = false; // whether media were dropped since the latest message
  #ready;
  #transmit;
  #unsent;

  /**
   * @param {any} ready the server's
   * @param {(data: ArrayBuffer) => void} transmit
   * @param {() => number} unsent bytes that the websocket has not sent yet
   */
  constructor(ready, transmit, unsent) {
    this.#ready = ready;
    this.#transmit = transmit;
    this.#unsent = unsent;
    this.samplesSent = 0;
    this.framesSent = 0; // of codes
    this.replayBuffer = new ReplayBuffer(ready.resume !== null);
  }

  /** @param {Int16Array} samples at `ready.send_rate` */
  sendPcm(samples) {
    const { send_rate: rate, frame_ms } = this.#ready;
    const frame = Math.floor((this.samplesSent * 1e3) / rate / frame_ms);
    if (!this.#send(PCM, frame, packSamples(samples), MAX_LAG * 2 * rate)) return false;
    this.samplesSent += samples.length;
    return true;
  }

  /** @param {Uint16Array[]} frames one code per codebook */
  sendCodes(frames) {
    return this.#sendFrames(CODES, packCodes(frames, this.#ready.model), frames.length);
  }

  /** @param {Uint8Array<ArrayBuffer>[]} frames sealed */
  sendSealed(frames) {
    const payload = new Uint8Array(frames.reduce((sum, { length }) => sum + length, 0));
    frames.forEach((frame, i) => payload.set(frame, i * frame.length));
    return this.#sendFrames(SEALED, payload, frames.length);
  }

  /** Whether half as much waits as would have the next message dropped. */
  get lags() {
    return this.#waiting() > this.#most / 2;
  }

  /** Leaves media out; the next message says so. */
  drop() {
    this.#gap = this.#sent > 0;
    return false;
  }

  #sendFrames(kind, payload, count) {
    // So many messages are never acknowledged at once, however fast the network is.
    const most = ACK_MESSAGES + (MAX_LAG * 1e3) / this.#ready.frame_ms;
    const size = (HEADER + payload.length) / count;
    if (!this.#send(kind, this.framesSent, payload, most * size)) return false;
    this.framesSent += count;
    return true;
  }

  /** Sends media unless more than `most` bytes are unsent or unacknowledged. */
  #send(kind, frame, payload, most) {
    this.#most = most;
    if (this.#waiting() > most) return this.drop();
    const seq = this.#sent++;
    const data = writeMedia({ kind, flags: this.#gap ? GAP : 0, seq, frame, payload });
    this.#gap = false;
    this.replayBuffer.add(seq, data);
    this.#transmit(data);
    return true;
  }

  /** Bytes that are unsent or unacknowledged. */
  #waiting() {
    return Math.max(this.#unsent(), this.replayBuffer.bytes);
  }
}

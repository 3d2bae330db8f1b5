/** One session with a server; resumes it, or begins a new one, when the websocket is lost. */

import { ACK_MESSAGES, AckPolicy, ReplayBuffer } from './replay_buffer.js';
import {
  CODES,
  GAP,
  HEADER,
  PCM,
  ProtocolError,
  SUBPROTOCOL,
  packCodes,
  packSamples,
  readControl,
  readMedia,
  unpackCodes,
  unpackSamples,
  writeControl,
  writeMedia,
} from './protocol.js';
import { Traffic } from './traffic.js';

const PING_INTERVAL = 1; // s between pings, which measure the round trip and detect a dead network
const SERVER_TIMEOUT = 8; // s without a message from the server after which the connection is lost
const OPEN_TIMEOUT = 10; // s for a websocket to open and the server to answer `hello`
const MAX_OUTAGE = 300; // s after which a lost connection is no longer retried
const FIRST_WAIT = 0.2; // s before the second attempt; each later one waits twice as long
const LONGEST_WAIT = 5; // s
const MAX_LAG = 1.5; // s of sound that may be unsent or unacknowledged; beyond it, sound is dropped
const ABANDONED = 4000; // close code for a connection that is abandoned while the session goes on

/**
 * @typedef {object} SessionListener callbacks; times are in seconds
 * @property {(ready: any, restarted: boolean) => void} ready a session has begun; restarted: it
 *   replaces one that was lost
 * @property {(message: {frame: number, samples: Int16Array, gap: boolean}) => void} pcm
 * @property {(message: {frame: number, frames: Uint16Array[], gap: boolean}) => void} codes
 * @property {(roundTrip: number, coding: {encode: ?number, decode: ?number} | null) => void} pong
 * @property {(notice: {name: string, message: string}) => void} notice
 * @property {() => void} clear drop the audio that was not played; answer with `cleared`
 * @property {(error: ProtocolError | null) => void} interrupted the connection was lost
 * @property {() => void} resumed the connection is back and no media were lost
 * @property {() => void} ended the session has ended and all its media have arrived
 * @property {(error: ProtocolError) => void} failed
 */

export class Session {
  /** @type {WebSocket | null} */
  #socket = null;
  #open = false;
  #ended = false;
  #ready = null;
  #interruptedAt = null; // seconds
  #wait = FIRST_WAIT;
  #lastMessageAt = 0;
  #timers = new Set();

  /**
   * @param {string} url ws:// or wss://
   * @param {object} hello fields of `hello`, without `resumable` and `resume`
   * @param {SessionListener} listener
   */
  constructor(url, hello, listener) {
    this.url = url;
    this.hello = { ...hello, resumable: true };
    this.listener = listener;
    this.traffic = new Traffic(); // of all its websockets
    this.#begin();
    this.#connect();
  }

  /** Whether the session accepts sound now. */
  get open() {
    return this.#open && !this.sendingOver;
  }

  /**
   * Sends sound at `ready.send_rate`. While the connection is lost or lags behind, the sound is
   * dropped, because late sound is of no use in a call.
   * @param {Int16Array} samples
   * @returns {boolean} whether it was sent
   */
  sendPcm(samples) {
    const { send_rate: rate, frame_ms } = this.#ready ?? {};
    const frame = Math.floor((this.samplesSent * 1e3) / rate / frame_ms);
    if (!this.#sendMedia(PCM, frame, packSamples(samples), MAX_LAG * 2 * rate)) return false;
    this.samplesSent += samples.length;
    return true;
  }

  /**
   * Sends codes, under the same conditions.
   * @param {Uint16Array[]} frames one code per codebook
   * @returns {boolean} whether they were sent
   */
  sendCodes(frames) {
    if (!this.open) return this.#drop();
    const payload = packCodes(frames, this.#ready.model);
    // So many messages are never acknowledged at once, however fast the network is.
    const most = ACK_MESSAGES + (MAX_LAG * 1e3) / this.#ready.frame_ms;
    const size = (HEADER + payload.length) / frames.length;
    if (!this.#sendMedia(CODES, this.framesSent, payload, most * size)) return false;
    this.framesSent += frames.length;
    return true;
  }

  /** Sends media unless more than `most` bytes are unsent or unacknowledged. */
  #sendMedia(kind, frame, payload, most) {
    const pending = Math.max(this.#socket?.bufferedAmount ?? 0, this.replayBuffer.bytes);
    if (!this.open || pending > most) return this.#drop();
    const seq = this.sent++;
    const data = writeMedia({ kind, flags: this.gap ? GAP : 0, seq, frame, payload });
    this.gap = false;
    this.replayBuffer.add(seq, data);
    this.#send(data);
    return true;
  }

  /** Leaves media out; the next message says so. */
  #drop() {
    this.gap = this.sent > 0;
    return false;
  }

  #send(data) {
    this.#socket.send(data);
    this.traffic.countSent(data);
  }

  /** Asks the server to drop the model's speech that has not been played. */
  clear() {
    if (this.#open) this.#send(writeControl('clear'));
  }

  /**
   * Answers `clear`.
   * @param {number} unplayed samples at `ready.receive_rate` that were dropped unplayed
   */
  cleared(unplayed) {
    if (this.#open) this.#send(writeControl('cleared', { unplayed }));
  }

  /** Ends the input; the rest of the output still arrives, and then `ended`. */
  end() {
    if (!this.#open) {
      this.close();
      this.listener.ended();
    } else if (!this.sendingOver) {
      this.sendingOver = true;
      this.#send(writeControl('end'));
    }
  }

  /** Ends the session at once; the listener is not called any more. */
  close() {
    this.#ended = true;
    this.#closeSocket(1000);
  }

  /** Resets the state that belongs to one session of the server's. */
  #begin() {
    this.sent = 0; // media messages
    this.received = 0;
    this.sendingOver = false;
    this.gap = false;
    this.samplesSent = 0; // since the session began
    this.framesSent = 0; // likewise, of codes
    this.resumeToken = null;
    this.replayBuffer = new ReplayBuffer(false);
    this.ackPolicy = new AckPolicy();
  }

  #connect() {
    const socket = new WebSocket(this.#place(), SUBPROTOCOL);
    const ifCurrent = (action) => (event) => {
      if (socket === this.#socket) this.#guarded(() => action(event));
    };
    socket.binaryType = 'arraybuffer';
    socket.onopen = ifCurrent(() => this.#send(this.#firstMessage()));
    socket.onmessage = ifCurrent(({ data }) => this.#receive(data));
    socket.onclose = ifCurrent(({ code }) => this.#closed(code));
    this.#socket = socket;
    this.#after(OPEN_TIMEOUT, () => this.#open || this.#closed(ABANDONED));
  }

  /** The server's URL with the room, and with the node that has the session, for proxies. */
  #place() {
    const url = new URL(this.url);
    if (this.hello.room) url.searchParams.set('room', this.hello.room);
    if (this.resumeToken && this.#ready?.node) url.searchParams.set('node', this.#ready.node);
    return url.href;
  }

  #firstMessage() {
    const resume = this.resumeToken && {
      token: this.resumeToken,
      received: this.received ? this.received - 1 : null,
    };
    return writeControl('hello', { ...this.hello, resume });
  }

  #receive(data) {
    this.traffic.countReceived(data);
    this.#lastMessageAt = performance.now() / 1e3;
    if (typeof data !== 'string') {
      this.#receiveMedia(data);
      return;
    }
    const message = readControl(data);
    if (message?.type === 'ready' && !this.#open) this.#opened(message);
    else if (message?.type === 'error') this.#refused(message);
    else if (message?.type === 'ack') this.replayBuffer.acknowledge(message.received);
    else if (message?.type === 'pong') {
      this.listener.pong(performance.now() / 1e3 - message.time, message.coding_ms);
    } else if (message?.type === 'notice') this.listener.notice(message);
    else if (message?.type === 'clear') this.listener.clear();
    else if (message?.type === 'end') {
      this.close();
      this.listener.ended();
    }
  }

  #receiveMedia(data) {
    const { kind, flags, seq, frame, payload } = readMedia(data);
    if (!this.#open || seq !== this.received) {
      throw new ProtocolError('bad_sequence', 'A message was lost, repeated or numbered wrongly.');
    }
    this.received += 1;
    if (kind === PCM) {
      this.listener.pcm({ frame, samples: unpackSamples(payload), gap: (flags & GAP) > 0 });
    } else if (kind === CODES) {
      const frames = unpackCodes(payload, this.#ready.model);
      this.listener.codes({ frame, frames, gap: (flags & GAP) > 0 });
    }
    if (this.replayBuffer.keeps && this.ackPolicy.count(data.byteLength)) {
      this.#send(writeControl('ack', { received: seq }));
    }
  }

  #opened(ready) {
    const resumed = this.resumeToken !== null;
    const restarted = this.#interruptedAt !== null;
    this.#ready = ready;
    this.#open = true;
    this.#interruptedAt = null;
    this.#wait = FIRST_WAIT;
    this.#every(PING_INTERVAL, () => this.#ping());
    if (!resumed) {
      this.resumeToken = ready.resume?.token ?? null;
      this.replayBuffer = new ReplayBuffer(this.resumeToken !== null);
      this.listener.ready(ready, restarted);
      return;
    }
    this.resumeToken = ready.resume.token; // another node may have the session now
    this.replayBuffer.acknowledge(ready.resume.received);
    for (const data of this.replayBuffer.unacknowledged) this.#send(data);
    if (this.sendingOver && !ready.resume.ended) this.#send(writeControl('end'));
    this.listener.resumed();
  }

  #ping() {
    const now = performance.now() / 1e3;
    if (now - this.#lastMessageAt > SERVER_TIMEOUT) this.#closed(ABANDONED);
    else this.#send(writeControl('ping', { time: now }));
  }

  /**
   * The server has ended the session; begins a new one if the error allows it.
   * @param {any} message
   */
  #refused({ name, message, retry_after }) {
    const error = new ProtocolError(name, message, retry_after);
    if (name === 'cannot_resume') this.#lost(null, 0, false);
    else if (retry_after !== null && this.#ready) this.#lost(error, retry_after, false);
    else this.#fail(error);
  }

  #closed(code) {
    if (!this.#ready) {
      this.#fail(
        new ProtocolError('unreachable', `There is no answer from ${this.url} (${code}).`),
      );
      return;
    }
    this.#lost(null, this.#wait * (0.5 + Math.random() / 2), true);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT);
  }

  /**
   * Closes the websocket and tries again.
   * @param {ProtocolError | null} error the reason; null: unknown
   * @param {number} wait seconds before the next attempt
   * @param {boolean} resumes whether the session may be resumed
   */
  #lost(error, wait, resumes) {
    this.#closeSocket(ABANDONED);
    if (this.sendingOver && !resumes) {
      this.#ended = true;
      this.listener.ended();
      return;
    }
    const now = performance.now() / 1e3;
    if (this.#interruptedAt === null) {
      this.#interruptedAt = now;
      this.listener.interrupted(error);
    }
    if (now - this.#interruptedAt > MAX_OUTAGE) {
      this.#fail(new ProtocolError('unreachable', `There is no answer from ${this.url}.`));
      return;
    }
    if (!resumes || this.resumeToken === null) this.#begin();
    this.#after(wait, () => this.#connect());
  }

  #fail(error) {
    this.close();
    this.listener.failed(error);
  }

  /** Closes the websocket and cancels all timers. */
  #closeSocket(code) {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    socket?.close(code);
  }

  #after(seconds, action) {
    this.#timers.add(setTimeout(() => this.#guarded(action), seconds * 1e3));
  }

  #every(seconds, action) {
    // Intervals and timeouts share their ids: clearTimeout ends both.
    this.#timers.add(setInterval(() => this.#guarded(action), seconds * 1e3));
  }

  /** Runs `action`; a ProtocolError in it ends the session. */

  #guarded(action) {
    if (this.#ended) return;
    try {
      action();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error);
    }
  }
}

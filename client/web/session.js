/** One session with a server, over as many websockets as it takes. */

import { AckPolicy, ReplayBuffer } from './replay_buffer.js';
import {
  CODES,
  GAP,
  PCM,
  ProtocolError,
  SUBPROTOCOL,
  packSamples,
  readControl,
  readMedia,
  unpackCodes,
  unpackSamples,
  writeControl,
  writeMedia,
} from './protocol.js';

const PING = 1; // seconds between pings, which tell the network's delay and that it is there
const SILENCE = 8; // seconds without a word from the server after which the connection is lost
const PATIENCE = 10; // seconds for a websocket to open and be answered
const GIVE_UP = 300; // seconds after which a lost connection is no longer tried
const FIRST_WAIT = 0.2; // seconds before the second attempt; each later one waits twice as long
const LONGEST_WAIT = 5;
const BEHIND = 1.5; // seconds of sound that may be on its way; then the latest is left out
const LOST = 4000; // our close code for a connection that is given up, not a session

/**
 * @typedef {object} Listener told what happens; times in seconds
 * @property {(ready: any, restarted: boolean) => void} ready the session begins, at first or anew
 * @property {(message: {frame: number, samples: Int16Array, gap: boolean}) => void} pcm
 * @property {(message: {frame: number, frames: Uint16Array[]}) => void} codes
 * @property {(roundTrip: number, coding: {encode: ?number, decode: ?number} | null) => void} pong
 * @property {(message: string) => void} notice
 * @property {() => void} clear what was not played is to be dropped; answer with `cleared`
 * @property {(why: ProtocolError | null) => void} interrupted the connection was lost
 * @property {() => void} resumed nothing was lost
 * @property {() => void} ended all that was left has come
 * @property {(error: ProtocolError) => void} failed
 */

export class Session {
  /** @type {WebSocket | null} */
  #socket = null;
  #open = false;
  #over = false;
  #ready = null;
  #interruptedAt = null; // seconds
  #wait = FIRST_WAIT;
  #heardAt = 0;
  #timers = new Set();

  /**
   * @param {string} url ws:// or wss://
   * @param {object} hello its fields; whether it can be resumed is seen to here
   * @param {Listener} listener
   */
  constructor(url, hello, listener) {
    this.url = url;
    this.hello = { ...hello, resumable: true };
    this.listener = listener;
    this.#begin();
    this.#connect();
  }

  /** Whether sound that is sent now goes out. */
  get open() {
    return this.#open && !this.sendingOver;
  }

  /**
   * Sound at `ready.send_rate`. While the connection is lost or far behind it is left out: what is
   * said now is heard now or not at all.
   * @param {Int16Array} samples
   * @returns {boolean} whether it was sent
   */
  sendPcm(samples) {
    const late = Math.max(this.#socket?.bufferedAmount ?? 0, this.replayBuffer.bytes);
    if (!this.open || late > BEHIND * 2 * this.#ready.send_rate) {
      this.gap = this.sent > 0;
      return false;
    }
    const seq = this.sent++;
    const frame = Math.floor(
      (this.samplesSent * 1e3) / this.#ready.send_rate / this.#ready.frame_ms,
    );
    const payload = packSamples(samples);
    const data = writeMedia({ kind: PCM, flags: this.gap ? GAP : 0, seq, frame, payload });
    this.gap = false;
    this.samplesSent += samples.length;
    this.replayBuffer.add(seq, data);
    this.#socket.send(data);
    return true;
  }

  /** Drops what the other side of the conversation has said and nobody has heard. */
  clear() {
    if (this.#open) this.#socket.send(writeControl('clear'));
  }

  /** @param {number} unplayed samples at `ready.receive_rate` that were dropped unheard */
  cleared(unplayed) {
    if (this.#open) this.#socket.send(writeControl('cleared', { unplayed }));
  }

  /** Nothing more will be sent; what is on its way still comes, and then `ended`. */
  end() {
    if (!this.#open) {
      this.close();
      this.listener.ended();
    } else if (!this.sendingOver) {
      this.sendingOver = true;
      this.#socket.send(writeControl('end'));
    }
  }

  /** Ends the session at once; the listener hears nothing more. */
  close() {
    this.#over = true;
    this.#leave(1000);
  }

  /** A session's own state: all that a new one begins without. */
  #begin() {
    this.sent = 0; // media messages
    this.received = 0;
    this.sendingOver = false;
    this.gap = false;
    this.samplesSent = 0; // since the session began
    this.resumeToken = null;
    this.replayBuffer = new ReplayBuffer(false);
    this.ackPolicy = new AckPolicy();
  }

  #connect() {
    const socket = new WebSocket(this.url, SUBPROTOCOL);
    const mine = (act) => (event) => {
      if (socket === this.#socket) this.#guarded(() => act(event));
    };
    socket.binaryType = 'arraybuffer';
    socket.onopen = mine(() => socket.send(this.#firstMessage()));
    socket.onmessage = mine(({ data }) => this.#receive(data));
    socket.onclose = mine(({ code }) => this.#closed(code));
    this.#socket = socket;
    this.#after(PATIENCE, () => this.#open || this.#closed(LOST));
  }

  #firstMessage() {
    const resume = this.resumeToken && {
      token: this.resumeToken,
      received: this.received ? this.received - 1 : null,
    };
    return writeControl('hello', { ...this.hello, resume });
  }

  #receive(data) {
    this.#heardAt = performance.now() / 1e3;
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
    } else if (message?.type === 'notice') this.listener.notice(message.message);
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
      this.listener.codes({ frame, frames: unpackCodes(payload, this.#ready.model) });
    }
    if (this.replayBuffer.keeps && this.ackPolicy.count(data.byteLength)) {
      this.#socket.send(writeControl('ack', { received: seq }));
    }
  }

  #opened(ready) {
    const resumed = this.resumeToken !== null;
    const restarted = this.#interruptedAt !== null;
    this.#ready = ready;
    this.#open = true;
    this.#interruptedAt = null;
    this.#wait = FIRST_WAIT;
    this.#every(PING, () => this.#ping());
    if (!resumed) {
      this.resumeToken = ready.resume?.token ?? null;
      this.replayBuffer = new ReplayBuffer(this.resumeToken !== null);
      this.listener.ready(ready, restarted);
      return;
    }
    this.replayBuffer.acknowledge(ready.resume.received);
    for (const data of this.replayBuffer.unacknowledged) this.#socket.send(data);
    if (this.sendingOver && !ready.resume.ended) this.#socket.send(writeControl('end'));
    this.listener.resumed();
  }

  #ping() {
    const now = performance.now() / 1e3;
    if (now - this.#heardAt > SILENCE) this.#closed(LOST);
    else this.#socket.send(writeControl('ping', { time: now }));
  }

  /**
   * The server has ended the session, and may want another one later.
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
   * @param {ProtocolError | null} why null: nobody knows
   * @param {number} wait seconds before another attempt
   * @param {boolean} resumes whether the session may go on
   */
  #lost(why, wait, resumes) {
    this.#leave(LOST);
    if (this.sendingOver && !resumes) {
      this.#over = true;
      this.listener.ended();
      return;
    }
    const now = performance.now() / 1e3;
    if (this.#interruptedAt === null) {
      this.#interruptedAt = now;
      this.listener.interrupted(why);
    }
    if (now - this.#interruptedAt > GIVE_UP) {
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

  /** Lets the websocket go, and all that waits. */
  #leave(code) {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    const socket = this.#socket;
    this.#socket = null;
    this.#open = false;
    socket?.close(code);
  }

  #after(seconds, act) {
    this.#timers.add(setTimeout(() => this.#guarded(act), seconds * 1e3));
  }

  #every(seconds, act) {
    // Cleared as a timeout is: they share their numbers.
    this.#timers.add(setInterval(() => this.#guarded(act), seconds * 1e3));
  }

  /** What the server does wrong ends the session, not the page. */
  #guarded(act) {
    if (this.#over) return;
    try {
      act();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error);
    }
  }
}

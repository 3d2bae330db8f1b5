/** One session with a server; resumes it, or begins a new one, when the websocket is lost. */

import { ABANDONED, Connection } from './connection.js';
import { MediaReceiver } from './media_receiver.js';
import { MediaSender } from './media_sender.js';
import { ProtocolError, readControl, writeControl } from './protocol.js';
import { Traffic } from './traffic.js';

const MAX_OUTAGE = 300; // s after which a lost connection is no longer retried
const FIRST_WAIT = 0.2; // s before the second attempt; each later one waits twice as long
const LONGEST_WAIT = 5; // s
const MOVING = 1001; // close code of a node whose sessions move to another

/**
 * @typedef {object} SessionListener callbacks; times are in seconds
 * @property {(ready: any, restarted: boolean) => void} ready a session has begun; restarted: it
 *   replaces one that was lost
 * @property {(message: {frame: number, samples: Int16Array, gap: boolean}) => void} pcm
 * @property {(message: {frame: number, frames: Uint16Array[], gap: boolean}) => void} codes
 * @property {(message: {frame: number, payload: Uint8Array, gap: boolean}) => void} [sealed] if
 *   the client has asked for it
 * @property {(frames: Uint16Array[]) => void} [said] frames that were encoded here were sent
 * @property {(roundTrip: number, coding: {encode: ?number, decode: ?number} | null,
 *   listeners: number | undefined) => void} pong listeners: of a mic's room; undefined: not said
 * @property {(notice: {name: string, message: string}) => void} notice
 * @property {() => void} clear drop the audio that was not played; answer with `cleared`
 * @property {(error: ProtocolError | null) => void} interrupted the connection was lost
 * @property {() => void} resumed the connection is back and no media were lost
 * @property {() => void} ended the session has ended and all its media have arrived
 * @property {(error: ProtocolError) => void} failed
 */

export class Session {
  /** @type {Connection | null} */
  #connection = null;
  #open = false; // whether the server has answered `hello`
  #ended = false;
  #ready = null;
  /** @type {MediaReceiver | null} */
  #receiver = null;
  /** @type {MediaSender | null} */
  #sender = null;
  #interruptedAt = null; // seconds; null: it is not interrupted
  #wait = FIRST_WAIT; // seconds before the next attempt
  #retryTimer = 0;

  /**
   * @param {string} url ws:// or wss://
   * @param {object} hello fields of `hello`, without `resumable` and `resume`
   * @param {SessionListener} listener
   * @param {Traffic} [traffic] counts its bytes, beside those of others
   */
  constructor(url, hello, listener, traffic = new Traffic()) {
    this.url = url;
    this.hello = { ...hello, resumable: true };
    this.listener = listener;
    this.traffic = traffic; // of all its websockets
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
    return this.open ? this.#sender.sendPcm(samples) : this.drop();
  }

  /**
   * Sends codes, under the same conditions.
   * @param {Uint16Array[]} frames one code per codebook
   * @returns {boolean} whether they were sent
   */
  sendCodes(frames) {
    return this.open ? this.#sender.sendCodes(frames) : this.drop();
  }

  /**
   * Sends sealed codes, under the same conditions.
   * @param {Uint8Array<ArrayBuffer>[]} frames see sealing.js
   * @returns {boolean} whether they were sent
   */
  sendSealed(frames) {
    return this.open ? this.#sender.sendSealed(frames) : this.drop();
  }

  /** Whether sound should wait, lest it be dropped. */
  get lags() {
    return !this.sendingOver && (!this.#open || this.#sender.lags);
  }

  /** Leaves media out; the next message says so. */
  drop() {
    return this.#sender?.drop() ?? false;
  }

  /** Samples sent since the session began. */
  get samplesSent() {
    return this.#sender?.samplesSent ?? 0;
  }

  #send(data) {
    this.#connection.send(data);
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
    this.#disconnect(1000);
  }

  /** Resets the state that belongs to one session of the server's. */
  #begin() {
    this.sendingOver = false;
    this.resumeToken = null;
    this.#sender = null;
    this.#receiver = null;
  }

  #connect() {
    if (this.#ended) return;
    this.#connection = new Connection(this.#place(), this.traffic, {
      opened: () => this.#send(this.#firstMessage()),
      received: (data) => this.#guarded(() => this.#receive(data)),
      lost: (code) => this.#lostBy(code),
    });
  }

  /** The server's URL with the room, a speaker's role, and the session's node, for proxies. */
  #place() {
    const url = new URL(this.url);
    if (this.hello.room) {
      url.searchParams.set('room', this.hello.room);
      if (this.hello.role === 'speaker') url.searchParams.set('role', 'speaker');
    }
    if (this.resumeToken && this.#ready?.node) url.searchParams.set('node', this.#ready.node);
    return url.href;
  }

  #firstMessage() {
    const resume = this.resumeToken && {
      token: this.resumeToken,
      received: this.#receiver.received ? this.#receiver.received - 1 : null,
    };
    return writeControl('hello', { ...this.hello, resume });
  }

  #receive(data) {
    if (typeof data !== 'string') {
      if (!this.#open) throw new ProtocolError('bad_sequence', 'Media came before `ready`.');
      this.#receiver.receive(data);
      return;
    }
    const message = readControl(data);
    if (message?.type === 'ready' && !this.#open) this.#opened(message);
    else if (message?.type === 'error') this.#refused(message);
    else if (message?.type === 'ack') this.#sender?.replayBuffer.acknowledge(message.received);
    else if (message?.type === 'pong') {
      this.listener.pong(performance.now() / 1e3 - message.time, message.coding_ms, message.listeners);
    } else if (message?.type === 'notice') this.listener.notice(message);
    else if (message?.type === 'clear') this.listener.clear();
    else if (message?.type === 'end') {
      this.close();
      this.listener.ended();
    }
  }

  #opened(ready) {
    const resumed = this.resumeToken !== null;
    const restarted = this.#interruptedAt !== null;
    this.#ready = ready;
    this.#open = true;
    this.#interruptedAt = null;
    this.#wait = FIRST_WAIT;
    this.#connection.keepAlive();
    if (!resumed) {
      this.resumeToken = ready.resume?.token ?? null;
      const unsent = () => this.#connection?.unsent ?? 0;
      this.#sender = new MediaSender(ready, (data) => this.#send(data), unsent);
      const acknowledge = (received) =>
        this.#connection?.send(writeControl('ack', { received }));
      this.#receiver = new MediaReceiver(ready, this.hello.receive, this.listener, acknowledge);
      this.listener.ready(ready, restarted);
      return;
    }
    this.resumeToken = ready.resume.token; // another node may have the session now
    this.#sender.replayBuffer.acknowledge(ready.resume.received);
    for (const data of this.#sender.replayBuffer.unacknowledged) this.#send(data);
    if (this.sendingOver && !ready.resume.ended) this.#send(writeControl('end'));
    this.listener.resumed();
  }

  /**
   * The server has ended the session; begins a new one if the error allows it.
   * @param {any} message
   */
  #refused({ name, message, retry_after, node }) {
    const error = new ProtocolError(name, message, retry_after);
    if (name === 'moved' && node && this.#ready) {
      this.#ready = { ...this.#ready, node };
      this.#lost(null, retry_after ?? 0, true);
    } else if (name === 'cannot_resume') this.#lost(null, 0, false);
    else if (retry_after !== null && this.#ready) this.#lost(error, retry_after, false);
    else this.#fail(error);
  }

  /** The connection was lost; `code` says why. */
  #lostBy(code) {
    if (!this.#ready) {
      this.#fail(
        new ProtocolError('unreachable', `There is no answer from ${this.url} (${code}).`),
      );
      return;
    }
    // A node that goes away gives the session up to the one that the client comes to now.
    const wait = code === MOVING ? 0 : this.#wait * (0.5 + Math.random() / 2);
    this.#lost(null, wait, true);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT);
  }

  /**
   * Closes the connection and tries again.
   * @param {ProtocolError | null} error the reason; null: unknown
   * @param {number} wait seconds before the next attempt
   * @param {boolean} resumes whether the session may be resumed
   */
  #lost(error, wait, resumes) {
    this.#disconnect(ABANDONED);
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
    this.#retryTimer = setTimeout(() => this.#connect(), wait * 1e3);
  }

  #fail(error) {
    this.close();
    this.listener.failed(error);
  }

  /** Closes the connection, and does not try again. */
  #disconnect(code) {
    clearTimeout(this.#retryTimer);
    this.#open = false;
    this.#connection?.close(code);
    this.#connection = null;
  }

  /** Runs `action`; a ProtocolError in it ends the session. */
  #guarded(action) {
    try {
      action();
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      this.#fail(error);
    }
  }
}

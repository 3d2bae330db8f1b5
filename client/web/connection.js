/** One websocket of a session, which notices when the server no longer answers. */

import { SUBPROTOCOL, writeControl } from './protocol.js';

const PING_INTERVAL = 1; // s between pings, which measure the round trip and detect a dead network
const SERVER_TIMEOUT = 8; // s without a message from the server after which the connection is lost
const OPEN_TIMEOUT = 10; // s for a websocket to open and the server to answer `hello`

/** Close code for a connection that is abandoned while the session goes on. */
export const ABANDONED = 4000;

/**
 * @typedef {object} ConnectionListener callbacks; none is called after `close`
 * @property {() => void} opened
 * @property {(data: string | ArrayBuffer) => void} received
 * @property {(code: number) => void} lost with the close code; ABANDONED: the server is silent
 */

export class Connection {
  #socket;
  #traffic;
  #listener;
  #closed = false;
  #lastMessageAt = 0;
  #openTimer;
  #pingTimer = 0;

  /**
   * @param {string} url ws:// or wss://
   * @param {import('./traffic.js').Traffic} traffic counts its bytes
   * @param {ConnectionListener} listener
   */
  constructor(url, traffic, listener) {
    this.#traffic = traffic;
    this.#listener = listener;
    const socket = new WebSocket(url, SUBPROTOCOL);
    const ifOpen = (action) => (event) => this.#closed || action(event);
    socket.binaryType = 'arraybuffer';
    socket.onopen = ifOpen(() => listener.opened());
    socket.onmessage = ifOpen(({ data }) => this.#receive(data));
    socket.onclose = ifOpen(({ code }) => listener.lost(code));
    this.#socket = socket;
    this.#openTimer = setTimeout(() => listener.lost(ABANDONED), OPEN_TIMEOUT * 1e3);
  }

  /** Bytes that were not sent yet. */
  get unsent() {
    return this.#socket.bufferedAmount;
  }

  /** @param {string | ArrayBuffer} data */
  send(data) {
    this.#socket.send(data);
    this.#traffic.countSent(data);
  }

  /** Sends pings from now on: the server has answered `hello`. */
  keepAlive() {
    clearTimeout(this.#openTimer);
    this.#pingTimer = setInterval(() => this.#ping(), PING_INTERVAL * 1e3);
  }

  /** @param {number} code tells the server why */
  close(code) {
    this.#closed = true;
    clearTimeout(this.#openTimer);
    clearInterval(this.#pingTimer);
    this.#socket.close(code);
  }

  #receive(data) {
    this.#traffic.countReceived(data);
    this.#lastMessageAt = performance.now() / 1e3;
    this.#listener.received(data);
  }

  #ping() {
    const now = performance.now() / 1e3;
    if (now - this.#lastMessageAt > SERVER_TIMEOUT) this.#listener.lost(ABANDONED);
    else this.send(writeControl('ping', { time: now }));
  }
}

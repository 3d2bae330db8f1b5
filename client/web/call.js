/** Runs one call: microphone, session and loudspeaker, from the click to the last sound. */

import { CodingSession } from './coding_session.js';
import { LatencyTracker } from './latency.js';
import { Session } from './session.js';
import {
  ENCRYPTED,
  MICROPHONE_LOST,
  RESTARTED,
  RESUMED,
  RESUMING,
  SPEAKER_LEFT,
  listening,
  noticeMessage,
  userMessage,
} from './user_messages.js';

const NEXT_SESSION = 300; // ms before a listener's next session

/** The modes of a call. `room`: whether the user names a room. */
export const MODES = {
  loopback: { role: 'loopback', receive: ['pcm', 'codes'], speaks: true, room: false },
  conversation: { role: 'user', receive: ['pcm', 'codes'], speaks: true, room: false },
  mic: { role: 'mic', receive: null, speaks: true, room: true },
  speaker: { role: 'speaker', receive: ['pcm', 'codes'], speaks: false, room: true },
};

/**
 * @typedef {object} CallListener
 * @property {(ready: any) => void} live
 * @property {(text: string) => void} say
 * @property {(frames: Uint16Array[]) => void} codes
 * @property {(samples: Int16Array) => void} spoke sound of the microphone's, before it is sent
 * @property {(frames: Uint16Array[]) => void} said codes that were made here and sent
 * @property {(count: number) => void} listeners so many hear this microphone
 * @property {() => void} moved the codec runs on the server from now on: this device is too slow
 * @property {() => void} cut what the model had still to say is dropped
 * @property {(error: Error | null) => void} over the call has ended; null: not by an error
 *
 * @typedef {object} CallOptions
 * @property {keyof typeof MODES} mode
 * @property {string} room
 * @property {string} token
 * @property {import('./sound.js').DeviceChoice} devices
 * @property {string | null} key of an encrypted room; needs a codec in this browser
 * @property {import('./codec.js').Codec | null} codec that runs in this browser; null: the server's
 */

export class Call {
  #session = null;
  #stopping = false;
  #ended = false;
  #hears = false; // whether a listener's room has been heard

  /**
   * @param {string} url of the server's websocket
   * @param {CallOptions} options
   * @param {import('./sound.js').Sound} sound its own, made in a click handler
   * @param {CallListener} listener
   */
  constructor(url, options, sound, listener) {
    this.url = url;
    this.options = options;
    this.listener = listener;
    this.mode = MODES[options.mode];
    this.latencyTracker = null;
    this.buffer = { wait: 0, target: 0, underruns: 0 };
    this.sound = sound;
    this.#start().catch((error) => void this.#finish(error));
  }

  get muted() {
    return this.sound.muted;
  }

  set muted(muted) {
    this.sound.muted = muted;
  }

  /** Switches to other devices. */
  async use(devices) {
    try {
      if (this.mode.speaks && !this.#stopping) await this.#openMicrophone(devices);
      await this.sound.useLoudspeaker(devices.loudspeaker);
    } catch (error) {
      this.listener.say(userMessage(error));
    }
  }

  /** Interrupts the model: drops its speech that has not been played. */
  interrupt() {
    this.#session?.clear();
    this.listener.cut();
  }

  /** Ends the call. The rest of the audio is still played, unless this is called twice. */
  stop() {
    const again = this.#stopping;
    this.#stopping = true;
    this.sound.stopCapture();
    if (this.#session && !again) this.#session.end();
    else void this.#finish(null);
  }

  /** The bytes of its session; null before it begins. */
  get traffic() {
    return this.#session?.traffic ?? null;
  }

  /** @returns {import('./latency.js').Stage[]} */
  latency() {
    return this.latencyTracker?.stages(this.sound.delays) ?? [];
  }

  async #start() {
    const { mode, options } = this;
    if (mode.speaks) await this.#openMicrophone(options.devices);
    await this.sound.load();
    await this.sound.useLoudspeaker(options.devices.loudspeaker);
    if (!this.#ended) this.#connect();
  }

  /** Begins a session: the first one, or a listener's for the next speaker of its room. */
  #connect() {
    const { mode, options } = this;
    const hello = {
      role: mode.role,
      room: mode.room ? options.room : null,
      // A mic sees the codes that the server makes of its sound; its own codec's it has.
      receive: mode.receive ?? (options.codec ? null : ['codes']),
      token: options.token || null,
    };
    const { codec, key } = options;
    const listener = {
      ready: (ready, restarted) => this.#ready(ready, restarted),
      pcm: (message) => {
        this.#heard();
        this.latencyTracker.arrived(message.frame, message.samples.length, performance.now() / 1e3);
        this.sound.play(message);
      },
      codes: ({ frames }) => this.listener.codes(frames),
      // A mic with a codec gets no codes back: what it sends is what is to be seen.
      said: (frames) => (mode.receive ? this.listener.said(frames) : this.listener.codes(frames)),
      pong: (roundTrip, coding, listeners) => {
        this.latencyTracker.pong(roundTrip, coding);
        if (listeners !== undefined) this.listener.listeners(listeners);
      },
      moved: () => {
        options.codec = null; // a listener's next session begins with the server's
        this.listener.moved();
      },
      notice: (notice) => this.listener.say(noticeMessage(notice, new URL(this.url).hostname)),
      clear: () => {
        this.sound.clear();
        this.listener.cut();
      },
      interrupted: (error) => this.listener.say(error ? `${error.message} ${RESUMING}` : RESUMING),
      resumed: () => this.listener.say(RESUMED),
      ended: () => this.#sessionEnded(),
      failed: (error) => this.#finish(error),
    };
    this.#session = codec
      ? new CodingSession(this.url, hello, listener, codec, mode.room ? key : null)
      : new Session(this.url, hello, listener);
  }

  async #openMicrophone(devices) {
    await this.sound.openMicrophone(devices);
    this.sound.onlost = () => this.listener.say(MICROPHONE_LOST);
    if (this.#ended) this.sound.stopCapture();
  }

  /** A session has begun: the first one, or one that replaces a lost one. */
  #ready(ready, restarted) {
    this.latencyTracker = new LatencyTracker(ready);
    if (ready.receive.includes('pcm')) {
      const buffered = (state) => {
        this.buffer = state;
        this.latencyTracker.waited(state.wait);
      };
      const dropped = (samples) => this.#session.cleared(samples);
      this.sound.playback(ready.receive_rate, buffered, dropped);
    }
    if (ready.send === 'pcm') this.sound.capture(ready.send_rate, (chunk) => this.#send(chunk));
    this.#hears = false;
    this.listener.live(ready);
    if (restarted) this.listener.say(RESTARTED);
  }

  #send({ samples, age }) {
    const session = this.#session;
    this.listener.spoke(samples);
    if (session.sendPcm(samples)) {
      this.latencyTracker.sent(session.samplesSent, samples.length, age, performance.now() / 1e3);
    }
  }

  /** Says once in a session that somebody speaks. */
  #heard() {
    if (this.mode.role !== 'speaker' || this.#hears) return;
    this.#hears = true;
    const { room, key } = this.options;
    this.listener.say(key ? `${listening(room)} ${ENCRYPTED}` : listening(room));
  }

  async #sessionEnded() {
    if (this.mode.role === 'speaker' && !this.#stopping) return this.#waitForAnother();
    this.sound.stopCapture();
    await this.sound.finish();
    await this.#finish(null);
  }

  /** A room's session ends with its speaker: another one waits for the next. */
  async #waitForAnother() {
    this.listener.say(SPEAKER_LEFT);
    this.#session.close();
    this.#session = null;
    await this.sound.finish();
    await new Promise((resolve) => setTimeout(resolve, NEXT_SESSION));
    if (!this.#ended) this.#connect();
  }

  async #finish(error) {
    const first = !this.#ended;
    this.#ended = true;
    this.#session?.close();
    await this.sound.close(); // again: a microphone may have been opened since the first time

    if (first) this.listener.over(error);
  }
}

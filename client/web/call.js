/** One call: microphone, session and loudspeaker, from the button to the last sound. */

import { Ledger } from './latency.js';
import { Session } from './session.js';
import { Sound } from './sound.js';
import { MICROPHONE_LOST, MIC_LEFT, RESTARTED, RESUMED, RESUMING, sentence } from './user_messages.js';

/** What a call can be. `room`: whether the person names one. */
export const MODES = {
  loopback: { role: 'loopback', receive: ['pcm', 'codes'], speaks: true, room: false },
  conversation: { role: 'user', receive: ['pcm', 'codes'], speaks: true, room: false },
  mic: { role: 'mic', receive: null, speaks: true, room: true },
  speaker: { role: 'speaker', receive: ['pcm', 'codes'], speaks: false, room: true },
};

/**
 * @typedef {object} Watcher
 * @property {(ready: any) => void} live
 * @property {(text: string) => void} say
 * @property {(frames: Uint16Array[]) => void} codes
 * @property {(error: Error | null) => void} over null: it was ended by somebody
 *
 * @typedef {object} Plan
 * @property {keyof typeof MODES} mode
 * @property {string} room
 * @property {string} token
 * @property {import('./sound.js').Wanted} wanted
 */

export class Call {
  #session = null;
  #stopping = false;
  #over = false;

  /**
   * Call this while a click is being handled.
   * @param {string} url of the server's websocket
   * @param {Plan} plan
   * @param {Watcher} watcher
   */
  constructor(url, plan, watcher) {
    this.url = url;
    this.plan = plan;
    this.watcher = watcher;
    this.mode = MODES[plan.mode];
    this.ledger = null;
    this.buffer = { wait: 0, target: 0, underruns: 0 };
    this.sound = new Sound();
    this.#start().catch((error) => void this.#finish(error));
  }

  get muted() {
    return this.sound.muted;
  }

  set muted(muted) {
    this.sound.muted = muted;
  }

  /** Uses other devices from now on. */
  async use(wanted) {
    try {
      if (this.mode.speaks && !this.#stopping) await this.#listen(wanted);
      await this.sound.speakTo(wanted.loudspeaker);
    } catch (error) {
      this.watcher.say(sentence(error));
    }
  }

  /** Makes the model fall silent: what it has said and was not heard is dropped. */
  interrupt() {
    this.#session?.clear();
  }

  /** Hangs up; what is on its way is still heard, unless this is said twice. */
  stop() {
    const again = this.#stopping;
    this.#stopping = true;
    this.sound.hush();
    if (this.#session && !again) this.#session.end();
    else void this.#finish(null);
  }

  /** @returns {import('./latency.js').Part[]} */
  latency() {
    return this.ledger?.parts(this.sound.delays) ?? [];
  }

  async #start() {
    const { mode, plan } = this;
    if (mode.speaks) await this.#listen(plan.wanted);
    await this.sound.load();
    await this.sound.speakTo(plan.wanted.loudspeaker);
    if (this.#over) return;
    const hello = {
      role: mode.role,
      room: mode.room ? plan.room : null,
      receive: mode.receive,
      token: plan.token || null,
    };
    this.#session = new Session(this.url, hello, {
      ready: (ready, restarted) => this.#ready(ready, restarted),
      pcm: (message) => {
        this.ledger.arrived(message.frame, message.samples.length, performance.now() / 1e3);
        this.sound.play(message);
      },
      codes: ({ frames }) => this.watcher.codes(frames),
      pong: (roundTrip, coding) => this.ledger.pong(roundTrip, coding),
      notice: (text) => this.watcher.say(text),
      clear: () => this.sound.clear(),
      interrupted: (why) => this.watcher.say(why ? `${why.message} ${RESUMING}` : RESUMING),
      resumed: () => this.watcher.say(RESUMED),
      ended: () => this.#ended(),
      failed: (error) => this.#finish(error),
    });
  }

  async #listen(wanted) {
    await this.sound.listen(wanted);
    this.sound.onlost = () => this.watcher.say(MICROPHONE_LOST);
    if (this.#over) this.sound.hush();
  }

  /** A session begins; the first one, or one in the place of another that was lost. */
  #ready(ready, restarted) {
    this.ledger = new Ledger(ready);
    if (ready.receive.includes('pcm')) {
      const tell = (state) => {
        this.buffer = state;
        this.ledger.waited(state.wait);
      };
      this.sound.playback(ready.receive_rate, tell, (samples) => this.#session.cleared(samples));
    }
    if (ready.send === 'pcm') this.sound.capture(ready.send_rate, (piece) => this.#send(piece));
    this.watcher.live(ready);
    if (restarted) this.watcher.say(RESTARTED);
  }

  #send({ samples, age }) {
    const session = this.#session;
    if (session.sendPcm(samples)) {
      this.ledger.sent(session.samplesSent, samples.length, age, performance.now() / 1e3);
    }
  }

  async #ended() {
    if (!this.#stopping) this.watcher.say(MIC_LEFT);
    this.sound.hush();
    await this.sound.finish();
    await this.#finish(null);
  }

  async #finish(error) {
    const first = !this.#over;
    this.#over = true;
    this.#session?.close();
    await this.sound.close(); // a microphone may have been opened since the first time
    if (first) this.watcher.over(error);
  }
}

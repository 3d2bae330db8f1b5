/** Microphone and loudspeaker: the audio graph of a call. */

import { ProtocolError } from './protocol.js';

/**
 * @typedef {object} Wanted
 * @property {string} microphone the device's id; '' for the default
 * @property {string} loudspeaker likewise
 * @property {boolean} echoCancellation
 */

const LONGEST_REST = 3000; // ms that what is left may take to play

const here = (file) => new URL(file, import.meta.url).href;

export class Sound {
  #stream = null;
  #source = null;
  #capture = null;
  #playback = null;
  #muted = false;

  /** Call this while a click is being handled: browsers make no sound without one. */
  constructor() {
    this.context = new AudioContext({ latencyHint: 'interactive' });
    void this.context.resume();
    this.input = this.#analyser();
    this.output = this.#analyser();
    this.output.connect(this.context.destination);
  }

  /**
   * Makes ready for `capture` and `playback`.
   * @throws {ProtocolError} unreachable
   */
  async load() {
    const files = ['capture-worklet.js', 'playback-worklet.js'];
    try {
      await Promise.all(files.map((file) => this.context.audioWorklet.addModule(here(file))));
    } catch (error) {
      throw new ProtocolError('unreachable', error.message);
    }
  }

  /**
   * Opens a microphone, in the place of the one before.
   * @param {Wanted} wanted
   * @throws {DOMException} NotFoundError, NotAllowedError and others of getUserMedia
   */
  async listen({ microphone, echoCancellation }) {
    // The codec is to hear what was said, not what a browser makes of it.
    const audio = { echoCancellation, noiseSuppression: false, autoGainControl: false };
    if (microphone) audio.deviceId = { exact: microphone };
    this.#letGo();
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.#source = this.context.createMediaStreamSource(this.#stream);
    this.#source.connect(this.input);
    this.muted = this.#muted;
  }

  /**
   * @param {string} loudspeaker a device's id; '' for the default
   */
  async speakTo(loudspeaker) {
    const context = /** @type {any} */ (this.context); // not every browser has a choice
    if ('setSinkId' in context) await context.setSinkId(loudspeaker);
  }

  /**
   * Gives pieces of the microphone's sound.
   * @param {number} rate Hz
   * @param {(piece: {samples: Int16Array, age: number}) => void} take age: seconds since its end
   */
  capture(rate, take) {
    this.#capture?.disconnect();
    this.#capture = new AudioWorkletNode(this.context, 'capture', {
      channelCount: 1,
      channelCountMode: 'explicit',
      processorOptions: { rate },
    });
    this.#capture.port.onmessage = ({ data: { samples, time } }) =>
      take({ samples, age: Math.max(0, this.context.currentTime - time) });
    this.input.connect(this.#capture);
    this.#capture.connect(this.context.destination); // silence, and a reason to be run
  }

  /**
   * Begins to play what `play` is given.
   * @param {number} rate Hz
   * @param {(state: {wait: number, target: number, underruns: number}) => void} tell
   * @param {(samples: number) => void} dropped told after `clear`: how many, at that rate
   */
  playback(rate, tell, dropped) {
    this.#playback?.disconnect();
    const node = new AudioWorkletNode(this.context, 'playback', {
      numberOfInputs: 0,
      outputChannelCount: [1],
      processorOptions: { rate },
    });
    this.played = new Promise((resolve) => {
      node.port.onmessage = ({ data }) => {
        if (data.done) resolve();
        else if ('dropped' in data) dropped(data.dropped);
        else tell(data);
      };
    });
    node.connect(this.output);
    this.#playback = node;
  }

  /** @param {{samples: Int16Array, gap: boolean}} sound */
  play({ samples, gap }) {
    const message = { samples, gap, time: this.context.currentTime };
    this.#playback?.port.postMessage(message, [samples.buffer]);
  }

  /** Drops what has not been played, softly. */
  clear() {
    this.#playback?.port.postMessage({ clear: true });
  }

  /** Plays what is left, however little it is. */
  async finish() {
    if (!this.#playback || this.context.state !== 'running') return;
    this.#playback.port.postMessage({ finish: true });
    const patience = new Promise((resolve) => setTimeout(resolve, LONGEST_REST));
    await Promise.race([this.played, patience]);
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  /** Told when the microphone goes away by itself. */
  set onlost(act) {
    for (const track of this.#stream?.getAudioTracks() ?? []) track.onended = act;
  }

  /** What the devices say of their delay, in seconds; null: nothing. */
  get delays() {
    const settings = this.#stream?.getAudioTracks()[0]?.getSettings();
    const { baseLatency, outputLatency } = this.context;
    return {
      input: settings?.latency ?? null,
      output: baseLatency === undefined ? null : baseLatency + (outputLatency ?? 0),
    };
  }

  /** Stops listening; what is left may still be played. */
  hush() {
    this.#letGo();
    this.#capture?.disconnect();
    this.#capture = null;
  }

  async close() {
    this.hush();
    if (this.context.state !== 'closed') await this.context.close();
  }

  #letGo() {
    this.#source?.disconnect();
    for (const track of this.#stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.#source = this.#stream = null;
  }

  #analyser() {
    const node = this.context.createAnalyser();
    node.fftSize = 1024;
    node.smoothingTimeConstant = 0;
    node.minDecibels = -95;
    node.maxDecibels = -20;
    return node;
  }
}

/** @returns {Promise<{microphones: MediaDeviceInfo[], loudspeakers: MediaDeviceInfo[]}>} */
export async function devices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  // Without permission they have neither name nor id.
  const kind = (name) => all.filter((device) => device.kind === name && device.deviceId);
  const choosable = 'setSinkId' in AudioContext.prototype;
  return { microphones: kind('audioinput'), loudspeakers: choosable ? kind('audiooutput') : [] };
}

/** Builds the audio graph of a call: microphone, loudspeaker and the worklets between them. */

import { ProtocolError } from './protocol.js';

/**
 * @typedef {object} DeviceChoice
 * @property {string} microphone the device's id; '' for the default
 * @property {string} loudspeaker the device's id; '' for the default
 * @property {boolean} echoCancellation
 */

const DRAIN_TIMEOUT = 3000; // ms that the rest of the audio may take to play

const urlOf = (file) => new URL(file, import.meta.url).href;

export class Sound {
  #stream = null;
  #source = null;
  #capture = null;
  #playback = null;
  #muted = false;

  /** Must be called from a click handler: browsers play no sound without one. */
  constructor() {
    this.context = new AudioContext({ latencyHint: 'interactive' });
    void this.context.resume();
    this.input = this.#analyser();
    this.output = this.#analyser();
    this.output.connect(this.context.destination);
  }

  /**
   * Loads the worklets of `capture` and `playback`.
   * @throws {ProtocolError} unreachable
   */
  async load() {
    const files = ['capture-worklet.js', 'playback-worklet.js'];
    try {
      await Promise.all(files.map((file) => this.context.audioWorklet.addModule(urlOf(file))));
    } catch (error) {
      throw new ProtocolError('unreachable', error.message);
    }
  }

  /**
   * Opens a microphone, and closes the one before.
   * @param {DeviceChoice} devices
   * @throws {DOMException} NotFoundError, NotAllowedError and others of getUserMedia
   */
  async openMicrophone({ microphone, echoCancellation }) {
    // The codec was trained on unprocessed speech.
    const audio = { echoCancellation, noiseSuppression: false, autoGainControl: false };
    if (microphone) audio.deviceId = { exact: microphone };
    this.#closeMicrophone();
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio });
    this.#source = this.context.createMediaStreamSource(this.#stream);
    this.#source.connect(this.input);
    this.muted = this.#muted;
  }

  /**
   * @param {string} loudspeaker a device's id; '' for the default
   */
  async useLoudspeaker(loudspeaker) {
    const context = /** @type {any} */ (this.context); // not every browser has a choice
    if ('setSinkId' in context) await context.setSinkId(loudspeaker);
  }

  /**
   * Captures the microphone in chunks.
   * @param {number} rate Hz
   * @param {(chunk: {samples: Int16Array, age: number}) => void} take called with each chunk; age:
   *   seconds since its last sample was captured
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
    this.#capture.connect(this.context.destination); // silent, but only connected nodes run
  }

  /**
   * Starts the loudspeaker for `play`.
   * @param {number} rate Hz
   * @param {(state: {wait: number, target: number, underruns: number}) => void} buffered called
   *   with the state of the jitter buffer when audio has been added
   * @param {(samples: number) => void} dropped called after `clear` with the number of samples
   *   dropped, at `rate`
   */
  playback(rate, buffered, dropped) {
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
        else buffered(data);
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

  /** Drops the audio that has not been played, with a short fade-out. */
  clear() {
    this.#playback?.port.postMessage({ clear: true });
  }

  /** Plays the rest of the audio, and waits for that. */
  async finish() {
    if (!this.#playback || this.context.state !== 'running') return;
    this.#playback.port.postMessage({ finish: true });
    const timeout = new Promise((resolve) => setTimeout(resolve, DRAIN_TIMEOUT));
    await Promise.race([this.played, timeout]);
  }

  get muted() {
    return this.#muted;
  }

  set muted(muted) {
    this.#muted = muted;
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = !muted;
  }

  /** Called when the microphone is disconnected. */
  set onlost(act) {
    for (const track of this.#stream?.getAudioTracks() ?? []) track.onended = act;
  }

  /** Latencies that the browser reports for the devices, in seconds; null: not reported. */
  get delays() {
    const settings = this.#stream?.getAudioTracks()[0]?.getSettings();
    const { baseLatency, outputLatency } = this.context;
    return {
      input: settings?.latency ?? null,
      output: baseLatency === undefined ? null : baseLatency + (outputLatency ?? 0),
    };
  }

  /** Closes the microphone; the rest of the audio may still be played. */
  stopCapture() {
    this.#closeMicrophone();
    this.#capture?.disconnect();
    this.#capture = null;
  }

  async close() {
    this.stopCapture();
    if (this.context.state !== 'closed') await this.context.close();
  }

  #closeMicrophone() {
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

/**
 * Lists the devices that can be chosen.
 * @returns {Promise<{microphones: MediaDeviceInfo[], loudspeakers: MediaDeviceInfo[]}>}
 */
export async function listDevices() {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  // Before the user grants permission, devices have neither name nor id.

  const kind = (name) => all.filter((device) => device.kind === name && device.deviceId);
  const choosable = 'setSinkId' in AudioContext.prototype;
  return { microphones: kind('audioinput'), loudspeakers: choosable ? kind('audiooutput') : [] };
}

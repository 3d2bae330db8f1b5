/**
 * Measures the latency from microphone to loudspeaker, stage by stage. Each stage is measured by
 * itself; tests/client/test_web.py compares their sum with a measurement of the whole.
 *
 * A frame's last sample is captured at time c and sent at time s; the audio decoded from the frame
 * arrives at time a, and its first sample is one frame older than its last. So the age of the audio
 * that is played is
 *
 *     (s - c) capture  +  frame  +  (a - s) network, encoding, decoding
 *             +  overlap  +  time in the jitter buffer  +  the devices
 *
 * A ping measures the network's share of (a - s), and its pong carries the server's encoding and
 * decoding times. The rest of (a - s) is the time that the frame waited for a step or the model.
 */

const WINDOW = 40; // values averaged in each figure

/** The mean of the latest values. Unlike medians, the means of the stages add up to the whole. */
class RunningMean {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > WINDOW) this.#values.shift();
  }

  /** @returns {number | null} null: there is no value yet */
  get mean() {
    const sum = this.#values.reduce((total, value) => total + value, 0);
    return this.#values.length ? sum / this.#values.length : null;
  }
}

/**
 * @typedef {object} Stage
 * @property {string} name
 * @property {number | null} ms null: unknown so far, or not reported
 */

export class LatencyTracker {
  #capture = new RunningMean();
  #roundTrip = new RunningMean();
  #turnaround = new RunningMean();
  #encode = new RunningMean();
  #decode = new RunningMean();
  #overlap = new RunningMean();
  #wait = new RunningMean();
  #sentAt = new Map(); // by frame
  #samplesOut = 0;

  /** @param {any} ready the server's `ready` message; `codec_here`: the codec runs in the browser */
  constructor(ready) {
    this.ready = ready;
    this.frame = ready.frame_ms / 1e3;
    // The decoder's delay is whole frames of lookahead plus the overlap, which `arrived` measures.
    const { encode, decode } = ready.delay_ms;
    const decoded = Math.floor(decode / ready.frame_ms) * ready.frame_ms;
    this.lookahead = (encode - ready.frame_ms + decoded) / 1e3;
  }

  /**
   * Records that sound was sent.
   * @param {number} samples sent so far, including these, at `ready.send_rate`
   * @param {number} count samples sent now
   * @param {number} age seconds since the last of them was captured
   * @param {number} now seconds
   */
  sent(samples, count, age, now) {
    this.#capture.add(age);
    const frameSamples = this.frame * this.ready.send_rate;
    const before = Math.floor((samples - count) / frameSamples);
    for (let frame = before; frame < Math.floor(samples / frameSamples); frame++) {
      this.#sentAt.set(frame, now);
      this.#sentAt.delete(frame - 256);
    }
  }

  /**
   * Records that the sound decoded from `frame` has arrived.
   * @param {number} frame
   * @param {number} count samples at `ready.receive_rate`
   * @param {number} now seconds
   */
  arrived(frame, count, now) {
    this.#samplesOut += count;
    const sentAt = this.#sentAt.get(frame);
    if (sentAt === undefined) return;
    this.#turnaround.add(now - sentAt);
    this.#overlap.add((frame + 1) * this.frame - this.#samplesOut / this.ready.receive_rate);
  }

  /** @param {number} seconds that arriving audio will spend in the jitter buffer */
  waited(seconds) {
    this.#wait.add(seconds);
  }

  /**
   * Records a round trip.
   * @param {number} seconds between a ping and its pong
   * @param {{encode: ?number, decode: ?number} | null} coding ms of the server's latest steps
   */
  pong(seconds, coding) {
    this.#roundTrip.add(seconds);
    if (typeof coding?.encode === 'number') this.#encode.add(coding.encode / 1e3);
    if (typeof coding?.decode === 'number') this.#decode.add(coding.decode / 1e3);
  }

  /**
   * @param {{input: number | null, output: number | null}} devices latencies that the browser
   *   reports, seconds
   * @returns {Stage[]} in the order of the signal; stages that this session lacks are left out
   */
  stages({ input, output }) {
    const { send, receive, role, codec_here: here } = this.ready;
    const sends = send === 'pcm';
    const plays = receive.includes('pcm');
    const roundTrip = this.#roundTrip.mean;
    const whole = this.#turnaround.mean;
    const known = whole !== null && roundTrip !== null;
    const inServer = known ? Math.max(0, whole - roundTrip - this.lookahead) : null;
    const [encode, decode, rest] = split(inServer, this.#encode.mean, this.#decode.mean);
    // A session that only sends or only plays includes the network one way.
    const around = sends && plays;
    const network = roundTrip !== null && !around ? roundTrip / 2 : roundTrip;
    const waits = around && { name: role === 'user' ? 'model' : 'queue', seconds: rest };
    const half = here && !around; // its codec is measured by itself
    return [
      sends && { name: 'microphone', seconds: input },
      sends && { name: 'capture', seconds: this.#capture.mean },
      sends && { name: 'frame', seconds: this.frame + this.lookahead },
      half && sends && { name: 'encode', seconds: this.#encode.mean },
      { name: 'network', seconds: network },
      role !== 'user' && waits,
      around && { name: 'encode', seconds: encode },
      role === 'user' && waits,
      around && { name: 'decode', seconds: decode },
      half && plays && { name: 'decode', seconds: this.#decode.mean },
      around && { name: 'overlap', seconds: this.#overlap.mean },
      plays && { name: 'buffer', seconds: this.#wait.mean },
      plays && { name: 'loudspeaker', seconds: output },
    ]
      .filter((part) => typeof part === 'object')
      .map(({ name, seconds }) => ({ name, ms: seconds === null ? null : seconds * 1e3 }));
  }
}

/**
 * Splits `whole` into two parts and a rest; parts that exceed the whole are scaled down.
 * @returns {(number | null)[]} the two parts and the rest

 */
function split(whole, one, other) {
  if (whole === null || one === null || other === null) return [null, null, null];
  const share = Math.min(1, whole / (one + other || 1));
  return [one * share, other * share, whole - (one + other) * share];
}

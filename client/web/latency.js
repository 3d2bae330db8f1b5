/**
 * Where the time goes between a mouth and an ear: each part measured by itself, so that their sum
 * can be held against a measurement of the whole (tests/client/test_web.py does).
 *
 * A frame's last sample is heard at the microphone at some moment c and sent at s; the sound
 * decoded out of it arrives at a, and reaches from there as far back as the frame is long. So what
 * is played is as old as
 *
 *     (s - c) capture  +  frame  +  (a - s) network, encoding, decoding
 *             +  overlap  +  what waited in the buffer before it  +  the devices
 *
 * Of (a - s) a ping tells the network's part, and its pong the time that the server encodes and
 * decodes for; what is left the frame has waited for its turn, or for the model.
 */

const KEPT = 40; // values behind each figure

/**
 * The latest values of something, and their mean: that of a sum is the sum of theirs, however much
 * one part gains and another loses from frame to frame.
 */
class Recent {
  #values = [];

  add(value) {
    this.#values.push(value);
    if (this.#values.length > KEPT) this.#values.shift();
  }

  /** @returns {number | null} null: nothing is known */
  get mean() {
    const sum = this.#values.reduce((total, value) => total + value, 0);
    return this.#values.length ? sum / this.#values.length : null;
  }
}

/**
 * @typedef {object} Part
 * @property {string} name
 * @property {number | null} ms null: not known (yet)
 */

export class Ledger {
  #capture = new Recent();
  #roundTrip = new Recent();
  #turnaround = new Recent();
  #encode = new Recent();
  #decode = new Recent();
  #overlap = new Recent();
  #wait = new Recent();
  #sentAt = new Map(); // by frame
  #samplesOut = 0;

  /** @param {any} ready the server's */
  constructor(ready) {
    this.ready = ready;
    this.frame = ready.frame_ms / 1e3;
    // The decoder's delay: whole frames of lookahead, and the overlap, which shows in what arrives.
    const { encode, decode } = ready.delay_ms;
    const decoded = Math.floor(decode / ready.frame_ms) * ready.frame_ms;
    this.lookahead = (encode - ready.frame_ms + decoded) / 1e3;
  }

  /**
   * Sound has been sent.
   * @param {number} samples in all, at `ready.send_rate`
   * @param {number} count the latest of them
   * @param {number} age seconds since the last of them was heard
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
   * Sound that was decoded out of `frame` has arrived.
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

  /** @param {number} seconds between an arrival and its turn to be played */
  waited(seconds) {
    this.#wait.add(seconds);
  }

  /**
   * @param {number} seconds of a ping and its pong
   * @param {{encode: ?number, decode: ?number} | null} coding ms of the server's latest steps
   */
  pong(seconds, coding) {
    this.#roundTrip.add(seconds);
    if (typeof coding?.encode === 'number') this.#encode.add(coding.encode / 1e3);
    if (typeof coding?.decode === 'number') this.#decode.add(coding.decode / 1e3);
  }

  /**
   * @param {{input: number | null, output: number | null}} devices their own word, seconds
   * @returns {Part[]} in the order of the way; a part that this session does not have is left out
   */
  parts({ input, output }) {
    const { send, receive, role } = this.ready;
    const speaks = send === 'pcm';
    const hears = receive.includes('pcm');
    const roundTrip = this.#roundTrip.mean;
    const whole = this.#turnaround.mean;
    const known = whole !== null && roundTrip !== null;
    const inServer = known ? Math.max(0, whole - roundTrip - this.lookahead) : null;
    const [encode, decode, rest] = split(inServer, this.#encode.mean, this.#decode.mean);
    // Who only speaks or only hears has one way of it.
    const around = speaks && hears;
    const network = roundTrip !== null && !around ? roundTrip / 2 : roundTrip;
    const waits = around && { name: role === 'user' ? 'model' : 'queue', seconds: rest };
    return [
      speaks && { name: 'microphone', seconds: input },
      speaks && { name: 'capture', seconds: this.#capture.mean },
      speaks && { name: 'frame', seconds: this.frame + this.lookahead },
      { name: 'network', seconds: network },
      role !== 'user' && waits,
      around && { name: 'encode', seconds: encode },
      role === 'user' && waits,
      around && { name: 'decode', seconds: decode },
      around && { name: 'overlap', seconds: this.#overlap.mean },
      hears && { name: 'buffer', seconds: this.#wait.mean },
      hears && { name: 'loudspeaker', seconds: output },
    ]
      .filter((part) => typeof part === 'object')
      .map(({ name, seconds }) => ({ name, ms: seconds === null ? null : seconds * 1e3 }));
  }
}

/**
 * Parts of a whole, as long as they say, or shorter where they say more than there is.
 * @returns {(number | null)[]} the two parts and what is left
 */
function split(whole, one, other) {
  if (whole === null || one === null || other === null) return [null, null, null];
  const share = Math.min(1, whole / (one + other || 1));
  return [one * share, other * share, whole - (one + other) * share];
}

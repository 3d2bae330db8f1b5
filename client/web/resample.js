/**
 * Resamples between the device's rate and the codec's, in chunks of any size.
 *
 * An AudioContext made with `{sampleRate: 16000}` would make this file needless, but Firefox cannot
 * connect a MediaStream (the microphone) to a context of another rate than the device's: its
 * web-platform-tests list createMediaStreamSource with another rate as an expected failure.
 */

const PASSBAND = 0.9; // share of the lower rate's band that passes unchanged
const STOPBAND_ATTENUATION = 80; // dB

/**
 * A polyphase filter of Kaiser-windowed sincs. The chunking does not change the output, and output
 * sample n is the input at time n / to; it is available `lag` seconds after that time.
 */
export class Resampler {
  #step; // [up, down]: the output advances by `down` phases, `up` phases to an input sample
  #filters; // [up][taps], one for each fraction of an input sample
  #history; // the input that is still needed; its first `held` samples are valid
  #held;
  #next; // phases from the start of the history to the first tap of the next output sample

  /**
   * @param {number} from Hz
   * @param {number} to Hz
   */
  constructor(from, to) {
    const common = greatestCommonDivisor(from, to);
    const [up, down] = [to / common, from / common];
    const edge = Math.min(from, to) / from / 2; // upper edge of the lower band, cycles per sample
    const transition = 2 * Math.PI * edge * (1 - PASSBAND); // width, radians per sample
    const half = Math.ceil((STOPBAND_ATTENUATION - 8) / (2.285 * transition) / 2);
    const taps = from === to ? 1 : 2 * half;
    this.taps = taps;
    this.lag = from === to ? 0 : half / from;
    this.#step = [up, down];
    this.#filters = Array.from({ length: up }, (_, phase) =>
      from === to ? Float32Array.of(1) : lowpass(taps, phase / up, (edge * (1 + PASSBAND)) / 2),
    );
    this.#held = from === to ? 0 : half - 1; // silence before the beginning
    this.#history = new Float32Array(this.#held + 4096);
    this.#next = 0;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array} the output that is ready; may be empty
   */
  push(samples) {
    const [up, down] = this.#step;
    if (this.#held + samples.length > this.#history.length) {
      const longer = new Float32Array(2 * (this.#held + samples.length));
      longer.set(this.#history.subarray(0, this.#held));
      this.#history = longer;
    }
    this.#history.set(samples, this.#held);
    this.#held += samples.length;
    const free = (this.#held - this.taps + 1) * up - this.#next;
    const out = new Float32Array(Math.max(0, Math.ceil(free / down)));
    for (let n = 0; n < out.length; n++) {
      const first = Math.floor(this.#next / up);
      const filter = this.#filters[this.#next % up];
      let sum = 0;
      for (let tap = 0; tap < filter.length; tap++) sum += filter[tap] * this.#history[first + tap];
      out[n] = sum;
      this.#next += down;
    }
    const done = Math.min(this.#held, Math.floor(this.#next / up));
    this.#history.copyWithin(0, done, this.#held);
    this.#held -= done;
    this.#next -= done * up;
    return out;
  }
}

/** The taps of a Kaiser-windowed sinc, centred `fraction` of a sample after the middle. */

function lowpass(taps, fraction, cutoff) {
  const beta = 0.1102 * (STOPBAND_ATTENUATION - 8.7);
  const half = taps / 2;
  const filter = Float32Array.from({ length: taps }, (_, tap) => {
    const x = tap - (half - 1) - fraction;
    const window = bessel(beta * Math.sqrt(Math.max(0, 1 - (x / half) ** 2))) / bessel(beta);
    return window * (x === 0 ? 2 * cutoff : Math.sin(2 * Math.PI * cutoff * x) / (Math.PI * x));
  });
  const sum = filter.reduce((total, tap) => total + tap, 0);
  return filter.map((tap) => tap / sum);
}

/** The modified Bessel function of the first kind, of order 0. */
function bessel(x) {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

/**
 * The jitter buffer: sound arrives in bursts and is played evenly. The policy is that of
 * xyt_stream/client/jitter.py, and tests/web hold both to the same simulations.
 */

const FADE = 0.005; // seconds over which one sound becomes another
const CONCEALED = 0.04; // seconds that stand in for sound that is late, fading away
const GROWTH = 0.04; // seconds that are held back more after running dry
const CALM = 5; // seconds without running dry after which less will do
const WARY = 32; // seconds that this grows to where it comes to run dry again
const SPARE = 0.04; // seconds that are never given up
const STEP = 0.02; // seconds that are given up at once
const PACE = 0.1; // seconds between two steps
const LATELY = 1; // seconds after which what waited in all of them, beyond the target, is too much

/**
 * Holds sound back for a while, as long as its arrivals need, and plays it evenly.
 *
 * It begins to play when `target` seconds wait. When it runs dry, what was heard last fades away
 * backwards, and it holds back more than before; after a calm time it gives up half of what was
 * never needed, a little at a time, and what is beyond the target (all that a stall of the network
 * let through at once) sooner. If it soon runs dry again, it takes back what it gave up, and waits
 * for a longer calm from then on. Where sound was lost on the way, one side fades into the other.
 *
 * Nothing is allocated after its making: it runs on the thread that must never wait.
 */
export class JitterBuffer {
  #ring;
  #last; // played last, as a ring of its own
  #lastAt = 0;
  #rest; // what stands in
  #restAt; // of it, what was played
  #fade;
  #pushed = 0;
  #pulled = 0;
  #playing = false;
  #fadesIn = false;
  #finished = false;
  #patience = CALM; // seconds
  #tried = 0; // samples that it last gave up after a calm time
  #calm = 0; // samples played without running dry
  #lowest = 0; // samples that waited at least, in this calm time
  #seen = 0; // samples played since it was last seen whether too much waits
  #lately = 0; // samples that waited at least since then
  #stepped = 0; // samples played since the last step
  #spare = 0; // samples still to be given up after a calm time
  #excess = 0; // samples still to be given up as too much

  /**
   * @param {number} rate Hz
   * @param {object} [options]
   * @param {number} [options.target] seconds to have before playing, at first
   * @param {number} [options.most] seconds that the target may grow to
   * @param {number} [options.limit] seconds it can hold; beyond it the oldest sound is dropped
   */
  constructor(rate, { target = 0.1, most = 1, limit = 2 } = {}) {
    this.rate = rate;
    this.target = target;
    this.most = most;
    this.underruns = 0; // how often it ran dry while sound was still to come
    this.dropped = 0; // samples lost to `limit`
    this.givenUp = 0; // samples left out to play sooner
    this.#fade = Math.round(FADE * rate);
    this.#ring = new Float32Array(Math.round(limit * rate));
    this.#last = new Float32Array(Math.round(CONCEALED * rate));
    this.#rest = new Float32Array(this.#last.length);
    this.#restAt = this.#rest.length;
  }

  /** Seconds of sound that wait. */
  get depth() {
    return (this.#pushed - this.#pulled) / this.rate;
  }

  /** Whether all has been played that ever will be. */
  get done() {
    return this.#finished && this.#pushed === this.#pulled;
  }

  /**
   * Sound that has arrived.
   * @param {Float32Array} samples
   * @param {boolean} [gap] something between this and what came before was lost
   */
  push(samples, gap = false) {
    const ring = this.#ring;
    const size = ring.length;
    const past = this.#pushed;
    const fade = gap ? Math.min(this.#fade, samples.length) : 0;
    for (let i = 0; i < samples.length; i++) {
      let sample = samples[i];
      if (i < fade) {
        // Begun by what was pushed last, backwards. It lies behind what is written here.
        const old = i < past ? ring[(past - 1 - i) % size] : 0;
        sample = cross(old, sample, i, this.#fade);
      }
      ring[(past + i) % size] = sample;
    }
    this.#pushed += samples.length;
    const excess = Math.max(0, this.#pushed - this.#pulled - size);
    this.#pulled += excess;
    this.dropped += excess;
  }

  /**
   * Sound to play now; what is missing is silence.
   * @param {Float32Array} out filled
   * @returns {number} samples of it that are sound, or stand in for it
   */
  pull(out) {
    const waiting = this.#pushed - this.#pulled;
    if (!this.#playing && (waiting >= this.target * this.rate || this.#finished)) {
      this.#playing = true;
      this.#calm = this.#seen = this.#stepped = this.#spare = this.#excess = 0;
      this.#lowest = this.#lately = waiting;
    }
    if (!this.#playing) return this.#standIn(out, 0);
    const count = Math.min(out.length, waiting);
    this.#take(out, count);
    if (count < out.length && !this.#finished) {
      this.underruns += 1;
      this.target = Math.min(this.most, this.target + GROWTH + this.#tried / this.rate);
      if (this.#tried) this.#patience = Math.min(WARY, 2 * this.#patience);
      this.#tried = 0;
      this.#playing = false;
      this.#fadesIn = true;
      this.#fadeAway();
      return this.#standIn(out, count);
    }
    out.fill(0, count);
    this.#settle(out.length);
    return count;
  }

  /**
   * Drops what waits, all but a moment in which it fades away.
   * @returns {number} samples
   */
  clear() {
    if (this.#playing) {
      const count = Math.min(this.#fade, this.#pushed - this.#pulled);
      const from = this.#rest.length - count;
      this.#take(this.#rest.subarray(from), count);
      for (let i = 0; i < count; i++)
        this.#rest[from + i] = cross(this.#rest[from + i], 0, i, this.#fade);
      this.#restAt = from;
    }
    const dropped = this.#pushed - this.#pulled;
    this.#pulled = this.#pushed;
    this.#playing = false;
    this.#fadesIn = true;
    return dropped;
  }

  /** Nothing more will be pushed: what is left is played out. */
  finish() {
    this.#finished = true;
  }

  #take(out, count) {
    const ring = this.#ring;
    for (let i = 0; i < count; i++) out[i] = ring[(this.#pulled + i) % ring.length];
    this.#pulled += count;
    if (this.#fadesIn && count) {
      for (let i = 0; i < Math.min(count, this.#fade); i++) {
        const at = this.#restAt + i;
        out[i] = cross(at < this.#rest.length ? this.#rest[at] : 0, out[i], i, this.#fade);
      }
      this.#restAt = this.#rest.length;
      this.#fadesIn = false;
    }
    for (let i = 0; i < count; i++) {
      this.#last[this.#lastAt] = out[i];
      this.#lastAt = (this.#lastAt + 1) % this.#last.length;
    }
  }

  /** Gives up some of what is not needed: see `LATELY` and `CALM`. */
  #settle(count) {
    const waiting = this.#pushed - this.#pulled;
    const never = Math.round(SPARE * this.rate);
    this.#calm += count;
    this.#seen += count;
    this.#stepped += count;
    this.#lowest = Math.min(this.#lowest, waiting);
    this.#lately = Math.min(this.#lately, waiting);
    if (this.#finished) return;
    if (this.#calm >= this.#patience * this.rate) {
      const spare = Math.floor((this.#lowest - never) / 2);
      if (spare > this.#fade) {
        this.#spare = this.#tried = spare;
        this.target = Math.max(SPARE, this.target - spare / this.rate);
      } else {
        this.#patience = Math.max(CALM, this.#patience / 2);
        this.#tried = 0;
      }
      this.#calm = 0;
      this.#lowest = waiting;
    }
    if (this.#seen >= LATELY * this.rate) {
      this.#excess = Math.max(0, this.#lately - Math.round(this.target * this.rate));
      this.#seen = 0;
      this.#lately = waiting;
    }
    if (this.#stepped >= PACE * this.rate) {
      const most = Math.min(Math.round(STEP * this.rate), this.#lately - never);
      this.#giveUp(Math.min(most, Math.max(this.#spare, this.#excess)));
      this.#stepped = 0;
    }
  }

  /** Leaves out the next samples, so many that wait, unless it is not worth a fade. */
  #giveUp(step) {
    if (step <= this.#fade) return;
    const ring = this.#ring;
    for (let i = 0; i < this.#fade; i++) {
      const after = (this.#pulled + step + i) % ring.length;
      ring[after] = cross(ring[(this.#pulled + i) % ring.length], ring[after], i, this.#fade);
    }
    this.#pulled += step;
    this.givenUp += step;
    this.#lowest -= step;
    this.#lately -= step;
    this.#spare = Math.max(0, this.#spare - step);
    this.#excess = Math.max(0, this.#excess - step);
  }

  /** What was played last, backwards and softer and softer, is to stand in. */
  #fadeAway() {
    const length = this.#last.length;
    for (let i = 0; i < length; i++) {
      const sample = this.#last[(this.#lastAt - 1 - i + length) % length];
      this.#rest[i] = sample * (1 - i / (length - 1));
    }
    this.#restAt = 0;
  }

  #standIn(out, from) {
    const count = Math.min(out.length - from, this.#rest.length - this.#restAt);
    for (let i = 0; i < count; i++) out[from + i] = this.#rest[this.#restAt + i];
    this.#restAt += count;
    out.fill(0, from + count);
    return from + count;
  }
}

/** Sample `i` of `fade` on the way from one sound to another. */
function cross(old, fresh, i, fade) {
  const down = fade > 1 ? 1 - i / (fade - 1) : 1;
  return old * down + fresh * (1 - down);
}

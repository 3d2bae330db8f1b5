/**
 * Buffers audio that arrives in bursts, so that it plays evenly. The states and the policy are
 * those of xyt_stream/client/jitter.py; tests/web runs the same simulations on both.
 */

const CROSSFADE = 0.005; // s; length of every crossfade
const CONCEALMENT = 0.04; // s; after an underrun the last audio plays backwards this long, fading
const TARGET_INCREASE = 0.04; // s; added to the target at each underrun
const MIN_STABLE = 5; // s without an underrun after which the target is lowered
const MAX_STABLE = 32; // s; that time doubles up to this while lowering leads to underruns
const MIN_DEPTH = 0.04; // s; skipping never goes below this depth
const SKIP = 0.02; // s; most audio skipped at once
const SKIP_INTERVAL = 0.1; // s between two skips
const EXCESS_WINDOW = 1; // s; depth above the target throughout it is skipped

/**
 * A playout buffer with adaptive depth.
 *
 * Playing begins when `target` seconds are buffered. At an underrun the last audio fades out
 * backwards and the target grows. After a stable time without underruns, half of the depth that was
 * never needed is skipped, a little at a time; depth above the target, as after a stall of the
 * network, is skipped sooner. If lowering the target soon leads to an underrun, it is undone and
 * the next stable time is twice as long. Where audio was lost, the two sides are crossfaded.
 *
 * Only the constructor allocates: the rest runs on the audio thread, where collecting garbage would
 * be heard.
 */
export class JitterBuffer {
  // All counts are in samples; #written and #read are since the beginning.
  #ring;
  #written = 0;
  #read = 0;
  #recent; // played last, a ring of its own
  #recentAt = 0;
  #concealment; // fade-out
  #concealmentAt; // how much of it has been played
  #fade;
  #playing = false;
  #fadeIn = false; // whether the next audio is faded in
  #finished = false;
  // Lowering the target after a stable time.
  #stableSeconds = MIN_STABLE;
  #sinceUnderrun = 0; // played
  #stableMinDepth = 0; // smallest depth since then
  #surplus = 0; // still to skip
  #lastDecrease = 0; // by how much the target was last lowered
  // Skipping what is above the target.
  #sinceExcessCheck = 0; // played
  #excessMinDepth = 0; // smallest depth since then
  #excess = 0; // still to skip
  #sinceSkip = 0; // played

  /**
   * @param {number} rate Hz
   * @param {object} [options]
   * @param {number} [options.target] initial target, seconds
   * @param {number} [options.most] largest target, seconds
   * @param {number} [options.limit] capacity, seconds; beyond it the oldest audio is dropped
   */
  constructor(rate, { target = 0.1, most = 1, limit = 2 } = {}) {
    this.rate = rate;
    this.target = target;
    this.most = most;
    this.underruns = 0; // number of times the buffer ran empty before `finish`
    this.dropped = 0; // samples dropped because of `limit`
    this.skipped = 0; // samples skipped to lower the latency
    this.#fade = Math.round(CROSSFADE * rate);
    this.#ring = new Float32Array(Math.round(limit * rate));
    this.#recent = new Float32Array(Math.round(CONCEALMENT * rate));
    this.#concealment = new Float32Array(this.#recent.length);
    this.#concealmentAt = this.#concealment.length;
  }

  /** Seconds of audio in the buffer. */
  get depth() {
    return (this.#written - this.#read) / this.rate;
  }

  /** Whether `finish` was called and all audio has been played. */
  get done() {
    return this.#finished && this.#written === this.#read;
  }

  /**
   * Adds audio that has arrived.
   * @param {Float32Array} samples
   * @param {boolean} [gap] audio before these samples was lost
   */
  push(samples, gap = false) {
    const ring = this.#ring;
    const size = ring.length;
    const past = this.#written;
    const fade = gap ? Math.min(this.#fade, samples.length) : 0;
    for (let i = 0; i < samples.length; i++) {
      let sample = samples[i];
      if (i < fade) {
        // Faded in from the reversed audio before it, which this loop does not overwrite.
        const old = i < past ? ring[(past - 1 - i) % size] : 0;
        sample = crossfade(old, sample, i, this.#fade);
      }
      ring[(past + i) % size] = sample;
    }
    this.#written += samples.length;
    const excess = Math.max(0, this.#written - this.#read - size);
    this.#read += excess;
    this.dropped += excess;
  }

  /**
   * Fills `out` with the audio to play now; missing audio is silence.
   * @param {Float32Array} out
   * @returns {number} samples of it that are audio or concealment
   */
  pull(out) {
    const depth = this.#written - this.#read;
    if (!this.#playing && (depth >= this.target * this.rate || this.#finished)) this.#start(depth);
    if (!this.#playing) return this.#conceal(out, 0);
    const count = Math.min(out.length, depth);
    this.#take(out, count);
    if (count < out.length && !this.#finished) {
      this.#underrun();
      return this.#conceal(out, count);
    }
    out.fill(0, count);
    this.#adapt(out.length);
    return count;
  }

  /**
   * Drops the buffered audio except a short fade-out.
   * @returns {number} samples dropped
   */
  clear() {
    if (this.#playing) {
      const count = Math.min(this.#fade, this.#written - this.#read);
      const from = this.#concealment.length - count;
      this.#take(this.#concealment.subarray(from), count);
      for (let i = 0; i < count; i++)
        this.#concealment[from + i] = crossfade(this.#concealment[from + i], 0, i, this.#fade);
      this.#concealmentAt = from;
    }
    const dropped = this.#written - this.#read;
    this.#read = this.#written;
    this.#playing = false;
    this.#fadeIn = true;
    return dropped;
  }

  /** Declares that nothing more will be pushed; the rest is played without waiting. */
  finish() {
    this.#finished = true;
  }

  /** FILLING -> PLAYING. */
  #start(depth) {
    this.#playing = true;
    this.#sinceUnderrun = this.#sinceExcessCheck = this.#sinceSkip = 0;
    this.#surplus = this.#excess = 0;
    this.#stableMinDepth = this.#excessMinDepth = depth;
  }

  /** PLAYING -> FILLING: the target grows, and the last audio fades out. */
  #underrun() {
    this.underruns += 1;
    const grown = this.target + TARGET_INCREASE + this.#lastDecrease / this.rate;
    this.target = Math.min(this.most, grown);
    // Lowering the target has led to this underrun.
    if (this.#lastDecrease) this.#stableSeconds = Math.min(MAX_STABLE, 2 * this.#stableSeconds);
    this.#lastDecrease = 0;
    this.#playing = false;
    this.#fadeIn = true;
    this.#reversedFade();
  }

  /** Takes the next `count` buffered samples. */
  #take(out, count) {
    const ring = this.#ring;
    for (let i = 0; i < count; i++) out[i] = ring[(this.#read + i) % ring.length];
    this.#read += count;
    if (this.#fadeIn && count) {
      for (let i = 0; i < Math.min(count, this.#fade); i++) {
        const at = this.#concealmentAt + i;
        const old = at < this.#concealment.length ? this.#concealment[at] : 0;
        out[i] = crossfade(old, out[i], i, this.#fade);
      }
      this.#concealmentAt = this.#concealment.length;
      this.#fadeIn = false;
    }
    for (let i = 0; i < count; i++) {
      this.#recent[this.#recentAt] = out[i];
      this.#recentAt = (this.#recentAt + 1) % this.#recent.length;
    }
  }

  /** Lowers the target and skips audio where the depth is not needed. */
  #adapt(count) {
    const depth = this.#written - this.#read;
    const minDepth = Math.round(MIN_DEPTH * this.rate);
    this.#sinceUnderrun += count;
    this.#sinceExcessCheck += count;
    this.#sinceSkip += count;
    this.#stableMinDepth = Math.min(this.#stableMinDepth, depth);
    this.#excessMinDepth = Math.min(this.#excessMinDepth, depth);
    if (this.#finished) return;
    if (this.#sinceUnderrun >= this.#stableSeconds * this.rate) {
      const surplus = Math.floor((this.#stableMinDepth - minDepth) / 2);
      if (surplus > this.#fade) {
        this.#surplus = this.#lastDecrease = surplus;
        this.target = Math.max(MIN_DEPTH, this.target - surplus / this.rate);
      } else {
        this.#stableSeconds = Math.max(MIN_STABLE, this.#stableSeconds / 2);
        this.#lastDecrease = 0;
      }
      this.#sinceUnderrun = 0;
      this.#stableMinDepth = depth;
    }
    if (this.#sinceExcessCheck >= EXCESS_WINDOW * this.rate) {
      this.#excess = Math.max(0, this.#excessMinDepth - Math.round(this.target * this.rate));
      this.#sinceExcessCheck = 0;
      this.#excessMinDepth = depth;
    }
    if (this.#sinceSkip >= SKIP_INTERVAL * this.rate) {
      const most = Math.min(Math.round(SKIP * this.rate), this.#excessMinDepth - minDepth);
      this.#skip(Math.min(most, Math.max(this.#surplus, this.#excess)));
      this.#sinceSkip = 0;
    }
  }

  /** Skips the next `step` samples with a crossfade, unless the step is shorter than that. */
  #skip(step) {
    if (step <= this.#fade) return;
    const ring = this.#ring;
    for (let i = 0; i < this.#fade; i++) {
      const after = (this.#read + step + i) % ring.length;
      ring[after] = crossfade(ring[(this.#read + i) % ring.length], ring[after], i, this.#fade);
    }
    this.#read += step;
    this.skipped += step;
    this.#stableMinDepth -= step;
    this.#excessMinDepth -= step;
    this.#surplus = Math.max(0, this.#surplus - step);
    this.#excess = Math.max(0, this.#excess - step);
  }

  /** Prepares the concealment: the audio played last, reversed and faded out. */
  #reversedFade() {
    const length = this.#recent.length;
    for (let i = 0; i < length; i++) {
      const sample = this.#recent[(this.#recentAt - 1 - i + length) % length];
      this.#concealment[i] = sample * (1 - i / (length - 1));
    }
    this.#concealmentAt = 0;
  }

  /** Fills `out` from `from` on with the fade-out that is still to be played, then silence. */
  #conceal(out, from) {
    const count = Math.min(out.length - from, this.#concealment.length - this.#concealmentAt);
    for (let i = 0; i < count; i++) out[from + i] = this.#concealment[this.#concealmentAt + i];
    this.#concealmentAt += count;
    out.fill(0, from + count);
    return from + count;
  }
}

/** Sample `i` of a crossfade of `fade` samples. */

function crossfade(old, fresh, i, fade) {
  const down = fade > 1 ? 1 - i / (fade - 1) : 1;
  return old * down + fresh * (1 - down);
}

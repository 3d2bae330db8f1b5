"""Buffers audio that arrives in bursts, so that it plays evenly.

                   depth >= target, or finish()
        +---------+ -----------------------------> +---------+
        | FILLING |                                | PLAYING |
        +---------+ <----------------------------- +---------+
          silence,    underrun: target grows,        while PLAYING, per SKIP_INTERVAL: skip a little
          or the      the last audio fades out;      - surplus: depth never needed in a stable time
          fade-out    clear()                        - excess: depth above the target for 1 s

client/web/jitter.js is the same algorithm, written without allocation for the audio thread.
"""

from __future__ import annotations

import threading

import numpy as np

from xyt_stream.audio import Pcm16

_CROSSFADE = 0.005  # s; length of every crossfade
_CONCEALMENT = 0.04  # s; after an underrun the last audio plays backwards this long, fading out
_TARGET_INCREASE = 0.04  # s; added to the target at each underrun
_MIN_STABLE = 5.0  # s without an underrun after which the target is lowered
_MAX_STABLE = 32.0  # s; that time doubles up to this while lowering leads to underruns
_MIN_DEPTH = 0.04  # s; skipping never goes below this depth
_SKIP = 0.02  # s; most audio skipped at once
_SKIP_INTERVAL = 0.1  # s between two skips
_EXCESS_WINDOW = 1.0  # s; depth above the target throughout it is skipped


class JitterBuffer:
    """A playout buffer with adaptive depth.

    Playing begins when `target` seconds are buffered. At an underrun the last audio fades out
    backwards and the target grows. After a stable time without underruns, half of the depth that
    was never needed is skipped, a little at a time; depth above the target, as after a stall of the
    network, is skipped sooner. If lowering the target soon leads to an underrun, it is undone and
    the next stable time is twice as long. Where audio was lost, the two sides are crossfaded.

    Thread-safe: `push` runs on the event loop, `pull` on the sound card's thread.

    Args:
        rate: Hz.
        target: initial target, seconds.
        most: largest target, seconds.
        limit: capacity, seconds; beyond it the oldest audio is dropped.

    Attributes:
        target: seconds to buffer before playing.
        underruns: number of times the buffer ran empty before `finish`.
        dropped: samples dropped because of `limit`.
        skipped: samples skipped to lower the latency.
    """

    def __init__(
        self, rate: int, *, target: float = 0.1, most: float = 1.0, limit: float = 2.0
    ) -> None:
        self.rate = rate
        self.target = target
        self.underruns = 0
        self.dropped = 0
        self.skipped = 0
        self._max_target = most
        self._fade = round(_CROSSFADE * rate)
        self._ramp = np.linspace(1, 0, self._fade, dtype=np.float32)
        self._ring = np.zeros(round(limit * rate), np.int16)
        self._lock = threading.Lock()
        # All counts are in samples; these two are since the beginning.
        self._written = 0
        self._read = 0
        self._recent = np.zeros(round(_CONCEALMENT * rate), np.int16)  # played last
        self._concealment: Pcm16 = self._ring[:0]  # fade-out that is still to be played
        self._playing = False
        self._fade_in = False  # whether the next audio is faded in
        self._finished = False
        # Lowering the target after a stable time.
        self._stable_seconds = _MIN_STABLE
        self._since_underrun = 0  # played
        self._stable_min_depth = 0  # smallest depth since then
        self._surplus = 0  # still to skip
        self._last_decrease = 0  # by how much the target was last lowered
        # Skipping what is above the target.
        self._since_excess_check = 0  # played
        self._excess_min_depth = 0  # smallest depth since then
        self._excess = 0  # still to skip
        self._since_skip = 0  # played

    @property
    def depth(self) -> float:
        """Seconds of audio in the buffer."""
        return (self._written - self._read) / self.rate

    @property
    def done(self) -> bool:
        """Whether `finish` was called and all audio has been played."""
        return self._finished and self._written == self._read

    def push(self, samples: Pcm16, *, gap: bool = False) -> None:
        """Adds audio that has arrived: int16 [samples].

        Args:
            gap: audio before these samples was lost.
        """
        with self._lock:
            size = len(self._ring)
            if gap:
                samples = self._crossfade_with_past(samples)
            samples_kept = samples[-size:]
            self._written += len(samples) - len(samples_kept)
            where = (self._written + np.arange(len(samples_kept))) % size
            self._ring[where] = samples_kept
            self._written += len(samples_kept)
            excess = max(0, self._written - self._read - size)
            self._read += excess
            self.dropped += excess

    def pull(self, count: int) -> Pcm16:
        """Returns the audio to play now: int16 [count], or fewer samples while FILLING."""
        with self._lock:
            depth = self._written - self._read
            if not self._playing and (depth >= self.target * self.rate or self._finished):
                self._start(depth)
            if not self._playing:
                return self._conceal(count)
            out = self._take(min(count, depth))
            if len(out) < count and not self._finished:
                self._underrun()
                out = np.concatenate([out, self._conceal(count - len(out))])
            else:
                self._adapt(count)
            return out

    def clear(self) -> int:
        """Drops the buffered audio except a short fade-out; returns the samples dropped."""
        with self._lock:
            if self._playing:
                fading = self._take(min(self._fade, self._written - self._read))
                self._concealment = (fading * self._ramp[: len(fading)]).astype(np.int16)
            dropped = self._written - self._read
            self._read = self._written
            self._playing = False
            self._fade_in = True
            return dropped

    def finish(self) -> None:
        """Declares that nothing more will be pushed; the rest is played without waiting."""
        self._finished = True

    def _start(self, depth: int) -> None:
        """FILLING -> PLAYING."""
        self._playing = True
        self._since_underrun = self._since_excess_check = self._since_skip = 0
        self._surplus = self._excess = 0
        self._stable_min_depth = self._excess_min_depth = depth

    def _underrun(self) -> None:
        """PLAYING -> FILLING: the target grows, and the last audio fades out."""
        self.underruns += 1
        grown = self.target + _TARGET_INCREASE + self._last_decrease / self.rate
        self.target = min(self._max_target, grown)
        if self._last_decrease:  # lowering the target has led to this underrun
            self._stable_seconds = min(_MAX_STABLE, 2 * self._stable_seconds)
            self._last_decrease = 0
        self._playing = False
        self._fade_in = True
        self._concealment = self._reversed_fade()

    def _take(self, count: int) -> Pcm16:
        """The next `count` samples that are buffered, int16 [count]."""
        out = self._ring[(self._read + np.arange(count)) % len(self._ring)]
        self._read += count
        if self._fade_in and count:
            old = np.zeros(self._fade, np.int16)
            old[: len(self._concealment)] = self._concealment[: self._fade]
            out = self._crossfade(old, out)

            self._concealment, self._fade_in = self._concealment[:0], False
        kept = out[-len(self._recent) :]
        self._recent = np.concatenate([self._recent[len(kept) :], kept])
        return out

    def _adapt(self, count: int) -> None:
        """Lowers the target and skips audio where the depth is not needed."""
        depth = self._written - self._read
        min_depth = round(_MIN_DEPTH * self.rate)
        self._since_underrun += count
        self._since_excess_check += count
        self._since_skip += count
        self._stable_min_depth = min(self._stable_min_depth, depth)
        self._excess_min_depth = min(self._excess_min_depth, depth)
        if self._finished:
            return
        if self._since_underrun >= self._stable_seconds * self.rate:
            surplus = (self._stable_min_depth - min_depth) // 2
            if surplus > self._fade:
                self._surplus = self._last_decrease = surplus
                self.target = max(_MIN_DEPTH, self.target - surplus / self.rate)
            else:
                self._stable_seconds = max(_MIN_STABLE, self._stable_seconds / 2)
                self._last_decrease = 0
            self._since_underrun, self._stable_min_depth = 0, depth
        if self._since_excess_check >= _EXCESS_WINDOW * self.rate:
            self._excess = max(0, self._excess_min_depth - round(self.target * self.rate))
            self._since_excess_check, self._excess_min_depth = 0, depth
        if self._since_skip >= _SKIP_INTERVAL * self.rate:
            most = min(round(_SKIP * self.rate), self._excess_min_depth - min_depth)
            self._skip(min(most, max(self._surplus, self._excess)))
            self._since_skip = 0

    def _skip(self, step: int) -> None:
        """Skips the next `step` samples with a crossfade, unless the step is shorter than that."""
        if step <= self._fade:
            return
        fading = (self._read + np.arange(self._fade)) % len(self._ring)
        after = (fading + step) % len(self._ring)
        self._ring[after] = self._crossfade(self._ring[fading], self._ring[after])
        self._read += step
        self.skipped += step
        self._stable_min_depth -= step
        self._excess_min_depth -= step
        self._surplus = max(0, self._surplus - step)
        self._excess = max(0, self._excess - step)

    def _reversed_fade(self) -> Pcm16:
        """The audio played last, reversed and faded out."""
        ramp = np.linspace(1, 0, len(self._recent), dtype=np.float32)
        faded: Pcm16 = (self._recent[::-1] * ramp).astype(np.int16)
        return faded

    def _conceal(self, count: int) -> Pcm16:
        """Up to `count` samples of the fade-out that is still to be played."""
        out, self._concealment = self._concealment[:count], self._concealment[count:]
        return out

    def _crossfade_with_past(self, samples: Pcm16) -> Pcm16:
        """`samples`, faded in from the reversed audio before them."""
        before = min(self._fade, self._written)
        past = self._ring[(self._written - 1 - np.arange(before)) % len(self._ring)]
        return self._crossfade(
            np.concatenate([past, np.zeros(self._fade - before, np.int16)]), samples
        )

    def _crossfade(self, old: Pcm16, new: Pcm16) -> Pcm16:
        """`new`, with its beginning crossfaded from `old` [fade]."""

        length = min(len(new), self._fade)
        down = self._ramp[:length]
        mixed: Pcm16 = new.copy()
        mixed[:length] = (old[:length] * down + new[:length] * (1 - down)).astype(np.int16)
        return mixed

"""The jitter buffer: sound arrives in bursts and is played evenly."""

from __future__ import annotations

import threading

import numpy as np

from xyt_stream.audio import Pcm16

_FADE = 0.005  # seconds over which one sound becomes another
_CONCEALED = 0.04  # seconds that stand in for sound that is late, fading away
_GROWTH = 0.04  # seconds that are held back more after running dry
_CALM = 5.0  # seconds without running dry after which less will do
_WARY = 32.0  # seconds that this grows to where it comes to run dry again
_SPARE = 0.04  # seconds that are never given up
_STEP = 0.02  # seconds that are given up at once
_PACE = 0.1  # seconds between two steps
_LATELY = 1.0  # seconds after which what waited in all of them, beyond the target, is too much


class JitterBuffer:
    """Holds sound back for a while, as long as its arrivals need, and plays it evenly.

    It begins to play when `target` seconds wait. When it runs dry, what was heard last fades away
    backwards, and it holds back more than before; after a calm time it gives up half of what was
    never needed, a little at a time, and what is beyond the target (all that a stall of the network
    let through at once) sooner. If it soon runs dry again, it takes back what it gave up, and waits
    for a longer calm from then on.
    Where sound was lost on the way, one side fades into the other.

    `push` and `pull` may be called from different threads: a sound card pulls from its own.

    Args:
        rate: Hz.
        target: seconds to have before playing, at first.
        most: seconds that the target may grow to.
        limit: seconds it can hold; beyond it the oldest sound is dropped.

    Attributes:
        target: seconds to have before playing.
        underruns: how often it ran dry while sound was still to come.
        dropped: samples lost to `limit`.
        given_up: samples left out to play sooner.
    """

    def __init__(
        self, rate: int, *, target: float = 0.1, most: float = 1.0, limit: float = 2.0
    ) -> None:
        self.rate = rate
        self.target = target
        self.underruns = 0
        self.dropped = 0
        self.given_up = 0
        self._most = most
        self._fade = round(_FADE * rate)
        self._down = np.linspace(1, 0, self._fade, dtype=np.float32)
        self._ring = np.zeros(round(limit * rate), np.int16)
        self._pushed = 0
        self._pulled = 0
        self._last = np.zeros(round(_CONCEALED * rate), np.int16)  # played last
        self._rest: Pcm16 = self._ring[:0]  # still to play of what stands in
        self._playing = False
        self._fades_in = False
        self._finished = False
        self._patience = _CALM  # seconds
        self._tried = 0  # samples that it last gave up after a calm time
        self._calm = 0  # samples played without running dry
        self._lowest = 0  # samples that waited at least, in this calm time
        self._seen = 0  # samples played since it was last seen whether too much waits
        self._lately = 0  # samples that waited at least since then
        self._stepped = 0  # samples played since the last step
        self._spare = 0  # samples still to be given up after a calm time
        self._excess = 0  # samples still to be given up as too much
        self._lock = threading.Lock()

    @property
    def depth(self) -> float:
        """Seconds of sound that wait."""
        return (self._pushed - self._pulled) / self.rate

    @property
    def done(self) -> bool:
        """Whether all has been played that ever will be."""
        return self._finished and self._pushed == self._pulled

    def push(self, samples: Pcm16, *, gap: bool = False) -> None:
        """Sound that has arrived: int16 [samples].

        Args:
            gap: something between this and what came before was lost.
        """
        with self._lock:
            size = len(self._ring)
            if gap:
                samples = self._joined(samples)
            samples_kept = samples[-size:]
            self._pushed += len(samples) - len(samples_kept)
            where = (self._pushed + np.arange(len(samples_kept))) % size
            self._ring[where] = samples_kept
            self._pushed += len(samples_kept)
            excess = max(0, self._pushed - self._pulled - size)
            self._pulled += excess
            self.dropped += excess

    def pull(self, count: int) -> Pcm16:
        """Sound to play now: int16, `count` samples or, where there are not so many yet, fewer."""
        with self._lock:
            waiting = self._pushed - self._pulled
            if not self._playing and (waiting >= self.target * self.rate or self._finished):
                self._playing = True
                self._calm = self._seen = self._stepped = self._spare = self._excess = 0
                self._lowest = self._lately = waiting
            if not self._playing:
                return self._stand_in(count)
            out = self._take(min(count, waiting))
            if len(out) < count and not self._finished:
                self.underruns += 1
                grown = self.target + _GROWTH + self._tried / self.rate
                self.target = min(self._most, grown)
                if self._tried:
                    self._patience, self._tried = min(_WARY, 2 * self._patience), 0
                self._playing = False
                self._fades_in = True
                self._rest = self._fading_away()
                out = np.concatenate([out, self._stand_in(count - len(out))])
            else:
                self._settle(count)
            return out

    def clear(self) -> int:
        """Drops what waits, all but a moment in which it fades away; returns how many samples."""
        with self._lock:
            if self._playing:
                fading = self._take(min(self._fade, self._pushed - self._pulled))
                self._rest = (fading * self._down[: len(fading)]).astype(np.int16)
            dropped = self._pushed - self._pulled
            self._pulled = self._pushed
            self._playing = False
            self._fades_in = True
            return dropped

    def finish(self) -> None:
        """Nothing more will be pushed: what is left is played out."""
        self._finished = True

    def _take(self, count: int) -> Pcm16:
        out = self._ring[(self._pulled + np.arange(count)) % len(self._ring)]
        self._pulled += count
        if self._fades_in and count:
            rest = np.zeros(self._fade, np.int16)
            rest[: len(self._rest)] = self._rest[: self._fade]
            out = self._crossed(rest, out)
            self._rest, self._fades_in = self._rest[:0], False
        kept = out[-len(self._last) :]
        self._last = np.concatenate([self._last[len(kept) :], kept])
        return out

    def _settle(self, count: int) -> None:
        """Gives up some of what is not needed: see `_LATELY` and `_CALM`."""
        waiting = self._pushed - self._pulled
        self._calm += count
        self._seen += count
        self._stepped += count
        self._lowest = min(self._lowest, waiting)
        self._lately = min(self._lately, waiting)
        if self._finished:
            return
        if self._calm >= self._patience * self.rate:
            spare = (self._lowest - round(_SPARE * self.rate)) // 2
            if spare > self._fade:
                self._spare = self._tried = spare
                self.target = max(_SPARE, self.target - spare / self.rate)
            else:
                self._patience, self._tried = max(_CALM, self._patience / 2), 0
            self._calm, self._lowest = 0, waiting
        if self._seen >= _LATELY * self.rate:
            self._excess = max(0, self._lately - round(self.target * self.rate))
            self._seen, self._lately = 0, waiting
        if self._stepped >= _PACE * self.rate:
            most = min(round(_STEP * self.rate), self._lately - round(_SPARE * self.rate))
            self._give_up(min(most, max(self._spare, self._excess)))
            self._stepped = 0

    def _give_up(self, step: int) -> None:
        """Leaves out the next samples, so many that wait, unless it is not worth a fade."""
        if step <= self._fade:
            return
        fading = (self._pulled + np.arange(self._fade)) % len(self._ring)
        after = (fading + step) % len(self._ring)
        self._ring[after] = self._crossed(self._ring[fading], self._ring[after])
        self._pulled += step
        self.given_up += step
        self._lowest -= step
        self._lately -= step
        self._spare = max(0, self._spare - step)
        self._excess = max(0, self._excess - step)

    def _fading_away(self) -> Pcm16:
        """What was played last, backwards and softer and softer."""
        ramp = np.linspace(1, 0, len(self._last), dtype=np.float32)
        away: Pcm16 = (self._last[::-1] * ramp).astype(np.int16)
        return away

    def _stand_in(self, count: int) -> Pcm16:
        out, self._rest = self._rest[:count], self._rest[count:]
        return out

    def _joined(self, samples: Pcm16) -> Pcm16:
        """`samples`, begun by what was pushed last, backwards, fading into them."""
        before = min(self._fade, self._pushed)
        past = self._ring[(self._pushed - 1 - np.arange(before)) % len(self._ring)]
        return self._crossed(
            np.concatenate([past, np.zeros(self._fade - before, np.int16)]), samples
        )

    def _crossed(self, old: Pcm16, new: Pcm16) -> Pcm16:
        """`new`, its beginning faded over from `old`, [fade]."""
        length = min(len(new), self._fade)
        down = self._down[:length]
        mixed: Pcm16 = new.copy()
        mixed[:length] = (old[:length] * down + new[:length] * (1 - down)).astype(np.int16)
        return mixed

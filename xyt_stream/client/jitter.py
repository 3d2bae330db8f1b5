"""The jitter buffer: sound arrives in bursts and is played evenly."""

from __future__ import annotations

import threading

import numpy as np

from xyt_stream.audio import Pcm16


class JitterBuffer:
    """Holds back `target` seconds of sound before it lets any go, and again after running dry.

    `push` and `pull` may be called from different threads: a sound card pulls from its own.

    Args:
        rate: Hz.
        target: seconds to have before playing.
        limit: seconds it can hold; beyond it the oldest sound is dropped.

    Attributes:
        underruns: how often it ran dry while sound was still to come.
        dropped: samples lost to `limit`.
    """

    def __init__(self, rate: int, *, target: float = 0.1, limit: float = 2.0) -> None:
        self.rate = rate
        self.underruns = 0
        self.dropped = 0
        self._target = round(target * rate)
        self._ring = np.zeros(round(limit * rate), np.int16)
        self._pushed = 0
        self._pulled = 0
        self._playing = False
        self._finished = False
        self._lock = threading.Lock()

    @property
    def depth(self) -> float:
        """Seconds of sound that wait."""
        return (self._pushed - self._pulled) / self.rate

    @property
    def done(self) -> bool:
        """Whether all has been played that ever will be."""
        return self._finished and self._pushed == self._pulled

    def push(self, samples: Pcm16) -> None:
        """Sound that has arrived: int16 [samples]."""
        with self._lock:
            size = len(self._ring)
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
            if not self._playing and (waiting >= self._target or self._finished):
                self._playing = True
            if not self._playing:
                return self._ring[:0]
            ready = min(count, waiting)
            if ready < count and not self._finished:
                self.underruns += 1
                self._playing = False
            where = (self._pulled + np.arange(ready)) % len(self._ring)
            self._pulled += ready
            return self._ring[where]

    def finish(self) -> None:
        """Nothing more will be pushed: what is left is played out."""
        self._finished = True

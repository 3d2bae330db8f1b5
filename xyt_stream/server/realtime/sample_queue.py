"""Queues samples, joined into frames on arrival: tiny chunks cost no more than large ones."""

from __future__ import annotations

import collections

import numpy as np

from xyt_stream.audio import FRAME_SAMPLES, Samples


class SampleQueue:
    """A first-in-first-out queue of samples; each operation takes constant time."""

    def __init__(self) -> None:
        self._frames: collections.deque[Samples] = collections.deque()  # whole ones
        self._last = np.zeros(FRAME_SAMPLES, np.float32)  # filled up next
        self._filled = 0  # samples of it

    def __len__(self) -> int:
        """Number of queued samples."""
        return len(self._frames) * FRAME_SAMPLES + self._filled

    def push(self, samples: Samples) -> None:
        """Adds float32 [n]."""
        while len(samples):
            taken = min(len(samples), FRAME_SAMPLES - self._filled)
            self._last[self._filled : self._filled + taken] = samples[:taken]
            self._filled += taken
            samples = samples[taken:]
            if self._filled == FRAME_SAMPLES:
                self._frames.append(self._last)
                self._last, self._filled = np.zeros(FRAME_SAMPLES, np.float32), 0

    def pop(self) -> Samples:
        """Takes the first frame, float32 [1280], or all samples if there are fewer."""
        if self._frames:
            return self._frames.popleft()
        last, filled = self._last, self._filled
        self._last, self._filled = np.zeros(FRAME_SAMPLES, np.float32), 0
        return last[:filled]

    def pop_frame(self) -> Samples | None:
        """Takes the first whole frame, float32 [1280]; None if there is none."""
        return self._frames.popleft() if self._frames else None

    def pop_padded(self) -> Samples:
        """Takes the first frame, float32 [1280], filled up with silence."""
        if self._frames:
            return self._frames.popleft()
        last = self._last
        self._last, self._filled = np.zeros(FRAME_SAMPLES, np.float32), 0
        return last

    def clear(self) -> int:
        """Drops all samples; returns how many there were."""
        size = len(self)
        self._frames.clear()
        self._last, self._filled = np.zeros(FRAME_SAMPLES, np.float32), 0
        return size

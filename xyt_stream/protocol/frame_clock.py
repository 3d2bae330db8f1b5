"""Measures how long each frame takes from the moment it is full until its result is there."""

from __future__ import annotations

import time
from collections.abc import Callable


class FrameClock:
    """Notes when each frame became full. Not thread-safe; belongs to one event loop.

    Args:
        frame_samples: samples in a frame, at the rate of the sound.
        clock: returns seconds.
    """

    def __init__(self, frame_samples: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._frame_samples = frame_samples
        self._clock = clock
        self._samples = 0
        self._full_at: dict[int, float] = {}  # seconds, by frame index

    def fill(self, samples: int, *, timed: bool = True) -> None:
        """Counts `samples` more; if `timed`, notes the time for each frame that they fill."""
        first = self._samples // self._frame_samples
        self._samples += samples
        if timed:
            now = self._clock()
            for frame in range(first, self._samples // self._frame_samples):
                self._full_at[frame] = now

    @property
    def samples(self) -> int:
        """Samples that were counted."""
        return self._samples

    def done(self, frame: int) -> float | None:
        """Seconds since the frame became full; None if it was not timed, or was done before."""
        full_at = self._full_at.pop(frame, None)
        return None if full_at is None else self._clock() - full_at

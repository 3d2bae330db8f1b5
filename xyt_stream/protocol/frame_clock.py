"""How long frames take, at either end of a connection."""

from __future__ import annotations

import time
from collections.abc import Callable


class FrameClock:
    """From the moment when a frame of sound is full until something has come of it.

    Args:
        frame_samples: in a frame, at the rate of the sound.
        clock: seconds.
    """

    def __init__(self, frame_samples: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._frame_samples = frame_samples
        self._clock = clock
        self._samples = 0
        self._under_way: dict[int, float] = {}

    def fill(self, samples: int, *, timed: bool = True) -> None:
        """So many samples more, now; frames that they fill may be left untimed."""
        first = self._samples // self._frame_samples
        self._samples += samples
        if timed:
            now = self._clock()
            for frame in range(first, self._samples // self._frame_samples):
                self._under_way[frame] = now

    def done(self, frame: int) -> float | None:
        """Seconds that the frame took until now; None if it was not timed, or done before."""
        began = self._under_way.pop(frame, None)
        return None if began is None else self._clock() - began

"""Measures how much of real time a thread's steps take until their results are delivered."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable

from xyt_stream.audio import FRAME_SECONDS

_RECENT = 16  # steps behind `share`
_LEAST = 3  # steps; one slow step is no load
_RECENT_SECONDS = 10.0  # age beyond which steps no longer count


class Load:
    """The latest steps of one thread. For the event loop's thread.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Each step's time and its seconds.
        self._steps: collections.deque[tuple[float, float]] = collections.deque(maxlen=_RECENT)

    def record(self, seconds: float) -> None:
        """Adds the seconds of a step that has just ended, up to the delivery of its results."""
        self._steps.append((self._clock(), seconds))

    @property
    def share(self) -> float:
        """The latest steps' time as a share of real time; from 1 on the thread falls behind.

        It is 0 while too few steps are recent: old steps must not keep anybody out.
        """
        oldest = self._clock() - _RECENT_SECONDS
        seconds = [each for when, each in self._steps if when >= oldest]
        enough = len(seconds) == _RECENT or sum(seconds) >= _RECENT * FRAME_SECONDS
        if len(seconds) < _LEAST or not enough:
            return 0.0
        return sorted(seconds)[len(seconds) // 2] / FRAME_SECONDS

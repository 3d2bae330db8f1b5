"""Finds out that a codec falls behind for good: it needs longer than its sound lasts."""

from __future__ import annotations

import time
from collections.abc import Callable

_MUCH = 0.5  # seconds that a codec may be behind for a moment, as when the machine slept
_LONG = 4.0  # seconds after which it is no moment any more


class Backlog:
    """Adds up how far behind a codec is.

    Args:
        long: seconds after which much counts as too much.
        clock: returns seconds.
    """

    def __init__(self, long: float = _LONG, clock: Callable[[], float] = time.monotonic) -> None:
        self._long = long
        self._clock = clock
        self._behind = 0.0  # seconds
        self._since: float | None = None

    def grows(self, sound: float, took: float) -> bool:
        """Counts seconds of sound that took so many seconds; whether it is behind for good."""
        self._behind = max(0.0, self._behind + took - sound)
        if self._behind < _MUCH:
            self._since = None
            return False
        if self._since is None:
            self._since = self._clock()
        return self._clock() - self._since >= self._long

    def forget(self) -> None:
        """Begins anew: what was late has been left out."""
        self._behind, self._since = 0.0, None

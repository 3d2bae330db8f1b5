"""Schedules turns so that together they take no more than a share of the event loop's time."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections.abc import Callable

_LONGEST = 2.0  # seconds that the next turn is put off at most


class LoopShare(ABC):
    """Base class of schedulers; a subclass defines the queue and a turn.

    For the event loop's thread.

    Args:
        clock: seconds, monotonic.
        share: of the loop's time for all turns.
        credit: seconds of the loop's time that they may take before they have earned it.
    """

    def __init__(self, clock: Callable[[], float], share: float, credit: float = 0.0) -> None:
        self._clock = clock
        self._share = share
        self._credit = credit / share  # seconds in which it is earned
        self._scheduled = False
        self._due = 0.0  # time of the next turn
        self._latest = math.inf  # time of the next turn, whatever is charged; none if nobody waits

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Number of those that wait for a turn."""

    @abstractmethod
    def _take_turn(self, now: float) -> None:
        """Takes a turn; something waits. `now` is the clock's time."""

    def charge(self, seconds: float) -> None:
        """Puts the next turn off: so many seconds of processor time were taken."""
        now = self._clock()
        due = max(self._due, now - seconds - self._credit) + seconds / self._share
        # Work that takes no turns is charged, too, and can exceed the share: with this bound it
        # does not hold up the next turn for long.
        self._due = min(due, now + _LONGEST)

    def _schedule(self) -> None:
        if not self.waiting:
            self._latest = math.inf
            return
        now = self._clock()
        # Work that exceeds the share, and goes on, would put the next turn off for ever.
        self._latest = min(self._latest, now + _LONGEST)
        if not self._scheduled:
            self._scheduled = True
            loop, wait = asyncio.get_running_loop(), min(self._due, self._latest) - now
            if wait > 0:
                loop.call_later(wait, self._run)
            else:
                loop.call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        if self.waiting and (now := self._clock()) >= min(self._due, self._latest):
            self._latest = math.inf
            self._take_turn(now)
        self._schedule()

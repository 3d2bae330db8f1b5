"""Searches for the largest number of sessions that a server serves well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar


class LoadOutcome(Protocol):
    """The result of a load with some sessions."""

    @property
    def sessions(self) -> int:
        """Number of them."""

    @property
    def good(self) -> bool:
        """Whether all were served well."""


_L = TypeVar("_L", bound=LoadOutcome)


def find_capacity(run: Callable[[int], _L], start: int = 8, most: int = 256) -> _L:
    """Finds the load with the most sessions that is good; the smallest tried if none is.

    Args:
        run: loads a server with this many sessions.
        start: sessions to begin with.
        most: the largest number of sessions to try.
    """
    best = worst = run(start)
    while best.good and worst.good and 2 * best.sessions <= most:
        worst = run(2 * best.sessions)
        best = worst if worst.good else best
    low, high = best.sessions if best.good else 0, worst.sessions
    while high - low > max(1, low // 8) and not worst.good:
        load = run((low + high) // 2)
        if load.good:
            best, low = load, load.sessions
        else:
            high = load.sessions
            best = best if best.good else load
    return best

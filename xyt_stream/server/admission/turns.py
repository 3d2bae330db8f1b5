"""Shares the event loop among connections that have sent more than can be read at once.

A flood keeps the loop busy, and between its many short system calls the loop takes the
interpreter's lock back before a waiting thread has woken up. So floods get a share of the loop, and
in the rest of the time it sleeps, unless there is other work. Connections without a session get
another share: a handshake, or a page, takes a millisecond.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import Protocol

from xyt_stream.server.admission.loop_share import LoopShare

TURN = 0.002  # seconds of one turn of the event loop that reading may take for all of them
SHARE = 0.15  # of the loop's time for all of them: reading, and what follows from it
NEW_SHARE = 0.25  # of it for connections without a session
NEW_CREDIT = 0.05  # seconds of the loop's time that these may take at once


class Reader(Protocol):
    """A connection that has bytes to parse."""

    def read_slice(self) -> bool:
        """Parses a small piece; returns whether more can be parsed now."""


class Turns(LoopShare):
    """Has readers parse one slice each, in a circle. For the event loop's thread.

    Args:
        clock: seconds, monotonic.
        share: of the loop's time for all readers.
        turn: seconds that they may take in one turn of the loop.
        credit: seconds of the loop's time that they may take before they have earned it.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        *,
        share: float = SHARE,
        turn: float = TURN,
        credit: float = 0.0,
    ) -> None:
        super().__init__(clock, share, credit)
        self._turn = turn
        self._readers: collections.deque[Reader] = collections.deque()

    def add(self, reader: Reader) -> None:
        """Has `reader` parse until it says that it cannot; add it once only."""
        self._readers.append(reader)
        self._schedule()

    @property
    def waiting(self) -> int:
        """Number of readers that wait for a turn."""
        return len(self._readers)

    @property
    def idle(self) -> bool:
        """Whether nobody waits for a turn, and one may be taken now."""
        return not self._readers and self._clock() >= self._due

    def _take_turn(self, now: float) -> None:
        while self._readers:
            reader = self._readers.popleft()
            if reader.read_slice():
                self._readers.append(reader)
            if self._clock() >= now + self._turn:
                break

"""Shares the event loop among connections that have sent more than can be read at once."""

from __future__ import annotations

import asyncio
import collections
import time
from typing import Protocol

TURN = 0.002  # seconds of one turn of the event loop that reading may take for all of them


class Reader(Protocol):
    """A connection that has bytes to parse."""

    def read_slice(self) -> bool:
        """Parses a small piece; returns whether more can be parsed now."""


class Turns:
    """Has readers parse one slice each, in a circle. For the event loop's thread."""

    def __init__(self) -> None:
        self._readers: collections.deque[Reader] = collections.deque()
        self._scheduled = False

    def add(self, reader: Reader) -> None:
        """Has `reader` parse until it says that it cannot; add it once only."""
        self._readers.append(reader)
        self._schedule()

    def _schedule(self) -> None:
        if self._readers and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._run)

    def _run(self) -> None:
        self._scheduled = False
        end = time.perf_counter() + TURN
        while self._readers:
            reader = self._readers.popleft()
            if reader.read_slice():
                self._readers.append(reader)
            if time.perf_counter() > end:
                break
        self._schedule()

"""Writes the messages for idle connections, once in each pass of the event loop.

A task that wakes for each message costs more than the message: a relay passes on thousands a
second. So messages for a connection whose task waits are written from here instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class DirectWriter(Protocol):
    """Writes to a connection without waiting; its session calls it."""

    @property
    def may_write(self) -> bool:
        """Whether a message can be written now: the client reads, and is no flood."""

    def write(self, data: str | bytes) -> None:
        """Writes a message. A connection that fails here ends by itself, later."""


class Flush:
    """Calls writers at the end of a pass of the event loop. For the event loop's thread.

    They run before anything else is received, so that what they send does not pile up.
    """

    def __init__(self) -> None:
        self._writers: list[Callable[[], None]] = []

    def add(self, write: Callable[[], None]) -> None:
        """Has `write` called at the end of this pass of the event loop; it must not raise."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._run)
        self._writers.append(write)

    def _run(self) -> None:
        writers, self._writers = self._writers, []
        for write in writers:
            write()

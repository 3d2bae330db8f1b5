"""Counts the bytes that wait in sessions, for each of them and for the server."""

from __future__ import annotations

import collections
from collections.abc import Callable

MEGABYTE = 1_000_000
TOLD_STEP = 2048  # bytes by which a queue must have changed until it says so: that costs time
OBJECT = 256  # bytes counted for each thing that waits, beside its content


class Memory:
    """The bytes that wait in all sessions. For the event loop's thread.

    Args:
        session: bytes that may wait in one session; 0: any number.
        server: bytes that may wait in all of them; 0: any number.
    """

    def __init__(self, session: int, server: int) -> None:
        self.session = session
        self.server = server
        self.used = 0

    @property
    def full(self) -> bool:
        """Whether another session could take the server beyond its number."""
        return 0 < self.server < self.used + self.session


class Account:
    """The bytes that wait in one session, by the queue that holds them.

    Args:
        memory: of the server.
        on_exceeded: called once, when the session holds too much.
    """

    def __init__(self, memory: Memory, on_exceeded: Callable[[], None]) -> None:
        self._memory = memory
        self._on_exceeded = on_exceeded
        self._parts: collections.Counter[str] = collections.Counter()
        self._exceeded = False
        self._closed = False
        self.used = 0

    def set(self, part: str, size: int) -> None:
        """A queue now holds so many bytes."""
        if self._closed:
            return
        grown = size - self._parts[part]
        self._parts[part] = size
        self.used += grown
        self._memory.used += grown
        memory = self._memory
        over = 0 < memory.session < self.used or 0 < memory.server < memory.used
        if grown > 0 and over and not self._exceeded:
            self._exceeded = True
            self._on_exceeded()

    def close(self) -> None:
        """The session is over: nothing of it waits any more."""
        if not self._closed:
            self._closed = True
            self._memory.used -= self.used
            self.used = 0

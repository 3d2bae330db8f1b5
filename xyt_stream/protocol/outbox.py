"""Media that one end has sent and the other has not acknowledged: what a resumed session needs.

In such a session both ends always read, for acknowledgements come behind media: what holds a sender
back is its full outbox.
"""

from __future__ import annotations

import asyncio
import collections

WINDOW = 1 << 20  # bytes of media beyond which a sender waits for an acknowledgement
BESIDE = 256  # bytes that a message counts beside its own: kept, an empty one takes as much
_EVERY_MESSAGES = 16  # after so much the receiver says that it has it
_EVERY_BYTES = 1 << 16


class Outbox:
    """Keeps messages until they are acknowledged.

    Args:
        limit: bytes beyond which `room` waits; 0: nothing is kept, for sessions that end with their
            connection.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: collections.deque[tuple[int, bytes]] = collections.deque()
        self._bytes = 0
        self._next = 0
        self._freed = asyncio.Event()

    def add(self, data: bytes) -> None:
        """The next message, about to be sent."""
        if self._limit:
            self._kept.append((self._next, data))
            self._bytes += len(data) + BESIDE
        self._next += 1

    def acknowledged(self, received: int | None) -> None:
        """The other end has this sequence number and all before it."""
        while self._kept and received is not None and self._kept[0][0] <= received:
            self._bytes -= len(self._kept.popleft()[1]) + BESIDE
            self._freed.set()

    def unsent(self) -> list[bytes]:
        """All that is kept, oldest first."""
        return [data for _, data in self._kept]

    @property
    def first(self) -> int | None:
        """Sequence number of the oldest message that is kept."""
        return self._kept[0][0] if self._kept else None

    @property
    def full(self) -> bool:
        return 0 < self._limit <= self._bytes

    async def room(self) -> None:
        """Waits until there is room for one message more."""
        while self.full:
            self._freed.clear()
            await self._freed.wait()


class Receipts:
    """Says when it is time to acknowledge."""

    def __init__(self) -> None:
        self._messages = 0
        self._bytes = 0

    def took(self, size: int) -> None:
        """One message more, of so many bytes, has been taken in."""
        self._messages += 1
        self._bytes += size

    @property
    def due(self) -> bool:
        """Whether it is time."""
        return self._messages >= _EVERY_MESSAGES or self._bytes >= _EVERY_BYTES

    def said(self) -> None:
        """It has been said, just now."""
        self._messages = self._bytes = 0

"""Keeps media messages until they are acknowledged, so that a resumed session can send them again.

In a session that can be resumed, both ends always read: acknowledgements arrive behind media. The
sender is held back by its full replay buffer, not by the socket.
"""

from __future__ import annotations

import collections

from xyt_stream.protocol.signal import Signal

MAX_UNACKNOWLEDGED = 1 << 20  # bytes of media beyond which a sender waits for an acknowledgement
MESSAGE_OVERHEAD = 256  # bytes counted per buffered message: an empty one takes as much memory
_ACK_MESSAGES = 16  # messages after which an acknowledgement is due
_ACK_BYTES = 1 << 16  # bytes after which an acknowledgement is due


class ReplayBuffer:
    """Holds the messages that were sent and not yet acknowledged. Runs on one event loop.

    Args:
        limit: bytes at which `drain` waits; 0: nothing is kept, for a session that ends with its
            connection.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: collections.deque[tuple[int, bytes]] = collections.deque()
        self._bytes = 0
        self._next = 0
        self._freed = Signal()

    def add(self, data: bytes) -> None:
        """Adds the next message; call it just before sending."""
        if self._limit:
            self._messages.append((self._next, data))
            self._bytes += len(data) + MESSAGE_OVERHEAD
        self._next += 1

    def acknowledge(self, received: int | None) -> None:
        """Drops the message with this sequence number and all before it; None: no message."""
        while self._messages and received is not None and self._messages[0][0] <= received:
            self._bytes -= len(self._messages.popleft()[1]) + MESSAGE_OVERHEAD
            self._freed.notify()

    def unacknowledged(self) -> list[bytes]:
        """The messages that are kept, oldest first."""
        return [data for _, data in self._messages]

    def restore(self, kept: list[bytes], sent: int) -> None:
        """Holds the last messages of another buffer, of which `sent` were added in all."""
        self._next = sent - len(kept)
        for data in kept:
            self.add(data)

    @property
    def first(self) -> int | None:
        """Sequence number of the oldest message that is kept; None if none is."""
        return self._messages[0][0] if self._messages else None

    @property
    def size(self) -> int:
        """Bytes of the messages that are kept, with their overhead."""
        return self._bytes

    @property
    def full(self) -> bool:
        """Whether the messages reach the limit."""
        return 0 < self._limit <= self._bytes

    async def drain(self) -> None:
        """Waits until another message fits."""
        await self._freed.wait_for(lambda: not self.full)


class AckPolicy:
    """Decides when the receiver acknowledges: after 16 messages or 64 KiB.

    Attributes:
        messages, bytes: that were counted since the last acknowledgement.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.bytes = 0

    def count(self, size: int) -> None:
        """Counts one processed message of `size` bytes."""
        self.messages += 1
        self.bytes += size

    @property
    def due(self) -> bool:
        """Whether an acknowledgement is due."""
        return self.messages >= _ACK_MESSAGES or self.bytes >= _ACK_BYTES

    def reset(self) -> None:
        """Starts counting anew; call it when an acknowledgement is sent."""
        self.messages = self.bytes = 0

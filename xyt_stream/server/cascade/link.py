"""Carries items between two nodes over an authenticated connection, both ways at once."""

from __future__ import annotations

import collections
from collections.abc import Callable

from xyt_stream.errors import HandoverError
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.cascade.wire import MAX_ITEMS, Batch, Item
from xyt_stream.server.handover.channel import Channel
from xyt_stream.server.tasks import until_one_ends

_MOST_WAITING = 8192  # items, beyond which the other node is too slow


class Link:
    """One end of a connection between two nodes. For the event loop's thread.

    Args:
        channel: to the other node.
        on_item: called with each item that comes.

    Attributes:
        node: name of the other end.
    """

    def __init__(self, channel: Channel, on_item: Callable[[Item], None]) -> None:
        self.node = channel.node
        self._channel = channel
        self._on_item = on_item
        self._items: collections.deque[Item] = collections.deque()
        self._changed = Signal()

    def put(self, item: Item) -> None:
        """Sends an item, after those before it. Where too many wait, `run` raises."""
        self._items.append(item)
        self._changed.notify()

    async def first(self, seconds: float) -> None:
        """Waits for the other end's first message, which proves that it knows the secret.

        Raises:
            HandoverError: it does not, or none comes in time.
        """
        await self._receive_one(seconds)

    async def run(self) -> None:
        """Sends and receives until the connection is over.

        Raises:
            HandoverError: it always is in the end: the reason.
        """
        await until_one_ends(self._send(), self._receive())

    async def _send(self) -> None:
        while True:
            await self._changed.wait_for(lambda: bool(self._items))
            if len(self._items) > _MOST_WAITING:
                raise HandoverError("the other node reads too slowly")
            taken = [self._items.popleft() for _ in range(min(len(self._items), MAX_ITEMS))]
            await self._channel.send(Batch(taken))

    async def _receive(self) -> None:
        while True:
            await self._receive_one(None)

    async def _receive_one(self, seconds: float | None) -> None:
        batch = await self._channel.receive(seconds)
        assert isinstance(batch, Batch)
        for item in batch.items:
            self._on_item(item)

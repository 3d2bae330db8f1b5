"""Keeps connections to all other nodes while a room here may have its mic at one of them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random

from xyt_stream.errors import HandoverError
from xyt_stream.protocol.signal import Signal
from xyt_stream.server import log
from xyt_stream.server.cascade.link import Link
from xyt_stream.server.cascade.subscription import Subscription
from xyt_stream.server.cascade.wire import (
    CLOSED_IN_ORDER,
    MAX_BYTES,
    PATH,
    ROOMS,
    Item,
    Listeners,
    Start,
    Stop,
    Unwant,
    Want,
)
from xyt_stream.server.handover.dial import dial
from xyt_stream.server.handover.peers import Peers
from xyt_stream.server.service import Service

_ANSWER = 6.0  # seconds that the other node has to greet
_PING = 5.0  # seconds between pings, and for the pong
_FIRST_WAIT = 0.1  # seconds before a node is called again; each later time twice as long
_LONGEST_WAIT = 5.0  # seconds


class Subscriber:
    """Gets the streams of rooms whose mic or user is at another node.

    For the event loop's thread.

    Args:
        service: of this node.
        peers: the other nodes, by name.
    """

    def __init__(self, service: Service, peers: Peers) -> None:
        self._service = service
        self._peers = peers
        self._numbers = itertools.count()
        self._by_room: dict[str, Subscription] = {}
        self._by_number: dict[int, Subscription] = {}
        self._links: dict[str, Link] = {}
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._changed = Signal()

    @property
    def streams(self) -> int:
        """Number of rooms that other nodes feed."""
        return sum(each.source is not None for each in self._by_room.values())

    def changed(self, name: str) -> None:
        """Subscribes to a room, or gives it up, as its members and its mic here now say."""
        room = self._service.rooms.get(name)
        subscription = self._by_room.get(name)
        if subscription is not None and (room is not subscription.room or not room.wants_feed):
            self._give_up(subscription)
            subscription = None
        if subscription is not None:
            subscription.count()
            return
        if room is None or not room.wants_feed:
            return
        number = next(self._numbers)
        subscription = Subscription(self._service, name, room, number, self._send)
        self._by_room[name] = self._by_number[number] = subscription
        for node in {*self._peers.names} - {self._service.node, *self._calls}:
            self._calls[node] = asyncio.create_task(self._keep_calling(node))
        for link in self._links.values():
            link.put(Want(number, name))
        self._changed.notify()

    async def stop(self) -> None:
        """Closes all connections."""
        for task in self._calls.values():
            task.cancel()
        await asyncio.gather(*self._calls.values(), return_exceptions=True)
        for subscription in list(self._by_room.values()):
            self._give_up(subscription)

    def _give_up(self, subscription: Subscription) -> None:
        del self._by_room[subscription.name]
        del self._by_number[subscription.number]
        subscription.close()
        for link in self._links.values():
            link.put(Unwant(subscription.number))

    def _send(self, node: str, item: Item) -> None:
        if node in self._links:
            self._links[node].put(item)

    def _take(self, node: str, item: Item) -> None:
        """Takes an item of a node's.

        Raises:
            HandoverError: only a subscriber sends it.
        """
        if isinstance(item, Want | Unwant | Start | Stop | Listeners):
            raise HandoverError("the other node sends what only a subscriber does")
        subscription = self._by_number.get(item.number)
        if subscription is not None:
            subscription.take(node, item)

    async def _keep_calling(self, node: str) -> None:
        """Connects to a node as often as needed, while there are rooms to ask for."""
        wait, said = _FIRST_WAIT, False
        while True:
            await self._changed.wait_for(lambda: bool(self._by_room))
            try:
                await self._call(node)
            except HandoverError as error:
                if node in self._links or not said:  # not again for a node that stays away
                    reason = str(error)
                    log.event("node not reached", level=logging.WARNING, node=node, reason=reason)
                said = True
            finally:
                if self._links.pop(node, None) is not None:
                    wait = _FIRST_WAIT
                    for subscription in list(self._by_room.values()):
                        subscription.lost(node)
            await asyncio.sleep(random.uniform(0.5, 1.0) * wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    async def _call(self, node: str) -> None:
        """Asks a node for all rooms that are wanted here, until the connection is closed.

        Raises:
            HandoverError: it was lost, or there was none.
        """
        async with dial(
            self._peers,
            node,
            self._service.node,
            PATH,
            ROOMS,
            max_bytes=MAX_BYTES,
            answer=_ANSWER,
            ping=_PING,
        ) as channel:
            link = Link(channel, lambda item: self._take(node, item))
            for subscription in self._by_room.values():
                link.put(Want(subscription.number, subscription.name))
            self._links[node] = link
            try:
                await link.run()
            except HandoverError:
                if channel.close_code not in CLOSED_IN_ORDER:
                    raise

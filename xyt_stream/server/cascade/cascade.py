"""Connects the rooms of one server with those of the other nodes, both ways."""

from __future__ import annotations

import asyncio

from xyt_stream.server.cascade.publisher import Publisher
from xyt_stream.server.cascade.subscriber import Subscriber
from xyt_stream.server.handover.peers import Peers
from xyt_stream.server.service import Service


class Cascade:
    """Exchanges the streams of rooms with the other nodes. For the event loop's thread.

    Args:
        service: of the server.
        peers: the other nodes, by name.

    Attributes:
        publisher: passes mics and conversations of this node on.
        subscriber: gets those of others.
    """

    def __init__(self, service: Service, peers: Peers) -> None:
        self.publisher = Publisher(service, peers)
        self.subscriber = Subscriber(service, peers)
        self._names: set[str] = set()  # of rooms that have changed
        service.rooms.on_change = self._on_change
        service.rooms.listeners_elsewhere = self.publisher.listeners
        gauge = service.metrics.gauge
        gauge(
            "xyt_subscriptions_in",
            "Rooms here whose mic or user is at another node",
            lambda: self.subscriber.streams,
        )
        gauge(
            "xyt_subscriptions_out",
            "Mics and conversations here that other nodes have asked for",
            lambda: self.publisher.streams,
        )

    def _on_change(self, name: str) -> None:
        """Looks at a room once the change is whole: a member enters in several steps."""
        if not self._names:
            asyncio.get_running_loop().call_soon(self._look)
        self._names.add(name)

    def _look(self) -> None:
        names, self._names = self._names, set()
        for name in names:
            self.publisher.changed(name)
            self.subscriber.changed(name)

"""Passes the mics and conversations of this node on to nodes that have speakers of their rooms."""

from __future__ import annotations

import asyncio
import logging

from xyt_stream.errors import HandoverError
from xyt_stream.protocol.roles import Voice
from xyt_stream.server import log
from xyt_stream.server.admission.sockets import Socket
from xyt_stream.server.cascade.forwarder import Forwarder
from xyt_stream.server.cascade.link import Link
from xyt_stream.server.cascade.wire import (
    CLOSED_IN_ORDER,
    ROOMS,
    Failed,
    Has,
    Item,
    Listeners,
    Moved,
    Start,
    Stop,
    Unwant,
    Want,
)
from xyt_stream.server.handover.channel import open_giver
from xyt_stream.server.handover.peers import Peers
from xyt_stream.server.service import Service
from xyt_stream.server.sessions.room import Room
from xyt_stream.server.tasks import until_one_ends

_ANSWER = 6.0  # seconds that the other node has to greet
_MOST_ROOMS = 65_536  # that one node may ask for
_TOO_MUCH = 1008  # close code
_MOST_LISTENERS = 1 << 24  # of one room that one node may have


class _Watch:
    """A room that another node asks for.

    Attributes:
        room: its name.
        told: id of the stream that the other node knows of; None: of none.
        forwarders: send the stream by voice, while the other node asks for it.
        listeners: speakers at the other node that hear it.
    """

    def __init__(self, room: str) -> None:
        self.room = room
        self.told: str | None = None
        self.forwarders: dict[Voice, Forwarder] = {}
        self.listeners = 0


class _Subscriber:
    """A node that asks for rooms.

    Attributes:
        link: to it.
        watches: by its numbers.
        numbers: by room.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.watches: dict[int, _Watch] = {}
        self.numbers: dict[str, int] = {}


class Publisher:
    """Sends the streams of this node's rooms to the nodes that ask for them.

    For the event loop's thread.

    Args:
        service: of this node.
        peers: that may ask.
    """

    def __init__(self, service: Service, peers: Peers) -> None:
        self._service = service
        self._peers = peers
        self._subscribers: set[_Subscriber] = set()

    @property
    def streams(self) -> int:
        """Number of mics and conversations that are sent to other nodes."""
        watches = (watch for each in self._subscribers for watch in each.watches.values())
        return sum(bool(watch.forwarders) for watch in watches)

    def listeners(self, room: str) -> int:
        """Number of speakers at other nodes that hear the mic of a room here."""
        found = ((each, each.numbers.get(room)) for each in self._subscribers)
        return sum(each.watches[number].listeners for each, number in found if number is not None)

    async def serve(self, websocket: Socket) -> None:
        """Serves one node until its connection is over; an error becomes one line of the log."""
        node = "unknown"
        try:
            secret, name = self._peers.secret, self._service.node
            channel = await open_giver(websocket, secret, name, _ANSWER, ROOMS)
            link = Link(channel, lambda item: self._take(subscriber, item))
            subscriber = _Subscriber(link)
            await until_one_ends(link.first(_ANSWER), _until_exceeded(websocket))
            node = channel.node  # authentic only now
            self._service.handshakes.accept(websocket)
            websocket.budget.accept()
            self._subscribers.add(subscriber)
            try:
                await until_one_ends(link.run(), _until_exceeded(websocket))
            finally:
                self._subscribers.remove(subscriber)
                for number in list(subscriber.watches):
                    self._forget(subscriber, number)
        except HandoverError as error:
            if node == "unknown" or websocket.close_code not in CLOSED_IN_ORDER:
                log.event("subscriber lost", level=logging.WARNING, node=node, reason=str(error))
            if websocket.exceeded.done():  # what it still sends is not read
                await websocket.fail(_TOO_MUCH, "too much")

    def changed(self, name: str) -> None:
        """Tells all nodes that ask for a room whether it has a mic or a user here now."""
        for subscriber in self._subscribers:
            number = subscriber.numbers.get(name)
            if number is not None:
                self._tell(subscriber, number)

    def moved(self, name: str) -> None:
        """A room goes on at another node: ends its streams, which follow it there."""
        for subscriber in self._subscribers:
            number = subscriber.numbers.get(name)
            if number is not None and subscriber.watches[number].forwarders:
                subscriber.link.put(Moved(number))
                self._stop(subscriber, number)

    def _take(self, subscriber: _Subscriber, item: Item) -> None:
        """Takes an item of another node's.

        Raises:
            HandoverError: it asks for too much, or for nothing.
        """
        if isinstance(item, Want):
            if len(subscriber.watches) >= _MOST_ROOMS:
                raise HandoverError("the other node asks for too many rooms")
            self._forget(subscriber, item.number)
            self._forget(subscriber, subscriber.numbers.get(item.room))
            subscriber.watches[item.number] = _Watch(item.room)
            subscriber.numbers[item.room] = item.number
            self._tell(subscriber, item.number)
        elif isinstance(item, Unwant):
            self._forget(subscriber, item.number)
        elif isinstance(item, Stop):
            self._stop(subscriber, item.number)
        elif isinstance(item, Start):
            self._start(subscriber, item)
        elif isinstance(item, Listeners):
            self._count(subscriber, item)
        else:
            raise HandoverError("the other node sends what only a mic's node does")

    def _tell(self, subscriber: _Subscriber, number: int) -> None:
        watch = subscriber.watches[number]
        room = self._service.rooms.get(watch.room)
        if room is None or not room.has_stream or room.codec is None:
            watch.told = None
            return
        stream = room.stream
        if stream is not None and watch.told != stream:
            watch.told = stream
            has = Has(number, stream, room.codec, room.sealed, is_conversation=room.mic is None)
            subscriber.link.put(has)

    def _start(self, subscriber: _Subscriber, start: Start) -> None:
        self._stop(subscriber, start.number)
        watch = subscriber.watches.get(start.number)
        room = None if watch is None else self._service.rooms.get(watch.room)
        if watch is None or room is None or not room.has_stream or room.codec is None:
            subscriber.link.put(Failed(start.number))
            return
        if room.stream != start.stream:
            subscriber.link.put(Failed(start.number))
            return
        self._forward(subscriber, room, start.number, "user", start.next)
        if room.conversation is not None:
            self._forward(subscriber, room, start.number, "model", start.model)
        log.event("room published", node=subscriber.link.node)

    def _forward(
        self, subscriber: _Subscriber, room: Room, number: int, voice: Voice, first: int | None
    ) -> None:
        forwarder = Forwarder(
            room,
            voice,
            number,
            subscriber.link.put,
            on_frame=self._service.metrics.subscribed.labels("out").inc,
            # Not at once: the stream's listeners must not change while it goes through them.
            on_over=lambda: self._end_soon(subscriber, number, voice, forwarder),
        )
        subscriber.watches[number].forwarders[voice] = forwarder
        forwarder.start(first)

    def _count(self, subscriber: _Subscriber, item: Listeners) -> None:
        if not 0 <= item.listeners <= _MOST_LISTENERS:
            raise HandoverError(f"the other node cannot have {item.listeners} speakers of a room")
        watch = subscriber.watches.get(item.number)
        if watch is not None and watch.forwarders:
            watch.listeners = item.listeners

    def _end_soon(
        self, subscriber: _Subscriber, number: int, voice: Voice, forwarder: Forwarder
    ) -> None:
        def end() -> None:
            watch = subscriber.watches.get(number)
            if watch is not None and watch.forwarders.get(voice) is forwarder:
                del watch.forwarders[voice]
                if not watch.forwarders:
                    watch.listeners = 0
            forwarder.close()

        asyncio.get_running_loop().call_soon(end)

    def _stop(self, subscriber: _Subscriber, number: int) -> None:
        watch = subscriber.watches.get(number)
        if watch is not None:
            for forwarder in watch.forwarders.values():
                forwarder.close()
            watch.forwarders.clear()
            watch.listeners = 0

    def _forget(self, subscriber: _Subscriber, number: int | None) -> None:
        if number is not None and number in subscriber.watches:
            self._stop(subscriber, number)
            del subscriber.numbers[subscriber.watches.pop(number).room]


async def _until_exceeded(websocket: Socket) -> None:
    """Waits until the other node has sent more than a connection may.

    Raises:
        HandoverError: it has.
    """
    await asyncio.wait({websocket.exceeded})
    raise HandoverError(f"the other node sends too much: {websocket.exceeded.result()}")

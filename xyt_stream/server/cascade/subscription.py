"""Feeds one room with the stream of its mic at another node, wherever that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xyt_stream.errors import CodeError, HandoverError, ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.payloads import OpaquePayload, Payload, PlainPayload
from xyt_stream.server import log
from xyt_stream.server.cascade.feeder import Codes, Feeder, Skip
from xyt_stream.server.cascade.wire import (
    Failed,
    Frame,
    Has,
    Item,
    Listeners,
    Moved,
    Over,
    Skipped,
    Start,
    Stop,
)
from xyt_stream.server.engine.slot_stream import Length
from xyt_stream.server.saved import SavedPosition
from xyt_stream.server.service import Service
from xyt_stream.server.sessions.room import Room

_LOST_TIME = 1.5  # seconds in which a lost stream is found again, or members get `going_away`
_MOVE_TIME = 10.0  # seconds that a room may be on its way to another node
_RETRY = 0.1  # seconds after which members come back for a new stream
_SETTLE_TIME = 1.0  # seconds that the frames of a mic that comes here may still be on their way


class Subscription:
    """A room here whose mic may be at another node. For the event loop's thread; see Feed.

    Args:
        service: of this node.
        name: of the room.
        room: the same.
        number: names the room between the nodes.
        send: sends a node an item.

    Attributes:
        name, room, number: the same.
        source: node that feeds it; None: none does now.
    """

    def __init__(
        self,
        service: Service,
        name: str,
        room: Room,
        number: int,
        send: Callable[[str, Item], None],
    ) -> None:
        self.name = name
        self.room = room
        self.number = number
        self.source: str | None = None
        self._service = service
        self._send = send
        self._offers: dict[str, Has] = {}  # by node
        self._payload: Payload
        self._paused = False
        self._listeners = 0  # number in the last message to the source
        self._timer: asyncio.TimerHandle | None = None
        self._feeder = Feeder(
            service.engine,
            room,
            on_lost=service.metrics.subscribed.labels("lost").inc,
            on_busy=self._end_sound,
            on_over=self._over,
        )
        room.feed = self
        if room.fed_from is not None:
            self._feeder.start(room.fed_from.stream, room.fed_from.next)
            room.fed_from = None
            self._expect(_MOVE_TIME)

    def take(self, node: str, item: Item) -> None:
        """Takes an item of a node's.

        Raises:
            HandoverError: it is none of a stream.
        """
        if isinstance(item, Has):
            self._offers[node] = item
            if self.source is None and not self._paused:
                if self._feeder.stream not in (None, item.stream) and not item.is_conversation:
                    self._forget()  # the mic has begun anew
                self._choose()
        elif node == self.source:
            self._take_from_source(node, item)

    def _take_from_source(self, node: str, item: Item) -> None:
        if isinstance(item, Frame):
            self._service.metrics.subscribed.labels("in").inc()
            try:
                codes = self._payload.unpack(item.payload)
            except CodeError as error:
                raise HandoverError(f"a frame of the other node is none: {error}") from None
            for place in range(codes.shape[1]):
                self._feeder.put(Codes(item.index + place, codes[:, place]))
        elif isinstance(item, Skipped):
            self._feeder.put(Skip(item.index, item.frames))
        elif isinstance(item, Over):
            self._feeder.put(Length(item.samples, item.rate))
            self._withdraw(node)
        elif isinstance(item, Moved | Failed):
            self._withdraw(node)
            self._lose(_MOVE_TIME if isinstance(item, Moved) else _LOST_TIME)

    def count(self) -> None:
        """Tells the source how many of the members here hear the stream, if that has changed."""
        if self.source is not None and self.room.listeners != self._listeners:
            self._listeners = self.room.listeners
            self._send(self.source, Listeners(self.number, self._listeners))

    def lost(self, node: str) -> None:
        """The connection to a node is lost."""
        self._offers.pop(node, None)
        if node == self.source:
            self._lose(_LOST_TIME)

    def pause(self) -> SavedPosition | None:
        """Feeds nothing more; see Feed."""
        self._paused = True
        self._expect(None)
        self._feeder.stop()
        if self.source is not None:
            self._send(self.source, Stop(self.number))
            self.source = None
        stream, following = self._feeder.stream, self._feeder.next
        if stream is None or following is None:
            return None
        return SavedPosition(stream=stream, next=following)

    def resume(self) -> None:
        """Goes on; see Feed."""
        if self._paused:
            self._paused = False
            if self._feeder.stream is not None:
                self._expect(_LOST_TIME)
            self._choose()

    async def settle(self, stream: str, index: int) -> None:
        """Waits for the frames before `index`; see Feed."""
        if stream == self._feeder.stream:
            await self._feeder.settle(index, _SETTLE_TIME)

    def close(self) -> None:
        """Stops feeding for good; ends the members unless the mic's stream goes on here."""
        self._expect(None)
        self.room.feed = None
        goes_on = self.room.mic is not None and self.room.history.stream == self._feeder.stream
        if self._feeder.next is not None and not goes_on:
            self._end_members(protocol_error("going_away", retry_after=_RETRY))
        self._feeder.reset()

    def _choose(self) -> None:
        """Starts with a node that has the stream, if none feeds it now."""
        if self._paused or self.source is not None:
            return
        for node, has in list(self._offers.items()):
            if has.is_conversation:
                detail = f"The room's conversation is heard at its own node, {node}, which is full."
                self._end_members(protocol_error("room_full", detail))
            elif self._feeder.stream in (None, has.stream) and self._fits(has):
                self._start(node, has)
                return

    def _fits(self, has: Has) -> bool:
        """Whether the members read the stream's codes; otherwise it ends them."""
        codec, model = self.room.codec, has.model
        if codec is None:
            return False
        if self.room.sealed != has.sealed:
            error = protocol_error("room_sealed" if has.sealed else "room_not_sealed")
        elif (codec.hash, codec.codebooks, codec.codebook_size) != (
            model.hash,
            model.codebooks,
            model.codebook_size,
        ):
            detail = f"The codes here are those of {model.name}, {model.hash}."
            error = protocol_error("wrong_model", detail)
        else:
            return True
        self._end_members(error)
        return False

    def _start(self, node: str, has: Has) -> None:
        plain = PlainPayload(has.model.codebooks, has.model.codebook_size)
        self._payload = OpaquePayload(plain) if has.sealed else plain
        self.source = node
        self._expect(None)
        self._feeder.start(has.stream)
        self._send(node, Start(self.number, has.stream, self._feeder.expected))
        self._listeners = 0
        self.count()
        log.event("room subscribed", node=node)

    def _withdraw(self, node: str) -> None:
        """The node has the stream no longer; it may have another one already."""
        if node in self._offers and self._offers[node].stream == self._feeder.stream:
            del self._offers[node]

    def _lose(self, seconds: float) -> None:
        """The stream's node does not feed it any more; another may, within so many seconds."""
        self.source = None
        if self._feeder.expected is None:
            self._feeder.reset()
        else:
            self._expect(seconds)
        self._choose()

    def _over(self) -> None:
        """The members have heard all of the stream."""
        self.source = None
        self._feeder.reset()
        self._choose()

    def _expect(self, seconds: float | None) -> None:
        """Gives the stream so many seconds to be found at a node; None: it is found."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._forget)

    def _forget(self) -> None:
        """The stream is gone, without an end: its members begin anew, and wait for the next mic."""
        self._expect(None)
        self._end_members(protocol_error("going_away", retry_after=_RETRY))
        self._feeder.reset()

    def _end_members(self, error: ProtocolError, *, only_sound: bool = False) -> None:
        for session in self._service.members(self.name):
            if session.role == "speaker" and (session.hears_sound or not only_sound):
                session.abort(error)

    def _end_sound(self, error: ProtocolError) -> None:
        self._end_members(error, only_sound=True)

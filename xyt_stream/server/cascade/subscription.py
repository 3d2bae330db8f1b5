"""Feeds one room with its mic or its conversation at another node, wherever that is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.roles import Voice
from xyt_stream.server import log
from xyt_stream.server.cascade.voices import Voices
from xyt_stream.server.cascade.wire import (
    Failed,
    Frame,
    Has,
    Interrupted,
    Item,
    Listeners,
    Moved,
    Over,
    Silent,
    Skipped,
    Start,
    Stop,
)
from xyt_stream.server.saved import SavedPosition
from xyt_stream.server.service import Service
from xyt_stream.server.sessions.room import Room

_LOST_TIME = 1.5  # seconds in which a lost stream is found again, or members get `going_away`
_MOVE_TIME = 10.0  # seconds that a room may be on its way to another node
_RETRY = 0.1  # seconds after which members come back for a new stream


class Subscription:
    """A room here whose mic or user may be at another node. For the event loop's thread; see Feed.

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
        self._paused = False
        self._listeners = 0  # number in the last message to the source
        self._timer: asyncio.TimerHandle | None = None
        self._voices = Voices(
            service,
            room,
            on_busy=lambda error, voice: self._end_members(error, only_sound_of=voice),
            on_over=self._over,
        )
        room.feed = self
        if room.fed_from is not None:
            self._voices.begin_at(room.fed_from)
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
                if self._voices.stream not in (None, item.stream):
                    self._forget()  # the mic or the user has begun anew
                self._choose()
        elif node == self.source:
            self._take_from_source(node, item)

    def _take_from_source(self, node: str, item: Item) -> None:
        if isinstance(item, Frame | Silent | Interrupted | Skipped):
            self._voices.take(item)
        elif isinstance(item, Over):
            if self._voices.end(item):
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
        self._voices.stop()
        if self.source is not None:
            self._send(self.source, Stop(self.number))
            self.source = None
        return self._voices.position

    def resume(self) -> None:
        """Goes on; see Feed."""
        if self._paused:
            self._paused = False
            if self._voices.stream is not None:
                self._expect(_LOST_TIME)
            self._choose()

    async def settle(self, stream: str, index: int, model: int = 0) -> None:
        """Waits for the frames before these; see Feed."""
        await self._voices.settle(stream, index, model)

    def close(self) -> None:
        """Stops feeding for good; ends the members unless the stream goes on here."""
        self._expect(None)
        self.room.feed = None
        goes_on = self.room.has_stream and self.room.stream == self._voices.stream
        if self._voices.begun and not goes_on:
            self._end_members(protocol_error("going_away", retry_after=_RETRY))
        self._voices.reset()

    def _choose(self) -> None:
        """Starts with a node that has the stream, if none feeds it now."""
        if self._paused or self.source is not None:
            return
        for node, has in list(self._offers.items()):
            if self._voices.may_be(has) and self._fits(has):
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
        self.source = node
        self._expect(None)
        self._voices.begin(has)
        self._send(node, Start(self.number, has.stream, *self._voices.expected))
        self._listeners = 0
        self.count()
        log.event("room subscribed", node=node)

    def _withdraw(self, node: str) -> None:
        """The node has the stream no longer; it may have another one already."""
        if node in self._offers and self._offers[node].stream == self._voices.stream:
            del self._offers[node]

    def _lose(self, seconds: float) -> None:
        """The stream's node does not feed it any more; another may, within so many seconds."""
        self.source = None
        if self._voices.expected == (None, None):
            self._voices.reset()
        else:
            self._expect(seconds)
        self._choose()

    def _over(self) -> None:
        """The members have heard all of the stream."""
        self.source = None
        self._voices.reset()
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
        self._voices.reset()

    def _end_members(self, error: ProtocolError, *, only_sound_of: Voice | None = None) -> None:
        """Ends the speakers here: all, or those that hear the sound of one voice."""
        for session in self._service.members(self.name):
            if session.role != "speaker":
                continue
            hears = session.voice or ("model" if self._voices.is_conversation else "user")
            if only_sound_of is None or (session.hears_sound and hears == only_sound_of):
                session.abort(error)

"""Tells whether a server takes new clients, and the reason where it does not."""

from __future__ import annotations

from collections.abc import Callable

from xyt_stream.protocol.messages import MAX_NAME
from xyt_stream.protocol.place import Place
from xyt_stream.server.admission.memory import Memory
from xyt_stream.server.duplex.runner import DuplexRunner
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.sessions.rooms import Rooms
from xyt_stream.server.shedding import Shedding


class Readiness:
    """Whether one server takes new clients. For the event loop's thread.

    Args:
        node: name of this server among those behind a proxy; None: it is alone.
        engine, runner, rooms, memory: see Resources.
        shedding: tells whether the server is overloaded.
        has_sessions: tells whether there are sessions; the first one is never refused for load.

    Attributes:
        draining: whether the server goes away, and admits no new clients.
        shares_rooms: whether other nodes can serve speakers of rooms here.
    """

    def __init__(
        self,
        node: str | None,
        *,
        engine: SlotEngine,
        runner: DuplexRunner | None,
        rooms: Rooms,
        memory: Memory,
        shedding: Shedding,
        has_sessions: Callable[[], bool],
    ) -> None:
        self.draining = False
        self.shares_rooms = False
        self._node = node
        self._engine = engine
        self._runner = runner
        self._rooms = rooms
        self._memory = memory
        self._shedding = shedding
        self._has_sessions = has_sessions

    def why_not_ready(self) -> str | None:
        """The reason why new clients are refused; None if they are admitted."""
        if self.draining:
            return "The server goes away"
        if self._shedding.overloaded and self._has_sessions():
            return "The server is overloaded"
        if self._memory.full:
            return "Too much waits in the server's sessions"
        return self.what_has_stopped()

    def turns_away(self, place: Place) -> str | None:
        """The reason why a client should try another node, before its websocket opens.

        A server that is alone says so in the session's own protocol, and so does one that has the
        client's room or may have its session: there is no better node for these. Speakers may
        listen to a room from any node.

        Args:
            place: that the client's URL names.
        """
        if self._node is None:
            return None
        if self.draining:
            return "The server goes away"
        if place.node == self._node:
            return None
        room = self.room_kept_for(place)
        if place.room is not None and room is None:
            return None
        if reason := self.why_not_ready():
            return reason
        if room is not None:
            return None if self._rooms.reserve(room) else "The room is full here"
        full = self._engine.has_codec and not self._engine.free_slots
        return f"All {self._engine.slots} slots are taken" if full else None

    def room_kept_for(self, place: Place) -> str | None:
        """The room in which `turns_away` keeps a place for a client; None: in none."""
        may_move = self._node is not None and place.node != self._node and self.shares_rooms
        named = place.room is not None and len(place.room) <= MAX_NAME
        return place.room if may_move and named and place.is_listener else None

    def what_has_stopped(self) -> str | None:
        """The thread that should run and does not; None if all do."""
        if not self._engine.alive:
            return "The engine has stopped"
        if self._runner is not None and not self._runner.alive:
            return "The speech model has stopped"
        return None

    def why_not_adopt(self) -> str | None:
        """The reason why no session of another node is taken over; None: it is."""
        return "this node goes away, too" if self.draining else self.what_has_stopped()

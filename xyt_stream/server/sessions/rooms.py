"""Holds all rooms of a server by name, and adds members to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Model
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.duplex.conversation import Conversation
from xyt_stream.server.duplex.runner import DuplexRunner
from xyt_stream.server.engine.code_stream import CodeStream
from xyt_stream.server.engine.fanout import InterruptibleListener
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import SlotStream
from xyt_stream.server.sessions.places import Places
from xyt_stream.server.sessions.room import Room
from xyt_stream.server.sessions.send_queue import SendQueue


class Rooms:
    """All rooms by name; a room exists while it has members. For the event loop's thread.

    Args:
        engine: steps the streams.
        limits: of rooms and members.
        silence: codes of a silent frame, int64 [codebooks].
        runner: of models in this process, for users whose room has no model.

    Attributes:
        silence: the same.
        on_change: called with the name of a room whose members or whose stream have changed.
        listeners_elsewhere: returns how many speakers of a room's mic other nodes have.
    """

    def __init__(
        self,
        engine: SlotEngine,
        limits: Limits,
        silence: CodeArray,
        runner: DuplexRunner | None = None,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self.silence = silence
        self._runner = runner
        self._rooms: dict[str, Room] = {}
        self._places = Places()
        self.on_change: Callable[[str], None] = lambda name: None
        self.listeners_elsewhere: Callable[[str], int] = lambda name: 0

    def __len__(self) -> int:
        """Number of rooms."""
        return len(self._rooms)

    def get(self, name: str | None) -> Room | None:
        """The room of that name; None: there is none."""
        return None if name is None else self._rooms.get(name)

    def is_full(self, name: str) -> bool:
        """Whether a room takes no member more."""
        room = self._rooms.get(name)
        return room is not None and room.members >= self._limits.members

    def reserve(self, name: str) -> bool:
        """Keeps a place for a speaker whose websocket opens now; False: none is left for it.

        One more is kept for the mic, the user or the model that is yet to come.
        """
        room = self._rooms.get(name)
        members, missing = (0, 1) if room is None else (room.members, room.lacks_sender)
        if room is not None or self._places.count(name):  # a first speaker always has a place
            taken = members + self._places.count(name) + missing
            if taken >= self._limits.members:
                return False
        self._places.keep(name)
        return True

    def release(self, name: str) -> None:
        """The connection of a speaker for whom `reserve` kept a place has ended without it."""
        self._places.use(name)

    def has_orphan(self, name: str | None) -> bool:
        """Whether a stream in a room goes on after its sender has left; it ends in a moment."""
        room = self.get(name)
        return room is not None and not room.has_sender and room.has_stream

    def listeners(self, name: str | None) -> int:
        """Number of speakers that hear the mic of a room, at all nodes."""
        room = self.get(name)
        return (
            0 if room is None or name is None else room.listeners + self.listeners_elsewhere(name)
        )

    def model_in(self, name: str | None) -> Model | None:
        """The model of the codes in a room; None: there is no such room yet."""
        room = None if name is None else self._rooms.get(name)
        return None if room is None else room.codec

    def sealed(self, name: str | None) -> bool | None:
        """Whether the members of a room seal their codes; None: there is no such room yet."""
        room = None if name is None else self._rooms.get(name)
        return None if room is None else room.sealed

    def agree(self, name: str | None, model: Model, *, sealed: bool = False) -> None:
        """Sets what the codes are in a room that a member has just entered."""
        if name is not None:
            self._rooms[name].codec = model
            self._rooms[name].sealed = sealed

    @contextmanager
    def enter(self, name: str | None, *, moved: bool = False) -> Iterator[Room]:
        """Adds a member to a room while the block runs; None: to a private room.

        Args:
            name: of the room.
            moved: whether the member was admitted at another node; it is not refused here.

        Raises:
            ProtocolError: room_full.
        """
        if name is None:
            yield Room()
            return
        if name not in self._rooms and len(self._rooms) >= self._limits.rooms and not moved:
            raise protocol_error("room_full")
        if self.is_full(name) and not moved:
            raise protocol_error("room_full")
        room = self._rooms.setdefault(name, Room(lambda: self.on_change(name)))
        room.members += 1
        self.on_change(name)
        try:
            yield room
        finally:
            room.members -= 1
            if not room.members:
                del self._rooms[name]
            self.on_change(name)

    @contextmanager
    def add_speaker(
        self,
        name: str,
        listener: InterruptibleListener,
        voice: str | None = None,
        *,
        moved: bool = False,
    ) -> Iterator[Room]:
        """Adds a listener to a room while the block runs.

        Args:
            name: of the room.
            listener: receives the stream.
            voice: "user" or "model"; None: the mic or, in a conversation, the model.
            moved: see `enter`.

        Raises:
            ProtocolError: room_full; busy: the listener wants sound of a mic that sends codes.
        """
        with self.enter(name, moved=moved) as room:
            self._places.use(name)
            fanouts = {
                "user": room.user_fanout,
                "model": room.model_fanout,
                None: room.default_fanout,
            }
            hears = voice != "model"  # of a mic
            with fanouts[voice].join(listener):
                room.listeners += hears
                try:
                    yield room
                finally:
                    room.listeners -= hears

    @contextmanager
    def add_mic(
        self,
        name: str,
        listener: InterruptibleListener,
        session: str = "",
        *,
        from_codes: bool = False,
        moved: bool = False,
    ) -> Iterator[SlotStream | CodeStream]:
        """Adds a mic to a room while the block runs; afterwards its stream is still delivered.

        Args:
            name: of the room.
            listener: the mic's own.
            session: id of the mic's session, which names its stream at all nodes.
            from_codes: whether the mic sends codes, which take a slot only while they are decoded.
            moved: see `enter`.

        Raises:
            ProtocolError: room_has_mic, room_has_user, room_has_model, room_full, busy.
        """
        with self.enter(name, moved=moved) as room, room.user_fanout.join(listener):
            room.check_unused()
            if room.model is not None:
                raise protocol_error("room_has_model")
            mic = room.open_mic(self._engine, session, from_codes=from_codes)
            room.has_sender = True
            try:
                yield mic
            finally:
                room.has_sender = False
                mic.end_early()

    @contextmanager
    def add_user(
        self,
        name: str | None,
        listener: InterruptibleListener,
        session: str,
        *,
        from_codes: bool = False,
        sealed: bool = False,
        moved: bool = False,
    ) -> Iterator[Conversation]:
        """Adds a user and opens its conversation while the block runs.

        Args:
            name: of the room; None: a private room with a model of this process.
            listener: receives the model.
            session: for logs.
            from_codes: whether the user sends codes.
            sealed: whether no model of this process can read them.
            moved: see `enter`; nor is it refused where a model waits for it among speakers. Then it
                has a remote model, which may have left.

        Raises:
            ProtocolError: room_has_mic, room_has_user, room_full, busy, not_allowed.
        """
        if name is None and self._runner is None:
            raise protocol_error("not_allowed", "This server has no model: name a room with one.")
        room = self.get(name)
        awaited = room is not None and room.model is not None
        with self.enter(name, moved=moved or awaited) as room, room.model_fanout.join(listener):
            room.check_unused()
            runner = None if room.model is not None or sealed or moved else self._runner
            conversation = room.open_conversation(
                self._engine, self.silence, runner, session, from_codes=from_codes
            )
            room.has_sender = True
            try:
                yield conversation
            finally:
                room.has_sender = False
                if room.members > 1:  # others listen to it
                    conversation.end_early()
                else:
                    conversation.close()

    @contextmanager
    def add_model(self, name: str, send_queue: SendQueue, *, moved: bool = False) -> Iterator[Room]:
        """Adds a remote model to a room while the block runs.

        Args:
            name: of the room.
            send_queue: of the model's client, which receives the user.
            moved: see `enter`; nor is it refused where a user waits for it among speakers.

        Raises:
            ProtocolError: room_has_mic, room_has_model, room_full.
        """
        room = self.get(name)
        awaited = room is not None and room.conversation is not None
        with self.enter(name, moved=moved or awaited) as room, room.user_fanout.join(send_queue):
            conversation = room.conversation
            if room.mic is not None:
                raise protocol_error("room_has_mic")
            if room.model is not None or (
                conversation is not None and conversation.has_local_model
            ):
                raise protocol_error("room_has_model")
            room.model = send_queue
            if conversation is not None:
                conversation.attach_model(send_queue.put_control)
            try:
                yield room
            finally:
                room.model = None
                if room.conversation is not None:
                    room.conversation.detach_model()

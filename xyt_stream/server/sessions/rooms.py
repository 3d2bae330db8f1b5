"""Connects the members of rooms: one mic to its speakers, or a user to a model, and listeners."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Model
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.duplex.conversation import Conversation
from xyt_stream.server.duplex.runner import DuplexRunner
from xyt_stream.server.engine.code_stream import CodeStream
from xyt_stream.server.engine.fanout import Fanout, InterruptibleListener
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import SlotStream
from xyt_stream.server.sessions.send_queue import SendQueue


class Room:
    """The members of a room and its fan-outs. Listeners may join before a stream begins, or later.

    Attributes:
        members: number of them.
        codec: the model of the codes, which all members share; None: the room is still empty.
        sealed: whether its members seal their codes, so that they cannot be decoded here.
        mic: the mic's stream, until its end.
        conversation: the user's, until its end.
        model: send queue of a remote model in the room, if there is one.
        user_fanout: passes on the mic or the user.
        model_fanout: passes on the model.
        has_sender: whether the mic's or the user's session is in the room.
        default_fanout: passes on the mic or, in a conversation, the model.
    """

    def __init__(self) -> None:
        self.members = 0
        self.codec: Model | None = None
        self.sealed = False
        self.mic: SlotStream | CodeStream | None = None
        self.conversation: Conversation | None = None
        self.model: SendQueue | None = None
        self.user_fanout = Fanout(on_change=self._update_decoding)
        self.model_fanout = Fanout(on_change=self._update_decoding)
        self.default_fanout = Fanout(on_change=self._update_decoding)
        self.has_sender = False
        self._user_came = Signal()

    async def wait_for_user(self) -> Conversation:
        """Waits until there is a conversation, and returns it."""
        while self.conversation is None:
            await self._user_came.wait()
        return self.conversation

    @property
    def has_stream(self) -> bool:
        """Whether a mic or a user is heard, or its rest."""
        return self.mic is not None or self.conversation is not None

    def check_unused(self) -> None:
        """Raises ProtocolError, room_has_mic or room_has_user, if a mic or a user is there."""
        if self.mic is not None:
            raise protocol_error("room_has_mic")
        if self.conversation is not None:
            raise protocol_error("room_has_user")

    def open_mic(self, engine: SlotEngine, *, from_codes: bool) -> SlotStream | CodeStream:
        """Opens the mic's stream to its fan-outs; see Rooms.add_mic.

        Raises:
            ProtocolError: busy.
        """
        listener = Fanout(self.user_fanout, self.default_fanout, on_over=self._on_over)
        if from_codes:
            self.mic = CodeStream(engine, listener)
        else:
            self.mic = SlotStream(engine, listener, from_codes=False)
        return self.mic

    def open_conversation(
        self,
        engine: SlotEngine,
        silence: CodeArray,
        runner: DuplexRunner | None,
        session: str,
        *,
        from_codes: bool,
    ) -> Conversation:
        """Opens a user's conversation to its fan-outs; see Conversation.

        Raises:
            ProtocolError: busy.
        """
        self.conversation = Conversation(
            engine,
            silence,
            user=self.user_fanout,
            model=Fanout(self.model_fanout, self.default_fanout),
            from_codes=from_codes,
            runner=runner,
            session=session,
            on_over=self._on_over,
        )
        if self.model is not None:
            self.conversation.attach_model(self.model.put_control)
        self._user_came.notify()
        return self.conversation

    def _on_over(self) -> None:
        self.mic = self.conversation = None

    def _update_decoding(self) -> None:
        for stream in (self.mic, self.conversation):
            if stream is not None:
                stream.update_decoding()


class Rooms:
    """All rooms by name; a room exists while it has members. For the event loop's thread.

    Args:
        engine: steps the streams.
        limits: of rooms and members.
        silence: codes of a silent frame, int64 [codebooks].
        runner: of models in this process, for users whose room has no model.
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
        self._silence = silence
        self._runner = runner
        self._rooms: dict[str, Room] = {}

    def get(self, name: str | None) -> Room | None:
        """The room of that name; None: there is none."""
        return None if name is None else self._rooms.get(name)

    def has_orphan(self, name: str | None) -> bool:
        """Whether a stream in a room goes on after its sender has left; it ends in a moment."""
        room = self.get(name)
        return room is not None and not room.has_sender and room.has_stream

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
    def enter(self, name: str | None) -> Iterator[Room]:
        """Adds a member to a room while the block runs; None: to a private room.

        Raises:
            ProtocolError: room_full.
        """
        if name is None:
            yield Room()
            return
        if name not in self._rooms and len(self._rooms) >= self._limits.rooms:
            raise protocol_error("room_full")
        if name in self._rooms and self._rooms[name].members >= self._limits.members:
            raise protocol_error("room_full")
        room = self._rooms.setdefault(name, Room())
        room.members += 1
        try:
            yield room
        finally:
            room.members -= 1
            if not room.members:
                del self._rooms[name]

    @contextmanager
    def add_speaker(
        self, name: str, listener: InterruptibleListener, voice: str | None = None
    ) -> Iterator[Room]:
        """Adds a listener to a room while the block runs.

        Args:
            name: of the room.
            listener: receives the stream.
            voice: "user" or "model"; None: the mic or, in a conversation, the model.

        Raises:
            ProtocolError: room_full; busy: the listener wants sound of a mic that sends codes.
        """
        with self.enter(name) as room:
            fanouts = {
                "user": room.user_fanout,
                "model": room.model_fanout,
                None: room.default_fanout,
            }
            with fanouts[voice].join(listener):
                yield room

    @contextmanager
    def add_mic(
        self, name: str, listener: InterruptibleListener, *, from_codes: bool = False
    ) -> Iterator[SlotStream | CodeStream]:
        """Adds a mic to a room while the block runs; afterwards its stream is still delivered.

        Args:
            name: of the room.
            listener: the mic's own.
            from_codes: whether the mic sends codes, which take a slot only while they are decoded.

        Raises:
            ProtocolError: room_has_mic, room_has_user, room_has_model, room_full, busy.
        """
        with self.enter(name) as room, room.user_fanout.join(listener):
            room.check_unused()
            if room.model is not None:
                raise protocol_error("room_has_model")
            mic = room.open_mic(self._engine, from_codes=from_codes)
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
        remote: bool = False,
    ) -> Iterator[Conversation]:
        """Adds a user and opens its conversation while the block runs.

        Args:
            name: of the room; None: a private room with a model of this process.
            listener: receives the model.
            session: for logs.
            from_codes: whether the user sends codes.
            sealed: whether no model of this process can read them.
            remote: whether it has a remote model, which may have left.

        Raises:
            ProtocolError: room_has_mic, room_has_user, room_full, busy, not_allowed.
        """
        if name is None and self._runner is None:
            raise protocol_error("not_allowed", "This server has no model: name a room with one.")
        with self.enter(name) as room, room.model_fanout.join(listener):
            room.check_unused()
            runner = None if room.model is not None or sealed or remote else self._runner
            conversation = room.open_conversation(
                self._engine, self._silence, runner, session, from_codes=from_codes
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
    def add_model(self, name: str, send_queue: SendQueue) -> Iterator[Room]:
        """Adds a remote model to a room while the block runs.

        Args:
            name: of the room.
            send_queue: of the model's client, which receives the user.

        Raises:
            ProtocolError: room_has_mic, room_has_model, room_full.
        """
        with self.enter(name) as room, room.user_fanout.join(send_queue):
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

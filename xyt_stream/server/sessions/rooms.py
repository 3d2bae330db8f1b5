"""Rooms: one mic's voice for many speakers, or a user and a model that talk, and who listens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.admission.limits import Limits
from xyt_stream.server.duplex.conversation import Conversation
from xyt_stream.server.duplex.runner import Host
from xyt_stream.server.engine.engine import Engine
from xyt_stream.server.engine.fanout import Audience, Member
from xyt_stream.server.engine.slot_stream import Voice
from xyt_stream.server.sessions.send_queue import Outlet


class Room:
    """Who is in it, and what they hear. They may come before anybody speaks, or late.

    Attributes:
        members: how many are in it.
        voice: the mic's, while it is heard.
        conversation: the user's, while it is heard.
        model: the outlet of a model in the room, if there is one.
        said: those who hear the mic or the user.
        answered: those who hear the model.
        either: those who hear the mic or, in a conversation, the model.
    """

    def __init__(self) -> None:
        self.members = 0
        self.voice: Voice | None = None
        self.conversation: Conversation | None = None
        self.model: Outlet | None = None
        self._arrived = asyncio.Event()
        self.said = Audience(changed=self._refresh)
        self.answered = Audience(changed=self._refresh)
        self.either = Audience(changed=self._refresh)

    async def arrival(self) -> Conversation:
        """Waits for a user."""
        while self.conversation is None:
            self._arrived.clear()
            await self._arrived.wait()
        return self.conversation

    def check_silent(self) -> None:
        """Raises ProtocolError, room_has_mic or room_has_user, if somebody speaks already."""
        if self.voice is not None:
            raise protocol_error("room_has_mic")
        if self.conversation is not None:
            raise protocol_error("room_has_user")

    def speak(self, engine: Engine) -> Voice:
        """A mic's voice, for all who hear it.

        Raises:
            ProtocolError: busy.
        """
        heard = Audience(self.said, self.either, over=self._quiet)
        self.voice = Voice(engine, heard, from_codes=False)
        return self.voice

    def converse(
        self, engine: Engine, silence: CodeArray, host: Host | None, session: str
    ) -> Conversation:
        """A user's conversation, for all who hear it.

        Raises:
            ProtocolError: busy.
        """
        self.conversation = Conversation(
            engine,
            silence,
            user=self.said,
            model=Audience(self.answered, self.either),
            host=host,
            session=session,
            over=self._quiet,
        )
        if self.model is not None:
            self.conversation.join(self.model.tell)
        self._arrived.set()
        return self.conversation

    def _quiet(self) -> None:
        self.voice = self.conversation = None

    def _refresh(self) -> None:
        for speaking in (self.voice, self.conversation):
            if speaking is not None:
                speaking.refresh()


class Rooms:
    """All rooms by name; there is a room while somebody is in it.

    Args:
        host: of models in this process, for users whose room has none.
    """

    def __init__(
        self, engine: Engine, limits: Limits, silence: CodeArray, host: Host | None = None
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._silence = silence
        self._host = host
        self._rooms: dict[str, Room] = {}

    @contextmanager
    def enter(self, name: str | None) -> Iterator[Room]:
        """Somebody is in the room; None: in one of their own.

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
    def join(self, name: str, listener: Member, voice: str | None = None) -> Iterator[Room]:
        """`listener` hears what is said in the room.

        Args:
            voice: "user" or "model"; None: the mic or, in a conversation, the model.

        Raises:
            ProtocolError: room_full.
        """
        with self.enter(name) as room:
            audience = {"user": room.said, "model": room.answered, None: room.either}[voice]
            with audience.join(listener):
                yield room

    @contextmanager
    def speak(self, name: str, listener: Member) -> Iterator[Voice]:
        """`listener` is the room's mic. Its voice is heard to the end, even if that is abrupt.

        Raises:
            ProtocolError: room_has_mic, room_has_user, room_has_model, room_full, busy.
        """
        with self.enter(name) as room, room.said.join(listener):
            room.check_silent()
            if room.model is not None:
                raise protocol_error("room_has_model")
            voice = room.speak(self._engine)
            try:
                yield voice
            finally:
                voice.break_off()

    @contextmanager
    def converse(self, name: str | None, listener: Member, session: str) -> Iterator[Conversation]:
        """`listener` is the user of a conversation, in a room or alone with a model in here.

        Raises:
            ProtocolError: room_has_mic, room_has_user, room_full, busy, not_allowed.
        """
        if name is None and self._host is None:
            raise protocol_error("not_allowed", "This server has no model: name a room with one.")
        with self.enter(name) as room, room.answered.join(listener):
            room.check_silent()
            host = self._host if room.model is None else None
            conversation = room.converse(self._engine, self._silence, host, session)
            try:
                yield conversation
            finally:
                if room.members > 1:  # others who hear it
                    conversation.break_off()
                else:
                    conversation.close()

    @contextmanager
    def answer(self, name: str, outlet: Outlet) -> Iterator[Room]:
        """`outlet` is that of a room's model, which hears the user.

        Raises:
            ProtocolError: room_has_mic, room_has_model, room_full.
        """
        with self.enter(name) as room, room.said.join(outlet):
            conversation = room.conversation
            if room.voice is not None:
                raise protocol_error("room_has_mic")
            if room.model is not None or (conversation is not None and conversation.has_own_model):
                raise protocol_error("room_has_model")
            room.model = outlet
            if conversation is not None:
                conversation.join(outlet.tell)
            try:
                yield room
            finally:
                room.model = None
                if room.conversation is not None:
                    room.conversation.part()

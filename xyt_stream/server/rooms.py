"""Rooms: one mic's voice for many speakers, encoded and decoded once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xyt_stream.audio import Samples
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine import Engine
from xyt_stream.server.limits import Limits
from xyt_stream.server.voice import Length, Listener, Sound, Voice


class Room:
    """Passes what its mic says on to all in the room. They may come before the mic, or late."""

    def __init__(self) -> None:
        self.voice: Voice | None = None
        self.listeners: set[Listener] = set()

    @property
    def wants_sound(self) -> bool:
        return any(listener.wants_sound for listener in self.listeners)

    def read(self, index: int, codes: CodeArray) -> None:
        for listener in self.listeners:
            listener.read(index, codes)

    def hear(self, sound: Sound) -> None:
        for listener in self.listeners:
            listener.hear(sound)

    def over(self, tail: Samples, length: Length) -> None:
        self.voice = None
        for listener in self.listeners:
            listener.over(tail, length)

    def failed(self) -> None:
        self.voice = None
        for listener in self.listeners:
            listener.failed()


class Rooms:
    """All rooms by name; there is a room while somebody is in it."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._engine = engine
        self._limits = limits
        self._rooms: dict[str, Room] = {}

    @contextmanager
    def join(self, name: str, listener: Listener) -> Iterator[Room]:
        """`listener` is in the room, and hears what is said there.

        Raises:
            ProtocolError: room_full.
        """
        if name not in self._rooms and len(self._rooms) >= self._limits.rooms:
            raise protocol_error("room_full")
        if name in self._rooms and len(self._rooms[name].listeners) >= self._limits.members:
            raise protocol_error("room_full")
        room = self._rooms.setdefault(name, Room())
        room.listeners.add(listener)
        self._refresh(room)
        try:
            yield room
        finally:
            room.listeners.remove(listener)
            self._refresh(room)
            if not room.listeners:
                del self._rooms[name]

    @contextmanager
    def speak(self, name: str, listener: Listener) -> Iterator[Voice]:
        """`listener` is the room's mic. Its voice is heard to the end, even if that is abrupt.

        Raises:
            ProtocolError: room_has_mic, room_full, busy.
        """
        with self.join(name, listener) as room:
            if room.voice is not None:
                raise protocol_error("room_has_mic")
            voice = room.voice = Voice(self._engine, room, from_codes=False)
            try:
                yield voice
            finally:
                voice.break_off()

    def _refresh(self, room: Room) -> None:
        if room.voice is not None:
            room.voice.refresh()

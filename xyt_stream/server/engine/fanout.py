"""All who hear one voice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slot_stream import Length, Listener, Sound


class Member(Listener, Protocol):
    """Who hears a voice that may be cut off."""

    def clear(self) -> None:
        """What was heard last is to be dropped, as far as it has not been played."""


class Audience:
    """A listener that passes on what it hears.

    Args:
        listeners: who is there from the beginning.
        changed: told when somebody has come or gone.
        over: told when the voice has ended.
    """

    def __init__(
        self,
        *listeners: Member,
        changed: Callable[[], None] = lambda: None,
        over: Callable[[], None] = lambda: None,
    ) -> None:
        self._listeners = set(listeners)
        self._changed = changed
        self._over = over

    @contextmanager
    def join(self, listener: Member) -> Iterator[None]:
        """`listener` hears what is said from now on."""
        self._listeners.add(listener)
        self._changed()
        try:
            yield
        finally:
            self._listeners.remove(listener)
            self._changed()

    @property
    def wants_sound(self) -> bool:
        return any(listener.wants_sound for listener in self._listeners)

    def read(self, index: int, codes: CodeArray) -> None:
        for listener in self._listeners:
            listener.read(index, codes)

    def hear(self, sound: Sound) -> None:
        for listener in self._listeners:
            listener.hear(sound)

    def over(self, tail: Samples, length: Length) -> None:
        self._over()
        for listener in self._listeners:
            listener.over(tail, length)

    def clear(self) -> None:
        for listener in self._listeners:
            listener.clear()

    def failed(self) -> None:
        self._over()
        for listener in self._listeners:
            listener.failed()

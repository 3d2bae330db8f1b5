"""Passes one stream on to any number of listeners that come and go."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length, Listener


class InterruptibleListener(Listener, Protocol):
    """Receives a stream that can be silent, and interrupted."""

    def on_silence(self, index: int) -> None:
        """Takes a frame without codes, in which its sender is silent."""

    def on_interruption(self) -> None:
        """Drops what was received and not played yet."""


class Fanout:
    """A listener that passes everything on to other listeners. For the event loop's thread.

    Args:
        listeners: present from the beginning.
        on_change: called when a listener has joined or left.
        on_over: called when the stream has ended or failed.
    """

    def __init__(
        self,
        *listeners: InterruptibleListener,
        on_change: Callable[[], None] = lambda: None,
        on_over: Callable[[], None] = lambda: None,
    ) -> None:
        self._listeners = set(listeners)
        self._on_change = on_change
        self._on_over = on_over

    @contextmanager
    def join(self, listener: InterruptibleListener) -> Iterator[None]:
        """Passes the stream on to `listener` while the block runs.

        Raises:
            ProtocolError: busy: it wants sound, and no slot is free to decode.
        """
        self._listeners.add(listener)
        try:
            self._on_change()
            yield
        finally:
            self._listeners.remove(listener)
            self._on_change()

    @property
    def wants_sound(self) -> bool:
        """Whether any listener wants sound."""
        return any(listener.wants_sound for listener in self._listeners)

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Passes codes on; see Listener."""
        for listener in self._listeners:
            listener.on_codes(index, codes)

    def on_silence(self, index: int) -> None:
        """Passes a silent frame on; see InterruptibleListener."""
        for listener in self._listeners:
            listener.on_silence(index)

    def on_audio(self, frame: DecodedFrame) -> None:
        """Passes sound on; see Listener."""
        for listener in self._listeners:
            listener.on_audio(frame)

    def skip(self, index: int, frames: int) -> None:
        """Passes on that frames were left out; see Listener."""
        for listener in self._listeners:
            listener.skip(index, frames)

    def on_end(self, tail: Samples, length: Length) -> None:
        """Passes the end on; see Listener."""
        self._on_over()
        for listener in self._listeners:
            listener.on_end(tail, length)

    def on_interruption(self) -> None:
        """Passes an interruption on; see InterruptibleListener."""
        for listener in self._listeners:
            listener.on_interruption()

    def on_error(self) -> None:
        """Passes a failure on; see Listener."""
        self._on_over()
        for listener in self._listeners:
            listener.on_error()

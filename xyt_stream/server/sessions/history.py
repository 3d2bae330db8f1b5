"""Keeps the latest frames of a room's stream, for listeners that come from another node."""

from __future__ import annotations

import collections
from collections.abc import Iterator

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length

_FRAMES = 48  # four seconds: longer than a room is on its way, fewer than a listener may queue


class History:
    """A listener that keeps the latest codes of a stream. For the event loop's thread.

    Attributes:
        wants_sound: False.
        stream: id of the stream; None before the first.
    """

    wants_sound = False

    def __init__(self) -> None:
        self.stream: str | None = None
        self._frames: collections.deque[tuple[int, CodeArray]]
        self._frames = collections.deque(maxlen=_FRAMES)

    def begin(self, stream: str) -> None:
        """Forgets all frames unless they are of this stream."""
        if stream != self.stream:
            self.stream = stream
            self._frames.clear()

    def since(self, index: int) -> Iterator[tuple[int, CodeArray]]:
        """The frames that are kept from this index on: each index and its codes."""
        return (frame for frame in list(self._frames) if frame[0] >= index)

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Keeps a frame; see Listener."""
        self._frames.append((index, codes))

    def on_audio(self, frame: DecodedFrame) -> None:
        """Keeps no sound."""

    def skip(self, index: int, frames: int) -> None:
        """Does nothing: what was left out is not there."""

    def on_end(self, tail: Samples, length: Length) -> None:
        """Does nothing."""

    def on_error(self) -> None:
        """Does nothing."""

    def on_interruption(self) -> None:
        """Does nothing: a mic cannot be interrupted."""

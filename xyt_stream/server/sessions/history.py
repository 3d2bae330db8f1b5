"""Keeps the latest frames of a room's stream, for listeners that come from another node."""

from __future__ import annotations

import collections

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.fanout import InterruptibleListener
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
        self._frames: collections.deque[tuple[int, CodeArray | None]]
        self._frames = collections.deque(maxlen=_FRAMES)
        self._next = 0  # index of the next frame
        self._interrupted = -1  # index of the first frame after the latest interruption; -1: none

    def begin(self, stream: str) -> None:
        """Forgets all frames unless they are of this stream."""
        if stream != self.stream:
            self.stream = stream
            self._frames.clear()
            self._next, self._interrupted = 0, -1

    def replay(self, first: int, listener: InterruptibleListener) -> None:
        """Passes on what is kept from frame `first` on: an interruption, and then the frames."""
        if self._interrupted >= first:
            listener.on_interruption()
        for index, codes in list(self._frames):
            if index < first:
                continue
            if codes is None:
                listener.on_silence(index)
            else:
                listener.on_codes(index, codes)

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Keeps a frame; see Listener."""
        self._frames.append((index, codes))
        self._next = index + 1

    def on_silence(self, index: int) -> None:
        """Keeps a silent frame; see InterruptibleListener."""
        self._frames.append((index, None))
        self._next = index + 1

    def on_audio(self, frame: DecodedFrame) -> None:
        """Keeps no sound."""

    def skip(self, index: int, frames: int) -> None:
        """Does nothing: what was left out is not there."""

    def on_end(self, tail: Samples, length: Length) -> None:
        """Does nothing."""

    def on_error(self) -> None:
        """Does nothing."""

    def on_interruption(self) -> None:
        """Keeps the frames as silent ones: a listener that comes later hears none of them."""
        self._frames = collections.deque(((index, None) for index, _ in self._frames), _FRAMES)
        self._interrupted = self._next

"""Holds the model's output back until the client asks for a response."""

from __future__ import annotations

import collections
from dataclasses import dataclass

from xyt_stream.audio import Samples

_MOST = 375  # latest frames kept: 30 s


@dataclass(frozen=True)
class OutputFrame:
    """The model's audio in one frame of the clock, or in a part of it.

    Attributes:
        index: of the frame.
        speaks: whether the model speaks in it.
        samples: float32 [n].
        played: model frames played in all, including this one.
    """

    index: int
    speaks: bool
    samples: Samples
    played: int


class HeldOutput:
    """Keeps the model's output since the user's latest speech.

    The model may begin to answer in a pause of the user's. If the user continues, that output is
    not the answer to the whole turn, and is dropped.
    """

    def __init__(self) -> None:
        self._frames: collections.deque[OutputFrame] = collections.deque(maxlen=_MOST)
        self._user_spoke = 0  # latest frame with speech of the user

    def user_spoke(self, index: int) -> None:
        """Drops output before a frame in which the user speaks."""
        self._user_spoke = index
        while self._frames and (self._frames[0].index < index or not self._frames[0].speaks):
            self._frames.popleft()

    def add(self, frame: OutputFrame) -> None:
        """Keeps the model's next output; silence before its speech is not kept."""
        if frame.index >= self._user_spoke and (self._frames or frame.speaks):
            self._frames.append(frame)

    def clear(self) -> None:
        """Drops all output."""
        self._frames.clear()

    def release(self) -> list[OutputFrame]:
        """Returns all output and keeps none."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

"""What a model says while it hears a turn that it was not asked to answer yet."""

from __future__ import annotations

import collections
from dataclasses import dataclass

from xyt_stream.audio import Samples

_MOST = 375  # frames that are held, the latest: 30 s


@dataclass(frozen=True)
class OutputFrame:
    """The model's sound in one frame of the clock, or in a part of it.

    Attributes:
        index: of the frame.
        speaks: whether the model speaks in it.
        samples: float32 [n].
        played: frames of the model's speech up to this one, it included.
    """

    index: int
    speaks: bool
    samples: Samples
    played: int


class HeldOutput:
    """Keeps the model's latest words until the client asks for them, or the user speaks on.

    A model that always listens may begin to answer in a pause of the user's. If the user then goes
    on, that was no answer to the whole turn.
    """

    def __init__(self) -> None:
        self._frames: collections.deque[OutputFrame] = collections.deque(maxlen=_MOST)
        self._user_spoke = 0  # the latest frame in which the user did

    def user_spoke(self, index: int) -> None:
        """The user speaks in a frame: what the model said before is no answer."""
        self._user_spoke = index
        while self._frames and (self._frames[0].index < index or not self._frames[0].speaks):
            self._frames.popleft()

    def add(self, frame: OutputFrame) -> None:
        """Holds the model's next sound. The silence before it begins is not kept."""
        if frame.index >= self._user_spoke and (self._frames or frame.speaks):
            self._frames.append(frame)

    def clear(self) -> None:
        """What is held is not wanted any more."""
        self._frames.clear()

    def release(self) -> list[OutputFrame]:
        """Gives out what is held, and holds nothing."""
        frames = list(self._frames)
        self._frames.clear()
        return frames

"""Cuts the user's examined sound into frames for the model, turn by turn."""

from __future__ import annotations

import collections
from dataclasses import dataclass

from xyt_stream.audio import Samples
from xyt_stream.server.realtime.sample_queue import SampleQueue

_PADDING = 4  # frames of silence before speech that are kept while a response goes on


@dataclass(frozen=True)
class InputFrame:
    """A frame on its way to the model.

    Attributes:
        samples: float32 [1280].
        turn: number of its turn.
        speech: whether the user speaks in it.
    """

    samples: Samples
    turn: int
    speech: bool


class TurnFramer:
    """Joins the sound of one session's turns into frames. For the event loop's thread.

    Attributes:
        frames: the model gets them next.
    """

    def __init__(self) -> None:
        self.frames: collections.deque[InputFrame] = collections.deque()
        self._rest = SampleQueue()  # less than a frame
        self._speech = False  # whether the user speaks in that

    def push(self, samples: Samples, turn: int, speech: bool) -> None:
        """Adds sound of a turn, float32 [n]; `speech` says whether the user speaks in it."""
        self._speech = self._speech or speech
        self._rest.push(samples)
        while (frame := self._rest.pop_frame()) is not None:
            self.frames.append(InputFrame(frame, turn, self._speech))
            self._speech = speech

    def end_turn(self, turn: int, *, pad: bool) -> None:
        """Ends a turn; with `pad`, its last frame is filled up with silence.

        Otherwise the first sound of the next turn completes that frame.
        """
        if pad and len(self._rest):
            self.frames.append(InputFrame(self._rest.pop_padded(), turn, self._speech))
        self._speech = False

    def take_rest(self) -> Samples:
        """Takes the incomplete last frame, float32 [1280], padded with silence."""
        return self._rest.pop_padded()

    def clear(self, turn: int) -> int:
        """Drops the frames of the last turn; returns the samples that were in no frame yet."""
        self._speech = False
        while self.frames and self.frames[-1].turn == turn:
            self.frames.pop()
        return self._rest.clear()

    def drop_silence(self, turn: int) -> None:
        """Drops silence of the last turn, so that no backlog of it builds up during a response."""
        waiting = 0
        for frame in reversed(self.frames):
            if frame.turn != turn or frame.speech:
                break
            waiting += 1
        if waiting > _PADDING:
            del self.frames[-waiting]

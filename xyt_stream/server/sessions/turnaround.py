"""Measures how long the server takes from reading a frame until its result is written."""

from __future__ import annotations

from collections.abc import Callable

from xyt_stream.protocol.frame_clock import FrameClock
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Ready
from xyt_stream.protocol.roles import ROLES


class TurnaroundTimer:
    """Times the frames of one session. For the event loop's thread.

    Args:
        ready: the server's answer to the client.
        on_frame: each is called with the seconds that a frame took.

    Attributes:
        measures: whether the client receives the result of its own frames, so that they are timed.
    """

    def __init__(self, ready: Ready, *on_frame: Callable[[float], None]) -> None:
        self.measures = ROLES[ready.role].in_room == "no" and bool(ready.receive)
        self._on_frame = on_frame
        self._frames = FrameClock(ready.frame_samples)
        # A frame's sound is written after its codes.
        self._result = Pcm if "pcm" in ready.receive else Codes

    @property
    def samples(self) -> int:
        """Number of samples that were received."""
        return self._frames.samples

    def received(self, message: Pcm, *, timed: bool) -> None:
        """Counts sound of the client's; if `timed`, times the frames that it completes."""
        if self.measures:
            self._frames.fill(len(message.samples), timed=timed)

    def written(self, message: Pcm | Codes) -> None:
        """Ends the timing of the frame whose result was written to the client."""
        if isinstance(message, self._result):
            seconds = self._frames.done(message.frame)
            if seconds is not None:
                for call in self._on_frame:
                    call(seconds)

    def load(self, samples: int) -> None:
        """Goes on after so many samples that another server received."""
        self._frames.fill(max(0, samples), timed=False)

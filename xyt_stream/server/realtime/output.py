"""Splits the model's sound into the stretches in which it speaks and those in which it does not."""

from __future__ import annotations

from collections.abc import Callable

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slot_stream import DecodedFrame, Length


class OutputSplitter:
    """A listener for the model's stream, which has sound in every frame, codes only in speech.

    Sound lags behind its frame by the decoder's delay, so the end of a frame comes with the next.
    Called on the event loop's thread; so are the callbacks.

    Args:
        frame_samples: samples in a frame of the stream.
        on_output: called with the index of a frame, whether the model speaks in it, and the
            frame's next sound, float32 [n].
        on_failure: called when the device or the model has failed.
    """

    wants_sound = True

    def __init__(
        self,
        frame_samples: int,
        *,
        on_output: Callable[[int, bool, Samples], None],
        on_failure: Callable[[], None],
    ) -> None:
        self._frame_samples = frame_samples
        self._on_output = on_output
        self._on_failure = on_failure
        self._speaking: set[int] = set()  # indices of frames in which the model speaks

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Notes that the model speaks in this frame; see Listener."""
        self._speaking.add(index)

    def on_silence(self, index: int) -> None:
        """Does nothing; see InterruptibleListener."""

    def on_audio(self, frame: DecodedFrame) -> None:
        """Splits a frame's sound where the frame before it ends; see Listener."""
        last, now = (frame.index - 1 in self._speaking), (frame.index in self._speaking)
        end_of_last = max(0, frame.index * self._frame_samples - frame.start)
        if last == now:
            end_of_last = 0
        self._pass_on(frame.index - 1, last, frame.samples[:end_of_last])
        self._pass_on(frame.index, now, frame.samples[end_of_last:])
        self._speaking.discard(frame.index - 1)

    def on_end(self, tail: Samples, length: Length) -> None:
        """Does nothing: the stream ends with its session; see Listener."""

    def on_error(self) -> None:
        """Reports the failure; see Listener."""
        self._on_failure()

    def skip(self, index: int, frames: int) -> None:
        """Does nothing: its output has no numbers and no gaps; see Listener."""

    def on_interruption(self) -> None:
        """Treats all sound that still comes as silence; see InterruptibleListener."""
        self._speaking.clear()

    def _pass_on(self, index: int, speaks: bool, samples: Samples) -> None:
        if len(samples):
            self._on_output(index, speaks, samples)

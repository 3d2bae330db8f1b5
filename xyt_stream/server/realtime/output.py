"""What the model says, sorted into frames in which it speaks and frames in which it does not."""

from __future__ import annotations

from collections.abc import Callable

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slot_stream import Length, Sound


class Mouth:
    """Hears the model's voice, which goes on in every frame, silent or not.

    Sound lags behind its frame by the decoder's delay, so the end of a frame comes with the next.

    Args:
        frame_samples: of the voice.
        speaks: told the sound of frames in which the model speaks, float32 [n].
        silent: told the sound of those in which it does not.
        failed: told when the voice was cut off.
    """

    wants_sound = True

    def __init__(
        self,
        frame_samples: int,
        *,
        speaks: Callable[[Samples], None],
        silent: Callable[[Samples], None],
        failed: Callable[[], None],
    ) -> None:
        self._frame_samples = frame_samples
        self._speaks = speaks
        self._silent = silent
        self._failed = failed
        self._spoken: set[int] = set()

    def read(self, index: int, codes: CodeArray) -> None:
        self._spoken.add(index)

    def hear(self, sound: Sound) -> None:
        last, now = (sound.index - 1 in self._spoken), (sound.index in self._spoken)
        end_of_last = max(0, sound.index * self._frame_samples - sound.start)
        if last == now:
            end_of_last = 0
        self._tell(last, sound.samples[:end_of_last])
        self._tell(now, sound.samples[end_of_last:])
        self._spoken.discard(sound.index - 1)

    def over(self, tail: Samples, length: Length) -> None:
        pass  # the session is over, too

    def failed(self) -> None:
        self._failed()

    def clear(self) -> None:
        self._spoken.clear()

    def _tell(self, speaks: bool, samples: Samples) -> None:
        if len(samples):
            (self._speaks if speaks else self._silent)(samples)

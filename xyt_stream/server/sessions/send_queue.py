"""What one client hears of a voice: in its rate, exactly as long as it must be, and bounded."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
from collections.abc import Callable

import numpy as np

from xyt_stream.audio import FRAME_SECONDS, Samples, StreamResampler, fit_length, to_int16
from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Clear, Control, End, Notice
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.slot_stream import Length, Sound


class Outlet:
    """A listener that turns a voice into messages for one client.

    Args:
        receive: "pcm", "codes", both or neither.
        rate: Hz of the client's sound.
        codec_rate: Hz of the voice's sound.
        lossy: whether a client that reads too slowly loses the oldest messages (a loudspeaker), or
            holds back whoever speaks to it (see `room`).
        queue: messages that may wait.
        on_drop: told of every message that is lost.
    """

    def __init__(
        self,
        receive: tuple[str, ...],
        rate: int,
        codec_rate: int,
        *,
        lossy: bool,
        queue: int,
        on_drop: Callable[[], None] = lambda: None,
    ) -> None:
        self.wants_sound = "pcm" in receive
        self._wants_codes = "codes" in receive
        self._rate = rate
        self._codec_rate = codec_rate
        self._lossy = lossy
        self._resampler = StreamResampler(codec_rate, rate)
        self._origin: int | None = None  # where in the voice the sound began, at the codec's rate
        self._samples = 0
        self._frames = 0
        self._index = 0  # of the frame whose sound was heard last
        self._limit = queue
        self._on_drop = on_drop
        self._queue: collections.deque[Pcm | Codes | Control] = collections.deque()
        self._gap = False
        self._unsent = 0  # samples that were cleared here
        self._last: End | ProtocolError | None = None
        self._changed = asyncio.Event()

    def read(self, index: int, codes: CodeArray) -> None:
        if self._wants_codes and self._last is None:
            self._frames += 1
            self._put(Codes(index, codes[:, None]))

    def hear(self, sound: Sound) -> None:
        if not self.wants_sound or self._last is not None:
            return
        self._index = sound.index
        if self._origin is None:
            self._origin = sound.start
        samples = self._resampler.push(sound.samples)
        if sound.length is not None:
            samples = samples[: self._left(sound.length)]
        self._put_sound(samples)

    def over(self, tail: Samples, length: Length) -> None:
        if self._origin is not None:
            rest = np.concatenate([self._resampler.push(tail), self._resampler.flush()])
            self._put_sound(fit_length(rest, self._left(length)))
        self.stop()

    def stop(self) -> None:
        """The client is sent what waits for it, then the end."""
        self._finish(End(frames=self._frames, samples=self._samples))

    def clear(self) -> None:
        media = [each for each in self._queue if isinstance(each, Pcm | Codes)]
        self._unsent += sum(len(each.samples) for each in media if isinstance(each, Pcm))
        kept = [each for each in self._queue if isinstance(each, Notice)]
        self._queue = collections.deque(kept)
        self._changed.set()
        self.tell(Clear())

    def unheard(self, unplayed: int) -> int:
        """How many frames the client has not heard, whose loudspeaker dropped so many samples."""
        samples = self._unsent + max(0, unplayed)
        self._unsent = 0
        return -(-samples // round(self._rate * FRAME_SECONDS))

    def tell(self, message: Control) -> None:
        """A control message, in its place among the media."""
        if self._last is None:
            self._put(message)

    def failed(self) -> None:
        self._finish(protocol_error("internal"))

    @property
    def queued(self) -> int:
        """Media messages that wait."""
        return len(self._queue)

    async def next(self) -> Pcm | Codes | Control:
        """The next message for the client; after End there is none.

        Raises:
            ProtocolError: internal, after everything that came before the fault.
        """
        while not self._queue:
            if isinstance(self._last, ProtocolError):
                raise self._last
            if self._last is not None:
                return self._last
            await self._change()
        message = self._queue.popleft()
        self._changed.set()
        if self._gap and isinstance(message, Pcm | Codes):
            message = dataclasses.replace(message, gap=True)
            self._gap = False
        return message

    async def room(self) -> None:
        """Waits until a lossless client has read enough to be sent more."""
        while not self._lossy and len(self._queue) >= self._limit:
            await self._change()

    def _left(self, length: Length) -> int:
        """Samples that are still to be sent of a voice of this length."""
        assert self._origin is not None
        before = Length(self._origin, self._codec_rate).at(self._rate)
        return max(0, length.at(self._rate) - before - self._samples)

    def _put_sound(self, samples: Samples) -> None:
        if len(samples):
            self._samples += len(samples)
            self._put(Pcm(self._index, to_int16(samples)))

    def _put(self, message: Pcm | Codes | Control) -> None:
        if self._lossy and len(self._queue) >= self._limit:
            self._drop()
        self._queue.append(message)
        self._changed.set()

    def _drop(self) -> None:
        """The oldest sound or codes; only where none wait something else."""
        media = (i for i, each in enumerate(self._queue) if isinstance(each, Pcm | Codes))
        oldest = next(media, None)
        del self._queue[oldest or 0]
        if oldest is not None:
            self._on_drop()
            self._gap = True

    def _finish(self, last: End | ProtocolError) -> None:
        self._last = last
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

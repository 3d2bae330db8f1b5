"""One stream of sound on its way through the engine to whoever listens to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from xyt_stream.audio import Samples, scaled_length
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine import RING, Engine

_SILENCE = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Length:
    """How long a voice is in all, exactly: samples at its own rate."""

    samples: int
    rate: int  # Hz

    def at(self, rate: int) -> int:
        """The same in samples at another rate."""
        return scaled_length(self.samples, self.rate, rate)


@dataclass(frozen=True)
class Frame:
    """What the engine made of one frame of a voice.

    Attributes:
        index: counts the voice's frames, from 0.
        codes: int64 [codebooks].
        sound: float32 [samples] at the codec's output rate; empty if nobody wants sound.
        start: where `sound` begins, in samples since the voice began.
        length: of the whole voice, once it is known: what `sound` has beyond it is padding.
    """

    index: int
    codes: CodeArray
    sound: Samples
    start: int
    length: Length | None


class Listener(Protocol):
    """Whoever hears a voice. Called on the event loop, which it must not block."""

    @property
    def wants_sound(self) -> bool:
        """Whether the voice must be decoded."""

    def hear(self, frame: Frame) -> None:
        """The next frame."""

    def over(self, tail: Samples, length: Length) -> None:
        """The voice has ended; `tail`, float32 [samples], follows the last frame's sound."""

    def failed(self) -> None:
        """A fault of the device has cut the voice off."""


class Voice:
    """Holds a slot of the engine until its last sound was heard, or `close`.

    Args:
        from_codes: whether it is fed with codes, or with sound.

    Raises:
        ProtocolError: busy.
    """

    def __init__(self, engine: Engine, listener: Listener, *, from_codes: bool) -> None:
        self._engine = engine
        self._listener = listener
        self._slot: int | None = engine.open(self, from_codes=from_codes)
        self._pushed = 0
        self._stepped = 0
        self._origin = 0  # the frame at which the decoder began
        self._length: Length | None = None
        self._moved = asyncio.Event()
        self.refresh()

    def refresh(self) -> None:
        """Decodes from now on if the listener wants sound now, and not if it does not."""
        if self._slot is not None:
            self._engine.decode(self._slot, self._listener.wants_sound)

    async def push(self, frame: Samples | CodeArray) -> None:
        """One frame, float32 [frame_samples_in] or int64 [codebooks]; waits while many wait."""
        while self._pushed - self._stepped >= RING:
            self._moved.clear()
            await self._moved.wait()
        if self._slot is not None:
            self._engine.push(self._slot, frame)
            self._pushed += 1

    async def finish(self, length: Length, last: Samples | None = None) -> None:
        """The voice is `length` long; `last` is its last frame, padded, if it has one to push."""
        self._length = length
        if last is not None:
            await self.push(last)
        if self._slot is not None:
            self._engine.end(self._slot)

    def break_off(self) -> None:
        """The voice ends with the last whole frame; it is still heard to its end."""
        if self._slot is not None and self._length is None:
            codec = self._engine.codec
            self._length = Length(self._pushed * codec.frame_samples_in, codec.input_rate)
            self._engine.end(self._slot)

    def close(self) -> None:
        """Nobody wants the rest."""
        if self._slot is not None:
            self._engine.close(self._slot)
            self._slot = None

    def stepped(self, codes: CodeArray, sound: Samples | None, fresh: bool) -> None:
        index = self._stepped
        self._stepped += 1
        self._moved.set()
        if fresh:
            self._origin = index
        start = 0
        if sound is not None:
            sound, start = self._aligned(index, sound)
        self._listener.hear(
            Frame(index, codes, _SILENCE if sound is None else sound, start, self._length)
        )

    def ended(self, tail: Samples) -> None:
        self.close()
        assert self._length is not None
        self._listener.over(self._aligned(self._stepped, tail)[0], self._length)

    def failed(self) -> None:
        self.close()
        self._stepped = self._pushed
        self._moved.set()
        self._listener.failed()

    def _aligned(self, index: int, sound: Samples) -> tuple[Samples, int]:
        """What lies after the decoder's beginning, and where in the voice that is."""
        frame_samples = self._engine.codec.frame_samples_out
        start = index * frame_samples - self._engine.delay_samples
        skip = min(max(0, self._origin * frame_samples - start), len(sound))
        return sound[skip:], start + skip

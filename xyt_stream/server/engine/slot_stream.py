"""One stream of sound on its way through the engine to whoever listens to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from xyt_stream.audio import Samples, scaled_length
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.engine import Engine
from xyt_stream.server.engine.slots import RING


@dataclass(frozen=True)
class Length:
    """How long a voice is in all, exactly: samples at its own rate."""

    samples: int
    rate: int  # Hz

    def at(self, rate: int) -> int:
        """The same in samples at another rate."""
        return scaled_length(self.samples, self.rate, rate)


@dataclass(frozen=True)
class Sound:
    """What the decoder made of one frame of a voice.

    Attributes:
        index: the frame's, counted from the voice's beginning.
        samples: float32 [samples] at the codec's output rate.
        start: where `samples` begin, in samples since the voice began.
        length: of the whole voice, once it is known: what goes beyond it is padding.
    """

    index: int
    samples: Samples
    start: int
    length: Length | None


class Listener(Protocol):
    """Whoever hears a voice. Called on the event loop, which it must not block."""

    @property
    def wants_sound(self) -> bool:
        """Whether the voice must be decoded."""

    def read(self, index: int, codes: CodeArray) -> None:
        """The next frame's codes, int64 [codebooks]; frames count from the voice's beginning."""

    def hear(self, sound: Sound) -> None:
        """The next frame's sound; with a lookahead it comes some frames after its codes."""

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
        self._sounded = 0  # the frame whose sound comes next
        self._origin = 0  # the frame at which the decoder began
        self._primed = False
        self._length: Length | None = None
        self._moved = asyncio.Event()
        self.refresh()

    def refresh(self) -> None:
        """Decodes from now on if the listener wants sound now, and not if it does not."""
        if self._slot is not None:
            self._engine.decode(self._slot, self._listener.wants_sound)

    def prime(self, samples: Samples) -> None:
        """What the encoder hears before the first frame: float32 [lead_samples] of the engine."""
        if self._slot is not None:
            self._engine.prime(self._slot, samples)
            self._primed = True

    async def push(self, frame: Samples | CodeArray) -> None:
        """One frame, float32 [frame_samples_in] or int64 [codebooks]; waits while many wait."""
        await self._room()
        self.put(frame)

    def put(self, frame: Samples | CodeArray) -> None:
        """The same for who knows that fewer than RING frames wait."""
        if self._slot is not None:
            self._engine.push(self._slot, frame)
            self._pushed += 1

    async def finish(self, length: Length, left: int = 0, last: Samples | None = None) -> None:
        """The voice is `length` long.

        Args:
            left: frames that come of it beyond those pushed.
            last: the first of them, padded, if it holds any sound.
        """
        await self._room()
        self.end(length, left, last)

    def end(self, length: Length, left: int = 0, last: Samples | None = None) -> None:
        """The same for who knows that fewer than RING frames wait, or has no `last`."""
        self._length = length
        if self._slot is not None:
            self._engine.end(self._slot, left, last)

    def break_off(self) -> None:
        """The voice ends with the last whole frame; it is still heard to its end."""
        if self._length is None:
            codec = self._engine.codec
            whole = self._engine.lead_samples // codec.frame_samples_in if self._primed else 0
            samples = (self._pushed + whole) * codec.frame_samples_in
            self.end(Length(samples, codec.input_rate), whole)

    def close(self) -> None:
        """Nobody wants the rest."""
        if self._slot is not None:
            self._engine.close(self._slot)
            self._slot = None

    def stepped(self, codes: CodeArray | None, sound: Samples | None, starts: bool) -> None:
        if starts:
            self._origin = self._sounded = self._stepped
        if codes is not None:
            self._stepped += 1
            self._moved.set()
            self._listener.read(self._stepped - 1, codes)
        if sound is not None:
            self._sounded += 1
            samples, start = self._aligned(self._sounded - 1, sound)
            self._listener.hear(Sound(self._sounded - 1, samples, start, self._length))

    def ended(self, tail: Samples) -> None:
        self.close()
        assert self._length is not None
        self._listener.over(self._aligned(self._sounded, tail)[0], self._length)

    def failed(self) -> None:
        self.close()
        self._stepped = self._pushed
        self._moved.set()
        self._listener.failed()

    async def _room(self) -> None:
        """Waits until the slot can hold one more frame."""
        while self._pushed - self._stepped >= RING:
            self._moved.clear()
            await self._moved.wait()

    def _aligned(self, index: int, sound: Samples) -> tuple[Samples, int]:
        """What lies after the decoder's beginning, and where in the voice that is."""
        frame_samples = self._engine.codec.frame_samples_out
        start = index * frame_samples - self._engine.delay_samples
        skip = min(max(0, self._origin * frame_samples - start), len(sound))
        return sound[skip:], start + skip

"""Feeds one stream through a slot of the engine and passes the results to a listener.

A slot stream counts frames in both directions: it holds the sender back while the slot's ring is
full, and it aligns the decoder's output with the input's frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from xyt_stream.audio import Samples, scaled_length
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.engine.shared_resampler import SharedResamplers
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slots import RING
from xyt_stream.server.saved import SavedLength, SavedSlotStream


@dataclass(frozen=True)
class Length:
    """The exact length of a whole stream.

    Attributes:
        samples: at `rate`.
        rate: Hz.
    """

    samples: int
    rate: int

    def at(self, rate: int) -> int:
        """The length in samples at another rate, Hz."""
        return scaled_length(self.samples, self.rate, rate)


@dataclass(frozen=True)
class DecodedFrame:
    """The sound that the decoder gives out for one frame of a stream.

    Attributes:
        index: of the frame, counted from the stream's beginning.
        samples: float32 [n] at the codec's output rate.
        start: position of `samples`, in samples since the stream's beginning.
        length: of the whole stream, None until it is known; samples beyond it are padding.
        resamplers: of all that get it from one fan-out; None: it has one listener.
    """

    index: int
    samples: Samples
    start: int
    length: Length | None
    resamplers: SharedResamplers | None = None


class Listener(Protocol):
    """Receives a stream. Called on the event loop's thread, which it must not block."""

    @property
    def wants_sound(self) -> bool:
        """Whether the stream must be decoded for this listener."""

    def on_codes(self, index: int, codes: CodeArray) -> None:
        """Takes the next frame's codes, int64 [codebooks]; `index` counts from 0."""

    def on_audio(self, frame: DecodedFrame) -> None:
        """Takes the next frame's sound; with a lookahead it comes some frames after its codes."""

    def skip(self, index: int, frames: int) -> None:
        """So many frames were left out of the stream before its frame `index`."""

    def on_end(self, tail: Samples, length: Length) -> None:
        """The stream has ended: `tail`, float32 [n], follows the last frame's sound."""

    def on_error(self) -> None:
        """The device has failed: no more of this stream comes."""


@dataclass(frozen=True)
class CallbackListener:
    """A listener made of functions.

    Attributes:
        follows: the listener whose `wants_sound` this one has, too.
        on_codes, on_audio, on_end, on_error: see Listener.
    """

    follows: Listener
    on_codes: Callable[[int, CodeArray], None]
    on_audio: Callable[[DecodedFrame], None]
    on_end: Callable[[Samples, Length], None]
    on_error: Callable[[], None]

    @property
    def wants_sound(self) -> bool:
        """Whether the followed listener wants sound."""
        return self.follows.wants_sound

    def skip(self, index: int, frames: int) -> None:
        """Tells the followed listener; see Listener."""
        self.follows.skip(index, frames)


class SlotStream:
    """One stream in a slot of the engine, which it holds until its end or until `close`.

    All methods are for the event loop's thread.

    Args:
        engine: steps the slot.
        listener: receives codes and sound.
        from_codes: whether frames pushed are codes; otherwise they are sound.

    Raises:
        ProtocolError: busy: no slot is free.
    """

    def __init__(self, engine: SlotEngine, listener: Listener, *, from_codes: bool) -> None:
        self._engine = engine
        self._listener = listener
        self._slot: int | None = engine.open_slot(self, from_codes=from_codes)
        self._pushed = 0  # frames
        self._stepped = 0  # frames whose codes are known
        self._decoded = 0  # index of the frame that the decoder gives out next
        self._origin = 0  # index of the frame at which the decoder began
        self._primed = False
        self._length: Length | None = None
        self._stepped_on = Signal()
        self.update_decoding()

    def update_decoding(self) -> None:
        """Starts or stops decoding, as the listener's `wants_sound` now says."""
        if self._slot is not None:
            self._engine.set_decoding(self._slot, self._listener.wants_sound)

    def prime(self, samples: Samples) -> None:
        """Gives the encoder its lookahead, float32 [lead_samples], before the first frame."""
        if self._slot is not None:
            self._engine.prime(self._slot, samples)
            self._primed = True

    async def push(self, frame: Samples | CodeArray) -> None:
        """Adds a frame, float32 [frame_samples_in] or int64 [codebooks]; waits for a free place."""
        await self.drain()
        self.push_nowait(frame)

    def push_nowait(self, frame: Samples | CodeArray) -> None:
        """Adds a frame as `push` does; the caller knows that fewer than RING frames wait."""
        if self._slot is not None:
            self._engine.push(self._slot, frame)
            self._pushed += 1

    def skip(self, index: int, frames: int) -> None:
        """Tells the listener that so many frames were left out before frame `index`."""
        self._listener.skip(index, frames)

    async def end(self, length: Length, left: int = 0, last: Samples | None = None) -> None:
        """Ends the stream; its listener still receives all of it.

        Args:
            length: of the whole stream.
            left: frames that the encoder gives out beyond those pushed.
            last: the first of them, float32 [frame_samples_in], padded; None if it is silence.
        """
        await self.drain()
        self.end_nowait(length, left, last)

    def end_nowait(self, length: Length, left: int = 0, last: Samples | None = None) -> None:
        """Ends as `end` does; at most RING - 1 frames may wait, except without `last`."""
        self._length = length
        if self._slot is not None:
            self._engine.end(self._slot, left, last)

    def end_early(self) -> None:
        """Ends the stream after the last whole frame, unless it has ended already."""
        if self._length is None:
            codec = self._engine.codec
            lead = self._engine.lead_samples // codec.frame_samples_in if self._primed else 0
            samples = (self._pushed + lead) * codec.frame_samples_in
            self.end_nowait(Length(samples, codec.input_rate), lead)

    def close(self) -> None:
        """Gives the slot back at once; the listener receives nothing more."""
        if self._slot is not None:
            self._engine.close_slot(self._slot)
            self._slot = None

    def on_step(self, codes: CodeArray | None, sound: Samples | None, starts: bool) -> None:
        """Passes on the results of a step; see SlotOwner."""
        if starts:
            self._origin = self._decoded = self._stepped
        if codes is not None:
            self._stepped += 1
            self._stepped_on.notify()
            self._listener.on_codes(self._stepped - 1, codes)
        if sound is not None:
            self._decoded += 1
            samples, start = self._align(self._decoded - 1, sound)
            self._listener.on_audio(DecodedFrame(self._decoded - 1, samples, start, self._length))

    def on_end(self, tail: Samples) -> None:
        """Gives the slot back and passes on the decoder's tail; see SlotOwner."""
        self.close()
        self._stepped_on.notify()
        assert self._length is not None
        self._listener.on_end(self._align(self._decoded, tail)[0], self._length)

    def on_error(self) -> None:
        """Gives the slot back and ends every wait; see SlotOwner."""
        self.close()
        self._stepped = self._pushed
        self._stepped_on.notify()
        self._listener.on_error()

    async def settled(self) -> None:
        """Waits until all that was pushed has come out, after the end its tail, too."""
        await self._stepped_on.wait_for(
            lambda: self._slot is None or (self._length is None and self._pushed == self._stepped)
        )

    async def save(self) -> SavedSlotStream:
        """The state of a settled stream, for another server."""
        slot = None if self._slot is None else await self._engine.save_slot(self._slot)
        length = self._length
        return SavedSlotStream(
            pushed=self._pushed,
            decoded=self._decoded,
            origin=self._origin,
            primed=self._primed,
            length=None if length is None else SavedLength(**vars(length)),
            slot=slot,
        )

    async def load(self, saved: SavedSlotStream) -> None:
        """Goes on as the stream of another server, before any frame was pushed.

        Raises:
            HandoverError: it is of another model or setting.
        """
        if saved.slot is None:
            self.close()
        elif self._slot is not None:
            await self._engine.load_slot(self._slot, saved.slot)
        self._pushed = self._stepped = saved.pushed
        self._decoded, self._origin, self._primed = saved.decoded, saved.origin, saved.primed
        if saved.length is not None:
            self._length = Length(saved.length.samples, saved.length.rate)
        self.update_decoding()  # somebody here may want sound, too

    async def drain(self) -> None:
        """Waits until the slot's ring has a free place."""
        await self._stepped_on.wait_for(lambda: self._pushed - self._stepped < RING)

    def _align(self, index: int, sound: Samples) -> tuple[Samples, int]:
        """Cuts off samples before the decoder's beginning; returns the rest and its position."""
        frame_samples = self._engine.codec.frame_samples_out
        start = index * frame_samples - self._engine.delay_samples
        skip = min(max(0, self._origin * frame_samples - start), len(sound))
        return sound[skip:], start + skip

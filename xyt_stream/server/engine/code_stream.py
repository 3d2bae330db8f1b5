"""Passes a stream of codes on as it comes, and decodes it while a listener wants sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from xyt_stream.audio import Samples
from xyt_stream.errors import HandoverError
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.signal import Signal
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import (
    CallbackListener,
    DecodedFrame,
    Length,
    Listener,
    SlotStream,
)
from xyt_stream.server.engine.slots import RING
from xyt_stream.server.saved import SavedCodeStream, SavedLength, SavedSlotStream


def _nothing() -> None:
    pass


class CodeStream:
    """One stream of codes. It holds a slot of the engine only while its listener wants sound.

    Codes are passed on at once, whatever the engine does. All methods are for the event loop's
    thread.

    Args:
        engine: decodes.
        listener: receives codes and sound.
        on_step: called when the decoder has taken a frame, so that `waiting` is less.
        first: index of its first frame.

    Raises:
        ProtocolError: busy: the listener wants sound and no slot is free.
    """

    def __init__(
        self,
        engine: SlotEngine,
        listener: Listener,
        *,
        on_step: Callable[[], None] = _nothing,
        first: int = 0,
    ) -> None:
        self._engine = engine
        self._listener = listener
        self._on_step = on_step
        self._pushed = first  # frames, those before its first one included
        self._decoder: SlotStream | None = None
        self._origin = first  # index of the decoder's first frame
        self._taken = first  # frames of the stream that the decoder has passed
        self._length: Length | None = None
        self._closed = False
        self._moved = Signal()
        self.update_decoding()

    @property
    def waiting(self) -> int:
        """Number of frames that wait for the decoder."""
        return 0 if self._decoder is None else self._pushed - self._taken

    def has_room(self, frames: int) -> bool:
        """Whether so many more frames may be pushed now."""
        return self._decoder is None or self.waiting + frames <= RING

    def update_decoding(self) -> None:
        """Starts or stops decoding, as the listener's `wants_sound` now says.

        Raises:
            ProtocolError: busy.
        """
        if self._closed:
            return
        wanted = self._listener.wants_sound
        if wanted and self._decoder is None and self._length is None:
            self._decoder = SlotStream(self._engine, self._callbacks(), from_codes=True)
            self._origin = self._taken = self._pushed
        elif not wanted and self._decoder is not None:
            self._decoder.close()
            self._decoder = None
            self._moved.notify()
            self._on_step()
            if self._length is not None:
                self._end()

    async def settled(self) -> None:
        """Waits until the decoder has passed all that was pushed, after the end its tail, too."""
        if self._decoder is not None:
            await self._decoder.settled()

    async def save(self) -> SavedCodeStream:
        """The state of a settled stream, for another server."""
        length = self._length
        return SavedCodeStream(
            pushed=self._pushed,
            taken=self._taken,
            origin=self._origin,
            length=None if length is None else SavedLength(**vars(length)),
            closed=self._closed,
            decoder=None if self._decoder is None else await self._decoder.save(),
        )

    async def load(self, saved: SavedCodeStream) -> None:
        """Goes on as the stream of another server, before any frame was pushed.

        Raises:
            HandoverError: it is of another model or setting, or its listener wants other media.
        """
        if saved.closed:
            self.close()
        if saved.decoder is not None and self._decoder is None:
            raise HandoverError("a stream of codes is decoded there and not here")
        self._pushed, self._taken, self._origin = saved.pushed, saved.taken, saved.origin
        if saved.decoder is None:
            self._taken = self._origin = saved.pushed  # somebody here may want sound from now on
        elif self._decoder is not None:
            await self._decoder.load(saved.decoder)
        if saved.length is not None:
            self._length = Length(saved.length.samples, saved.length.rate)

    async def drain(self) -> None:
        """Waits until few enough frames wait for the decoder."""
        await self._moved.wait_for(lambda: self.waiting < RING)

    async def push_codes(self, frame: CodeArray) -> None:
        """Adds a frame, int64 [codebooks]; waits while too many wait for the decoder."""
        await self.drain()
        self.push_nowait(frame)

    def push_nowait(self, frame: CodeArray) -> None:
        """Adds a frame as `push_codes` does; the caller knows that fewer than RING frames wait."""
        if self._closed:
            return
        index = self._pushed
        self._pushed += 1
        if self._decoder is not None:
            self._decoder.push_nowait(frame)
        self._listener.on_codes(index, frame)

    def skip(self, index: int, frames: int) -> None:
        """Tells the listener that so many frames were left out before frame `index`."""
        self._listener.skip(index, frames)

    def end_codes(self, length: Length) -> None:
        """Ends the stream, whose whole length this is; its listener still receives all of it."""
        if self._closed or self._length is not None:
            return
        self._length = length
        if self._decoder is None:
            self._end()
        else:
            self._decoder.end_nowait(length)

    def end_early(self) -> None:
        """Ends the stream after its last frame, unless it has ended already."""
        codec = self._engine.codec
        self.end_codes(Length(self._pushed * codec.frame_samples_out, codec.output_rate))

    def close(self) -> None:
        """Gives the slot back at once; the listener receives nothing more."""
        self._closed = True
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None

    def _end(self) -> None:
        assert self._length is not None
        self._closed = True
        self._listener.on_end(np.zeros(0, np.float32), self._length)

    def _callbacks(self) -> CallbackListener:
        return CallbackListener(
            self._listener,
            self._on_decoder_step,
            self._on_audio,
            self._on_decoder_end,
            self._on_error,
        )

    def _on_decoder_step(self, index: int, codes: CodeArray) -> None:
        self._taken = self._origin + index + 1
        self._moved.notify()
        self._on_step()

    def _on_audio(self, frame: DecodedFrame) -> None:
        start = self._origin * self._engine.codec.frame_samples_out
        index = self._origin + frame.index
        self._listener.on_audio(dataclasses.replace(frame, index=index, start=start + frame.start))

    def _on_decoder_end(self, tail: Samples, length: Length) -> None:
        self._decoder = None
        self._closed = True
        self._listener.on_end(tail, length)

    def _on_error(self) -> None:
        self._decoder = None
        self._closed = True
        self._moved.notify()
        self._listener.on_error()


async def load_stream(
    stream: SlotStream | CodeStream, saved: SavedSlotStream | SavedCodeStream
) -> None:
    """Has a stream go on as that of another server, before any frame was pushed.

    Raises:
        HandoverError: it is of another kind, model or setting.
    """
    if isinstance(stream, SlotStream) and isinstance(saved, SavedSlotStream):
        await stream.load(saved)
        return
    if not isinstance(stream, CodeStream) or not isinstance(saved, SavedCodeStream):
        raise HandoverError("a client sends other media there than here")
    await stream.load(saved)

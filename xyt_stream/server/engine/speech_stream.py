"""Passes on a model's speech: codes while it speaks, sound in every frame, and interruptions."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from xyt_stream.audio import Samples
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.server.engine.code_stream import CodeStream
from xyt_stream.server.engine.fanout import InterruptibleListener
from xyt_stream.server.engine.slot_engine import SlotEngine
from xyt_stream.server.engine.slot_stream import CallbackListener, DecodedFrame, Length
from xyt_stream.server.saved import SavedCodeStream


class SpeechStream:
    """A CodeStream whose listener gets sound in each frame, and codes only in those with speech.

    For the event loop's thread.

    Args:
        engine: decodes.
        silence: codes that the decoder gets in silent frames, int64 [codebooks].
        listener: receives codes, silent frames and sound.
        first: index of its first frame.
        on_step: called when the decoder has taken a frame, so that `waiting` is less.
        on_heard: called with the index of each frame: as sound where that is wanted.
        on_over: called after the listener has the end.
        on_error: called when the device has failed; None: the listener is.

    Attributes:
        muted_until: index of a frame; the sound of speech before it is dropped.

    Raises:
        ProtocolError: busy: the listener wants sound and no slot is free.
    """

    def __init__(
        self,
        engine: SlotEngine,
        silence: CodeArray,
        listener: InterruptibleListener,
        *,
        first: int = 0,
        on_step: Callable[[], None] = lambda: None,
        on_heard: Callable[[int], None] = lambda index: None,
        on_over: Callable[[], None] = lambda: None,
        on_error: Callable[[], None] | None = None,
    ) -> None:
        self.muted_until = 0
        self._silence = silence
        self._listener = listener
        self._on_heard = on_heard
        self._on_over = on_over
        self._speaks = False  # in the frame that is pushed now
        callbacks = CallbackListener(
            listener,
            self._on_codes,
            self._on_audio,
            self._on_end,
            listener.on_error if on_error is None else on_error,
        )
        self._stream = CodeStream(engine, callbacks, on_step=on_step, first=first)

    @property
    def waiting(self) -> int:
        """Number of frames that wait for the decoder."""
        return self._stream.waiting

    async def drain(self) -> None:
        """Waits until few enough frames wait for the decoder."""
        await self._stream.drain()

    def push_nowait(self, frame: CodeArray | None) -> None:
        """Adds a frame, int64 [codebooks], or None: silence; see CodeStream."""
        self._speaks = frame is not None
        self._stream.push_nowait(self._silence if frame is None else frame)

    def interrupt(self, until: int) -> None:
        """Drops all before frame `until` that the listener has not played."""
        self.muted_until = until
        self._listener.on_interruption()

    def skip(self, index: int, frames: int) -> None:
        """Tells the listener that so many frames were left out before frame `index`."""
        self._stream.skip(index, frames)

    def end_codes(self, length: Length) -> None:
        """Ends the stream, whose whole length this is; its listener still receives all of it."""
        self._stream.end_codes(length)

    async def settled(self) -> None:
        """Waits until all that was pushed has come out; see CodeStream."""
        await self._stream.settled()

    async def save(self) -> SavedCodeStream:
        """The state of a settled stream, without `muted_until`, for another server."""
        return await self._stream.save()

    async def load(self, saved: SavedCodeStream) -> None:
        """Goes on as the stream of another server; see CodeStream.

        Raises:
            HandoverError: it does not fit.
        """
        await self._stream.load(saved)

    def update_decoding(self) -> None:
        """Starts or stops decoding; see CodeStream.

        Raises:
            ProtocolError: busy.
        """
        self._stream.update_decoding()

    def close(self) -> None:
        """Gives the slot back at once; the listener receives nothing more."""
        self._stream.close()

    def _on_codes(self, index: int, codes: CodeArray) -> None:
        if self._speaks:
            self._listener.on_codes(index, codes)
        else:
            self._listener.on_silence(index)
        if not self._listener.wants_sound:
            self._on_heard(index)

    def _on_audio(self, frame: DecodedFrame) -> None:
        if frame.index < self.muted_until:  # it was in the decoder when it was interrupted
            frame = dataclasses.replace(frame, samples=np.zeros_like(frame.samples))
        self._on_heard(frame.index)
        self._listener.on_audio(frame)

    def _on_end(self, tail: Samples, length: Length) -> None:
        self._listener.on_end(tail, length)
        self._on_over()

"""Lets the server code for a session of codes, in sessions of their own beside it.

The session of codes stays: sound is encoded in one session beside it and the codes are sent on in
the session of codes; codes that come there are decoded in the other one.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

from xyt_stream.audio import FRAME_SECONDS, INPUT_RATE, Pcm16
from xyt_stream.client.live import RESTARTED, LiveConnection, live
from xyt_stream.client.traffic import Traffic
from xyt_stream.errors import XYTError
from xyt_stream.protocol.machine import Codes, Pcm
from xyt_stream.protocol.messages import Notice
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.signal import Signal

_MAX_WAITING = 12  # frames, 1 s, that may wait for the server


class ServerCodec:
    """The server's codec: encodes one stream and decodes another. For one event loop.

    Args:
        encoder, decoder: their sessions; None: the direction is not needed.
        send: sends encoded frames on, int64 [codebooks, frames].
        results: gets decoded sound, its frame being the last one in it as `decode` numbered them;
            an error that has ended a session; None: the sound of some frames is lost.
        stack: closes the sessions.
    """

    def __init__(
        self,
        encoder: LiveConnection | None,
        decoder: LiveConnection | None,
        send: Callable[[CodeArray], Awaitable[object]],
        results: asyncio.Queue[Any],
        stack: AsyncExitStack,
    ) -> None:
        self._encoder = encoder
        self._decoder = decoder
        self._send = send
        self._results = results
        self._stack = stack
        self._frames: collections.deque[int] = collections.deque()  # that wait for their sound
        self._unencoded = 0.0  # frames that wait for their codes
        self._changed = Signal()
        self._answered = 0  # frames of the decoder's session whose sound has come
        self._encoding = asyncio.create_task(self._encoded())
        self._decoding = asyncio.create_task(self._decoded())

    @classmethod
    async def open(
        cls,
        url: str,
        send: Callable[[CodeArray], Awaitable[object]],
        results: asyncio.Queue[Any],
        *,
        encodes: bool,
        decodes: bool,
        **options: Any,
    ) -> ServerCodec:
        """Opens the sessions of the directions that are needed.

        Args:
            url, options: as for `live`.
            send, results: see ServerCodec.

        Raises:
            ConnectionFailedError, ProtocolError: the server cannot be reached, or refuses.
        """
        encoder = decoder = None
        async with AsyncExitStack() as stack:
            if encodes:
                session = live(url, "encode", send_rate=INPUT_RATE, **options)
                encoder = await stack.enter_async_context(session)
            if decodes:
                decoder = await stack.enter_async_context(live(url, "decode", **options))
            kept = stack.pop_all()
        return cls(encoder, decoder, send, results, kept)

    @property
    def traffic(self) -> Traffic:
        """The bytes of its sessions."""
        total = Traffic()
        for session in (self._encoder, self._decoder):
            if session is not None:
                total = total.plus(session.traffic)
        return total

    @property
    def decoding(self) -> bool:
        """Whether frames wait for their sound."""
        return bool(self._frames)

    async def encode(self, samples: Pcm16) -> bool:
        """Sends int16 [samples] at INPUT_RATE to be encoded; see LiveConnection.

        Returns:
            False also where the server was late: what was captured meanwhile is out of date.
        """
        assert self._encoder is not None
        late = self._unencoded > _MAX_WAITING
        await self._changed.wait_for(lambda: self._unencoded <= _MAX_WAITING)
        self._unencoded += len(samples) / INPUT_RATE / FRAME_SECONDS
        return await self._encoder.send_pcm(samples) and not late

    async def decode(self, codes: CodeArray, frame: int) -> None:
        """Sends int64 [codebooks, frames] to be decoded; `frame` is the number of the first."""
        assert self._decoder is not None
        await self._changed.wait_for(lambda: len(self._frames) <= _MAX_WAITING)
        self._frames.extend(range(frame, frame + codes.shape[1]))
        await self._decoder.send_codes(codes)

    async def end_encoder(self) -> None:
        """Has the last frame encoded, padded, and sent on."""
        if self._encoder is not None:
            await self._encoder.end()
            await self._encoding

    async def end_decoder(self) -> None:
        """Has the rest of the sound decoded."""
        if self._decoder is not None:
            await self._decoder.end()
            await self._decoding

    async def close(self) -> None:
        """Ends the sessions at once."""
        for task in (self._encoding, self._decoding):
            task.cancel()
        await asyncio.gather(self._encoding, self._decoding, return_exceptions=True)
        await self._stack.aclose()

    async def _encoded(self) -> None:
        """Sends on what the encoder gives."""
        if self._encoder is None:
            return
        try:
            async for event in self._encoder:
                if isinstance(event, Codes):
                    self._unencoded -= event.codes.shape[1]
                    self._changed.notify()
                    await self._send(event.codes)
                elif isinstance(event, Notice) and event.name == RESTARTED:
                    self._unencoded = 0.0
                    self._changed.notify()
        except XYTError as error:
            self._unencoded = 0.0
            self._changed.notify()
            self._results.put_nowait(error)

    async def _decoded(self) -> None:
        """Keeps what the decoder gives."""
        if self._decoder is None:
            return
        try:
            async for event in self._decoder:
                if isinstance(event, Pcm):
                    self._results.put_nowait(Pcm(self._number(event), event.samples, event.gap))
                    self._changed.notify()
                elif isinstance(event, Notice) and event.name == RESTARTED:
                    self._frames.clear()
                    self._answered = 0
                    self._results.put_nowait(None)
                    self._changed.notify()
        except XYTError as error:
            self._frames.clear()
            self._changed.notify()
            self._results.put_nowait(error)

    def _number(self, sound: Pcm) -> int:
        """The caller's number of the last frame in this sound; -1: it is the rest at the end."""
        number = -1
        while self._frames and self._answered <= sound.frame:
            number = self._frames.popleft()
            self._answered += 1
        return number

"""Takes and gives the sound of a live session of codes: the codec runs here.

When the codec here falls behind for good, the server's takes its place in the middle of the
session, if that is allowed: see `xyt_stream.client.server_codec`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import msgspec
import numpy as np

from xyt_stream.audio import FRAME_SECONDS, INPUT_RATE, Pcm16
from xyt_stream.client.backlog import Backlog
from xyt_stream.client.codec import LocalCodec
from xyt_stream.client.live import RESTARTED, LiveConnection
from xyt_stream.client.server_codec import ServerCodec
from xyt_stream.client.sound_connection import SoundConnection
from xyt_stream.client.traffic import Traffic
from xyt_stream.errors import XYTError
from xyt_stream.protocol.machine import Codes, Event, Pcm
from xyt_stream.protocol.messages import Clear, End, Notice
from xyt_stream.protocol.packing import CodeArray

MOVED = "codec_moved"  # name of the notice that the server codes from now on
TOO_SLOW = "too_slow_here"  # name of the notice that sound is left out
_TELL_AGAIN = 30.0  # seconds between two attempts to move, and two notices

Send: TypeAlias = Callable[[CodeArray], Awaitable[object]]
Beside: TypeAlias = Pcm | Notice | XYTError | None  # what comes beside the session's messages
OpenServerCodec: TypeAlias = Callable[[Send, "asyncio.Queue[Beside]"], Awaitable[ServerCodec]]
T = TypeVar("T")


class CodingConnection(SoundConnection):
    """A live session of codes: sound is encoded and decoded here.

    It yields each message of codes and, behind it, the sound decoded from it.

    Args:
        codec: that runs here.
        fill: whether to yield silence for frames in which no codes come.
        frames_a_message: that are sent together. Each message has about 70 bytes of headers, TCP/IP
            included, and a frame of codes has 10.
        open_server: opens the server's codec, which takes over when the one here falls behind;
            None: it must not, and sound is left out instead.
    """

    def __init__(
        self,
        connection: LiveConnection,
        codec: LocalCodec,
        fill: bool,
        frames_a_message: int,
        open_server: OpenServerCodec | None = None,
    ) -> None:
        super().__init__(connection)
        self._local = codec
        self._fill = fill
        self._frames_a_message = frames_a_message
        self._open_server = open_server
        self._server: ServerCodec | None = None
        self._backlog = Backlog()
        self._encoding = asyncio.Lock()  # held while sound is encoded, or the codec changes
        self._move_again = 0.0  # time
        self._beside: asyncio.Queue[Beside] = asyncio.Queue()
        self._ending = False
        self._holds_rest = False  # whether the decoder here has sound left
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._sent = 0  # samples
        self._frames_sent = 0
        self._unencoded = np.zeros(0, np.int16)  # less than a frame
        self._unsent: list[CodeArray] = []  # less than a message
        self._frames = 0  # received, silence that was filled in included
        self._played = 0  # samples

    @property
    def codec(self) -> str:
        """The place where the codec runs now: "here" or "server"."""
        return "here" if self._server is None else "server"

    @property
    def traffic(self) -> Traffic:
        """The bytes since the session was opened, those of the server's codec included."""
        traffic = super().traffic
        return traffic if self._server is None else traffic.plus(self._server.traffic)

    async def send_pcm(self, samples: Pcm16) -> bool:
        """Encodes and sends int16 [samples] at INPUT_RATE; see LiveConnection.

        Returns:
            False also if sound that was captured meanwhile is out of date, because the codec here
            has fallen behind.
        """
        self._sent += len(samples)
        async with self._encoding:
            if self._server is not None:
                return await self._server.encode(samples)
            work = self._local.encode(samples)
            codes, behind = await self._timed(work, len(samples) / INPUT_RATE)
            whole = codes.shape[1] * round(FRAME_SECONDS * INPUT_RATE)
            self._unencoded = np.concatenate([self._unencoded, samples])[whole:]
        if not await self._send(codes, self._frames_a_message):
            await self._local.reset_encoder()
            self._unencoded = self._unencoded[:0]
            return False
        return not (behind and await self._fall_back())

    async def end(self) -> None:
        """Sends the last frame, padded, and ends the input; see LiveConnection."""
        async with self._encoding:
            self._ending = True
        if self._server is None:
            await self._send(await self._local.flush_encoder(), 1)
        else:
            await self._server.end_encoder()
            await self._send(np.zeros((self._local.num_codebooks, 0), np.int64), 1)
        await self._connection.end()

    async def close(self) -> None:
        """Ends the sessions of the server's codec."""
        if self._server is not None:
            await self._server.close()

    async def _timed(self, work: Awaitable[T], seconds: float) -> tuple[T, bool]:
        """The result of coding so much sound; whether the codec is behind for good."""
        started = time.perf_counter()
        result = await work
        return result, self._backlog.grows(seconds, time.perf_counter() - started)

    async def _fall_back(self) -> bool:
        """Lets the server code from now on, or says that sound is left out; returns whether it did.

        Nothing happens where that was tried a moment ago.
        """
        async with self._encoding:
            if self._server is not None or self._ending or time.monotonic() < self._move_again:
                return False
            self._move_again = time.monotonic() + _TELL_AGAIN
            self._backlog.forget()
            try:
                if self._open_server is not None:
                    self._server = await self._open_server(self._pass_on, self._beside)
            except XYTError:
                pass  # a relay, or a server without a place for it
            if self._server is None:
                text = "This machine is too slow for the codec: sound is left out."
                self._beside.put_nowait(Notice(name=TOO_SLOW, message=text))
                return True
            if len(self._unencoded):
                await self._server.encode(self._unencoded)
            text = "This machine is too slow for the codec: the server's goes on from here."
            self._beside.put_nowait(Notice(name=MOVED, message=text))
            return True

    async def _pass_on(self, codes: CodeArray) -> None:
        """Sends on what the server has encoded."""
        await self._send(codes, self._frames_a_message)

    async def _send(self, codes: CodeArray, least: int) -> bool:
        """Sends codes with those that wait, if there are so many frames; see LiveConnection."""
        self._unsent.append(codes)
        frames = sum(each.shape[1] for each in self._unsent)
        if frames < least:
            return True
        joined, self._unsent = np.concatenate(self._unsent, axis=1), []
        self._frames_sent += frames
        return not frames or await self._connection.send_codes(joined)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yields the server's messages and the decoded sound, up to End; see LiveConnection."""
        async for event in self._events():
            if isinstance(event, Codes):
                yield event
                async for sound in self._decode(event):
                    yield sound
            elif isinstance(event, End):
                if rest := await self._rest():
                    yield rest
                if missing := self._silent(self._frames_sent):
                    yield missing
                yield msgspec.structs.replace(event, step_ms=self._local.step_ms())
            elif isinstance(event, Pcm):  # the server has decoded it
                yield self._cut(event)
            else:
                if isinstance(event, Notice) and event.name == RESTARTED:
                    await self._local.flush_decoder()
                    self._begin_anew()
                yield event

    async def _events(self) -> AsyncIterator[Event]:
        """The session's messages and, beside them, the server's sound and own notices.

        Each comes as soon as it is there, but those that must not overtake sound wait for it.
        """
        theirs = aiter(self._connection)
        coming: asyncio.Future[Event] | None = None
        beside = asyncio.ensure_future(self._beside.get())
        held: Event | None = None
        try:
            while True:
                if isinstance(held, End) and self._server is not None and not self._decoding:
                    await self._server.end_decoder()  # its rest is beside now
                if held is None:
                    coming = coming or asyncio.ensure_future(anext(theirs))
                elif not self._decoding and not beside.done() and self._beside.empty():
                    yield held
                    if isinstance(held, End):
                        return
                    held = None
                    continue
                awaited: set[asyncio.Future[Any]] = {beside}
                if coming is not None:
                    awaited.add(coming)
                await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
                if beside.done():
                    result, beside = beside.result(), asyncio.ensure_future(self._beside.get())
                    if isinstance(result, XYTError):
                        raise result
                    if result is not None:
                        yield result
                elif coming is not None:
                    held, coming = coming.result(), None
                    if not self._in_order(held):
                        yield held
                        held = None
        finally:
            beside.cancel()
            if coming is not None:
                coming.cancel()

    @property
    def _decoding(self) -> bool:
        return self._server is not None and self._server.decoding

    def _in_order(self, event: Event) -> bool:
        """Whether an event must wait for the sound of the frames before it."""
        silence = self._fill and isinstance(event, Codes) and event.frame > self._frames
        return isinstance(event, Clear | End) or silence

    async def _decode(self, codes: Codes) -> AsyncIterator[Pcm]:
        if self._fill and codes.frame > self._frames:
            if self._frames and self._server is None and (rest := await self._rest()):
                yield rest
            if missing := self._silent(codes.frame):
                yield missing
        frame, count = codes.frame, codes.codes.shape[1]
        self._frames = frame + count
        if self._server is None:
            work = self._local.decode(codes.codes)
            pcm, behind = await self._timed(work, count * FRAME_SECONDS)
            self._holds_rest = True
            yield self._cut(Pcm(self._frames - 1, pcm, codes.gap))
            if behind:
                await self._fall_back()
            return
        if self._holds_rest and (rest := await self._rest()):
            yield rest
        await self._server.decode(codes.codes, frame)

    async def _rest(self) -> Pcm | None:
        """The rest of the sound that was decoded here, if there is one."""
        if not self._holds_rest:
            return None
        self._holds_rest = False
        return self._cut(Pcm(self._frames, await self._local.flush_decoder()))

    def _silent(self, until: int) -> Pcm | None:
        """Silence up to a frame; None: nothing is missing."""
        if not self._fill or until <= self._frames:
            return None
        count = (until - self._frames) * self._local.frame_samples
        self._frames = until
        return Pcm(until - 1, np.zeros(count, np.int16))

    def _cut(self, sound: Pcm) -> Pcm:
        """A loopback's sound is as long as what was sent: the padding of its end is cut off."""
        samples = sound.samples
        if self.ready.role == "loopback":
            samples = samples[: max(0, self._sent - self._played)]
            self._played += len(samples)
        return Pcm(sound.frame, samples, sound.gap)

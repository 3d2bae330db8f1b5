"""Opens live sessions that take and give sound, whether the codec runs here or on the server."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import numpy as np

from xyt_stream.audio import INPUT_RATE, Pcm16
from xyt_stream.client.codec import LocalCodec
from xyt_stream.client.live import RESTARTED, LiveConnection, live
from xyt_stream.client.traffic import Traffic
from xyt_stream.errors import MissingExtraError, ModelError, ProtocolError, RoomKeyError
from xyt_stream.protocol.machine import Codes, Event, Pcm
from xyt_stream.protocol.messages import End, Notice, Ready
from xyt_stream.protocol.packing import CodeArray

SENDERS = ("mic", "loopback", "user")  # the roles that send sound
_ON_SERVER = ("wrong_model", "unsupported_format")  # errors that another place of the codec mends
Place: TypeAlias = Literal["auto", "here", "server"]  # where the codec runs


@asynccontextmanager
async def open_sound(
    url: str,
    role: str,
    *,
    codec: Place,
    model: Path | None = None,
    receive: Sequence[str] | None = None,
    fill: bool = False,
    frames_a_message: int = 1,
    **options: Any,
) -> AsyncIterator[SoundConnection]:
    """Opens a live session.

    Args:
        url, role: as for `connect`.
        codec: where it runs; auto: here if it can, else on the server.
        model: folder of the exported model that runs here; None: the one in the package.
        receive: the media to ask for if the codec runs on the server.
        fill: whether to yield silence where the other side says nothing.
        frames_a_message: frames of codes that are sent together, if the codec runs here.
        options: as for `live`.

    Raises:
        RoomKeyError: the key is too short, or the codec is to run on the server.
        MissingExtraError, ModelError: the codec cannot run here, where it must; `model` is none,
            or the codec is to run on the server.
        ConnectionFailedError, ProtocolError: as `live`.
    """
    reason = ""
    if codec == "server" and options.get("key"):
        raise RoomKeyError("A key needs the codec here: leave --codec server out.")
    if codec == "server" and model is not None:
        raise ModelError("--model runs the codec here: leave --codec server out")
    async with AsyncExitStack() as stack:
        if codec != "server":
            try:
                here = await _open_here(stack, url, role, model, fill, frames_a_message, options)
            except (MissingExtraError, ModelError, ProtocolError) as error:
                other = isinstance(error, ProtocolError) and error.name not in _ON_SERVER
                unusable = model is not None and isinstance(error, ModelError)
                if codec == "here" or options.get("key") or other or unusable:
                    raise
                reason = f"The codec runs on the server: {error}"
            else:
                yield here
                return
        options = {**options, "send_rate": INPUT_RATE} if role in SENDERS else options
        connection = await stack.enter_async_context(live(url, role, receive=receive, **options))
        yield SoundConnection(connection, reason)


async def _open_here(
    stack: AsyncExitStack,
    url: str,
    role: str,
    model: Path | None,
    fill: bool,
    frames_a_message: int,
    options: dict[str, Any],
) -> SoundConnection:
    codec = await LocalCodec.load(model)
    stack.callback(codec.close)
    sends = role in SENDERS
    connection = await stack.enter_async_context(
        live(
            url,
            role,
            send="codes" if sends else None,
            receive=() if role == "mic" else ("codes",),
            model_hash=codec.hash,
            codebooks=codec.num_codebooks,
            codebook_size=codec.codebook_size,
            **options,
        )
    )
    return CodingConnection(connection, codec, fill, frames_a_message)


class SoundConnection:
    """A live session of sound that the server encodes and decodes.

    Attributes:
        reason: why the codec does not run here; empty if it was asked not to.
        codec: "here" or "server".
    """

    codec = "server"

    def __init__(self, connection: LiveConnection, reason: str = "") -> None:
        self.reason = reason
        self._connection = connection
        self._opened = copy.copy(connection.traffic)

    @property
    def ready(self) -> Ready:
        """The server's description of the current session."""
        return self._connection.ready

    @property
    def traffic(self) -> Traffic:
        """The bytes since the session was opened."""
        return self._connection.traffic.since(self._opened)

    async def send_pcm(self, samples: Pcm16) -> bool:
        """Sends int16 [samples] at INPUT_RATE; see LiveConnection."""
        return await self._connection.send_pcm(samples)

    async def end(self) -> None:
        """Ends the input; the rest of the output still arrives, and then End."""
        await self._connection.end()

    async def round_trip(self) -> float | None:
        """Seconds to the server and back, now; None: the connection was lost meanwhile."""
        return await self._connection.round_trip()

    async def ping(self, time: float) -> None:
        """Asks for a Pong with the same time; see LiveConnection."""
        await self._connection.ping(time)

    async def cleared(self, unplayed: int) -> None:
        """Answers a Clear; see LiveConnection."""
        await self._connection.cleared(unplayed)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yields the server's messages, up to End; see LiveConnection."""
        async for event in self._connection:
            yield event


class CodingConnection(SoundConnection):
    """A live session of codes: sound is encoded and decoded here.

    It yields each message of codes and, behind it, the sound decoded from it.

    Args:
        codec: that runs here.
        fill: whether to yield silence for frames in which no codes come.
        frames_a_message: that are sent together. Each message has about 70 bytes of headers, TCP/IP
            included, and a frame of codes has 10.
    """

    codec = "here"

    def __init__(
        self, connection: LiveConnection, codec: LocalCodec, fill: bool, frames_a_message: int
    ) -> None:
        super().__init__(connection)
        self._local = codec
        self._fill = fill
        self._frames_a_message = frames_a_message
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._sent = 0  # samples
        self._frames_sent = 0
        self._unsent: list[CodeArray] = []  # less than a message
        self._frames = 0  # received, silence that was filled in included
        self._played = 0  # samples

    async def send_pcm(self, samples: Pcm16) -> bool:
        """Encodes and sends int16 [samples] at INPUT_RATE; see LiveConnection."""
        self._sent += len(samples)
        if await self._send(await self._local.encode(samples), self._frames_a_message):
            return True
        await self._local.reset_encoder()
        return False

    async def end(self) -> None:
        """Sends the last frame, padded, and ends the input; see LiveConnection."""
        await self._send(await self._local.flush_encoder(), 1)
        await self._connection.end()

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
        async for event in self._connection:
            if isinstance(event, Codes):
                yield event
                async for sound in self._decode(event):
                    yield sound
            elif isinstance(event, End):
                yield self._cut(Pcm(self._frames, await self._local.flush_decoder()))
                if missing := self._silent(self._frames_sent):
                    yield missing
                yield msgspec.structs.replace(event, step_ms=self._local.step_ms())
            else:
                if isinstance(event, Notice) and event.name == RESTARTED:
                    await self._local.flush_decoder()
                    self._begin_anew()
                yield event

    async def _decode(self, codes: Codes) -> AsyncIterator[Pcm]:
        if self._fill and codes.frame > self._frames:
            if self._frames:
                yield self._cut(Pcm(self._frames, await self._local.flush_decoder()))
            if missing := self._silent(codes.frame):
                yield missing
        self._frames = codes.frame + codes.codes.shape[1]
        pcm = await self._local.decode(codes.codes)
        yield self._cut(Pcm(self._frames - 1, pcm, codes.gap))

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

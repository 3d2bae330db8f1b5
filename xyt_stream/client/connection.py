"""One session with a server, for whoever speaks and hears in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import Pcm16, to_int16
from xyt_stream.client.handshake import open_session
from xyt_stream.client.transport import Transport
from xyt_stream.errors import AudioError, ProtocolError
from xyt_stream.protocol.machine import ClientMachine, Event
from xyt_stream.protocol.messages import MAX_MESSAGE, Cleared, End, Hello, Ping, Ready
from xyt_stream.protocol.packing import CodeArray

RESUME_SECONDS = 30.0
KEEPALIVE = 20.0  # seconds

# What goes into one message; longer pieces are sent as several.
_MOST_SAMPLES = MAX_MESSAGE // 4
_MOST_FRAMES = MAX_MESSAGE // 256


@asynccontextmanager
async def connect(
    url: str,
    role: str,
    *,
    room: str | None = None,
    receive: Sequence[str] | None = None,
    send_rate: int | None = None,
    receive_rate: int | None = None,
    voice: str | None = None,
    token: str | None = None,
    resume: float = RESUME_SECONDS,
    keepalive: float | None = KEEPALIVE,
) -> AsyncIterator[Connection]:
    """A session that has begun; leaving the block closes it.

    Args:
        url: ws://host:port or wss://host:port.
        role: "loopback", "encode", "decode", "mic", "speaker", "user" or "model".
        room: to meet the others in; a user may do without, see docs/duplex.md.
        receive: "pcm", "codes" or both; None: what the role is for.
        send_rate, receive_rate: Hz of the sound; None: the codec's own.
        voice: whom a speaker hears in a conversation: "user" or "model"; None: the model.
        token: what the server asks for, if it does.
        resume: seconds to try to take the session up again when its connection is lost; 0: it ends.
        keepalive: seconds between pings, and for the answer to one; None: no pings.

    Raises:
        ConnectionFailedError: the server cannot be reached, or went away.
        ProtocolError: the server refused the session, or cut it off: see its name.
    """
    hello = Hello(
        role=role,
        room=room,
        receive=None if receive is None else tuple(receive),
        send_rate=send_rate,
        receive_rate=receive_rate,
        voice=voice,
        token=token,
        resumable=resume > 0,
    )
    machine = ClientMachine()
    websocket, ready = await open_session(url, hello, machine, keepalive)
    transport = Transport(url, hello, machine, websocket, ready, resume, keepalive)
    connection = Connection(ready, machine, transport)
    try:
        yield connection
    finally:
        await connection.close()


class Connection:
    """Made by `connect`. Iterating gives what the server sends: Pcm, Codes, Notice, Pong, End.

    In a conversation also Clear (drop what has not been played, and say so with `cleared`), and to
    a model Playing and Cleared.

    End is the last; without it iteration ends in ConnectionFailedError or ProtocolError. While a
    lost connection is being replaced, sending waits; a Notice named "interrupted" tells when that
    begins and one named "resumed" when it is over. Nothing is lost and nothing comes twice.

    Attributes:
        ready: what the server said about the session: rates, delays, the model.
    """

    def __init__(self, ready: Ready, machine: ClientMachine, transport: Transport) -> None:
        self.ready = ready
        self._machine = machine
        self._transport = transport
        self._samples_sent = 0
        self._frames_sent = 0

    async def send_pcm(self, samples: npt.NDArray[Any]) -> None:
        """Sound at `ready.send_rate`: int16, or float full scale at +-1, [samples].

        Raises:
            AudioError: samples are NaN, infinite or of another shape.
            ProtocolError: not_allowed, or what the server has cut the session off with.
            ConnectionFailedError: the server went away.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or (samples.dtype != np.int16 and samples.dtype.kind != "f"):
            shape = list(samples.shape)
            raise AudioError(f"sound must be int16 or float [samples], not {samples.dtype} {shape}")
        if samples.dtype != np.int16:
            if not np.isfinite(samples).all():
                raise AudioError("the sound holds samples that are not numbers (NaN or infinite)")
            samples = to_int16(samples)
        for start in range(0, len(samples), _MOST_SAMPLES):
            piece = samples[start : start + _MOST_SAMPLES]
            await self._transport.send_media(partial(self._pcm, piece))

    async def send_codes(self, codes: CodeArray) -> None:
        """Codes, int64 [codebooks, frames]; a model's that come when its user has ended go nowhere.

        Raises:
            CodeError: they are not this codec's.
            ProtocolError, ConnectionFailedError: as `send_pcm`.
        """
        with self._unless_over():
            for start in range(0, codes.shape[-1], _MOST_FRAMES):
                piece = codes[..., start : start + _MOST_FRAMES]
                await self._transport.send_media(partial(self._codes, piece))

    async def clear(self) -> None:
        """In a conversation: what the model has said and the user has not heard is dropped.

        Lost if the connection is; a Cleared tells the model what became of it.
        """
        with self._unless_over():
            await self._transport.send(self._machine.clear)

    async def cleared(self, unplayed: int) -> None:
        """Answers a Clear: so many samples, at `ready.receive_rate`, were dropped unheard."""
        with self._unless_over():
            await self._say(Cleared(unplayed=unplayed))

    async def ping(self, time: float) -> None:
        """Asks for a Pong with the same time; it is lost if the connection is."""
        await self._say(Ping(time=time))

    async def end(self) -> None:
        """Nothing more will be sent; what is on its way still comes, and then End."""
        with self._unless_over():
            await self._transport.end()

    async def close(self) -> None:
        """Ends the session at once, as leaving the block does."""
        await self._transport.close()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            event = await self._transport.next()
            yield event
            if isinstance(event, End):
                return

    async def _say(self, message: Cleared | Ping) -> None:
        await self._transport.send(lambda: self._machine.control(message))

    def _pcm(self, samples: Pcm16) -> bytes:
        data = self._machine.pcm(self._samples_sent // self.ready.frame_samples, samples)
        self._samples_sent += len(samples)
        return data

    def _codes(self, codes: CodeArray) -> bytes:
        data = self._machine.codes(self._frames_sent, codes)
        self._frames_sent += codes.shape[-1]
        return data

    @contextmanager
    def _unless_over(self) -> Iterator[None]:
        """A model's user may end at any time: what the model still sends then is no fault."""
        try:
            yield
        except ProtocolError:
            if not self._transport.ended or self._machine.sending_over:
                raise

"""One session with a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from xyt_stream.audio import to_int16
from xyt_stream.errors import AudioError, ConnectionFailedError, ProtocolError
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import BY_CLOSE_CODE, protocol_error
from xyt_stream.protocol.machine import ClientMachine, Event
from xyt_stream.protocol.messages import MAX_MESSAGE, SUBPROTOCOL, End, Error, Hello, Ping, Ready
from xyt_stream.protocol.packing import CodeArray

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
    token: str | None = None,
) -> AsyncIterator[Connection]:
    """A session that has begun; leaving the block closes it.

    Args:
        url: ws://host:port or wss://host:port.
        role: "loopback", "encode", "decode", "mic" or "speaker".
        room: for a mic or a speaker.
        receive: "pcm", "codes" or both; None: what the role is for.
        send_rate, receive_rate: Hz of the sound; None: the codec's own.

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
        token=token,
    )
    machine = ClientMachine()
    first = machine.hello(hello)
    try:
        websocket = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MAX_MESSAGE,
        )
    except (OSError, InvalidHandshake, InvalidURI, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer"
        raise ConnectionFailedError(f"cannot reach a server at {url}: {reason}") from None
    try:
        with _failures():
            await websocket.send(first)
        connection = Connection(websocket, machine)
        yield await connection.begin()
    finally:
        await close(websocket)


class Connection:
    """Made by `connect`. Iterating gives what the server sends: Pcm, Codes, Notice, Pong, End.

    End is the last; without it iteration ends in ConnectionFailedError or ProtocolError.

    Attributes:
        ready: what the server said about the session: rates, delays, the model.
    """

    ready: Ready

    def __init__(self, websocket: ClientConnection, machine: ClientMachine) -> None:
        self._websocket = websocket
        self._machine = machine
        self._samples_sent = 0
        self._frames_sent = 0

    async def begin(self) -> Connection:
        """Waits for the server's answer to hello."""
        while (event := await self._receive()) is None:
            pass
        assert isinstance(event, Ready)
        self.ready = event
        return self

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
            data = self._machine.pcm(self._samples_sent // self.ready.frame_samples, piece)
            self._samples_sent += len(piece)
            await self._send(data)

    async def send_codes(self, codes: CodeArray) -> None:
        """Codes, int64 [codebooks, frames].

        Raises:
            CodeError: they are not this codec's.
            ProtocolError, ConnectionFailedError: as `send_pcm`.
        """
        for start in range(0, codes.shape[-1], _MOST_FRAMES):
            piece = codes[..., start : start + _MOST_FRAMES]
            data = self._machine.codes(self._frames_sent, piece)
            self._frames_sent += piece.shape[-1]
            await self._send(data)

    async def ping(self, time: float) -> None:
        """Asks for a Pong with the same time."""
        await self._send(self._machine.control(Ping(time=time)))

    async def end(self) -> None:
        """Nothing more will be sent; what is on its way still comes, and then End."""
        await self._send(self._machine.end())

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events()

    async def _events(self) -> AsyncIterator[Event]:
        while True:
            event = await self._receive()
            if event is not None:
                yield event
            if isinstance(event, End):
                return

    async def _send(self, data: str | bytes) -> None:
        with _failures():
            await self._websocket.send(data)

    async def _receive(self) -> Event | None:
        with _failures():
            event = self._machine.receive(await self._websocket.recv())
        if isinstance(event, Error):
            raise ProtocolError(event.name, event.message, event.code)
        return event


@contextmanager
def _failures() -> Iterator[None]:
    """A connection that closed, as one of our errors."""
    try:
        yield
    except ConnectionClosed as error:
        row = BY_CLOSE_CODE.get(error.rcvd.code) if error.rcvd else None
        if row is not None:
            raise protocol_error(row.name) from None
        raise ConnectionFailedError(f"the server went away: {error}") from None

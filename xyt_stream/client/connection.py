"""Provides the client API: `connect` opens a session, `Connection` sends and receives in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from xyt_stream.audio import Pcm16, to_int16
from xyt_stream.client.fingerprint import pinned
from xyt_stream.client.handshake import open_session
from xyt_stream.client.traffic import Traffic
from xyt_stream.client.transport import Transport
from xyt_stream.errors import AudioError, ProtocolError
from xyt_stream.protocol.client_machine import ClientMachine
from xyt_stream.protocol.machine import Event
from xyt_stream.protocol.messages import MAX_MESSAGE, Cleared, End, Hello, Ping, Ready
from xyt_stream.protocol.packing import CodeArray
from xyt_stream.protocol.place import placed
from xyt_stream.protocol.sealing import Sealing, sealed_media

RESUME_SECONDS = 30.0
KEEPALIVE = 20.0  # seconds

# Largest content of one message; longer arrays are split.
_MAX_SAMPLES = MAX_MESSAGE // 4
_MAX_FRAMES = MAX_MESSAGE // 256


@asynccontextmanager
async def connect(
    url: str,
    role: str,
    *,
    room: str | None = None,
    send: str | None = None,
    receive: Sequence[str] | None = None,
    send_rate: int | None = None,
    receive_rate: int | None = None,
    voice: str | None = None,
    model_hash: str | None = None,
    key: str | None = None,
    codebooks: int | None = None,
    codebook_size: int | None = None,
    token: str | None = None,
    fingerprint: str | None = None,
    resume: float = RESUME_SECONDS,
    keepalive: float | None = KEEPALIVE,
    traffic: Traffic | None = None,
) -> AsyncIterator[Connection]:
    """Opens a session; leaving the block closes it.

    Args:
        url: ws://host:port or wss://host:port.
        role: "loopback", "encode", "decode", "mic", "speaker", "user" or "model".
        room: name of the room, which the URL gets too; optional for a user, see docs/duplex.md.
        send: "pcm" or "codes"; None: the role's default.
        receive: "pcm", "codes" or both; None: the role's default.
        send_rate: Hz of the sound that is sent; None: the codec's input rate.
        receive_rate: Hz of the sound that is received; None: the codec's output rate.
        voice: for a speaker, the side of a conversation to hear: "user" or "model"; None: "model".
        model_hash: of the model that the client's codes belong to; None: the server's.
        key: of an encrypted room: codes are sealed and opened here, and the server reads none;
            None: they are sent as they are. `send` and `receive` are then codes, or nothing.
        codebooks, codebook_size: of that model, for a relay, which does not know it; None: those of
            the relay's own, or of the room's.
        token: the server's access token, if it requires one.
        fingerprint: SHA-256 of the server's certificate in hex, the only one to trust, as
            `xyt-stream serve --https` prints it; None: those that the system trusts.
        resume: seconds to try to resume the session after its connection was lost; 0: it ends.
        keepalive: seconds between pings, and for the answer to one; None: no pings.
        traffic: counts the session's bytes, beside those of others; None: its own.

    Raises:
        ConnectionFailedError: the server cannot be reached, or the connection was lost.
        CertificateError: the server's certificate is not trusted.
        ProtocolError: the server refused or ended the session; `name` says why.
        RoomKeyError: the key is too short.
    """
    sealing = None if key is None else Sealing(key, role, room, voice)
    if sealing is not None:
        send, receive = sealed_media(role)
    hello = Hello(
        role=role,
        room=room,
        send=send,
        receive=None if receive is None else tuple(receive),
        send_rate=send_rate,
        receive_rate=receive_rate,
        voice=voice,
        model_hash=model_hash,
        codebooks=codebooks,
        codebook_size=codebook_size,
        token=token,
        resumable=resume > 0,
    )
    machine = ClientMachine(sealing)
    traffic = Traffic() if traffic is None else traffic
    tls = None if fingerprint is None else pinned(fingerprint)
    place = placed(url, room, role=role)
    websocket, ready = await open_session(place, hello, machine, keepalive, traffic, tls)
    transport = Transport(url, hello, machine, websocket, ready, resume, keepalive, traffic, tls)
    connection = Connection(ready, machine, transport, traffic)
    try:
        yield connection
    finally:
        await connection.close()


class Connection:
    """An open session, made by `connect`. All methods run on one event loop.

    Iterating yields the server's messages: Pcm, Codes, Notice, Pong and End; in a conversation also
    Clear (drop the audio that has not been played and answer with `cleared`), and for a model
    Playing and Cleared. End is the last; without it, iteration raises ConnectionFailedError or
    ProtocolError.

    While a lost connection is being resumed, sending waits; a Notice named "interrupted" marks the
    beginning and one named "resumed" the end. No media are lost or repeated.

    Attributes:
        ready: the server's description of the session: rates, delays, the model.
        traffic: bytes in each direction.
    """

    def __init__(
        self, ready: Ready, machine: ClientMachine, transport: Transport, traffic: Traffic
    ) -> None:
        self.ready = ready
        self.traffic = traffic
        self._machine = machine
        self._transport = transport
        self._samples_sent = 0
        self._frames_sent = 0

    async def send_pcm(self, samples: npt.NDArray[Any]) -> None:
        """Sends sound at `ready.send_rate`: int16, or float with full scale +-1, [samples].

        Raises:
            AudioError: a sample is NaN or infinite, or the shape or dtype is wrong.
            ProtocolError: not_allowed, or the error with which the server ended the session.
            ConnectionFailedError: the connection was lost and could not be resumed.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or (samples.dtype != np.int16 and samples.dtype.kind != "f"):
            shape = list(samples.shape)
            raise AudioError(f"sound must be int16 or float [samples], not {samples.dtype} {shape}")
        if samples.dtype != np.int16:
            if not np.isfinite(samples).all():
                raise AudioError("the sound holds samples that are not numbers (NaN or infinite)")
            samples = to_int16(samples)
        for start in range(0, len(samples), _MAX_SAMPLES):
            chunk = samples[start : start + _MAX_SAMPLES]
            await self._transport.send_media(partial(self._pcm, chunk))

    async def send_codes(self, codes: CodeArray) -> None:
        """Sends codes, int64 [codebooks, frames]. A model's codes after its user's end are ignored.

        Raises:
            CodeError: the shape or a code does not fit the server's codec.
            ProtocolError, ConnectionFailedError: as `send_pcm`.
        """
        with self._ignoring_end():
            for start in range(0, codes.shape[-1], _MAX_FRAMES):
                chunk = codes[..., start : start + _MAX_FRAMES]
                await self._transport.send_media(partial(self._codes, chunk))

    async def clear(self) -> None:
        """Asks to drop the model's speech that the user has not heard yet (in a conversation).

        It is lost if the connection is lost; the model gets a Cleared with the result.

        Raises:
            ProtocolError, ConnectionFailedError: as `send_pcm`.
        """
        with self._ignoring_end():
            await self._transport.send(self._machine.clear)

    async def cleared(self, unplayed: int) -> None:
        """Answers a Clear: `unplayed` samples, at `ready.receive_rate`, were dropped unheard.

        Raises:
            ProtocolError, ConnectionFailedError: as `send_pcm`.
        """
        with self._ignoring_end():
            await self._send_control(Cleared(unplayed=unplayed))

    async def ping(self, time: float) -> None:
        """Asks for a Pong with the same time; it is lost if the connection is lost.

        Raises:
            ProtocolError, ConnectionFailedError: as `send_pcm`.
        """
        await self._send_control(Ping(time=time))

    async def round_trip(self) -> float | None:
        """Seconds to the server and back, now; None: the connection was lost meanwhile."""
        return await self._transport.round_trip()

    async def end(self) -> None:
        """Ends the input; the rest of the output still arrives, and then End.

        Raises:
            ProtocolError, ConnectionFailedError: as `send_pcm`.
        """
        with self._ignoring_end():
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

    async def _send_control(self, message: Cleared | Ping) -> None:
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
    def _ignoring_end(self) -> Iterator[None]:
        """Ignores that the session has ended: a model's user may end it at any time."""

        try:
            yield
        except ProtocolError:
            if not self._transport.ended or self._machine.sending_over:
                raise

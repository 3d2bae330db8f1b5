"""Takes and gives the sound of a live session that the server encodes and decodes."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator

from xyt_stream.audio import Pcm16
from xyt_stream.client.live import LiveConnection
from xyt_stream.client.traffic import Traffic
from xyt_stream.protocol.machine import Event
from xyt_stream.protocol.messages import Ready


class SoundConnection:
    """A live session of sound that the server encodes and decodes.

    Attributes:
        reason: why the codec does not run here; empty if it was asked not to.
    """

    def __init__(self, connection: LiveConnection, reason: str = "") -> None:
        self.reason = reason
        self._connection = connection
        self._opened = copy.copy(connection.traffic)

    @property
    def codec(self) -> str:
        """The place where the codec runs now: "here" or "server"."""
        return "server"

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

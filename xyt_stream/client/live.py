"""Replaces a session that cannot be resumed by a new one, so that live audio goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias

from xyt_stream.audio import Pcm16
from xyt_stream.client.connection import Connection, connect
from xyt_stream.client.handshake import jittered, retry
from xyt_stream.client.traffic import Traffic
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.machine import Event
from xyt_stream.protocol.messages import Notice, Ready
from xyt_stream.protocol.packing import CodeArray

MAX_OUTAGE = 300.0  # seconds that the server may be unreachable
RESTARTED = "restarted"  # name of the notice that a new session has begun

_Begin: TypeAlias = Callable[..., AbstractAsyncContextManager[Connection]]


@asynccontextmanager
async def live(
    url: str,
    role: str,
    *,
    room: str | None = None,
    send: str | None = None,
    receive: Sequence[str] | None = None,
    send_rate: int | None = None,
    model_hash: str | None = None,
    key: str | None = None,
    codebooks: int | None = None,
    codebook_size: int | None = None,
    token: str | None = None,
    fingerprint: str | None = None,
) -> AsyncIterator[LiveConnection]:
    """Opens a live session; the arguments are those of `connect`.

    Raises:
        ConnectionFailedError: the server was unreachable at first, or for MAX_OUTAGE seconds later.
        ProtocolError: as `connect`.
    """
    traffic = Traffic()
    begin = partial(
        connect,
        url,
        role,
        room=room,
        send=send,
        receive=receive,
        send_rate=send_rate,
        model_hash=model_hash,
        key=key,
        codebooks=codebooks,
        codebook_size=codebook_size,
        token=token,
        fingerprint=fingerprint,
        resume=MAX_OUTAGE,
        traffic=traffic,
    )
    async with AsyncExitStack() as sessions:
        first = await sessions.enter_async_context(begin())
        yield LiveConnection(begin, sessions, first, traffic)


class LiveConnection:
    """A sequence of Connections, made by `live`. All methods run on one event loop.

    When the server no longer has the session, as after a restart, or asks the client to come back
    later, a new session replaces it, and a Notice named "restarted" is yielded. Audio in between is
    lost.

    Attributes:
        traffic: bytes in each direction, of all its sessions.
    """

    def __init__(
        self, begin: _Begin, sessions: AsyncExitStack, first: Connection, traffic: Traffic
    ) -> None:
        self.traffic = traffic
        self._begin = begin
        self._sessions = sessions
        self._connection = first
        self._replaced = asyncio.Condition()
        self._ending = False

    @property
    def ready(self) -> Ready:
        """The server's description of the current session."""
        return self._connection.ready

    async def send_pcm(self, samples: Pcm16) -> bool:
        """Sends sound at `ready.send_rate`: int16 [samples].

        Waits while the connection is lost; iterating raises if it cannot be replaced.

        Returns:
            Whether it was sent; False: a new session has begun, and these samples are out of date.
        """
        return await self._send(lambda connection: connection.send_pcm(samples))

    async def send_codes(self, codes: CodeArray) -> bool:
        """Sends codes, int64 [codebooks, frames]; waits and returns as `send_pcm` does."""
        return await self._send(lambda connection: connection.send_codes(codes))

    async def _send(self, send: Callable[[Connection], Awaitable[None]]) -> bool:
        connection = self._connection
        try:
            await send(connection)
        except (ConnectionFailedError, ProtocolError):
            async with self._replaced:
                await self._replaced.wait_for(lambda: self._connection is not connection)
            return False
        return True

    async def end(self) -> None:
        """Ends the input; the rest of the output still arrives, and then End."""
        self._ending = True
        with suppress(ConnectionFailedError, ProtocolError):
            await self._connection.end()

    async def round_trip(self) -> float | None:
        """Seconds to the server and back, now; None: the connection was lost meanwhile."""
        return await self._connection.round_trip()

    async def ping(self, time: float) -> None:
        """Asks for a Pong with the same time; it is lost if the connection is lost."""
        with suppress(ConnectionFailedError, ProtocolError):
            await self._connection.ping(time)

    async def cleared(self, unplayed: int) -> None:
        """Answers a Clear: `unplayed` samples, at `ready.receive_rate`, were dropped unheard."""
        with suppress(ConnectionFailedError, ProtocolError):
            await self._connection.cleared(unplayed)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """Yields the server's messages, up to End.

        Raises:
            ConnectionFailedError, ProtocolError: no new session can begin, or the connection was
                lost after `end`.
        """
        while True:
            try:
                async for event in self._connection:
                    yield event
                return
            except (ConnectionFailedError, ProtocolError) as error:
                if self._ending or not self._may_begin_anew(error):
                    raise
                cause = error
            wait = 0.0
            if not isinstance(cause, ProtocolError) or cause.name != "cannot_resume":
                yield Notice(name="interrupted", message=str(cause))
                wait = getattr(cause, "retry_after", None) or 0.0
            await self._begin_anew(wait)
            yield Notice(
                name=RESTARTED,
                message="The server was restarted or dropped the session: a new session begins.",
            )

    def _may_begin_anew(self, error: ConnectionFailedError | ProtocolError) -> bool:
        if isinstance(error, ProtocolError):
            return error.name in ("cannot_resume", "going_away") or error.retry_after is not None
        return self.ready.resume is None  # otherwise resuming has been tried for MAX_OUTAGE

    async def _begin_anew(self, wait: float) -> None:
        """Begins a new session with the same rates, after `wait` seconds or a little more."""
        rate = self.ready.receive_rate
        await self._sessions.aclose()
        await asyncio.sleep(jittered(wait))
        connection = await retry(
            lambda: self._sessions.enter_async_context(self._begin(receive_rate=rate)), MAX_OUTAGE
        )
        async with self._replaced:
            self._connection = connection
            self._replaced.notify_all()
        if self._ending:
            await self.end()

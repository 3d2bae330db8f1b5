"""Live sessions, which begin anew where they cannot go on: for sound of now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TypeAlias

from xyt_stream.audio import Pcm16
from xyt_stream.client.connection import Connection, connect
from xyt_stream.client.handshake import jittered, retry
from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.machine import Event
from xyt_stream.protocol.messages import Notice, Ready

PATIENCE = 300.0  # seconds that a server may be away
RESTARTED = "restarted"  # the notice's name

_Begin: TypeAlias = Callable[..., AbstractAsyncContextManager[Connection]]


@asynccontextmanager
async def live(
    url: str,
    role: str,
    *,
    room: str | None = None,
    receive: Sequence[str] | None = None,
    send_rate: int | None = None,
    token: str | None = None,
) -> AsyncIterator[LiveConnection]:
    """As `connect`, which has the arguments, for PATIENCE seconds without the server at most.

    Raises:
        ConnectionFailedError, ProtocolError: as `connect`.
    """
    begin = partial(
        connect,
        url,
        role,
        room=room,
        receive=receive,
        send_rate=send_rate,
        token=token,
        resume=PATIENCE,
    )
    async with AsyncExitStack() as sessions:
        first = await sessions.enter_async_context(begin())
        yield LiveConnection(begin, sessions, first)


class LiveConnection:
    """Made by `live`: a Connection, or several of them, one after the other.

    A session that the server does not have any more, as after it was killed, or that it has sent
    away for now, is replaced by a new one: a Notice named "restarted" tells so. What was said in
    between is lost.
    """

    def __init__(self, begin: _Begin, sessions: AsyncExitStack, first: Connection) -> None:
        self._begin = begin
        self._sessions = sessions
        self._connection = first
        self._replaced = asyncio.Condition()
        self._ending = False

    @property
    def ready(self) -> Ready:
        """What the server said about the session of now."""
        return self._connection.ready

    async def send_pcm(self, samples: Pcm16) -> bool:
        """Sound at `ready.send_rate`: int16 [samples].

        When the connection fails this waits, and it is iterating that tells why.

        Returns:
            Whether it was sent; if not, a new session has begun, and what has been said is old.
        """
        connection = self._connection
        try:
            await connection.send_pcm(samples)
        except (ConnectionFailedError, ProtocolError):
            async with self._replaced:
                await self._replaced.wait_for(lambda: self._connection is not connection)
            return False
        return True

    async def end(self) -> None:
        """Nothing more will be sent; what is on its way still comes, and then End."""
        self._ending = True
        with suppress(ConnectionFailedError, ProtocolError):
            await self._connection.end()

    async def cleared(self, unplayed: int) -> None:
        """Answers a Clear: so many samples, at `ready.receive_rate`, were dropped unheard."""
        with suppress(ConnectionFailedError, ProtocolError):
            await self._connection.cleared(unplayed)

    async def __aiter__(self) -> AsyncIterator[Event]:
        """What the server sends, up to End.

        Raises:
            ConnectionFailedError, ProtocolError: no session can begin anew, or what was left of
                this one after `end` is lost.
        """
        while True:
            try:
                async for event in self._connection:
                    yield event
                return
            except (ConnectionFailedError, ProtocolError) as error:
                if self._ending or not self._may_begin_anew(error):
                    raise
                why = error
            wait = 0.0
            if not isinstance(why, ProtocolError) or why.name != "cannot_resume":
                yield Notice(name="interrupted", message=str(why))
                wait = getattr(why, "retry_after", None) or 0.0
            await self._begin_anew(wait)
            yield Notice(
                name=RESTARTED,
                message="The server was started again, or gave the session up: a new one begins.",
            )

    def _may_begin_anew(self, error: ConnectionFailedError | ProtocolError) -> bool:
        if isinstance(error, ProtocolError):
            return error.name in ("cannot_resume", "going_away") or error.retry_after is not None
        return self.ready.resume is None  # else it has been tried for long enough

    async def _begin_anew(self, wait: float) -> None:
        """A new session after so many seconds or some more, with sound at the same rates."""
        rate = self.ready.receive_rate
        await self._sessions.aclose()
        await asyncio.sleep(jittered(wait))
        connection = await retry(
            lambda: self._sessions.enter_async_context(self._begin(receive_rate=rate)), PATIENCE
        )
        async with self._replaced:
            self._connection = connection
            self._replaced.notify_all()
        if self._ending:
            await self.end()

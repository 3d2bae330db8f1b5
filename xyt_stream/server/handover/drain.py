"""Empties a server that goes away: sends clients to other nodes, one room after another."""

from __future__ import annotations

import asyncio

from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.server.handover import units
from xyt_stream.server.handover.giver import Giver
from xyt_stream.server.handover.peers import Peers
from xyt_stream.server.handover.taker import Taker
from xyt_stream.server.service import Service
from xyt_stream.server.sessions.session import Session

_MOVED_RETRY = 0.05  # seconds
_AT_ONCE = 2  # units on their way: the other nodes must find the time beside their own sessions
_EACH = 1.0  # seconds after which the next unit is sent, though the one before was not taken


class Handover:
    """Moves sessions between one server and other nodes, and drains it in the end.

    For the event loop's thread.

    Args:
        service: of the server.
        peers: the other nodes.

    Attributes:
        stays: whether `drain` ends all sessions here, because all nodes go away at once.
    """

    def __init__(self, service: Service, peers: Peers) -> None:
        self.giver = Giver(service, peers)
        self.taker = Taker(service, peers)
        self.stays = False
        self._service = service
        self._draining: asyncio.Task[None] | None = None

    async def take(self, node: str, key: str, room: str | None) -> None:
        """Has a client's session here, if it can be; see Taker.take.

        Raises:
            ProtocolError: moved: the client is to come to another node.
        """
        other = await self.taker.take(self.giver.given.get(key, node), key, room)
        if self._service.find(key) is not None:
            self.giver.given.pop(key, None)
        elif other is not None:
            raise protocol_error("moved", retry_after=_MOVED_RETRY, node=other)

    def begin_drain(self) -> asyncio.Task[None]:
        """Begins to send all sessions away, once; the task is done when none is left."""
        if self._draining is None:
            self._service.begin_drain()
            self._draining = asyncio.create_task(self._drain())
        return self._draining

    async def drain(self) -> None:
        """Sends all sessions away, within the limit's time; ends the rest as Service.drain."""
        if self.stays:
            await self._service.drain()
            return
        await asyncio.wait({self.begin_drain()}, timeout=self._service.limits.drain_time)
        await self._service.drain()

    async def _drain(self) -> None:
        service = self._service
        service.drain_staying()
        places = asyncio.Semaphore(_AT_ONCE)

        async def send(unit: list[Session]) -> None:
            async with places:
                # One client brings its room along: the others stay connected until it moves.
                connected = [each for each in unit if not each.suspended]
                if connected:
                    await connected[0].detach_early()
                closed = asyncio.gather(*(each.closed.wait() for each in unit))
                await asyncio.wait({closed}, timeout=_EACH)
            await closed

        sent: set[str] = set()
        sending = []
        for session in service.sessions():
            if session.may_move and session.key not in sent:
                unit = [each for each in units.unit_of(service, session) if each.may_move]
                sent |= {each.key for each in unit}
                sending.append(send(unit))
        await asyncio.gather(*sending)
        await service.all_closed()

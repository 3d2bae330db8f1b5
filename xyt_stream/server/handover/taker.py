"""Takes sessions over from the node that their client has left."""

from __future__ import annotations

import asyncio
import collections
import logging
from contextlib import suppress

from xyt_stream.errors import HandoverError
from xyt_stream.server import log
from xyt_stream.server.handover import message, units
from xyt_stream.server.handover.channel import (
    HANDOVER,
    MAX_FRAME,
    Channel,
    Commit,
    Done,
    Refused,
    Take,
    Unit,
)
from xyt_stream.server.handover.dial import dial
from xyt_stream.server.handover.peers import PATH, Peers
from xyt_stream.server.service import Service

_ANSWER = 8.0  # seconds that the other node has for each message
_MOST_HOPS = 3  # nodes that are asked, one after another
_MOST_AT_ONCE = 4  # units that are taken over at once


class Taker:
    """Takes sessions over from other nodes. For the event loop's thread.

    Args:
        service: to which the sessions move.
        peers: that have them.
    """

    def __init__(self, service: Service, peers: Peers) -> None:
        self._service = service
        self._peers = peers
        self._taking: dict[str, asyncio.Lock] = {}  # by room, or by key without one
        self._asking: collections.Counter[str] = collections.Counter()  # calls of `take`, likewise
        self._places = asyncio.Semaphore(_MOST_AT_ONCE)

    async def take(self, node: str, key: str, room: str | None) -> str | None:
        """Has the session here, if any node that is known has it and gives it up.

        Returns:
            The node that the client is to come to; None: this one, or there is no session.

        Args:
            node: that had it, as the client's token says.
            key: of the session.
            room: of the client's hello.
        """
        place = f"room {room}" if room is not None else f"key {key}"
        lock = self._taking.setdefault(place, asyncio.Lock())
        self._asking[place] += 1
        try:
            async with lock, self._places:
                return await self._follow(node, key)
        finally:
            self._asking[place] -= 1
            if not self._asking[place]:  # a lock that others wait for may be free for a moment
                del self._asking[place], self._taking[place]

    async def _follow(self, node: str, key: str) -> str | None:
        """Asks the node, and then the one that it names; see `take`."""
        try:
            for _ in range(_MOST_HOPS):
                if self._service.find(key) is not None or node == self._service.node:
                    return None
                refused = await self._ask(node, key)
                if refused is None or refused.node is None:
                    return None
                if refused.stays:
                    return None if refused.node == self._service.node else refused.node
                node = refused.node
        except HandoverError as error:
            self._service.metrics.handovers.labels("failed").inc()
            log.event("handover failed", level=logging.WARNING, node=node, reason=str(error))
        return None

    async def _ask(self, node: str, key: str) -> Refused | None:
        """Takes the session over, or returns the reason why not; None: it is here.

        Raises:
            HandoverError: the node cannot be reached, or the session does not fit here.
        """
        if reason := self._service.readiness.why_not_adopt():
            raise HandoverError(reason)
        async with dial(
            self._peers,
            node,
            self._service.node,
            PATH,
            HANDOVER,
            max_bytes=MAX_FRAME,
            answer=_ANSWER,
            ping=None,
        ) as channel:
            return await self._take_from(channel, key)

    async def _take_from(self, channel: Channel, key: str) -> Refused | None:
        await channel.send(Take(key))
        answer = await channel.receive(_ANSWER)
        if isinstance(answer, Refused):
            return answer
        if not isinstance(answer, Unit):
            raise HandoverError("the other node answers something else")
        service = self._service
        try:
            saved = await asyncio.to_thread(message.unpack, answer.data)
            sessions = await units.restore(service, saved)
        except HandoverError as error:
            with suppress(HandoverError):
                await channel.send(Refused(str(error)))
            raise
        try:
            await channel.send(Commit())
            if not isinstance(await channel.receive(_ANSWER), Done):
                raise HandoverError("the other node does not give the session up")
        except BaseException:
            for session in reversed(sessions):
                session.close("handover failed")
            raise
        for session in sessions:
            service.adopt(session)
            service.metrics.handovers.labels("taken").inc()
            log.event("session taken over", session=session.id, node=channel.node)
        return None

"""Gives sessions up to the node that their client has come to."""

from __future__ import annotations

import asyncio
import collections
import logging
from collections.abc import Callable

from websockets.asyncio.connection import Connection

from xyt_stream.errors import HandoverError
from xyt_stream.server import log
from xyt_stream.server.handover import message, units
from xyt_stream.server.handover.channel import (
    Channel,
    Commit,
    Done,
    Refused,
    Take,
    Unit,
    open_giver,
)
from xyt_stream.server.handover.peers import Peers
from xyt_stream.server.service import Service
from xyt_stream.server.sessions.session import Session

_ANSWER = 6.0  # seconds that the other node has for each message
_FREEZE = 6.0  # seconds until a unit's streams have stopped
_REMEMBERED = 10_000  # sessions whose new node is known

_log = logging.getLogger(__name__)


class Giver:
    """Gives sessions of this node to the nodes that ask for them. For the event loop's thread.

    Args:
        service: whose sessions move.
        peers: that may ask for them.

    Attributes:
        given: the node that each session has gone to, by key; the latest only.
        on_room_given: called with the name of a room that another node owns from now on.
    """

    def __init__(self, service: Service, peers: Peers) -> None:
        self.given: collections.OrderedDict[str, str] = collections.OrderedDict()
        self.on_room_given: Callable[[str], None] = lambda name: None
        self._going: dict[str, str] = {}  # node that each session is on its way to, by key
        self._service = service
        self._peers = peers

    async def serve(self, websocket: Connection) -> None:
        """Answers one node's request; an error becomes one line of the log."""
        node = "unknown"
        try:
            channel = await open_giver(websocket, self._peers.secret, self._service.node, _ANSWER)
            asked = await channel.receive(_ANSWER)
            node = channel.node
            self._service.handshakes.accept(websocket)
            if not isinstance(asked, Take):
                raise HandoverError("the other node asks for nothing")
            with self._service.closing_connection():  # a server that goes away waits for it
                await self._give(channel, asked.key)
                await websocket.wait_closed()
        except HandoverError as error:
            self._service.metrics.handovers.labels("failed").inc()
            log.event("handover failed", level=logging.WARNING, node=node, reason=str(error))

    async def _give(self, channel: Channel, key: str) -> None:
        service = self._service
        session = service.find(key)
        if session is None:
            await channel.send(Refused("there is no such session", self.given.get(key)))
            return
        unit = units.unit_of(service, session)
        if session.moving or not session.may_move:
            node = self._going.get(key, service.node)
            await channel.send(Refused("the session does not move now", node, stays=True))
            return
        others = [each for each in unit if each is not session]
        if not service.readiness.draining and not all(each.suspended for each in others):
            await channel.send(Refused("others of its room are here", service.node, stays=True))
            return
        frozen: list[Session] = unit
        going = {each.key: channel.node for each in unit}
        self._going.update(going)
        try:
            frozen = await asyncio.wait_for(units.freeze(service, session), _FREEZE)
            saved = await units.save(service, frozen)
            data = await asyncio.to_thread(message.pack, saved)
            await channel.send(Unit(data))
            answer = await channel.receive(_ANSWER)
            if not isinstance(answer, Commit):
                reason = answer.reason if isinstance(answer, Refused) else "it did not commit"
                raise HandoverError(f"the other node refuses: {reason}")
        except asyncio.TimeoutError:
            units.thaw(service, unit)
            reason = "its streams do not come to rest"
            await channel.send(Refused(reason, service.node, stays=True))  # so it comes again
            raise HandoverError(reason) from None
        except BaseException:
            units.thaw(service, frozen)
            raise
        finally:
            for moving in going:
                self._going.pop(moving, None)
        # From here on the other node owns them, whether it hears so or not.
        for each in frozen:
            self.given[each.key] = channel.node
            log.event("session handed over", session=each.id, node=channel.node)
            service.metrics.handovers.labels("given").inc()
        if session.room is not None:
            self.on_room_given(session.room)
        while len(self.given) > _REMEMBERED:
            self.given.popitem(last=False)
        try:
            await channel.send(Done())
        finally:
            for each in reversed(frozen):
                each.close("handed over")

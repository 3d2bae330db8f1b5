"""Takes sessions that belong together out of a service, and puts them into another."""

from __future__ import annotations

import asyncio
import logging

import msgspec

from xyt_stream.errors import HandoverError, ProtocolError
from xyt_stream.protocol import messages
from xyt_stream.protocol.hello import check_hello
from xyt_stream.protocol.messages import Hello
from xyt_stream.server.saved import SavedSession, SavedUnit
from xyt_stream.server.service import Service
from xyt_stream.server.sessions.session import Session

_log = logging.getLogger(__name__)

_POLL = 0.01  # seconds between looks at sessions that end by themselves
# A room's model comes before its user, who would else get a model of this server.
_ORDER = {"model": 0, "user": 1, "mic": 2, "speaker": 3}


def unit_of(service: Service, session: Session) -> list[Session]:
    """The session, or all that are in its room."""
    return [session] if session.room is None else service.members(session.room)


async def freeze(service: Service, session: Session) -> list[Session]:
    """Detaches a unit's clients and stops its streams; returns its sessions.

    It first waits for those that cannot move and end here, and for streams whose sender has left.

    Raises:
        HandoverError: one has ended meanwhile.
    """
    while any(  # noqa: ASYNC110 - they end in different ways
        not each.may_move for each in unit_of(service, session)
    ) or service.rooms.has_orphan(session.room):
        await asyncio.sleep(_POLL)
    unit = unit_of(service, session)
    for each in unit:
        each.moving = True
    await asyncio.gather(*(each.detach() for each in unit))
    for each in unit:
        await each.freeze()
    if session.closed.is_set():
        raise HandoverError("the session has ended")
    return [each for each in unit if not each.closed.is_set()]


def thaw(service: Service, unit: list[Session]) -> None:
    """Has the sessions go on here, each waiting for its client."""
    room = service.rooms.get(unit[0].room) if unit else None
    if room is not None and room.feed is not None:
        room.feed.resume()
    for session in unit:
        if session.moving and not session.closed.is_set():
            session.moving = False
            session.disconnected()
            session.start()


async def save(service: Service, unit: list[Session]) -> SavedUnit:
    """The state of frozen sessions.

    Raises:
        HandoverError: one of them has failed.
    """
    room = service.rooms.get(unit[0].room)
    heard = None if room is None or room.feed is None else room.feed.pause()
    if room is not None:
        await room.settled()
    return SavedUnit(
        model_hash=service.resources.model.hash,
        room=unit[0].room,
        sessions=[await session.save() for session in unit],
        heard=heard or msgspec.UNSET,
    )


async def restore(service: Service, unit: SavedUnit) -> list[Session]:
    """Makes the sessions here; they sleep until they are adopted.

    Raises:
        HandoverError: they do not fit into this server; none of them is left.
    """
    if unit.model_hash != service.resources.model.hash:
        raise HandoverError("the other node has another model")
    made: list[tuple[Session, SavedSession]] = []
    room = service.rooms.get(unit.room)
    if room is not None and room.feed is not None:
        for saved in unit.sessions:
            # The mic or the user, which listeners here heard from its node.
            if saved.conversation is not None:
                talk = saved.conversation
                await room.feed.settle(saved.id, talk.encoded, talk.decided)
            elif saved.stream is not None:
                await room.feed.settle(saved.id, saved.stream.pushed)
    try:
        hellos = [(_hello(saved), saved) for saved in unit.sessions]
        for hello, saved in sorted(hellos, key=lambda each: _ORDER.get(each[0].role, 9)):
            if hello.room != unit.room or service.find(saved.key) is not None:
                raise HandoverError("its sessions do not belong together")
            made.append((Session(service.resources, hello, saved.address, saved), saved))
        room = service.rooms.get(unit.room)
        heard = None if unit.heard is msgspec.UNSET else unit.heard
        if room is not None and heard is not None:
            room.fed_from = heard
        for session, saved in made:
            await session.load(saved, heard)
    except BaseException as error:
        for session, _ in reversed(made):
            session.close("handover failed")
        if isinstance(error, ProtocolError):
            raise HandoverError(f"this node refuses them: {error}") from None
        if isinstance(error, Exception) and not isinstance(error, HandoverError):
            _log.exception("a session of another node could not be restored")
            raise HandoverError("they cannot be restored here") from None
        raise
    return [session for session, _ in made]


def _hello(saved: SavedSession) -> Hello:
    hello = messages.decode(saved.hello)
    if not isinstance(hello, Hello) or not hello.resumable:
        raise HandoverError("a session's hello is none")
    check_hello(hello)
    return hello

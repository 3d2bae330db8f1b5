"""One websocket that speaks the Realtime protocol, from its handshake to its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.realtime.server_events import error_event
from xyt_stream.server.realtime.session import RealtimeSession
from xyt_stream.server.service import FAREWELL, Service

PATH = "/v1/realtime"
SUBPROTOCOL = "realtime"
_KEY = "openai-insecure-api-key."  # a browser's token comes behind it, among the subprotocols
ROLE = "user"  # tokens that open it open this, too

_log = logging.getLogger(__name__)


def is_for_it(request: Request | None) -> bool:
    """Whether a handshake asks for this protocol."""
    return request is not None and request.path.partition("?")[0].rstrip("/") == PATH


async def visit(service: Service, socket: ServerConnection) -> None:
    """Serves a websocket until it is closed."""
    session = None
    try:
        address = service.address(socket)
        _let_in(service, socket, address)
        detector = await asyncio.to_thread(service.detectors.take)
        try:
            session = service.admit(lambda: RealtimeSession(service, address, detector), "realtime")
            await _attend(session, socket)
        finally:
            service.detectors.give_back(detector)
    except ConnectionClosed:
        if session is not None:
            session.close("left")
    except ProtocolError as error:
        await _part(service, session, socket, error)
    except Exception:
        _log.exception("a session failed")
        await _part(service, session, socket, protocol_error("internal"))


def _let_in(service: Service, socket: ServerConnection, address: str) -> None:
    """Raises ProtocolError if the client may not come in."""
    service.gate.knock(address)
    assert socket.request is not None
    headers = socket.request.headers
    service.access.check(ROLE, _token(headers.get_all("Sec-WebSocket-Protocol")), headers)
    if service.host is None:
        raise protocol_error("not_allowed", "This server has no model to talk with: see --duplex.")


def _token(offered: Sequence[str]) -> str | None:
    """The token among the subprotocols that a client offers, where browsers can put it."""
    for name in ",".join(offered).split(","):
        if name.strip().startswith(_KEY):
            return name.strip()[len(_KEY) :]
    return None


async def _attend(session: RealtimeSession, socket: ServerConnection) -> None:
    """Carries events until the session is over, or the connection lost."""
    tasks = [
        asyncio.create_task(each) for each in (_read(session, socket), _write(session, socket))
    ]
    try:
        waiting: set[asyncio.Future[Any]] = {*tasks, session.verdict}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error
    raise session.verdict.result()


async def _read(session: RealtimeSession, socket: ServerConnection) -> None:
    while True:
        await session.receive(await socket.recv())


async def _write(session: RealtimeSession, socket: ServerConnection) -> None:
    while True:
        await socket.send(await session.next())


async def _part(
    service: Service,
    session: RealtimeSession | None,
    socket: ServerConnection,
    error: ProtocolError,
) -> None:
    service.refused(error, None if session is None else session.id)
    events = [error_event(error)] if session is None else session.part(error)
    with service.parting():
        if session is not None:
            session.close(error.name)
        # A client that does not read is not waited for; the close frame queues behind the rest.
        with suppress(ConnectionClosed, asyncio.TimeoutError):
            await asyncio.wait_for(_send(socket, events), FAREWELL)
        await close(socket, error.close_code, error.name)


async def _send(socket: ServerConnection, events: list[str]) -> None:
    for event in events:
        await socket.send(event)

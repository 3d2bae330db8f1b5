"""Serves one websocket of either protocol: opens or resumes its session, carries its messages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol import messages
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.messages import Hello
from xyt_stream.protocol.place import place_in, split_token
from xyt_stream.protocol.server_machine import ServerMachine
from xyt_stream.server.admission.budget import metered
from xyt_stream.server.admission.sockets import Socket
from xyt_stream.server.cascade import wire
from xyt_stream.server.cascade.cascade import Cascade
from xyt_stream.server.handover.channel import SUBPROTOCOL as HANDOVER_SUBPROTOCOL
from xyt_stream.server.handover.drain import Handover
from xyt_stream.server.handover.peers import PATH as HANDOVER_PATH
from xyt_stream.server.service import CLOSE_TIMEOUT, Service
from xyt_stream.server.sessions.resources import AnySession
from xyt_stream.server.sessions.session import Session

if TYPE_CHECKING:
    from xyt_stream.server.realtime.session import RealtimeSession

_REALTIME_PATH = "/v1/realtime"
_REALTIME_SUBPROTOCOL = "realtime"
_TOKEN_PREFIX = "openai-insecure-api-key."  # of a browser's token, among the subprotocols
_REALTIME_ROLE = "user"  # tokens that open this role open the Realtime protocol
_WRITTEN = 32  # messages that are written without a pause
_LAST_READ = 1.0  # seconds to read what has arrived from a client that has gone
_MOVING = 1001  # close code for a client that is to come back at another node, for its session
_LEFT = (1000, 1001)  # close codes of a client that ends its session on purpose

_log = logging.getLogger(__name__)


def is_realtime(request: Request | None) -> bool:
    """Whether a handshake asks for the Realtime protocol."""
    return request is not None and request.path.partition("?")[0].rstrip("/") == _REALTIME_PATH


def is_handover(request: Request | None) -> bool:
    """Whether another node asks for a session."""
    return request is not None and request.path.partition("?")[0] == HANDOVER_PATH


def is_subscriber(request: Request | None) -> bool:
    """Whether another node asks for rooms."""
    return request is not None and request.path.partition("?")[0] == wire.PATH


def subprotocol_for(request: Request | None) -> str:
    """The subprotocol of the protocol that a handshake asks for."""
    if is_handover(request):
        return HANDOVER_SUBPROTOCOL
    if is_subscriber(request):
        return wire.SUBPROTOCOL
    return _REALTIME_SUBPROTOCOL if is_realtime(request) else messages.SUBPROTOCOL


async def handle(
    service: Service,
    socket: Socket,
    handover: Handover | None = None,
    cascade: Cascade | None = None,
) -> None:
    """Serves a websocket until it is closed.

    Args:
        handover: moves sessions between this server and other nodes; None: it is alone.
        cascade: passes rooms on to other nodes; None likewise.
    """
    if is_subscriber(socket.request):
        if cascade is not None:
            await cascade.publisher.serve(socket)
        return
    if is_handover(socket.request):
        if handover is not None:
            await handover.giver.serve(socket)
        return
    realtime = is_realtime(socket.request)
    session: AnySession | None = None
    try:
        if realtime:
            session = await _open_realtime(service, socket)
        else:
            session = await _open(service, socket, handover)
        service.handshakes.accept(socket)
        await _serve(session, socket)
    except ConnectionClosed as closed:
        if session is None:
            return
        if closed.rcvd is not None and closed.rcvd.code in _LEFT:
            session.close("left")
        else:
            session.disconnected()
    except _MovingError:
        assert session is not None
        session.disconnected()
        with service.closing_connection():
            await close(socket, _MOVING, "moving")
    except ProtocolError as error:
        await _refuse(service, session, socket, error)
    except asyncio.CancelledError:
        if session is not None:
            session.disconnected()
        raise
    except Exception:
        _log.exception("a session failed")
        await _refuse(service, session, socket, protocol_error("internal"))


class _MovingError(Exception):
    """The client is to come back for its session at another node."""


async def _open(service: Service, socket: Socket, handover: Handover | None) -> Session:
    """Reads a client's hello, and opens or resumes its session."""
    assert socket.request is not None
    address = service.rights.address(socket)
    service.gate.admit(address)
    if socket.subprotocol != messages.SUBPROTOCOL:
        raise protocol_error("wrong_subprotocol")
    hello = ServerMachine().receive(await _first(socket, service.limits.hello_time))
    assert isinstance(hello, Hello)
    place_in(socket.request.path).check(hello)
    service.access.check(hello.role, hello.token, socket.request.headers)
    socket.budget.accept()
    if hello.resume is None:
        return service.open(hello, address)
    node, key = split_token(hello.resume.token)
    if handover is not None and node and service.find(key) is None:
        await handover.take(node, key, hello.room)
    session = service.resume(hello.resume, hello.token, socket.request.headers)
    try:
        await session.supersede()
    except asyncio.CancelledError:
        session.disconnected()
        raise
    if session.closed.is_set():  # its old connection has just ended it
        raise protocol_error("cannot_resume")
    return session


async def _first(socket: Socket, seconds: float) -> str | bytes:
    """Waits for a client's first message.

    Raises:
        ProtocolError: hello_timeout; the client sends too much else.
    """
    receiving = asyncio.create_task(socket.recv())
    try:
        waiting: set[asyncio.Future[Any]] = {receiving, socket.exceeded}
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if socket.exceeded.done():
            raise socket.exceeded.result()
        if not receiving.done():
            raise protocol_error("hello_timeout")
        first: str | bytes = receiving.result()
        return first
    finally:
        receiving.cancel()


async def _open_realtime(service: Service, socket: Socket) -> RealtimeSession:
    """Authorises a client by its handshake and opens its session."""
    assert socket.request is not None
    address, headers = service.rights.address(socket), socket.request.headers
    service.gate.admit(address)
    token = _offered_token(headers.get_all("Sec-WebSocket-Protocol"))
    service.access.check(_REALTIME_ROLE, token, headers)
    from xyt_stream.server.realtime.handshake import check_handshake

    check_handshake(socket.request.path, headers)
    socket.budget.accept()
    if service.runner is None:
        raise protocol_error("not_allowed", "This server has no model to talk with: see --duplex.")
    from xyt_stream.server.realtime.session import RealtimeSession

    return service.admit(lambda: RealtimeSession(service.resources, address), "realtime")


def _offered_token(offered: Sequence[str]) -> str | None:
    """The token among the subprotocols that a client offers, where browsers can put it."""
    for name in ",".join(offered).split(","):
        if name.strip().startswith(_TOKEN_PREFIX):
            return name.strip()[len(_TOKEN_PREFIX) :]
    return None


async def _serve(session: AnySession, socket: Socket) -> None:
    """Carries messages until the session or the connection ends.

    Raises:
        ConnectionClosed: the connection has ended.
        ProtocolError: the session must end, or goes on with a newer connection.
    """
    with session.attach(socket, socket.spend_work) as superseded:
        tasks = [
            asyncio.create_task(metered(_read(session, socket), socket.spend_work)),
            asyncio.create_task(metered(_write(session, socket), socket.standing.answered)),
        ]
        left = asyncio.create_task(socket.wait_closed())
        try:
            over: set[asyncio.Future[Any]] = {session.failure, superseded, socket.exceeded}
            await asyncio.wait({*tasks, left, *over}, return_when=asyncio.FIRST_COMPLETED)
            if left.done():  # the reader takes what has arrived, unless it waits for something else
                await asyncio.wait(
                    {tasks[0], *over}, timeout=_LAST_READ, return_when=asyncio.FIRST_COMPLETED
                )
        finally:
            for task in (*tasks, left):
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        if superseded.done() and session.moving:
            raise _MovingError
        if superseded.done():
            raise protocol_error("superseded")
        if socket.exceeded.done():
            raise socket.exceeded.result()
        for error in ended:
            # Both may have failed: the client's mistake comes before the socket that it closed.
            if isinstance(error, Exception):
                raise error
        if session.failure.done():
            raise session.failure.result()
        if left.done() and not left.cancelled():
            raise socket.close_exc
        await close(socket)
        if socket.close_code in _LEFT:
            session.close("ended")
        else:
            session.disconnected()  # the client may not have received the end


async def _read(session: AnySession, socket: Socket) -> None:
    def receive_now(data: str | bytes) -> bool:
        try:
            return session.receive_now(data)
        except ProtocolError as error:
            session.abort(error)
            return True

    while True:
        socket.receive_now = receive_now
        try:
            data = await socket.recv()
        finally:
            socket.receive_now = None
        await session.receive(data)
        await asyncio.sleep(0)  # other sessions must not wait for messages that have arrived


async def _write(session: AnySession, socket: Socket) -> None:
    sent = 0
    while (data := await session.next()) is not None:
        await socket.send(data)
        sent += 1
        if sent % _WRITTEN == 0:
            await asyncio.sleep(0)  # a resumed session may have thousands: others must not wait


async def _refuse(
    service: Service, session: AnySession | None, socket: Socket, error: ProtocolError
) -> None:
    """Sends a client the reason why its connection closes, and closes it."""
    service.record_error(error, None if session is None else session.id)
    with service.closing_connection():
        if session is not None:
            last = session.fail(error)
        elif is_realtime(socket.request):
            from xyt_stream.protocol.realtime.error_events import error_event

            last = [error_event(error)]
        else:
            last = [ServerMachine().error(error)]
        # The close frame queues behind all else, so a client that does not read costs no more time.
        with suppress(ConnectionClosed, asyncio.TimeoutError):
            await asyncio.wait_for(_send(socket, last), CLOSE_TIMEOUT)
        if socket.exceeded.done():
            await socket.fail(error.close_code, error.name)
        else:
            await close(socket, error.close_code, error.name)


async def _send(socket: Socket, last: Sequence[str]) -> None:
    for data in last:
        await socket.send(data)

"""One websocket: it begins a session or takes one up, and carries its messages both ways."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from xyt_stream.errors import ProtocolError
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import protocol_error
from xyt_stream.protocol.machine import Codes, Pcm, ServerMachine
from xyt_stream.protocol.messages import (
    SUBPROTOCOL,
    Ack,
    Clear,
    Cleared,
    End,
    Hello,
    Notice,
    Ping,
    Pong,
)
from xyt_stream.server.service import FAREWELL, Service
from xyt_stream.server.sessions.session import Session

LEFT = (1000, 1001)  # close codes of a client that goes on purpose

_log = logging.getLogger(__name__)


async def visit(service: Service, socket: ServerConnection) -> None:
    """Serves a websocket until it is closed."""
    session = None
    try:
        session = await _welcome(service, socket)
        with session.visit() as dismissed:
            await _attend(service, session, socket, dismissed)
    except ConnectionClosed as closed:
        if session is None:
            return
        if closed.rcvd is not None and closed.rcvd.code in LEFT:
            session.close("left")
        else:
            session.lost()
    except ProtocolError as error:
        await _refuse(service, session, socket, error)
    except Exception:
        _log.exception("a session failed")
        await _refuse(service, session, socket, protocol_error("internal"))


async def _welcome(service: Service, socket: ServerConnection) -> Session:
    """The session that a client begins or takes up."""
    assert socket.request is not None
    address = service.address(socket)
    service.gate.knock(address)
    if socket.subprotocol != SUBPROTOCOL:
        raise protocol_error("wrong_subprotocol")
    try:
        data = await asyncio.wait_for(socket.recv(), service.limits.hello_time)
    except asyncio.TimeoutError:
        raise protocol_error("hello_timeout") from None
    hello = ServerMachine().receive(data)
    assert isinstance(hello, Hello)
    service.access.check(hello.role, hello.token, socket.request.headers)
    if hello.resume is None:
        session = service.begin(hello, address)
    else:
        session = service.resume(hello.resume)
        await session.dismiss()
        if session.over.is_set():  # its old connection has ended it just now
            raise protocol_error("cannot_resume")
    return session


async def _attend(
    service: Service,
    session: Session,
    socket: ServerConnection,
    dismissed: asyncio.Future[None],
) -> None:
    """Carries messages until the session is over, or the connection lost."""
    again = session.outbox.unacknowledged()
    await socket.send(session.ready())
    work = [_read(service, session, socket), _write(service, session, socket, again)]
    if session.resumable:
        work.append(_acknowledge(session, socket))
    tasks = [asyncio.create_task(each) for each in work]
    try:
        waiting: set[asyncio.Future[Any]] = {*tasks, session.verdict, dismissed}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    if dismissed.done():
        raise protocol_error("superseded")
    for error in ended:
        # Several may have failed: what the client did wrong comes before a socket that closed.
        if isinstance(error, Exception):
            raise error
    if session.verdict.done():
        raise session.verdict.result()
    await close(socket)
    if socket.close_code in LEFT:
        session.close("ended")
    else:
        session.lost()  # nobody knows whether the end arrived


async def _read(service: Service, session: Session, socket: ServerConnection) -> None:
    machine = session.machine
    while True:
        await session.inbox.room()
        data = await socket.recv()
        message = machine.receive(data)
        session.heard()
        if isinstance(message, Ping):
            pong = Pong(time=message.time, coding_ms=service.engine.timings.coding_ms())
            await socket.send(machine.control(pong))
        elif isinstance(message, Ack):
            session.outbox.acknowledge(message.received)
        elif isinstance(message, Clear):
            session.clear()
        elif isinstance(message, Cleared):
            session.cleared(message)
        elif isinstance(message, Pcm | Codes | End):
            session.receive(message, len(data))


async def _acknowledge(session: Session, socket: ServerConnection) -> None:
    while True:
        await socket.send(session.machine.control(await session.inbox.acknowledgement()))


async def _write(
    service: Service, session: Session, socket: ServerConnection, again: list[bytes]
) -> None:
    machine, outbox, outlet = session.machine, session.outbox, session.outlet
    for data in again:
        await socket.send(data)
    while True:
        await outbox.drain()
        message = await outlet.next()
        if isinstance(message, End):
            break
        # From here to `add` nothing waits: a message taken out is a message kept.
        if isinstance(message, Pcm):
            data = machine.pcm(message.frame, message.samples, gap=message.gap)
        elif isinstance(message, Codes):
            data = machine.codes(message.frame, message.codes, gap=message.gap)
        else:
            await socket.send(machine.control(message))
            continue
        outbox.add(data)
        if message.gap:
            notice = Notice(name="dropped", message="You read too slowly: sound was left out.")
            await socket.send(machine.control(notice))
        await socket.send(data)
        session.wrote(message)
    if session.leaving is not None:
        raise session.leaving
    end = msgspec.structs.replace(message, step_ms=service.engine.timings.step_ms())
    await socket.send(machine.end(end))


async def _refuse(
    service: Service, session: Session | None, socket: ServerConnection, error: ProtocolError
) -> None:
    service.refused(error, None if session is None else session.id)
    with service.parting():
        if session is not None and error.name != "superseded":
            session.close(error.name)
        # A client that does not read is not waited for; the close frame queues behind the rest.
        with suppress(ConnectionClosed, asyncio.TimeoutError):
            await asyncio.wait_for(socket.send(ServerMachine().error(error)), FAREWELL)
        await close(socket, error.close_code, error.name)

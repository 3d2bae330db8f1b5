"""One websocket to a server, from its handshake to the server's answer to hello."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.typing import Subprotocol

from xyt_stream.errors import ConnectionFailedError, ProtocolError
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import BY_CLOSE_CODE, protocol_error
from xyt_stream.protocol.machine import ClientMachine
from xyt_stream.protocol.messages import MAX_MESSAGE, SUBPROTOCOL, Error, Hello, Ready

_PATIENCE = 10.0  # seconds for a websocket to open, and for the answer to hello
_FIRST_WAIT = 0.2  # seconds before the second attempt; each later one waits twice as long
_LONGEST_WAIT = 5.0
_FAREWELL = 2.0  # seconds that a closing websocket waits for the other end

T = TypeVar("T")


async def open_link(
    url: str, hello: Hello, machine: ClientMachine, keepalive: float | None
) -> tuple[ClientConnection, Ready]:
    """A websocket on which the server is ready.

    Args:
        machine: reads the server's answer; it must wait for one.
        keepalive: seconds between pings, and for the answer to one.

    Raises:
        ConnectionFailedError: the server cannot be reached, or went away.
        ProtocolError: what it answered.
    """
    first = machine.hello(hello)
    try:
        websocket = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            max_size=MAX_MESSAGE,
            open_timeout=_PATIENCE,
            ping_interval=keepalive,
            ping_timeout=keepalive,
            close_timeout=_FAREWELL,
        )
    except InvalidURI:
        raise ConnectionFailedError(
            f"cannot reach a server at {url!r}: give an address like ws://127.0.0.1:8765"
        ) from None
    except (OSError, InvalidHandshake, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        reason = reason or "it hung up: try ws:// for wss://, or the other way round"
        raise ConnectionFailedError(f"cannot reach a server at {url}: {reason}") from None
    try:
        with failures():
            await websocket.send(first)
            ready = await asyncio.wait_for(_ready(websocket, machine), _PATIENCE)
    except asyncio.TimeoutError:
        await close(websocket)
        raise ConnectionFailedError(f"the server at {url} does not answer") from None
    except BaseException:
        await close(websocket)
        raise
    return websocket, ready


async def _ready(websocket: ClientConnection, machine: ClientMachine) -> Ready:
    while not isinstance(event := machine.receive(await websocket.recv()), Ready):
        if isinstance(event, Error):
            raise refusal(event)
    return event


async def persist(attempt: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Attempts it again and again, as long as the server may come back: longer and longer waits,
    and never in step with other clients'.

    Raises:
        ConnectionFailedError: the server was not reached in so many seconds.
        ProtocolError: it does not want us, or not within that time.
    """
    deadline = time.monotonic() + seconds
    longest = _FIRST_WAIT
    while True:
        wait = random.uniform(0.5, 1.0) * longest
        try:
            return await attempt()
        except (ConnectionFailedError, ProtocolError) as error:
            hint = getattr(error, "retry_after", None)
            hopeless = isinstance(error, ProtocolError) and hint is None
            wait = max(wait, later(hint or 0.0))
            if hopeless or time.monotonic() + wait > deadline:
                raise
        await asyncio.sleep(wait)
        longest = min(2 * longest, _LONGEST_WAIT)


def later(hint: float) -> float:
    """Seconds after which to come again when the server has told many `hint` at once."""
    return random.uniform(1.0, 1.5) * hint


def refusal(error: Error) -> ProtocolError:
    """The server's error, to be raised."""
    return ProtocolError(error.name, error.message, error.code, error.retry_after)


@contextmanager
def failures() -> Iterator[None]:
    """A connection that closed, as one of our errors."""
    try:
        yield
    except ConnectionClosed as error:
        row = BY_CLOSE_CODE.get(error.rcvd.code) if error.rcvd else None
        if row is not None:
            raise protocol_error(row.name) from None
        raise ConnectionFailedError(f"the server went away: {error}") from None

"""Opens a websocket, sends `hello`, waits for `ready`; retries with backoff."""

from __future__ import annotations

import asyncio
import errno
import random
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
)
from websockets.typing import Subprotocol

from xyt_stream.client.fingerprint import certificate_error
from xyt_stream.client.traffic import CountedWebsocket, Traffic
from xyt_stream.errors import CertificateError, ConnectionFailedError, ProtocolError
from xyt_stream.protocol.client_machine import ClientMachine
from xyt_stream.protocol.closing import close
from xyt_stream.protocol.error_table import BY_CLOSE_CODE, protocol_error
from xyt_stream.protocol.messages import MAX_MESSAGE, SUBPROTOCOL, Error, Hello, Ready

_OPEN_TIMEOUT = 10.0  # seconds for a websocket to open, and again for the answer to hello
_FIRST_WAIT = 0.2  # seconds before the second attempt; each later one waits twice as long
_LONGEST_WAIT = 5.0  # seconds
_LONGEST_HINT = 60.0  # seconds of a Retry-After header that are believed
_UNAVAILABLE = 503  # HTTP status
_CLOSE_TIMEOUT = 2.0  # seconds that a closing websocket waits for the other end

T = TypeVar("T")


async def open_session(
    url: str,
    hello: Hello,
    machine: ClientMachine,
    keepalive: float | None,
    traffic: Traffic | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[ClientConnection, Ready]:
    """Opens a websocket to `url` and begins the session, or resumes it if `hello` says so.

    Args:
        machine: the client's protocol machine, in state WAITING.
        keepalive: seconds between pings, and for the answer to one; None: no pings.
        traffic: counts the websocket's bytes.
        tls: for wss; None: the certificates that the system trusts.

    Returns:
        The open websocket and the server's `ready`.

    Raises:
        ConnectionFailedError: the server cannot be reached, or closed the connection.
        CertificateError: its certificate is not trusted.
        ProtocolError: the server refused the session; the error carries its name and close code.
            busy: it did so by HTTP, with status 503 and Retry-After.
    """
    first = machine.hello(hello)
    shown = url.partition("?")[0]  # the room, which proxies need, is not the user's address
    options: dict[str, Any] = {} if tls is None else {"ssl": tls}
    counted = partial(CountedWebsocket, traffic=traffic or Traffic())
    try:
        websocket = await open_websocket(
            url,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            create_connection=cast(type[ClientConnection], counted),
            compression=None,
            **options,
            max_size=MAX_MESSAGE,
            open_timeout=_OPEN_TIMEOUT,
            ping_interval=keepalive,
            ping_timeout=keepalive,
            close_timeout=_CLOSE_TIMEOUT,
        )
    except ssl.SSLCertVerificationError as error:
        raise certificate_error(shown, error) from None
    except InvalidURI:
        raise ConnectionFailedError(
            f"cannot reach a server at {shown!r}: give an address like ws://127.0.0.1:8765"
        ) from None
    except (OSError, InvalidHandshake, ValueError) as error:
        if isinstance(error, InvalidStatus) and (busy := _busy(error)) is not None:
            raise busy from None
        raise ConnectionFailedError(f"cannot reach a server at {shown}: {_reason(error)}") from None
    try:
        with failures():
            await websocket.send(first)
            ready = await asyncio.wait_for(_ready(websocket, machine), _OPEN_TIMEOUT)
        _check_ready(hello, ready)
    except asyncio.TimeoutError:
        await close(websocket)
        raise ConnectionFailedError(f"the server at {shown} does not answer") from None
    except BaseException:
        await close(websocket)
        raise
    return websocket, ready


def _reason(error: OSError | InvalidHandshake | ValueError) -> str:
    """The reason for a failed handshake in words for the user."""
    if isinstance(error, ssl.SSLError):
        return "it does not speak TLS: try ws:// for wss://"
    if isinstance(error, InvalidMessage):
        return "it does not speak HTTP: try wss:// for ws://"
    if isinstance(error, ConnectionRefusedError) or f"[Errno {errno.ECONNREFUSED}]" in str(error):
        return "nothing answers there. Is `xyt-stream serve` running?"
    reason = getattr(error, "strerror", None) or str(error)
    return reason or "it hung up: try ws:// for wss://, or the other way round"


def _busy(error: InvalidStatus) -> ProtocolError | None:
    """The error of a server, or of all behind a proxy, that is full; None: it says another thing"""
    seconds = error.response.headers.get("Retry-After", "")
    if error.response.status_code != _UNAVAILABLE or not seconds.isdecimal():
        return None
    return protocol_error("busy", retry_after=min(float(seconds), _LONGEST_HINT))


def _check_ready(hello: Hello, ready: Ready) -> None:
    """Checks that the server does what it was asked: older ones ignore what they do not know.

    Raises:
        ProtocolError: unsupported_format; wrong_model.
    """
    if hello.send not in (None, ready.send) or hello.receive not in (None, ready.receive):
        raise protocol_error(
            "unsupported_format",
            "This server is too old to take codes from a client: update it, or let it run the "
            "codec (--codec server).",
        )
    if hello.model_hash not in (None, ready.model.hash):
        raise protocol_error("wrong_model", f"The codes here are those of {ready.model.name}.")


async def _ready(websocket: ClientConnection, machine: ClientMachine) -> Ready:
    while not isinstance(event := machine.receive(await websocket.recv()), Ready):
        if isinstance(event, Error):
            raise refusal(event)
    return event


async def retry(
    attempt: Callable[[], Awaitable[T]],
    seconds: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> T:
    """Retries `attempt` with jittered exponential backoff until `seconds` have passed.

    A ProtocolError is retried only if it says when to come again (`retry_after`), and a
    CertificateError never.

    Args:
        clock: seconds.
        sleep: waits so many seconds.

    Raises:
        ConnectionFailedError, ProtocolError: the last attempt's error.
    """
    deadline = clock() + seconds
    longest = _FIRST_WAIT
    while True:
        wait = random.uniform(0.5, 1.0) * longest
        try:
            return await attempt()
        except (ConnectionFailedError, ProtocolError) as error:
            hint = getattr(error, "retry_after", None)
            refused = isinstance(error, ProtocolError) and hint is None
            final = refused or isinstance(error, CertificateError)
            wait = max(wait, jittered(hint or 0.0))
            if final or clock() + wait > deadline:
                raise
        await sleep(wait)
        longest = min(2 * longest, _LONGEST_WAIT)


def jittered(hint: float) -> float:
    """1 to 1.5 times `hint`: many clients that got the same hint come back at different times."""
    return random.uniform(1.0, 1.5) * hint


def refusal(error: Error) -> ProtocolError:
    """The server's error message as an exception."""
    return ProtocolError(error.name, error.message, error.code, error.retry_after, error.node)


@contextmanager
def failures() -> Iterator[None]:
    """Turns ConnectionClosed into ProtocolError or ConnectionFailedError."""
    try:
        yield
    except ConnectionClosed as error:
        row = BY_CLOSE_CODE.get(error.rcvd.code) if error.rcvd else None
        if row is not None:
            raise protocol_error(row.name) from None
        raise ConnectionFailedError(f"the server went away: {error}") from None

"""The websocket server: `serve` blocks, `running` is for a loop that does other things too."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as listen
from websockets.typing import Subprotocol

from xyt_stream.errors import ServeError
from xyt_stream.protocol.messages import MAX_MESSAGE, SUBPROTOCOL
from xyt_stream.server.engine import Engine
from xyt_stream.server.session import Service, Session
from xyt_stream.streaming.codec import Codec

# What strangers send before their handshake is no concern of whoever reads our output.
_handshakes = logging.getLogger(f"{__name__}.handshakes")
_handshakes.setLevel(logging.CRITICAL)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Running:
    """A server that accepts connections."""

    host: str
    port: int
    engine: Engine

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ws://{host}:{self.port}"


@asynccontextmanager
async def running(
    codec: Codec,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    max_sessions: int = 8,
    token: str | None = None,
    hello_timeout: float = 10.0,
) -> AsyncIterator[Running]:
    """Serves until the block is left; then clients are told that the server goes away (1001).

    Args:
        port: 0 picks a free one.
        max_sessions: slots; who comes when all are taken is refused as busy.
        token: what clients must bring; None lets everybody in.
        hello_timeout: seconds that a client has for its hello.

    Raises:
        ServeError: the address cannot be used.
    """
    engine = Engine(codec, max_sessions)
    service = Service(engine, token, hello_timeout)

    async def handle(socket: ServerConnection) -> None:
        await Session(service, socket).run()

    try:
        server = await listen(
            handle,
            host,
            port,
            # Sound of 80 ms does not get smaller by it; asyncio itself turns Nagle's delay off.
            compression=None,
            max_size=MAX_MESSAGE,
            select_subprotocol=_select,
            logger=_handshakes,
        )
    except OSError as error:
        raise ServeError(_why_not(error, host, port)) from None
    engine.start()
    try:
        async with server:
            yield Running(host, server.sockets[0].getsockname()[1], engine)
    finally:
        engine.stop()


def serve(codec: Codec, *, host: str, port: int, max_sessions: int, token: str | None) -> None:
    """Serves until Ctrl-C or SIGTERM; prints one line with the address once it accepts.

    Raises:
        ServeError: the address cannot be used.
    """

    async def main() -> None:
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in _SIGNALS:
            loop.add_signal_handler(number, stop.set)
        async with running(
            codec, host=host, port=port, max_sessions=max_sessions, token=token
        ) as server:
            print(f"xyt-stream serves {codec.name} at {server.url}", flush=True)
            await stop.wait()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)  # a second one waits for nobody

    _run(main())


def _run(main: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:  # where it does not exist
        asyncio.run(main)
    else:
        uvloop.run(main)


def _select(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    # A client without it is let in, to be told by the session what is wrong.
    return Subprotocol(SUBPROTOCOL) if SUBPROTOCOL in offered else None


def _why_not(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use: choose another with --port, or 0 for any free one"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"

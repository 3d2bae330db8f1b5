"""The closing handshake of a websocket."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from websockets.asyncio.connection import Connection
from websockets.exceptions import ConcurrencyError, ConnectionClosed


async def close(websocket: Connection, code: int = 1000, reason: str = "") -> None:
    """Closes, although messages may have arrived that nobody will read.

    The other end's close frame comes after them, and a websocket stops reading while they wait.
    """
    closing = asyncio.create_task(websocket.close(code, reason))
    # Where another task still reads, that one makes way.
    with suppress(ConnectionClosed, ConcurrencyError):
        async for _ in websocket:
            pass
    await closing

"""Closes a websocket, with its closing handshake."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from websockets.asyncio.connection import Connection
from websockets.exceptions import ConcurrencyError, ConnectionClosed


async def close(websocket: Connection, code: int = 1000, reason: str = "") -> None:
    """Closes the websocket and discards the messages that still arrive.

    The other end's close frame comes behind them, and a websocket stops reading while messages
    wait: so `websocket.close` alone would run into its timeout.
    """
    closing = asyncio.create_task(websocket.close(code, reason))
    # Another task may still be reading: then that task discards them.

    with suppress(ConnectionClosed, ConcurrencyError):
        async for _ in websocket:
            pass
    await closing

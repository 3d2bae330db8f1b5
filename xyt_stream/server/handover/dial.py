"""Opens an authenticated connection to another node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from xyt_stream.errors import HandoverError
from xyt_stream.server.handover.channel import Channel, Dialect, open_taker
from xyt_stream.server.handover.peers import Peers

_CONNECT = 2.0  # seconds for a websocket to another node to open


@asynccontextmanager
async def dial(
    peers: Peers,
    node: str,
    own: str,
    path: str,
    dialect: Dialect,
    *,
    max_bytes: int,
    answer: float,
    ping: float | None,
) -> AsyncIterator[Channel]:
    """Connects to a node, which proves that it knows the secret.

    Args:
        peers: that know its address and the secret.
        own: name of this node.
        path: of the other node's page.
        max_bytes: of one message.
        answer: seconds that the other node has to greet.
        ping: seconds between pings, and for the pong; None: no pings.

    Raises:
        HandoverError: the node cannot be reached, or is another one.
    """
    try:
        async with connect(
            peers.url(node, path),
            subprotocols=[Subprotocol(dialect.subprotocol)],
            compression=None,
            max_size=max_bytes,
            open_timeout=_CONNECT,
            close_timeout=_CONNECT,
            ping_interval=ping,
            ping_timeout=ping,
            ssl=peers.tls(node),
            proxy=None,
        ) as websocket:
            channel = await open_taker(websocket, peers.secret, own, answer, dialect)
            if channel.node != node:
                raise HandoverError(f"{channel.node} answers for {node}")
            yield channel
    except (OSError, InvalidHandshake, ConnectionClosed, asyncio.TimeoutError) as error:
        raise HandoverError(f"the node cannot be reached: {error}") from None

"""Counts the bytes that a client's websockets write to and read from the network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

from websockets.asyncio.client import ClientConnection


@dataclass
class Traffic:
    """Bytes of a session in each direction, over all its websockets.

    They include the websocket's own headers and handshake; TLS, TCP and IP come on top.

    Attributes:
        sent, received: bytes.
    """

    sent: int = 0
    received: int = 0

    def plus(self, other: Traffic) -> Traffic:
        """The bytes of both."""
        return Traffic(self.sent + other.sent, self.received + other.received)

    def since(self, earlier: Traffic) -> Traffic:
        """The bytes since a copy was taken."""
        return Traffic(self.sent - earlier.sent, self.received - earlier.received)


class CountedWebsocket(ClientConnection):
    """A websocket that adds its bytes to `traffic`.

    Args:
        traffic: of the session.
    """

    def __init__(self, *args: Any, traffic: Traffic, **options: Any) -> None:
        super().__init__(*args, **options)
        self._traffic = traffic

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts what is written from now on."""
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, _Counted(self.transport, self._traffic))

    def data_received(self, data: bytes) -> None:
        """Counts what was read."""
        self._traffic.received += len(data)
        super().data_received(data)


class _Counted:
    """A transport that counts what is written to it."""

    def __init__(self, transport: asyncio.Transport, traffic: Traffic) -> None:
        self._transport = transport
        self._traffic = traffic

    def write(self, data: bytes) -> None:
        self._traffic.sent += len(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

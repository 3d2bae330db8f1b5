"""Finds a client's address in its request, and whether it may read or drain the server."""

from __future__ import annotations

from websockets.asyncio.server import ServerConnection

from xyt_stream.server.admission.access import Access, is_loopback
from xyt_stream.server.admission.proxies import Proxies


class Rights:
    """The rights of clients that have no session.

    Args:
        access: authorises clients.
        proxies: whose X-Forwarded-For header is believed.
    """

    def __init__(self, access: Access, proxies: Proxies) -> None:
        self._access = access
        self._proxies = proxies

    def address(self, socket: ServerConnection) -> str:
        """The client's address, as far as the proxies in between are believed."""
        assert socket.request is not None
        peer = str(socket.remote_address[0]) if socket.remote_address else ""
        return self._proxies.client(peer, socket.request.headers)

    def may_observe(self, socket: ServerConnection) -> bool:
        """Whether a client may read /metrics and /info: from this machine, or with a token."""
        assert socket.request is not None
        headers = socket.request.headers
        if self._access.is_open or self._access.knows(headers):
            return True
        relayed = any(name in headers for name in ("X-Forwarded-For", "Forwarded"))
        return is_loopback(self.address(socket)) and not relayed

    def may_drain(self, socket: ServerConnection) -> bool:
        """Whether a client may empty the server: a program here, or one with a token for all."""
        assert socket.request is not None
        headers = socket.request.headers
        if self._access.opens_all(headers):
            return True
        relayed = any(name in headers for name in ("X-Forwarded-For", "Forwarded", "Origin"))
        return is_loopback(self.address(socket)) and not relayed

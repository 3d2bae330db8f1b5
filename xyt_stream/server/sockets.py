"""The server's websockets: what the library leaves to whoever serves strangers."""

from __future__ import annotations

from websockets.asyncio.server import ServerConnection

_MOST_UNREAD = 1 << 20  # bytes; what is sent waits for its reader long before


class Socket(ServerConnection):
    """Lets go of a client that pings and does not read.

    Pings are answered as they come, whether the client takes the answers or not: without a limit
    they would fill the memory as fast as the network brings them.
    """

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _MOST_UNREAD:
            self.transport.abort()

"""Closes two ways to exhaust a server's memory that the websockets library leaves open."""

from __future__ import annotations

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

_MAX_UNREAD = 1 << 20  # bytes; sends of our own wait for the client long before
_MAX_FRAGMENTS = 4096  # of a message; websockets 17 has the same limit, 16 (Python 3.10) has none


class Socket(ServerConnection):
    """A websocket that drops clients that exhaust memory: unread pongs, endless fragments.

    The library answers each ping as it comes, even if the client reads no pong, and its limit on a
    message's size does not stop a message of endless empty fragments.
    """

    _fragments = 0  # of the message that has begun

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _MAX_UNREAD:
            self.transport.abort()

    def process_event(self, event: Event) -> None:
        super().process_event(event)
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._fragments = 0 if event.fin else self._fragments + 1
            if self._fragments > _MAX_FRAGMENTS:
                self.transport.abort()

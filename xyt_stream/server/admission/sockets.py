"""The server's websockets: what the library leaves to whoever serves strangers."""

from __future__ import annotations

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

_MOST_UNREAD = 1 << 20  # bytes; what is sent waits for its reader long before
_MOST_PIECES = 4096  # of a message; websockets 17 has the same limit, 16 (for Python 3.10) none


class Socket(ServerConnection):
    """Lets go of who would fill the memory.

    That is a client that pings and does not read: pings are answered as they come, whether the
    answers are taken or not. And one whose message never ends and has nothing in it.
    """

    _pieces = 0  # of the message that has begun

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.transport.get_write_buffer_size() > _MOST_UNREAD:
            self.transport.abort()

    def process_event(self, event: Event) -> None:
        super().process_event(event)
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            self._pieces = 0 if event.fin else self._pieces + 1
            if self._pieces > _MOST_PIECES:
                self.transport.abort()

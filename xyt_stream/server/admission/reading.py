"""Pauses and resumes the reading of a connection, and ends it if its client goes meanwhile."""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Callable

_CHECK_EVERY = 1.0  # seconds between looks at a connection that is not read


class Reading:
    """The reading of one connection. For the event loop's thread.

    Args:
        transport: of the connection.
        ping: sends a ping, if the connection is one that can be.
    """

    def __init__(self, transport: asyncio.Transport, ping: Callable[[], None]) -> None:
        self._transport = transport
        self._ping = ping
        self._loop = asyncio.get_running_loop()
        self._paused = False
        self._check: asyncio.TimerHandle | None = None

    def pause(self) -> None:
        """Reads nothing more; the connection ends within a second or two if its client goes."""
        if not self._paused and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()
            if self._check is None:
                self._check = self._loop.call_later(_CHECK_EVERY, self._look)

    def pause_for(self, seconds: float) -> None:
        """Reads nothing for so many seconds."""
        self.pause()
        self._loop.call_later(seconds, self.resume)

    def resume(self) -> None:
        """Reads on."""
        if self._paused and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def stop(self) -> None:
        """The connection is over."""
        if self._check is not None:
            self._check.cancel()

    def _look(self) -> None:
        """Ends a connection that is not read, once the client has gone."""
        self._check = None
        if self._paused and not self._transport.is_closing():
            if _has_gone(self._transport):
                self._transport.abort()
            else:
                # A client that has closed, with data on its way, answers anything with a reset.
                self._ping()
                self._check = self._loop.call_later(_CHECK_EVERY, self._look)


def _has_gone(transport: asyncio.Transport) -> bool:
    """Whether the other end has closed the connection, whatever is still unread; on Linux only."""
    found = transport.get_extra_info("socket")
    if found is None or sys.platform != "linux":
        return False
    poll = select.poll()
    poll.register(found.fileno(), select.POLLRDHUP)
    return bool(poll.poll(0))

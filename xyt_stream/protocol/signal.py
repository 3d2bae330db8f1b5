"""Wakes tasks that wait until some state has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Signal:
    """Wakes the tasks that wait for a change of some state. For one event loop's thread.

    It is asyncio.Condition without the lock, which the code of one event loop does not need.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Wakes all tasks that wait: the state has changed."""
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                _wake(each)

    async def wait(self, timeout: float | None = None) -> None:
        """Waits for the next `notify`, or for `timeout` seconds."""
        loop = asyncio.get_running_loop()
        notified = loop.create_future()
        self._waiting.append(notified)
        # Not asyncio.wait_for: until Python 3.12 a cancellation is lost in it if the time is over.
        timer = None if timeout is None else loop.call_later(timeout, _wake, notified)
        try:
            await notified
        finally:
            if timer is not None:
                timer.cancel()
            if notified in self._waiting:
                self._waiting.remove(notified)

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Waits until the predicate is true; it is checked now and after each `notify`."""
        while not predicate():
            await self.wait()


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)

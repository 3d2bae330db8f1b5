"""Wakes tasks that wait until some state has changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class Signal:
    """Wakes the tasks that wait for a change of some state. For one event loop's thread.

    It is asyncio.Condition without the lock, which the code of one event loop does not need.
    """

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def notify(self) -> None:
        """Wakes all tasks that wait: the state has changed."""
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:
        """Waits for the next `notify`, or for `timeout` seconds."""
        if timeout is not None:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.wait(), timeout)
            return
        notified = asyncio.get_running_loop().create_future()
        self._waiting.append(notified)
        try:
            await notified
        finally:
            if not notified.done() or notified.cancelled():  # nobody else takes it out
                self._waiting = [each for each in self._waiting if each is not notified]

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Waits until the predicate is true; it is checked now and after each `notify`."""
        while not predicate():
            await self.wait()

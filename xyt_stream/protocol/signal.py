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
        self._event = asyncio.Event()

    def notify(self) -> None:
        """Wakes all tasks that wait: the state has changed."""
        self._event.set()

    async def wait(self, timeout: float | None = None) -> None:
        """Waits for the next `notify`, or for `timeout` seconds."""
        self._event.clear()
        if timeout is None:
            await self._event.wait()
            return
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)

    async def wait_for(self, predicate: Callable[[], bool]) -> None:
        """Waits until the predicate is true; it is checked now and after each `notify`."""
        while not predicate():
            await self.wait()

"""Runs a thread beside the event loop and posts its results back to the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """A thread with a condition to wait on and a way back to the event loop.

    Args:
        name: of the thread.
        run: the thread's function; it must return soon after `closing` is set.

    Attributes:
        wake: guards the thread's input; the thread waits on it, the event loop notifies it.
        closing: whether the thread must end; guarded by `wake`.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.wake = threading.Condition()
        self.closing = False
        self._thread = threading.Thread(target=run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread; `post` calls go to the event loop that runs now."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """Ends the thread after its current step; waits for that, at most `timeout` seconds."""
        with self.wake:
            self.closing = True
            self.wake.notify()
        self._thread.join(timeout)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def post(self, callback: Callable[..., None], *args: Any) -> None:
        """Has the event loop call `callback`, unless `closing` is set. For the worker's thread."""
        if not self.closing:
            self._loop.call_soon_threadsafe(callback, *args)

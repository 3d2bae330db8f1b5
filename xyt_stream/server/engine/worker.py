"""A thread beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """Works off what the event loop leaves for it, and tells the loop what came of it.

    Args:
        name: of the thread.
        run: all that the thread does; it returns soon after `closing` is set.

    Attributes:
        wake: guards what is left for the thread, which waits on it; notified when there is more.
        closing: whether the thread shall end; belongs to whoever holds `wake`.
    """

    def __init__(self, name: str, run: Callable[[], None]) -> None:
        self.wake = threading.Condition()
        self.closing = False
        self._thread = threading.Thread(target=run, name=name, daemon=True)

    def start(self) -> None:
        """Starts the thread; what it tells comes to the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self, patience: float | None = None) -> None:
        """Ends the thread after what it is at, for which it has so many seconds; None: for ever."""
        with self.wake:
            self.closing = True
            self.wake.notify()
        self._thread.join(patience)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def tell(self, callback: Callable[..., None], *args: Any) -> None:
        """From the thread: the event loop calls it, unless all is about to end."""
        if not self.closing:
            self._loop.call_soon_threadsafe(callback, *args)

"""Returns the memory of closed sessions to the system.

A closed session is a cycle of references, which Python frees when it collects garbage: seldom, in a
server whose objects live long. And the C library keeps what was freed for later.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import Callable
from functools import cache

_EVERY = 5.0  # seconds between collections


class Reclaim:
    """Collects garbage after sessions have closed. For the event loop's thread.

    It does so only in a process whose other objects are frozen, see `freeze`: there a collection
    takes a millisecond, and elsewhere it can take a second, in which no sound is sent.

    Args:
        now: seconds of the monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._last = now
        self._closed = False
        # Asked once: the interpreter walks all frozen objects to count them, for 20 ms.
        self._cheap = gc.get_freeze_count() > 0

    def session_closed(self) -> None:
        """Notes that there is garbage."""
        self._closed = True

    def check(self, now: float) -> None:
        """Collects if it is time; `now` is of the monotonic clock. Call it each second."""
        if self._closed and self._cheap and now - self._last >= _EVERY:
            self._closed, self._last = False, now
            gc.collect()
            if (trim := _malloc_trim()) is not None:
                asyncio.get_running_loop().run_in_executor(None, trim, 0)


def freeze() -> None:
    """Takes all current objects out of garbage collection.

    A full collection would stop all sound for a fifth of a second.
    """
    gc.collect()
    gc.freeze()


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """The C library's function that gives free memory back; None where it has none."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return trim

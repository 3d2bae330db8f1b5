"""Returns the memory of closed sessions to the system.

A closed session is a cycle of references, which Python frees when it collects garbage: seldom, in a
server whose objects live long. And the C library keeps what was freed for later.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import time
from collections.abc import Callable
from functools import cache

_EVERY = 5.0  # seconds between collections, while there is little garbage
_MANY = 32  # closed sessions, of two hundred objects each, after which it does not wait for that
_SHARE = 0.05  # of the event loop's time that collections may take


class Reclaim:
    """Collects garbage after sessions have closed. For the event loop's thread.

    It does so only in a process whose other objects are frozen, see `freeze`: there a collection
    takes a millisecond, and elsewhere it can take a second, in which no sound is sent. Garbage
    takes time, too, some half a millisecond a session: so it does not wait until there is much.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._rest_until = 0.0  # before that, no collection: they may take so much time and no more
        self._closed = 0  # sessions, since the last one
        self._left = False  # whether garbage of theirs may be left, for `check`
        self._timer: asyncio.TimerHandle | None = None  # of the next one
        # Asked once: the interpreter walks all frozen objects to count them, for 20 ms.
        self._cheap = gc.get_freeze_count() > 0

    def session_closed(self) -> None:
        """Notes that there is garbage."""
        self._closed += 1
        self._left = True
        if self._closed >= _MANY and self._cheap and self._timer is None:
            wait = max(0.0, self._rest_until - self._clock())
            self._timer = asyncio.get_running_loop().call_later(wait, self._collect)

    def check(self) -> None:
        """Collects if it is time, and gives memory back. Call it each second."""
        if self._left and self._cheap and self._clock() - self._last >= _EVERY:
            self._collect()
            self._left, self._last = False, self._clock()
            if (trim := _malloc_trim()) is not None:
                asyncio.get_running_loop().run_in_executor(None, trim, 0)

    def _collect(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._closed, began = 0, self._clock()
        gc.collect()
        ended = self._clock()
        self._rest_until = ended + (ended - began) / _SHARE


def freeze() -> None:
    """Takes all current objects out of garbage collection.

    A full collection would stop all sound for a fifth of a second.
    """
    gc.collect()
    gc.freeze()


def release(*circle: object) -> None:
    """Frees objects that refer to each other, and that nothing uses any more.

    Garbage collection would free them, too, but it stops the event loop meanwhile.
    """
    for each in circle:
        vars(each).clear()


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """The C library's function that gives free memory back; None where it has none."""
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl, macOS, Windows
        return None
    return trim

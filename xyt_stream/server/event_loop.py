"""Runs the event loop of a process that only serves."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from xyt_stream.server.admission.reclaim import freeze

# Seconds that a thread may keep the interpreter's lock while others wait. The event loop gives it
# away for each system call and takes it back before a waiting thread has woken up, unless that has
# asked for it: with floods after 200 microseconds, as it was, a thread waited for 4 ms each time.
_SWITCH_INTERVAL = 5e-6


def run_fast(main: Coroutine[Any, Any, None]) -> None:
    """Runs `main` as asyncio.run does, for a process that only serves and has loaded its model.

    It uses uvloop where that is installed: uvloop is faster and reuses one read buffer, while
    asyncio allocates 256 KiB for every read, which fragments memory. It takes all current objects
    out of garbage collection, and `running` those of the server. It shortens the interval,
    of 5 ms, after which a waiting thread asks for the interpreter's lock.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    freeze()
    try:
        import uvloop
    except ImportError:  # not on every platform
        asyncio.run(main)
    else:
        uvloop.run(main)

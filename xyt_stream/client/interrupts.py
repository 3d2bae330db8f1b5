"""Ends a command on Ctrl-C and other signals: first in good order, then at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE = 10.0  # seconds from the first signal until the process ends anyway


@contextmanager
def interruptible(stop: Callable[[], None]) -> Iterator[None]:
    """Handles SIGINT, SIGTERM and SIGHUP: the first calls `stop`, the second ends the process.

    GRACE seconds after the first signal the process ends anyway, in case the server is unreachable.
    """
    loop = asyncio.get_running_loop()
    signals = [
        number
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # under nohup, SIGHUP stays ignored
    ]
    timers: list[asyncio.TimerHandle] = []

    def interrupted(number: int) -> None:
        restore()
        timers.append(loop.call_later(GRACE, signal.raise_signal, number))
        stop()

    def restore() -> None:
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, interrupted, number)
    try:
        yield
    finally:
        restore()
        for timer in timers:
            timer.cancel()

"""Runs a thread beside the event loop and posts its results back to the loop."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_PR_SET_TIMERSLACK = 29  # of prctl(2)

_log = logging.getLogger(__name__)


class Worker:
    """A thread with a condition to wait on and a way back to the event loop.

    Args:
        name: of the thread.
        run: the thread's function; it must return soon after `closing` is set.
        on_failure: called on the event loop if the function ends by an exception of any kind.
        nice: taken from the thread's priority on Linux, where each thread has one.
        prompt: whether its short waits end on time on Linux, those for the interpreter's lock, too:
            elsewhere they may take 50 microseconds longer.

    Attributes:
        wake: guards the thread's input; the thread waits on it, the event loop notifies it.
        closing: whether the thread must end; guarded by `wake`.
        failed: whether it has ended by an exception.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[], None],
        on_failure: Callable[[], None] = lambda: None,
        *,
        nice: int = 0,
        prompt: bool = False,
    ) -> None:
        self._nice = nice
        self._prompt = prompt
        self._run = run
        self._on_failure = on_failure
        self.failed = False
        self.wake = threading.Condition()
        self.closing = False
        self._thread = threading.Thread(target=self._contain, name=name, daemon=True)

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
        """Whether the thread runs; a failed one counts as ended while it reports its failure."""
        return self._thread.is_alive() and not self.failed

    def _contain(self) -> None:
        try:
            _lower_priority(self._nice)
            if self._prompt:
                _wake_on_time()
            self._run()
        except BaseException:  # SystemExit as well: a thread that ends by it says nothing
            self.failed = True
            _log.exception("the thread %s has failed", self._thread.name)
            self.post(self._on_failure)

    def post(self, callback: Callable[..., None], *args: Any) -> None:
        """Has the event loop call `callback`, unless `closing` is set. For the worker's thread."""
        if not self.closing:
            self._loop.call_soon_threadsafe(callback, *args)


def _lower_priority(nice: int) -> None:
    """Takes so much from the calling thread's priority, on Linux: elsewhere it is the process's."""
    if nice and sys.platform == "linux":
        thread = threading.get_native_id()
        with suppress(OSError):  # some sandboxes forbid it
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + nice)


def _wake_on_time() -> None:
    """Has the kernel end the calling thread's timed waits at once, on Linux.

    By default it may do so 50 microseconds late, to wake the processor less often.
    """
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # a C library without it
            ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)

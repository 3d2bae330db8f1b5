"""Runs a command in a pseudo-terminal, as a person sees it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 180.0  # seconds

# A shell ignores SIGINT for what it runs in the background.
CONTROLLED = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A process in a terminal of its own."""

    def __init__(self, *command: str) -> None:
        self._terminal, other = pty.openpty()
        # A session of its own, with the terminal as the controlling one: Ctrl-C becomes SIGINT.
        self._process = subprocess.Popen(
            [sys.executable, "-c", CONTROLLED, *command],
            stdin=other,
            stdout=other,
            stderr=other,
            start_new_session=True,
        )
        os.close(other)
        self._printed = b""

    def read_until(self, *words: str) -> str:
        """Waits until all of these words were printed; returns all that was printed."""
        until = time.monotonic() + PATIENCE
        while any(word.encode() not in self._printed for word in words):
            readable, _, _ = select.select([self._terminal], [], [], until - time.monotonic())
            assert readable, self._printed
            self._printed += os.read(self._terminal, 65_536)  # OSError: the process has ended
        return self._printed.decode()

    def interrupt(self) -> int:
        """Presses Ctrl-C; returns the exit status."""
        os.write(self._terminal, b"\3")
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


@contextmanager
def in_terminal(*command: str) -> Iterator[Terminal]:
    terminal = Terminal(*command)
    try:
        yield terminal
    finally:
        terminal.close()

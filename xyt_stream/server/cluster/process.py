"""Runs a program beside this one, and waits for the line that says that it is ready."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress

from xyt_stream.errors import ServeError


class Process:
    """A program that runs until it is stopped. Runs on one event loop.

    Args:
        name: for messages.
        command: the program and its arguments.
        env: its environment; None: this program's.

    Attributes:
        name: the same.
    """

    def __init__(
        self, name: str, command: Sequence[str], env: dict[str, str] | None = None
    ) -> None:
        self.name = name
        self._command = command
        self._env = env
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process is not None
        return self._process.pid

    async def start(self, ready: str = "") -> None:
        """Starts the program, and waits for a line of its output that contains `ready`.

        Signals of the terminal do not reach it: `stop` ends it, in order.

        Raises:
            ServeError: it has ended before.
        """
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE if ready else None,
            env=self._env,
            start_new_session=True,
        )
        if not ready:
            return
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            if ready in line.decode(errors="replace"):
                return
        status = await self._process.wait()
        raise ServeError(f"{self.name} could not start: its exit status is {status}, see above")

    async def wait(self) -> int:
        """Waits until the program has ended; returns its exit status."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, seconds: float, number: int = signal.SIGTERM) -> None:
        """Sends the signal and waits for the end; after so many seconds it ends the program."""
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except asyncio.TimeoutError:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

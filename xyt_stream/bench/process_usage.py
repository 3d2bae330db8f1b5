"""Measures the processors and the memory that a process uses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xyt_stream.errors import MissingExtraError

if TYPE_CHECKING:
    from psutil import Process


def process_of(pid: int) -> Process:
    """Opens a process for measurement.

    Raises:
        MissingExtraError: psutil is not installed.
    """
    try:
        import psutil
    except ModuleNotFoundError:
        raise MissingExtraError("Figures of the server process", "bench") from None
    return psutil.Process(pid)


class ProcessUsage:
    """Measures what a process uses from now on.

    Args:
        pid: of the process.

    Raises:
        MissingExtraError: psutil is not installed.
    """

    def __init__(self, pid: int) -> None:
        self._process = process_of(pid)
        self._process.cpu_percent()

    def until_now(self) -> tuple[float, float]:
        """Returns the processors in use, on average since the beginning, and the memory in MiB."""
        memory = self._process.memory_info().rss / 2**20
        return self._process.cpu_percent() / 100, memory

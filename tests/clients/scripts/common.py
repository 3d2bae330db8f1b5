"""Holds the common part of the clients' scripts: the speech to send, and the report.

A script talks with the server at XYT_URL with its client's own calls, and prints a report: for each
step, how many seconds of sound it was given, and every error that its client reported.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

RATE = 24_000  # Hz, 16 bits, mono
URL = os.environ["XYT_URL"]  # ws://HOST:PORT/v1
SPEECH = Path(os.environ["XYT_SPEECH"]).read_bytes()
PAUSE = bytes(2 * int(0.3 * RATE))  # in the middle of an utterance
SILENCE = bytes(2 * RATE)  # a second, which ends a turn
CHUNK = 2 * RATE // 50  # bytes of 20 ms
SPEED = 1.0  # times real time that microphones run at here
PATIENCE = float(os.environ.get("XYT_PATIENCE", 60))  # seconds until a reply must have come


class Report:
    """The sound that a client got in each step, and its errors."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._heard: dict[str, float] = {}
        self._step = ""
        self._bytes = 0

    def begin(self, step: str) -> None:
        """Begins a step: later sound belongs to it."""
        self._step, self._bytes = step, 0
        self._heard[step] = 0.0

    def hear(self, sound: bytes) -> None:
        """Adds sound that the client got, 24 kHz, 16 bits."""
        self._bytes += len(sound)
        self._heard[self._step] = self._bytes / 2 / RATE

    @property
    def seconds(self) -> float:
        """Seconds of sound in this step."""
        return self._bytes / 2 / RATE

    def error(self, error: object) -> None:
        """Adds an error that the client reported."""
        self.errors.append(f"{self._step}: {error}")

    def print(self) -> None:
        """Prints the report, which the test reads."""
        print(json.dumps({"heard": self._heard, "errors": self.errors}), flush=True)


async def chunks(*sounds: bytes) -> AsyncIterator[bytes]:
    """The sounds as a microphone gives them, 20 ms at a time."""
    sound = b"".join(sounds)
    clock = asyncio.get_running_loop().time
    began = clock()
    for start in range(0, len(sound), CHUNK):
        yield sound[start : start + CHUNK]
        due = began + (start + CHUNK) / 2 / RATE / SPEED
        await asyncio.sleep(max(0.0, due - clock()))


async def until(condition: Callable[[], object], what: str) -> None:
    """Waits for it."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"waited for {what}")
        await asyncio.sleep(0.02)


def run(main: Callable[[Report], object]) -> None:
    """Runs a script to its end, or reports why it has none."""
    report = Report()
    try:
        asyncio.run(main(report))  # type: ignore[arg-type]
    except BaseException as error:
        report.error(f"{type(error).__name__}: {error}")
        raise
    finally:
        report.print()

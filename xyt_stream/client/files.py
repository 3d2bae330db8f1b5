"""Uses sound files instead of a microphone and a loudspeaker, in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import numpy as np

from xyt_stream.audio import INPUT_RATE, Pcm16, create_audio, read_audio, to_int16, writing
from xyt_stream.client.jitter import JitterBuffer

BLOCK = INPUT_RATE // 50  # samples, 20 ms


class FileSource:
    """Yields a sound file at the pace of a microphone.

    Args:
        silence: seconds of silence after the file.

    Attributes:
        seconds: duration.

    Raises:
        AudioError: the file cannot be read as sound.
    """

    def __init__(self, path: Path, silence: float = 0.0) -> None:
        samples, _ = read_audio(path, INPUT_RATE)
        tail = np.zeros(round(silence * INPUT_RATE), np.int16)
        self._pcm = np.concatenate([to_int16(samples), tail])
        self._start = 0.0
        self._next = 0  # sample
        self._stopped = asyncio.Event()
        self.seconds: float | None = len(self._pcm) / INPUT_RATE

    async def blocks(self) -> AsyncIterator[Pcm16]:
        """Yields int16 [up to BLOCK] at INPUT_RATE, each at the time a microphone would."""
        self._start = time.monotonic()
        while self._next < len(self._pcm):
            block = self._pcm[self._next : self._next + BLOCK]
            self._next += len(block)
            due = self._start + self._next / INPUT_RATE
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), max(0.0, due - time.monotonic()))
            if self._stopped.is_set():
                return
            yield block

    def skip(self) -> None:
        """Drops the blocks that a microphone would have captured by now."""
        now = int((time.monotonic() - self._start) * INPUT_RATE)
        self._next = max(self._next, now // BLOCK * BLOCK)

    def stop(self) -> None:
        """Ends `blocks` at once."""
        self._stopped.set()

    def close(self) -> None:
        """Does nothing: the file was read whole."""


class FileSink:
    """Writes audio into a file as it arrives, and simulates a loudspeaker's jitter buffer.

    Raises:
        AudioError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self._path = path
        self._file = create_audio(path, rate)
        self.buffer = JitterBuffer(rate)
        self._start: float | None = None
        self._played = 0

    def write(self, samples: Pcm16, *, gap: bool = False) -> None:
        """Writes int16 [samples] at `rate`; `gap`: audio before them was lost.

        Raises:
            AudioError: writing failed, for example because the disk is full.
        """
        with writing(self._path):
            self._file.write(samples)
        now = time.monotonic()
        self._start = now if self._start is None else self._start
        due = int((now - self._start) * self.buffer.rate)
        if due > self._played:
            self.buffer.pull(due - self._played)
            self._played = due
        self.buffer.push(samples, gap=gap)

    def clear(self) -> int:
        """Returns the samples that a loudspeaker would not have played yet; the file has them."""
        return self.buffer.clear()

    async def drain(self) -> None:
        """Does nothing: everything has been written."""

    def close(self) -> None:
        """Completes the file."""

        self._file.close()

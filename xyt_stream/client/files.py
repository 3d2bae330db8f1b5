"""Uses sound files and pipes instead of a microphone and a loudspeaker, in real time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from xyt_stream.audio import INPUT_RATE, Pcm16, SoundReader, SoundWriter, to_int16
from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.errors import AudioError

BLOCK = INPUT_RATE // 50  # samples, 20 ms
_AHEAD = 8  # pieces of a file that are read ahead


class FileSource:
    """Yields a sound file or pipe ("-": standard input) at the pace of a microphone.

    A thread of its own reads the file piece by piece, so that a file of any length takes little
    memory and a pipe may be slow.

    Args:
        silence: seconds of silence after the file.
        clock: returns seconds.

    Attributes:
        seconds: duration; None: unknown.

    Raises:
        AudioError: the file cannot be read as sound.
    """

    def __init__(
        self, path: Path, silence: float = 0.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._reader = SoundReader(path)
        expected = self._reader.expected
        self.seconds: float | None = None
        if expected is not None:
            self.seconds = expected / self._reader.rate + silence
        self._silence = round(silence * INPUT_RATE)
        self._start = 0.0
        self._next = 0  # sample
        self._skip_to = 0  # sample
        self._stopped = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._pieces: asyncio.Queue[Pcm16 | AudioError | None] = asyncio.Queue()
        self._space = threading.Semaphore(_AHEAD)
        self._closed = False
        self._thread = threading.Thread(target=self._read, name="file source", daemon=True)

    async def blocks(self) -> AsyncIterator[Pcm16]:
        """Yields int16 [up to BLOCK] at INPUT_RATE, each at the time a microphone would.

        Raises:
            AudioError: the file is damaged or holds no sound.
        """
        self._thread.start()
        self._start = self._clock()
        waiting = np.zeros(0, np.int16)
        while (piece := await self._piece()) is not None:
            waiting = np.concatenate([waiting, piece])
            whole = len(waiting) // BLOCK * BLOCK
            for start in range(0, whole, BLOCK):
                if await self._due(BLOCK):
                    return
                if self._next > self._skip_to:
                    yield waiting[start : start + BLOCK]
            waiting = waiting[whole:]
        if len(waiting) and not await self._due(len(waiting)):
            yield waiting

    def skip(self) -> None:
        """Drops the blocks that a microphone would have captured by now."""
        now = int((self._clock() - self._start) * INPUT_RATE)
        self._skip_to = now // BLOCK * BLOCK

    def stop(self) -> None:
        """Ends `blocks` at once."""
        self._stopped.set()

    def close(self) -> None:
        """Closes the file; its thread ends when it has read the piece at hand."""
        self._closed = True
        self._space.release()
        if self._thread.ident is None:  # it never started
            self._reader.close()

    async def _piece(self) -> Pcm16 | None:
        """The next piece of the file; None at its end or after `stop`."""
        getting = asyncio.ensure_future(self._pieces.get())
        stopping = asyncio.ensure_future(self._stopped.wait())
        try:
            await asyncio.wait({getting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            piece = getting.result() if getting.done() else None
        finally:
            getting.cancel()
            stopping.cancel()
        self._space.release()
        if isinstance(piece, AudioError):
            raise piece
        return piece

    async def _due(self, samples: int) -> bool:
        """Waits until these samples are due; returns True after `stop`."""
        self._next += samples
        if self._next <= self._skip_to:
            return self._stopped.is_set()
        due = self._start + self._next / INPUT_RATE
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), max(0.0, due - self._clock()))
        return self._stopped.is_set()

    def _read(self) -> None:
        """Reads the file in its thread."""
        end: AudioError | None = None
        try:
            with self._reader:
                for block in self._reader.resampled(INPUT_RATE):
                    if not self._put(to_int16(block)):
                        return
                self._put(np.zeros(self._silence, np.int16))
        except AudioError as error:
            end = error
        with suppress(RuntimeError):  # the loop may be closed by now
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, end)

    def _put(self, piece: Pcm16) -> bool:
        """Hands a piece to the event loop when there is space; returns False after `close`."""
        self._space.acquire()
        if self._closed:
            return False
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._pieces.put_nowait, piece)
        return True


class FileSink:
    """Writes audio into a file as it arrives, and simulates a loudspeaker's jitter buffer.

    Args:
        path: a file, a pipe or "-" for standard output.
        rate: Hz.
        clock: returns seconds.

    Raises:
        AudioError: the file cannot be written.
    """

    def __init__(self, path: Path, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._file = SoundWriter(path, rate, direct=True)
        self.buffer = JitterBuffer(rate)
        self._start: float | None = None
        self._played = 0

    def write(self, samples: Pcm16, *, gap: bool = False) -> None:
        """Writes int16 [samples] at `rate`; `gap`: audio before them was lost.

        Raises:
            AudioError: writing failed, for example because the disk is full.
        """
        self._file.write(samples)
        now = self._clock()
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

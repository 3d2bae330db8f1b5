"""Measures mouth-to-ear latency through a real server: each part, and the whole apart from them.

The mouth is a recording sent in real time in blocks of 20 ms, the ear a jitter buffer emptied in
such blocks; neither needs a sound card. The parts come from clocks and the server's counters. The
whole is the shift at which the received sound fits best over the sound that was sent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from xyt_stream.audio import FRAME_SECONDS, INPUT_RATE, Pcm16, Samples, to_float32
from xyt_stream.bench.lag import envelope_lag, shift
from xyt_stream.bench.latency_parts import FrameTimes, ServerTotals, parts_ms, server_totals
from xyt_stream.bench.speech import BLOCK_SECONDS, in_real_time
from xyt_stream.client import Connection, connect
from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.errors import ProtocolError, ServeError
from xyt_stream.evaluate.timing import Times
from xyt_stream.protocol.frame_clock import FrameClock
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import Ready

_AFTER = 1.0  # s of silence after the recording, in which its end comes back


@dataclass(frozen=True)
class Run:
    """One recording's way through a server.

    Attributes:
        ready: the server's description of the session.
        frames: the times of each frame that arrived while the ear was playing.
        parts: the parts of the latency in the order of the way, ms; they add up to `total_ms`.
        mouth_to_ear_ms: the latency by the sound itself.
        received: the sound that the ear played, float32 [samples], from the first sent sample on.
        fault: why the figures mean nothing, in words; None if they are valid.
    """

    ready: Ready
    frames: list[FrameTimes]
    parts: dict[str, float]
    mouth_to_ear_ms: float
    received: Samples
    fault: str | None

    @property
    def total_ms(self) -> float:
        """The sum of the parts."""
        return sum(self.parts.values())


def measure(
    url: str,
    pcm: Pcm16,
    steps: tuple[Times, Times],
    *,
    expected: Samples | None = None,
    target: float = 0.1,
    tries: int = 5,
    on_fault: Callable[[str], None] = lambda fault: None,
) -> Run:
    """Sends a recording in real time and receives its sound, until a run is valid.

    A run is valid if its latency stays the same and nothing is late. On a busy machine no run may
    be: then the last one is returned, with its `fault`.

    Args:
        pcm: int16 [samples] at 16 kHz.
        steps: times of encoder and decoder alone, from `step_times`.
        expected: the sound that the model makes of `pcm`, float32 [samples] at its output rate;
            without it the received sound is compared with `pcm` itself.
        target: seconds of sound in the jitter buffer before it plays.
        tries: runs at most.
        on_fault: called with each invalid run's fault.

    Raises:
        ConnectionFailedError, ProtocolError: there is no server, or it stays busy.
        ServeError: the server sends too little sound.
    """
    with ThreadPoolExecutor(1) as thread:  # a notebook's own thread already runs an event loop
        while True:
            tries -= 1
            try:
                run = thread.submit(lambda: asyncio.run(_record(url, pcm, target))).result()
            except ProtocolError as error:
                if error.retry_after is None or tries <= 0:
                    raise
                time.sleep(error.retry_after)
                continue
            result = _result(run, pcm, expected, steps)
            if result.fault is None:
                return result
            on_fault(result.fault)
            if tries <= 0:
                return result


class _Ear:
    """Empties a jitter buffer in blocks, in real time, and keeps what it played."""

    def __init__(self, rate: int, began: float, target: float) -> None:
        self.buffer = JitterBuffer(rate, target=target)
        self._rate = rate
        self._played: list[Pcm16] = []
        self._next_block = began
        self._plays = False

    def wait(self) -> tuple[float, float] | None:
        """Seconds that sound arriving now waits in the buffer and in the device, if it plays."""
        if not self._plays:
            return None
        return self.buffer.depth, self._next_block - time.monotonic()

    async def play(self) -> None:
        """Plays until it is cancelled."""
        count = round(BLOCK_SECONDS * self._rate)
        while True:
            await asyncio.sleep(max(0.0, self._next_block - time.monotonic()))
            block = self.buffer.pull(count)
            self._plays = len(block) == count
            self._played.append(np.pad(block, (0, count - len(block))))
            self._next_block += BLOCK_SECONDS

    def played(self) -> Samples:
        return to_float32(np.concatenate(self._played))


@dataclass(frozen=True)
class _Recorded:
    """The raw figures of one run."""

    ready: Ready
    frames: list[FrameTimes]
    server: ServerTotals  # while these frames were on their way
    lost: int  # frames that did not come back
    buffer: JitterBuffer
    received: Samples


async def _record(url: str, pcm: Pcm16, target: float) -> _Recorded:
    async with connect(url, "loopback", send_rate=INPUT_RATE) as connection:
        ready = connection.ready
        clock = FrameClock(ready.frame_samples)
        captures: list[float] = []  # seconds, by frame
        frames: list[FrameTimes] = []
        began = time.monotonic()
        ear = _Ear(ready.receive_rate, began, target)
        playing = asyncio.create_task(ear.play())
        sending = asyncio.create_task(_send(url, connection, pcm, clock, captures, began))
        before = None
        arrived = set()
        async for event in connection:
            if isinstance(event, Pcm):
                arrived.add(event.frame)
                turnaround, wait = clock.done(event.frame), ear.wait()
                # After the end the server does not wait for the lookahead any more.
                if turnaround is not None and wait is not None and not sending.done():
                    before = before or asyncio.create_task(asyncio.to_thread(server_totals, url))
                    frames.append(FrameTimes(captures[event.frame], turnaround, *wait))
                ear.buffer.push(event.samples)
        after = await sending
        playing.cancel()
        if before is None:
            raise ServeError(f"the server at {url} sent too little sound to measure")
        server = after - await before
    lost = len(set(range(len(captures))) - arrived)
    return _Recorded(ready, frames, server, lost, ear.buffer, ear.played())


async def _send(
    url: str,
    connection: Connection,
    pcm: Pcm16,
    clock: FrameClock,
    captures: list[float],
    began: float,
) -> ServerTotals:
    """Sends the sound and notes each whole frame's capture time.

    Returns:
        The server's counters before the end, whose padding it steps through all at once.
    """
    pcm = np.concatenate([pcm, np.zeros(round(_AFTER * INPUT_RATE), np.int16)])
    samples = 0
    async for block in in_real_time(pcm, began):
        clock.fill(len(block))
        samples += len(block)
        late = time.monotonic() - began - samples / INPUT_RATE
        while (len(captures) + 1) * connection.ready.frame_samples <= samples:
            captures.append(late)
        await connection.send_pcm(block)
    totals = await asyncio.to_thread(server_totals, url)
    await connection.end()
    return totals


def _result(
    run: _Recorded,
    pcm: Pcm16,
    expected: Samples | None,
    steps: tuple[Times, Times],
) -> Run:
    rate = run.ready.receive_rate
    if expected is None:
        seconds = envelope_lag(to_float32(pcm), run.received, INPUT_RATE, rate)
    else:
        seconds = shift(expected, run.received) / rate  # one codec made both: compare waveforms
    parts = parts_ms(run.ready, run.frames, run.server, steps)
    return Run(run.ready, run.frames, parts, 1e3 * seconds, run.received, _fault(run, parts))


def _fault(run: _Recorded, parts: dict[str, float]) -> str | None:
    """Says in words what makes a run invalid."""
    ahead = 1e-3 * parts["lookahead"]
    late = sum(frame.turnaround - ahead > FRAME_SECONDS for frame in run.frames)
    count = len(run.frames)
    if run.buffer.underruns:
        return "the jitter buffer ran dry"
    if run.buffer.dropped or run.buffer.skipped:
        return "the jitter buffer left sound out"
    if run.lost:
        return f"frames did not come back: {run.lost}"
    if late:
        return f"{late} of {count} frames took longer than {1e3 * FRAME_SECONDS:.0f} ms"
    if negative := [name for name, ms in parts.items() if ms < 0]:
        return f"the times contradict each other ({', '.join(negative)})"
    return None

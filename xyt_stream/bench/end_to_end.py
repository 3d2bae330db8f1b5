"""Measures mouth-to-ear latency through a real server: each part, and the whole apart from them.

The mouth is a recording sent in real time in blocks of 20 ms, the ear a jitter buffer emptied in
such blocks; neither needs a sound card. The parts come from clocks and the server's counters. The
whole is the shift at which the received sound fits best over the sound that was sent.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from xyt_stream.audio import FRAME_SECONDS, INPUT_RATE, Pcm16, Samples, to_float32, to_int16
from xyt_stream.bench.speech import BLOCK_SECONDS, in_real_time
from xyt_stream.client import Connection, connect
from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.errors import ProtocolError, ServeError
from xyt_stream.evaluate.timing import Times, summary, timed, warm_up
from xyt_stream.protocol.frame_clock import FrameClock
from xyt_stream.protocol.machine import Pcm
from xyt_stream.protocol.messages import Ready
from xyt_stream.streaming.codec import Codec

RESOLUTION = 0.001  # s, of `lag`
_SMOOTH = 0.01  # s over which a codec smears a click
_AFTER = 1.0  # s of silence after the recording, in which its end comes back


def clicks(seconds: float, every: float = 0.7, *, seed: int = 0) -> Pcm16:
    """Makes clicks of 30 ms at uneven distances in a quiet tone, int16 [samples] at 16 kHz."""
    random = np.random.default_rng(seed)
    time_of = np.arange(round(seconds * INPUT_RATE)) / INPUT_RATE
    sound = 0.01 * np.sin(2 * np.pi * 220 * time_of)
    click = np.zeros(480)
    click[::80] = 0.6  # pulses at 200 Hz, as of a voice, which the codec is trained for
    for at in np.arange(0.4, seconds - 0.2, every):
        start = round((at + random.uniform(0, every / 3)) * INPUT_RATE)
        sound[start : start + len(click)] += np.convolve(click, np.hanning(24), "same")
    return to_int16(sound)


def lag(sent: Samples, received: Samples, sent_rate: int, received_rate: int) -> float:
    """Returns the seconds, to RESOLUTION, by which `received` is later than `sent`.

    Their envelopes are compared, because a codec does not keep the waveform.

    Args:
        sent, received: float32 [samples], each at its rate; both start at the same time.
    """
    return RESOLUTION * _shift(_envelope(sent, sent_rate), _envelope(received, received_rate))


def _shift(first: Samples, second: Samples) -> int:
    """Returns the shift, 0 or more, at which `second` correlates best with `first`."""
    size = len(first) + len(second)
    spectrum = np.fft.rfft(second, size) * np.conj(np.fft.rfft(first, size))
    return int(np.fft.irfft(spectrum, size)[: len(second)].argmax())


def _envelope(samples: Samples, rate: int) -> Samples:
    step = round(rate * RESOLUTION)
    power = np.square(samples[: len(samples) // step * step]).reshape(-1, step).mean(axis=1)
    window = np.hanning(round(_SMOOTH / RESOLUTION) + 2)
    smooth: Samples = np.sqrt(np.convolve(power, window / window.sum(), "same"))
    centred: Samples = smooth - smooth.mean()
    return centred


class FrameTimes(NamedTuple):
    """The times of one frame whose sound arrived while the ear was playing, seconds.

    Attributes:
        capture: from its last sample's time until that sample was sent.
        turnaround: from then until its sound arrived, lookahead included.
        buffered: sound that was waiting in the jitter buffer then.
        device: what was still to be played of the block in the sound card then.
    """

    capture: float
    turnaround: float
    buffered: float
    device: float


@dataclass(frozen=True)
class ServerTotals:
    """Counters of a server: the steps, frames and seconds so far."""

    steps: int
    step_seconds: float
    frames: int
    turnaround_seconds: float

    def __sub__(self, other: ServerTotals) -> ServerTotals:
        return ServerTotals(
            self.steps - other.steps,
            self.step_seconds - other.step_seconds,
            self.frames - other.frames,
            self.turnaround_seconds - other.turnaround_seconds,
        )


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
                if turnaround is not None and wait is not None:
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
        shift = lag(to_float32(pcm), run.received, INPUT_RATE, rate)
    else:
        shift = _shift(expected, run.received) / rate  # one codec made both: compare waveforms
    parts = parts_ms(run.ready, run.frames, run.server, steps)
    return Run(run.ready, run.frames, parts, 1e3 * shift, run.received, _fault(run, parts))


def parts_ms(
    ready: Ready, frames: list[FrameTimes], server: ServerTotals, steps: tuple[Times, Times]
) -> dict[str, float]:
    """Splits the latency into its parts, ms, in the order of the way.

    A frame's turnaround holds the lookahead of encoder and decoder, for its sound cannot come
    before the frames ahead of it were sent. What is left of it beyond the server's own turnaround
    is the network.

    Args:
        frames: at least one.
        server: the server's counters during the run.
        steps: times of encoder and decoder alone; they divide the server's step in proportion.
    """
    capture, turnaround, buffered, device = 1e3 * np.mean(frames, axis=0)
    overlap = ready.delay_ms.decode % ready.frame_ms
    block = 1e3 * BLOCK_SECONDS
    ahead = ready.delay_ms.encode - ready.frame_ms  # it comes in whole blocks
    lookahead = math.ceil(ahead / block - 1e-9) * block + ready.delay_ms.decode - overlap
    step = 1e3 * server.step_seconds / server.steps
    in_server = 1e3 * server.turnaround_seconds / server.frames
    encode, decode = (times["median"] for times in steps)
    return {
        "frame": ready.frame_ms,
        "capture": float(capture),
        "lookahead": lookahead,
        "network": float(turnaround) - in_server - lookahead,
        "queue": in_server - step,
        "encode": step * encode / (encode + decode),
        "decode": step * decode / (encode + decode),
        "overlap-add": overlap,
        "jitter buffer": float(buffered),
        "device": float(device),
    }


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


def server_totals(url: str) -> ServerTotals:
    """Reads a server's counters from its /metrics page."""
    with urllib.request.urlopen(f"{url.replace('ws', 'http', 1)}/metrics", timeout=30) as page:
        text = page.read().decode()

    def counter(name: str) -> float:
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    return ServerTotals(
        int(counter("xyt_step_seconds_count")),
        counter("xyt_step_seconds_sum"),
        int(counter("xyt_frame_turnaround_seconds_count")),
        counter("xyt_frame_turnaround_seconds_sum"),
    )


def step_times(codec: Codec, *, steps: int = 50, lookahead: int = 0) -> tuple[Times, Times]:
    """Times steps of the encoder and of the decoder alone, on the codec's device."""
    encoder = codec.stream_encoder(lookahead=lookahead)
    decoder = codec.stream_decoder(lookahead=lookahead)
    noise = torch.randn(codec.frame_samples_in, generator=torch.Generator().manual_seed(0)) / 10
    encoding, decoding = [], []
    for _ in range(warm_up(lookahead) + steps):
        codes, seconds = timed(lambda: encoder.push(noise), codec.device)
        encoding.append(seconds)
        _, seconds = timed(partial(decoder.push, codes), codec.device)
        decoding.append(seconds)
    return summary(encoding[-steps:]), summary(decoding[-steps:])

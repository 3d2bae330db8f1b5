"""What a loopback run measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from rich.table import Table

from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.client.live import RESTARTED
from xyt_stream.protocol.frame_clock import FrameClock
from xyt_stream.protocol.machine import Codes, Event, Pcm
from xyt_stream.protocol.messages import End, Notice, Ready, StepTimes
from xyt_stream.protocol.packing import code_bits, frame_bytes


class Latency:
    """Measures how long a frame takes after it is complete.

    From the moment when the frame's last sample was handed to the connection, to the moment when
    the sound that was decoded from this frame arrived. In between lie the network both ways,
    waiting for a step, encoding and decoding. Not in it: the 80 ms that the frame takes to fill,
    the decoder's delay (`ready.delay_ms` tells both), the jitter buffer and the devices.

    Args:
        frame_samples: samples in a frame at the rate that is sent.
        clock: seconds.
    """

    def __init__(self, frame_samples: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.values: list[float] = []  # seconds, in the order of the frames
        self._clock = clock
        self._frame_samples = frame_samples
        self.begin_anew()

    def begin_anew(self) -> None:
        """A new session: frames count from 0."""
        self._frames = FrameClock(self._frame_samples, self._clock)

    def sent(self, samples: int) -> None:
        """So many more samples are being sent now."""
        self._frames.fill(samples)

    def arrived(self, frame: int) -> None:
        """Sound of this frame has arrived."""
        taken = self._frames.done(frame)
        if taken is not None:
            self.values.append(taken)


@dataclass(frozen=True)
class LoopbackReport:
    """A loopback run in figures.

    Attributes:
        seconds: of sound that were sent.
        frames: code frames that came of it.
        wire_bits_per_second: bits of code payload for each second of sound.
        delay_ms: "encode" and "decode": the codec's algorithmic delay, filling a frame included.
        step_ms: "median" and "p99" of the server's steps; None if it did not say.
        latency_ms: "p50" and "p99", as `Latency` measures it; None without one whole frame.
        jitter_ms: median depth of the jitter buffer when sound arrived.
        underruns: how often the jitter buffer ran dry.
        output: the file or device that the sound went to.
    """

    seconds: float
    frames: int
    wire_bits_per_second: float
    delay_ms: dict[str, float]
    step_ms: dict[str, float] | None
    latency_ms: dict[str, float] | None
    jitter_ms: float
    underruns: int
    output: str

    def table(self) -> Table:
        """For people."""
        table = Table(show_header=False)
        delay = sum(self.delay_ms.values())
        parts = ", ".join(f"{name} {ms:.0f}" for name, ms in self.delay_ms.items())
        table.add_row("sound", f"{self.seconds:.2f} s, {self.frames} frames")
        table.add_row("codes on the wire", f"{self.wire_bits_per_second:.0f} bits a second")
        table.add_row("algorithmic delay", f"{delay:.0f} ms ({parts})")
        if self.step_ms is not None:
            table.add_row("80 ms step", _two(self.step_ms))
        if self.latency_ms is not None:
            table.add_row("latency after a frame is complete", _two(self.latency_ms))
        table.add_row("jitter buffer", f"{self.jitter_ms:.0f} ms, {self.underruns} underruns")
        table.add_row("sound went to", self.output)
        return table


class Recorder:
    """Watches a loopback session and sums it up."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self._latency = Latency(ready.frame_samples)
        self._samples = 0
        self._frames = 0
        self._depths: list[float] = []  # seconds
        self._step_ms: StepTimes | None = None

    def sent(self, samples: int) -> None:
        """So many more samples are being sent now."""
        self._samples += samples
        self._latency.sent(samples)

    def arrived(self, event: Event, buffer: JitterBuffer) -> None:
        """This has come from the server and will go into the buffer."""
        if isinstance(event, Codes):
            self._frames += event.codes.shape[1]
        elif isinstance(event, Pcm):
            self._latency.arrived(event.frame)
            self._depths.append(buffer.depth)
        elif isinstance(event, Notice) and event.name == RESTARTED:
            self._latency.begin_anew()
        elif isinstance(event, End):
            self._step_ms = event.step_ms

    def report(self, buffer: JitterBuffer, output: str) -> LoopbackReport:
        ready = self._ready
        seconds = self._samples / ready.send_rate
        bits = 8 * frame_bytes(ready.model.codebooks, code_bits(ready.model.codebook_size))
        return LoopbackReport(
            seconds=seconds,
            frames=self._frames,
            wire_bits_per_second=self._frames * bits / seconds if seconds else 0.0,
            delay_ms=msgspec.structs.asdict(ready.delay_ms),
            step_ms=None if self._step_ms is None else msgspec.structs.asdict(self._step_ms),
            latency_ms=_percentiles_ms(self._latency.values),
            jitter_ms=float(np.median(self._depths)) * 1e3 if self._depths else 0.0,
            underruns=buffer.underruns,
            output=output,
        )


def _percentiles_ms(seconds: list[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return {"p50": float(p50), "p99": float(p99)}


def _two(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {ms:.1f} ms" for name, ms in figures.items())

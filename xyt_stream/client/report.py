"""Measures a loopback session and reports the figures."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import numpy as np
from rich.table import Table

from xyt_stream.client.jitter import JitterBuffer
from xyt_stream.client.live import RESTARTED
from xyt_stream.client.traffic import Traffic
from xyt_stream.protocol.frame_clock import FrameClock
from xyt_stream.protocol.machine import Codes, Event, Pcm
from xyt_stream.protocol.messages import End, Notice, Ready, StepTimes
from xyt_stream.protocol.packing import code_bits, frame_bytes

KEPT = 1 << 16  # frames whose figures are kept: 87 minutes


class Latency:
    """Measures the turnaround of each frame.

    It begins when the frame's last sample is handed to the connection and ends when the audio
    decoded from the frame arrives. It includes the network both ways, waiting for a step, encoding
    and decoding. It excludes the 80 ms that the frame takes to fill, the decoder's delay (both are
    in `ready.delay_ms`), the jitter buffer and the devices.

    Args:
        frame_samples: samples in a frame at the send rate.
        clock: returns seconds.

    Attributes:
        values: seconds, in the order of the frames; the latest 87 minutes are kept.
    """

    def __init__(self, frame_samples: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.values: collections.deque[float] = collections.deque(maxlen=KEPT)
        self._clock = clock
        self._frame_samples = frame_samples
        self.begin_anew()

    def begin_anew(self) -> None:
        """Counts frames from 0 again, for a new session."""
        self._frames = FrameClock(self._frame_samples, self._clock)

    def sent(self, samples: int) -> None:
        """Counts `samples` that are being sent now."""
        self._frames.fill(samples)

    def arrived(self, frame: int) -> None:
        """Records the arrival of the audio of this frame."""
        seconds = self._frames.done(frame)
        if seconds is not None:
            self.values.append(seconds)


@dataclass(frozen=True)
class WireReport:
    """The bits that crossed the network while sound ran, headers of the websocket included.

    Attributes:
        seconds: that it ran.
        sent, received: bits per second.
    """

    seconds: float
    sent: float
    received: float

    @classmethod
    def of(cls, traffic: Traffic, seconds: float) -> WireReport:
        """The report of so many bytes in so many seconds."""
        longest = max(seconds, 1e-9)
        return cls(seconds, 8 * traffic.sent / longest, 8 * traffic.received / longest)

    @property
    def line(self) -> str:
        """The figures for the terminal."""
        return (
            f"{self.sent:,.0f} bits a second sent, {self.received:,.0f} received, websocket "
            "included (codes alone are 1,000)"
        )


@dataclass(frozen=True)
class LoopbackReport:
    """The figures of a loopback run.

    Attributes:
        seconds: duration of the sound that was sent.
        frames: code frames received.
        wire_bits_per_second: bits of code payload per second, the last frame's padding included.
        delay_ms: "encode" and "decode": the codec's algorithmic delay, including filling a frame.
        step_ms: "median" and "p99" of the server's steps; None if the server did not report it.
        latency_ms: "p50" and "p99" as measured by `Latency`; None without one whole frame.
        jitter_ms: median depth of the jitter buffer when sound arrived.
        underruns: underruns of the jitter buffer.
        output: the file or device that played the sound.
        codec: the place where the codec ran, "here" or "server".
        wire: all that crossed the network.
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
    codec: str
    wire: WireReport

    def table(self) -> Table:
        """The figures as a table for the terminal."""
        table = Table(show_header=False)
        delay = sum(self.delay_ms.values())
        parts = ", ".join(f"{name} {ms:.0f}" for name, ms in self.delay_ms.items())
        table.add_row(
            "sound", f"{self.seconds:.2f} s, {self.frames} frame{'s' * (self.frames != 1)}"
        )
        table.add_row("codes on the wire", f"{self.wire_bits_per_second:.0f} bits a second")
        table.add_row("algorithmic delay", f"{delay:.0f} ms ({parts})")
        if self.step_ms is not None:
            table.add_row("80 ms step", _format(self.step_ms))
        if self.latency_ms is not None:
            table.add_row("latency after a frame is complete", _format(self.latency_ms))
        table.add_row("jitter buffer", f"{self.jitter_ms:.0f} ms, {self.underruns} underruns")
        table.add_row("codec", "here" if self.codec == "here" else "on the server")
        table.add_row("network", self.wire.line)
        table.add_row("output", self.output)
        return table


class Recorder:
    """Collects the figures of a loopback session."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self._latency = Latency(ready.frame_samples)
        self._samples = 0
        self._frames = 0
        self._depths: collections.deque[float] = collections.deque(maxlen=KEPT)  # seconds
        self._step_ms: StepTimes | None = None

    def sent(self, samples: int) -> None:
        """Counts `samples` that are being sent now."""
        self._samples += samples
        self._latency.sent(samples)

    def arrived(self, event: Event, buffer: JitterBuffer) -> None:
        """Records a message from the server, before its audio goes into the buffer."""
        if isinstance(event, Codes):
            self._frames += event.codes.shape[1]
        elif isinstance(event, Pcm):
            self._latency.arrived(event.frame)
            self._depths.append(buffer.depth)
        elif isinstance(event, Notice) and event.name == RESTARTED:
            self._latency.begin_anew()
        elif isinstance(event, End):
            self._step_ms = event.step_ms

    @property
    def before_buffer(self) -> float | None:
        """Seconds from the microphone to the jitter buffer, of the latest frame; None: no frame."""
        values, delays = self._latency.values, self._ready.delay_ms
        return values[-1] + (delays.encode + delays.decode) / 1e3 if values else None

    def report(
        self, buffer: JitterBuffer, output: str, codec: str, wire: WireReport
    ) -> LoopbackReport:
        """The figures so far; see LoopbackReport."""
        ready = self._ready
        seconds = self._samples / ready.send_rate
        longest = max(seconds, self._frames * ready.frame_samples / ready.send_rate)
        bits = 8 * frame_bytes(ready.model.codebooks, code_bits(ready.model.codebook_size))
        return LoopbackReport(
            seconds=seconds,
            frames=self._frames,
            wire_bits_per_second=self._frames * bits / longest if longest else 0.0,
            delay_ms=msgspec.structs.asdict(ready.delay_ms),
            step_ms=None if self._step_ms is None else msgspec.structs.asdict(self._step_ms),
            latency_ms=_percentiles_ms(self._latency.values),
            jitter_ms=float(np.median(self._depths)) * 1e3 if self._depths else 0.0,
            underruns=buffer.underruns,
            output=output,
            codec=codec,
            wire=wire,
        )


def _percentiles_ms(seconds: collections.deque[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    p50, p99 = np.percentile(seconds, (50, 99)) * 1e3
    return {"p50": float(p50), "p99": float(p99)}


def _format(figures: dict[str, float]) -> str:

    return ", ".join(f"{name} {ms:.1f} ms" for name, ms in figures.items())

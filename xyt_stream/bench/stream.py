"""Times one live stream and compares its last seconds with its first."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table

from xyt_stream.evaluate.timing import Times, ran_on, summary, timed, warm_up

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec

WINDOW = 10.0  # s of sound compared at either end


@dataclass(frozen=True)
class StreamTimes:
    """Times of the 80 ms step, encoding and decoding, and memory.

    Attributes:
        seconds: sound that was streamed.
        early, late, all: the first WINDOW seconds of sound, the last, and all of it.
        early_memory, late_memory: peak after WINDOW seconds and at the end, MiB.
    """

    model: str
    device: str
    threads: int
    seconds: float
    early: Times
    late: Times
    all: Times
    early_memory: float
    late_memory: float

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`."""
        return {
            "model": self.model,
            "device": self.device,
            "threads": self.threads,
            "seconds": self.seconds,
            "step_ms": self.all,
            "early_step_ms": self.early,
            "late_step_ms": self.late,
            "early_memory_mib": self.early_memory,
            "late_memory_mib": self.late_memory,
        }

    def table(self) -> Table:
        """Returns the figures for the terminal."""
        title = f"{self.model} on {ran_on(self.device, self.threads)}: one 80 ms step"
        table = Table(
            "part of the stream", "median, ms", "p99, ms", "peak memory, MiB", title=title
        )
        for name, times, memory in (
            (f"first {WINDOW:g} s", self.early, f"{self.early_memory:.1f}"),
            (f"last {WINDOW:g} s", self.late, f"{self.late_memory:.1f}"),
            (f"all {self.seconds:g} s", self.all, ""),
        ):
            table.add_row(name, f"{times['median']:.2f}", f"{times['p99']:.2f}", memory)
        return table


def measure(
    codec: Codec,
    *,
    minutes: float = 10,
    lookahead: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> StreamTimes:
    """Streams noise through encoder and decoder and times each step.

    Args:
        minutes: sound to stream, at least two windows.
        lookahead: future frames that each step sees.
        clock: seconds.
    """
    encoder = codec.stream_encoder(lookahead=lookahead)
    decoder = codec.stream_decoder(lookahead=lookahead)
    noise = torch.randn(codec.frame_samples_in, generator=torch.Generator().manual_seed(0)) / 10
    frame_seconds = codec.frame_samples_in / codec.input_rate
    window = round(WINDOW / frame_seconds)
    steps = round(60 * minutes / frame_seconds)
    for _ in range(warm_up(lookahead)):
        decoder.push(encoder.push(noise))
    seconds: list[float] = []
    early_memory = 0.0
    for _ in range(steps):
        _, step_seconds = timed(lambda: decoder.push(encoder.push(noise)), codec.device, clock)
        seconds.append(step_seconds)
        if len(seconds) == window:
            early_memory = peak_memory(codec.device)
    return StreamTimes(
        model=codec.name,
        device=str(codec.device),
        threads=torch.get_num_threads(),
        seconds=steps * frame_seconds,
        early=summary(seconds[:window]),
        late=summary(seconds[-window:]),
        all=summary(seconds),
        early_memory=early_memory,
        late_memory=peak_memory(codec.device),
    )


def peak_memory(device: torch.device) -> float:
    """Returns the peak memory so far, MiB: of the GPU, or of this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)

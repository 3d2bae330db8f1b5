"""Computes the roofline of a step: the least time that its bytes and its operations take.

After the roofline model of Williams, Waterman and Patterson (2009).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch

from xyt_stream.bench.profile import record
from xyt_stream.evaluate.timing import timed
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.streaming.decoder import StreamDecoder
from xyt_stream.streaming.encoder import StreamEncoder

REPEATS = 10


@dataclass(frozen=True)
class Peaks:
    """The highest rates measured on a device.

    Attributes:
        bandwidth: bytes a second, read and written.
        rate: operations a second in a matrix product.
    """

    bandwidth: float
    rate: float


@dataclass(frozen=True)
class StepCost:
    """The bytes and operations of one step.

    Attributes:
        weight_bytes: weights, read once for all streams.
        cache_bytes: keys and values, read for each stream.
        operations: for each stream; a multiply-add counts as two.
    """

    weight_bytes: int
    cache_bytes: int
    operations: int

    def bytes(self, streams: int) -> int:
        """Returns the bytes that a step of `streams` streams reads."""
        return self.weight_bytes + streams * self.cache_bytes

    def bounds_ms(self, streams: int, peaks: Peaks) -> tuple[float, float]:
        """Returns the least time, ms, for the step's bytes and for its operations."""
        return (
            1e3 * self.bytes(streams) / peaks.bandwidth,
            1e3 * streams * self.operations / peaks.rate,
        )


def step_cost(network: Tokenizer) -> StepCost:
    """Counts the cost of encoding and decoding one frame, in a real step of one stream."""
    encoder = StreamEncoder(network, 1)
    decoder = StreamDecoder(network, 1)
    device = encoder.device
    pcm = torch.zeros(1, encoder.hop, device=device)

    def step() -> None:
        decoder.run(encoder.run(pcm, encoder.all_slots), decoder.all_slots)

    rings = [
        ring
        for half in (encoder, decoder)
        for group in (half.stream.all.keys, half.stream.all.values)
        for ring in group.values()
    ]
    weights = [*network.parameters(), network.quantizer.codebooks]
    return StepCost(
        weight_bytes=sum(weight.nbytes for weight in weights),
        cache_bytes=sum(ring.nbytes for ring in rings),
        operations=record(step).operations,
    )


def measure_peaks(
    device: torch.device,
    dtype: torch.dtype,
    *,
    mib: int,
    side: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Peaks:
    """Times a large copy and a large square product of random matrices.

    Args:
        dtype: type of the matrices.
        mib: MiB to copy.
        side: rows and columns of the matrices.
        clock: seconds.
    """
    source = torch.ones(mib << 18, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(a)

    def median_seconds(call: Callable[[], object]) -> float:
        call()
        return median(timed(call, device, clock)[1] for _ in range(REPEATS))

    copying = median_seconds(partial(target.copy_, source))
    multiplying = median_seconds(partial(torch.mm, a, b, out=product))
    return Peaks(2 * source.nbytes / copying, 2 * side**3 / multiplying)


def largest(works: Callable[[int], bool], start: int, limit: int) -> int:
    """Finds the largest number that works, to one sixteenth, by doubling and then bisection.

    Args:
        works: called with numbers up to `limit`; if it works for one, it works for all below.
        start: the first number to try.
    """
    low, high = 0, min(start, limit)
    while works(high):
        low = high
        if low == limit:
            return limit
        high = min(2 * high, limit)
    while high - low > max(1, low // 16):
        middle = (low + high) // 2
        if works(middle):
            low = middle
        else:
            high = middle
    return low

"""What a step must do at the least: bytes over bandwidth, operations over the matrix rate."""

from __future__ import annotations

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
class Ceilings:
    """What a device was seen to do: bytes a second (read and written), operations a second."""

    bandwidth: float
    rate: float


@dataclass(frozen=True)
class Needs:
    """Of one step.

    Attributes:
        weight_bytes: read once, however many streams there are.
        cache_bytes: of keys and values, read for each stream.
        operations: for each stream; a product and its sum are two.
    """

    weight_bytes: int
    cache_bytes: int
    operations: int

    def bytes(self, streams: int) -> int:
        """Read in a step of so many streams."""
        return self.weight_bytes + streams * self.cache_bytes

    def floors_ms(self, streams: int, ceilings: Ceilings) -> tuple[float, float]:
        """The time that its bytes take, and the time that its operations take."""
        return (
            1e3 * self.bytes(streams) / ceilings.bandwidth,
            1e3 * streams * self.operations / ceilings.rate,
        )


def needs(network: Tokenizer) -> Needs:
    """Of encoding and decoding one frame, counted in a real step of one stream."""
    encoder = StreamEncoder(network, 1, graphs=False)
    decoder = StreamDecoder(network, 1, graphs=False)
    device = encoder.steps.device
    pcm = torch.zeros(1, encoder.steps.hop, device=device)

    def step() -> None:
        decoder.run(encoder.run(pcm, encoder.steps.all_slots), decoder.steps.all_slots)

    rings = [
        ring
        for half in (encoder, decoder)
        for group in (half.steps.stream.all.keys, half.steps.stream.all.values)
        for ring in group.values()
    ]
    weights = [*network.parameters(), network.quantizer.codebooks]
    return Needs(
        weight_bytes=sum(weight.nbytes for weight in weights),
        cache_bytes=sum(ring.nbytes for ring in rings),
        operations=record(step).operations,
    )


def ceilings(device: torch.device, dtype: torch.dtype, *, mib: int, side: int) -> Ceilings:
    """What the device does in a large copy and a large square product of random numbers.

    Args:
        dtype: of the product.
        mib: that are copied.
        side: of the matrices.
    """
    source = torch.ones(mib << 18, device=device)
    target = torch.empty_like(source)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    copying = _median(partial(target.copy_, source), device)
    product = torch.empty_like(a)
    multiplying = _median(partial(torch.mm, a, b, out=product), device)
    return Ceilings(2 * source.nbytes / copying, 2 * side**3 / multiplying)


def _median(call: Callable[[], object], device: torch.device) -> float:
    call()
    return median(timed(call, device)[1] for _ in range(REPEATS))


def most(works: Callable[[int], bool], start: int, limit: int) -> int:
    """The largest number that works, to a sixteenth: doubled from `start`, then halved towards.

    Args:
        works: whether so many do; asked about none beyond `limit`.
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

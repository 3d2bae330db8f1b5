"""Times the 80 ms step of this codec and of baselines, for one stream or many."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xyt_stream.bench import baselines
from xyt_stream.bench.baselines import LiveCodec
from xyt_stream.bench.codec_figures import Comparison, Result
from xyt_stream.bench.profile import Products, kernels, record
from xyt_stream.evaluate.offline import random_network
from xyt_stream.evaluate.timing import WARM_UP, summary, timed
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.config import published

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec as CodecType

MIN_STEPS = 4  # timed of even the slowest codec
MAX_STEP_SECONDS = 60.0  # s; codecs with longer steps are skipped
NO_MEMORY = "not enough memory"
TOO_SLOW = "too slow"


def compare(
    codec: CodecType,
    *,
    streams: Sequence[int] = (1,),
    frames: int = 200,
    lookahead: int = 0,
    full: bool = False,
    threads: int = 1,
    seconds: float = 30,
) -> Comparison:
    """Times the codecs' steps in turns, so that a busy moment affects all of them.

    Args:
        streams: numbers of streams; each is measured.
        frames: steps to time, after the warm-up.
        lookahead: future frames that each step of this package's codec sees.
        full: add the published size with random weights: live in bfloat16, and in float32 without
            a cache. Takes gigabytes and minutes.
        threads: threads that torch may use.
        seconds: a codec that has taken longer than this gets no further steps.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    results: list[Result] = []
    skipped: dict[tuple[str, int], str] = {}
    try:
        with torch.inference_mode():
            build = _builders(codec, lookahead, full)
            for count in sorted(streams):
                present = []
                for name, make in build.items():
                    why = _obstacle(name, count, results, codec.device)
                    if why is not None:
                        skipped[name, count] = why
                    elif (built := make(count)) is not None:
                        present.append(built)
                results += _time_in_turns(present, count, codec.device, frames, seconds)
    finally:
        torch.set_num_threads(before)
    return Comparison(codec.name, str(codec.device), threads, results, skipped)


def _builders(
    codec: CodecType, lookahead: int, full: bool
) -> dict[str, Callable[[int], LiveCodec | None]]:
    """Returns functions that build each codec for a number of streams, by the codec's name."""
    build: dict[str, Callable[[int], LiveCodec | None]] = {
        codec.name: partial(baselines.ours, codec, lookahead=lookahead),
        f"{codec.name}, onnxruntime": partial(baselines.edge, codec),
        "Mimi": partial(baselines.mimi, codec.device),
    }
    if full:
        from xyt_stream.streaming.codec import Codec

        network = random_network(published("published size", 16_000), str(codec.device))
        halved = copy.deepcopy(network)
        halved.cast(torch.bfloat16)
        halved.prepack()
        live = Codec(Checkpoint(halved, ""))
        for windows in (1, 2):
            make = partial(baselines.full_size, live, windows=windows)
            build[make(1).name] = make
        make = partial(baselines.naive, network)
        build[make(1).name] = make
    return build


def _obstacle(name: str, count: int, results: list[Result], device: torch.device) -> str | None:
    """Returns why `count` streams are not tried, judged by the largest number measured so far."""
    last = next((r for r in reversed(results) if r.name == name), None)
    if last is None:
        return None
    if last.both["median"] / 1e3 * count / last.streams > MAX_STEP_SECONDS:
        return TOO_SLOW
    if last.stream_mib * count > _free_mib(device):
        return NO_MEMORY
    return None


def _free_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**21  # half of all


@dataclass
class _Timed:
    """A codec and its step times so far, in seconds."""

    codec: LiveCodec
    products: Products | None
    encode: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)

    def run(self, device: torch.device) -> None:
        """Times one step."""
        codes, encoding = timed(self.codec.encode, device)
        _, decoding = timed(partial(self.codec.decode, codes), device)
        self.encode.append(encoding)
        self.decode.append(decoding)
        if self.products:
            self.alone.append(timed(self.products.run, device)[1])

    def done(self, frames: int, seconds: float) -> bool:
        """Says whether enough steps were timed, or the time is used up."""
        count = len(self.encode)
        spent = sum(self.encode) + sum(self.decode) + sum(self.alone)
        return count >= WARM_UP + frames or (count >= MIN_STEPS and spent > seconds)

    def result(self, streams: int, device: torch.device) -> Result:
        """Returns the figures without the warm-up."""
        first = min(WARM_UP, len(self.encode) // MIN_STEPS)
        both = [sum(pair) for pair in zip(self.encode, self.decode, strict=True)]
        products = summary(self.alone[first:]) if self.products else None
        operations = self.products.operations if self.products else 0
        codec = self.codec
        return Result(
            name=codec.name,
            key=codec.key,
            streams=streams,
            encode=summary(self.encode[first:]),
            decode=summary(self.decode[first:]),
            both=summary(both[first:]),
            products=products,
            gigaflops=operations / products["median"] / 1e6 if products else None,
            kernels=kernels(partial(_step, codec), device),
            model_mib=codec.model_bytes / 2**20,
            stream_mib=codec.stream_bytes / 2**20,
        )


def _time_in_turns(
    codecs: list[LiveCodec], streams: int, device: torch.device, frames: int, seconds: float
) -> list[Result]:
    timed_codecs = []
    for codec in codecs:
        products = None
        if codec.written and device.type == "cpu":  # on a GPU launches would dominate the time
            products = record(codec.written)
        timed_codecs.append(_Timed(codec, products))
    while waiting := [each for each in timed_codecs if not each.done(frames, seconds)]:
        for each in waiting:
            each.run(device)
    return [each.result(streams, device) for each in timed_codecs]


def _step(codec: LiveCodec) -> Tensor:
    return codec.decode(codec.encode())

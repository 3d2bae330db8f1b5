"""This codec beside what people would use instead: time per 80 ms step, for one stream or many."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from rich.table import Table
from torch import Tensor

from xyt_stream.bench import baselines
from xyt_stream.bench.baselines import GET_MOSHI, Contender
from xyt_stream.bench.profile import Products, kernels, record
from xyt_stream.evaluate.offline import random_network
from xyt_stream.evaluate.timing import WARM_UP, Times, ran_on, summary, timed
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.config import published

if TYPE_CHECKING:
    from xyt_stream.streaming.codec import Codec as CodecType

FEWEST = 4  # steps, however slow
LONGEST = 60.0  # seconds that a step may take to be worth waiting for
NO_ROOM = "no room"
TOO_SLOW = "too slow"


@dataclass(frozen=True)
class Result:
    """Of one contender with so many streams.

    Attributes:
        products: the step's matrix products alone, if they were timed.
        gigaflops: their rate, in 1e9 operations a second.
        kernels: launched in a step, on a GPU.
        model_mib, stream_mib: memory that the model takes, and each stream.
    """

    name: str
    key: str
    streams: int
    encode: Times
    decode: Times
    both: Times
    products: Times | None
    gigaflops: float | None
    kernels: int | None
    model_mib: float
    stream_mib: float

    @property
    def share(self) -> float | None:
        """Of the step's time that is arithmetic."""
        return self.products["median"] / self.both["median"] if self.products else None

    def flat(self) -> dict[str, Any]:
        """The figures for `--json`; of more streams than one, their number is in the name."""
        figures = {
            "step_ms": self.both,
            "encode_ms": self.encode,
            "decode_ms": self.decode,
            "model_mib": self.model_mib,
            "stream_mib": self.stream_mib,
            "kernels": self.kernels,
        }
        if self.products:
            figures |= {"products_ms": self.products, "gigaflops": self.gigaflops}
            figures["arithmetic_share"] = self.share
        suffix = "" if self.streams == 1 else f"_{self.streams}"
        return {f"{self.key}{name}{suffix}": value for name, value in figures.items()}


@dataclass(frozen=True)
class Comparison:
    """Everybody's figures.

    Attributes:
        skipped: why a contender's figures for some number of streams are missing, by both.
    """

    model: str
    device: str
    threads: int
    results: list[Result]
    skipped: dict[tuple[str, int], str] = field(default_factory=dict)

    def ratio(self, result: Result) -> float:
        """A contender's median time for this codec's with as many streams."""
        mine = next(r for r in self.results if not r.key and r.streams == result.streams)
        return result.both["median"] / mine.both["median"]

    @property
    def notes(self) -> list[str]:
        """How they compare, and what it takes to compare them."""
        lines = [
            f"{result.name}, {_streams(result.streams)}: {self.ratio(result):.1f} times as long"
            for result in self.results
            if result.key
        ]
        lines += [
            f"{name}, {_streams(streams)}: {why}" for (name, streams), why in self.skipped.items()
        ]
        if not any(result.key == "mimi_" for result in self.results):
            lines.append(f"for Mimi beside it: {GET_MOSHI}")
        return lines

    def flat(self) -> dict[str, Any]:
        """The figures for `--json`."""
        figures: dict[str, Any] = {
            "model": self.model,
            "device": self.device,
            "threads": self.threads,
            "streams": sorted({result.streams for result in self.results}),
        }
        for result in self.results:
            figures |= result.flat()
            if result.key:
                suffix = "" if result.streams == 1 else f"_{result.streams}"
                figures[f"{result.key}ratio{suffix}"] = self.ratio(result)
        return figures

    def tables(self) -> list[Table]:
        """The figures for the terminal: times, and what they are made of."""
        times = Table(
            *("codec", "streams", "encode", "decode", "both", "p99", "a stream"),
            title=f"one 80 ms step on {ran_on(self.device, self.threads)}: medians, ms",
        )
        costs = Table(
            *("codec", "streams", "arithmetic", "GFLOP/s", "kernels", "model", "a stream"),
            title="share of the step that is arithmetic, its rate by itself; memory, MiB",
        )
        for result in self.results:
            who = (result.name, str(result.streams))
            both = result.both["median"]
            ms = (result.encode["median"], result.decode["median"], both, result.both["p99"])
            times.add_row(*who, *(f"{value:.1f}" for value in (*ms, both / result.streams)))
            costs.add_row(
                *who,
                "" if result.share is None else f"{result.share:.0%}",
                "" if result.gigaflops is None else f"{result.gigaflops:.0f}",
                "" if result.kernels is None else str(result.kernels),
                f"{result.model_mib:.0f}",
                f"{result.stream_mib:.1f}",
            )
        return [times, costs]


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
    """Times everybody's steps in turns, so that a busy moment hits all.

    Args:
        streams: side by side: one measurement for each number.
        frames: steps to time, after the warm-up.
        lookahead: frames of the future that each of this codec's steps sees.
        full: the published size too, with random weights: live in bfloat16, and in float32 without
            any cache. Takes gigabytes and minutes.
        threads: that torch may use.
        seconds: after which a slow contender has had steps enough.
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
                    elif (contender := make(count)) is not None:
                        present.append(contender)
                results += _race(present, count, codec.device, frames, seconds)
    finally:
        torch.set_num_threads(before)
    return Comparison(codec.name, str(codec.device), threads, results, skipped)


def _builders(
    codec: CodecType, lookahead: int, full: bool
) -> dict[str, Callable[[int], Contender | None]]:
    """By the name that results will bear."""
    build: dict[str, Callable[[int], Contender | None]] = {
        codec.name: partial(baselines.ours, codec, lookahead=lookahead),
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
    """Why so many streams are not worth trying, going by the last, smaller number of them."""
    last = next((r for r in reversed(results) if r.name == name), None)
    if last is None:
        return None
    if last.both["median"] / 1e3 * count / last.streams > LONGEST:
        return TOO_SLOW
    if last.stream_mib * count > _free_mib(device):
        return NO_ROOM
    return None


def _free_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**20
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**21  # half of all


@dataclass
class _Runner:
    """A contender and its times so far, in seconds."""

    contender: Contender
    products: Products | None
    encode: list[float] = field(default_factory=list)
    decode: list[float] = field(default_factory=list)
    alone: list[float] = field(default_factory=list)

    def run(self, device: torch.device) -> None:
        """One step."""
        codes, encoding = timed(self.contender.encode, device)
        _, decoding = timed(partial(self.contender.decode, codes), device)
        self.encode.append(encoding)
        self.decode.append(decoding)
        if self.products:
            self.alone.append(timed(self.products.run, device)[1])

    def done(self, frames: int, seconds: float) -> bool:
        """Whether all steps were taken, or so many as there was time for."""
        count = len(self.encode)
        spent = sum(self.encode) + sum(self.decode) + sum(self.alone)
        return count >= WARM_UP + frames or (count >= FEWEST and spent > seconds)

    def result(self, streams: int, device: torch.device) -> Result:
        """The figures, without the warm-up."""
        first = min(WARM_UP, len(self.encode) // FEWEST)
        both = [sum(pair) for pair in zip(self.encode, self.decode, strict=True)]
        products = summary(self.alone[first:]) if self.products else None
        operations = self.products.operations if self.products else 0
        contender = self.contender
        return Result(
            name=contender.name,
            key=contender.key,
            streams=streams,
            encode=summary(self.encode[first:]),
            decode=summary(self.decode[first:]),
            both=summary(both[first:]),
            products=products,
            gigaflops=operations / products["median"] / 1e6 if products else None,
            kernels=kernels(partial(_step, contender), device),
            model_mib=contender.model_bytes / 2**20,
            stream_mib=contender.stream_bytes / 2**20,
        )


def _race(
    present: list[Contender], streams: int, device: torch.device, frames: int, seconds: float
) -> list[Result]:
    runners = []
    for contender in present:
        products = None
        if contender.recorded and device.type == "cpu":  # on a GPU launches would hide the rate
            contender.decode(contender.encode())  # makes what is made in a first step
            products = record(partial(_step, contender))
        runners.append(_Runner(contender, products))
    while waiting := [runner for runner in runners if not runner.done(frames, seconds)]:
        for runner in waiting:
            runner.run(device)
    return [runner.result(streams, device) for runner in runners]


def _step(contender: Contender) -> Tensor:
    return contender.decode(contender.encode())


def _streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"

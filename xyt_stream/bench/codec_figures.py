"""Holds the step times and the memory of several codecs, and shows them side by side."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.table import Table

from xyt_stream.bench.baselines import GET_MOSHI
from xyt_stream.evaluate.timing import Times, ran_on


@dataclass(frozen=True)
class Result:
    """The figures of one codec with `streams` streams.

    Attributes:
        key: prefix of the figures' names; empty for this package's codec.
        products: times of the step's matrix products alone, if they were recorded.
        gigaflops: rate of these products, 1e9 operations a second.
        kernels: kernels launched in a step, on a GPU.
        model_mib, stream_mib: memory of the model and of each stream, MiB.
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
        """The share of the step's time that its matrix products take."""
        return self.products["median"] / self.both["median"] if self.products else None

    def flat(self) -> dict[str, Any]:
        """Returns the figures for `--json`; names end in the number of streams if it is not 1."""
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
    """The figures of all codecs.

    Attributes:
        skipped: (codec, streams) -> the reason why there are no figures.
    """

    model: str
    device: str
    threads: int
    results: list[Result]
    skipped: dict[tuple[str, int], str] = field(default_factory=dict)

    def ratio(self, result: Result) -> float:
        """Divides a codec's median step time by that of this package's codec."""
        ours = next(r for r in self.results if not r.key and r.streams == result.streams)
        return result.both["median"] / ours.both["median"]

    @property
    def notes(self) -> list[str]:
        """One line for each comparison, each skipped codec and how to install Mimi."""
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
        """Returns the figures for `--json`."""
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
        """Returns the tables for the terminal: times; arithmetic and memory."""
        times = Table(
            *("codec", "streams", "encode", "decode", "encode + decode"),
            *("encode + decode, p99", "per stream"),
            title=f"one 80 ms step on {ran_on(self.device, self.threads)}: medians in ms",
        )
        costs = Table(
            *("codec", "streams", "matrix products, % of step", "GFLOP/s", "kernels"),
            *("model, MiB", "per stream, MiB"),
            title="matrix products and memory",
        )
        for result in self.results:
            name = (result.name, str(result.streams))
            both = result.both["median"]
            ms = (result.encode["median"], result.decode["median"], both, result.both["p99"])
            times.add_row(*name, *(f"{value:.1f}" for value in (*ms, both / result.streams)))
            costs.add_row(
                *name,
                "" if result.share is None else f"{100 * result.share:.0f}",
                "" if result.gigaflops is None else f"{result.gigaflops:.0f}",
                "" if result.kernels is None else str(result.kernels),
                f"{result.model_mib:.0f}",
                f"{result.stream_mib:.1f}",
            )
        return [times, costs]


def _streams(count: int) -> str:
    return "1 stream" if count == 1 else f"{count} streams"

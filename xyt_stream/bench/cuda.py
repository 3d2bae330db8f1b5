"""Measures every CUDA figure in one run of under eight minutes on one GPU.

    python -m xyt_stream.bench.cuda --json cuda.json --table cuda.md

In a checkout it first runs the tests marked `device` on the GPU (streaming equals offline, slots
are independent, graphs equal eager steps): figures of a wrong result are worth nothing. `--device
cpu --smoke` runs everything but the graphs, on small models.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

from xyt_stream.bench.harness import Steps, kernels_of, measure, trial
from xyt_stream.bench.roofline import Ceilings, ceilings, most, needs
from xyt_stream.evaluate.offline import random_network
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.config import ModelConfig, mini, published
from xyt_stream.streaming.codec import Codec

TESTS = Path(__file__).parents[2] / "tests"  # of a checkout
WRONG = 1  # exit status: a test failed on the device
NO_GPU = 3  # exit status
SECONDS = 420.0  # after which no other figure is begun
LEFT_CONTEXT = 125  # frames, 10 s
HALF = torch.bfloat16


@dataclass(frozen=True)
class Size:
    """How much is done for a figure."""

    steps: int  # timed, of one stream
    many_steps: int  # of many streams
    start: int  # streams that the search begins with
    limit: int  # and ends with
    copied_mib: int
    side: int  # of a square matrix product


WHOLE = Size(200, 30, 256, 16_384, 2048, 8192)
SMOKE = Size(4, 2, 1, 4, 8, 128)


@dataclass
class Report:
    """Figures by name, and the same in words: label, value, target."""

    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, label: str, value: str, target: str = "", **figures: Any) -> None:
        """A line of the table, and what it stands for."""
        self.rows.append((label, value, target))
        self.figures |= figures
        print(f"{label}: {value}", flush=True)

    def table(self) -> str:
        """Markdown."""
        lines = ["| | measured | target |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)]) + "\n"


def full_size(*, smoke: bool) -> ModelConfig:
    """The published architecture with 10 s to look back on and nothing ahead."""
    if smoke:
        return replace(mini(), name="full size", context=5)
    config = published("full size", 16_000)
    return replace(config, causal=True, context=LEFT_CONTEXT)


def tests_pass(device: torch.device, report: Report) -> bool:
    """Runs the tests marked `device` on it; where there are none at hand, the report says so."""
    if not TESTS.is_dir() or find_spec("pytest") is None:
        report.add("tests on the device", "not run: no tests beside the package, or no pytest")
        return True
    words = ("-m", "pytest", "--device", str(device), "-m", "device", TESTS)
    passed = subprocess.run([sys.executable, *words], cwd=TESTS.parent).returncode == 0
    report.add("tests on the device", "passed" if passed else "FAILED", "pass", tests_passed=passed)
    return passed


def one_stream(codec: Codec, key: str, size: Size, report: Report, target: str) -> None:
    """Latency with graphs and without, and kernels."""
    for graphs, how in ((True, "graphs"), (False, "eager")):
        if graphs and codec.device.type != "cuda":
            continue
        result = measure(codec, 1, size.steps, graphs=graphs)
        assert result is not None, "one stream does not fit"
        kernels = kernels_of(codec, graphs=graphs)
        times = result.times
        report.add(
            f"{codec.name}, one stream, {how}: encode and decode",
            f"{times['median']:.2f} ms, p99 {times['p99']:.2f} ms, {kernels} kernels",
            target if graphs else "",
            **{f"{key}_{how}_step_ms": times, f"{key}_{how}_kernels": kernels},
        )
        if graphs:
            report.figures[f"{key}_step_ms"] = times


def many_streams(
    codec: Codec, key: str, size: Size, ceiling: Ceilings, report: Report, target: str
) -> None:
    """The most streams whose steps are all in time, and how near that comes to the floors."""
    seen: list[Steps] = []
    streams = most(partial(trial, codec, size.many_steps, seen), size.start, size.limit)
    report.add(
        f"{codec.name}: streams with every step inside 80 ms",
        str(streams) if streams < size.limit else f"{streams} or more",
        target,
        **{f"{key}_streams": streams},
    )
    need = needs(codec.network)
    report.figures |= {f"{key}_{name}": value for name, value in vars(need).items()}
    # Beside the one stream, if it was not the search's first question.
    first = [] if any(s.streams == 1 for s in seen) else [measure(codec, 1, size.many_steps)]
    for steps in sorted((s for s in (*first, *seen) if s), key=lambda s: s.streams):
        by_bytes, by_operations = need.floors_ms(steps.streams, ceiling)
        median = steps.times["median"]
        report.add(
            f"{codec.name}, {steps.streams} streams",
            f"{median:.2f} ms, longest {steps.longest:.2f} ms; floors: {by_bytes:.2f} ms of bytes, "
            f"{by_operations:.2f} ms of operations; "
            f"{need.bytes(steps.streams) / median / 1e6:.0f} GB/s, "
            f"{steps.streams * need.operations / median / 1e9:.2f} TFLOP/s",
        )
        report.figures[f"{key}_{steps.streams}_step_ms"] = steps.times
        report.figures[f"{key}_{steps.streams}_floors_ms"] = [by_bytes, by_operations]


def run(device: torch.device, size: Size, report: Report, *, smoke: bool) -> int:
    """All of it; the exit status."""
    began = time.monotonic()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    report.add("device", f"{name}, torch {torch.__version__}", device=name, torch=torch.__version__)
    if not tests_pass(device, report):
        return WRONG
    network = random_network(full_size(smoke=smoke), str(device))
    network.cast(HALF)
    full = Codec(Checkpoint(network, ""))
    small = Codec.load(device=str(device), dtype=HALF)
    ceiling = ceilings(device, HALF, mib=size.copied_mib, side=size.side)
    report.add(
        "ceilings: a large copy; a large matrix product",
        f"{ceiling.bandwidth / 1e9:.0f} GB/s; {ceiling.rate / 1e12:.1f} TFLOP/s",
        bandwidth=ceiling.bandwidth,
        rate=ceiling.rate,
    )
    parts: dict[str, Callable[[], None]] = {
        "one stream at full size": partial(one_stream, full, "full", size, report, "at most 4 ms"),
        "one stream of the default model": partial(one_stream, small, "default", size, report, ""),
        "streams at full size": partial(
            many_streams, full, "full", size, ceiling, report, "at least 1,000"
        ),
        "streams of the default model": partial(
            many_streams, small, "default", size, ceiling, report, "at least 5,000"
        ),
    }
    with torch.inference_mode():
        for name, part in parts.items():
            if time.monotonic() - began > SECONDS:
                report.add("left out for want of time", name)
            else:
                part()
    report.add("seconds that all of it took", f"{time.monotonic() - began:.0f}", "under 480")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m xyt_stream.bench.cuda", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true", help="small models and few steps")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--table", type=Path, help="write them to this file as a markdown table")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("No GPU here that torch can use: no CUDA figure is measured.", file=sys.stderr)
        return NO_GPU
    report = Report()
    size = SMOKE if options.smoke else WHOLE
    try:
        return run(device, size, report, smoke=options.smoke)
    finally:  # what was measured before something failed is worth keeping
        if options.json:
            options.json.write_text(json.dumps(report.figures, indent=2))
        if options.table:
            options.table.write_text(report.table())


if __name__ == "__main__":
    sys.exit(main())

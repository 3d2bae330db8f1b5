"""Measures every CUDA figure in one run of under eight minutes on one GPU.

    python -m xyt_stream.bench.cuda --json cuda.json --table cuda.md

In a checkout it first runs the tests marked `device` on the GPU (streaming equals offline, slots
are independent, graphs equal eager steps): figures of a wrong result are worth nothing. Then real
clients in other processes load a real server on the GPU; then steps are timed and profiled alone,
beside their roofline. `--device cpu --smoke` runs everything but the graphs, on small models.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from msgspec.structs import replace

from xyt_stream.bench.cuda_server import in_words, save_for_server, serve_clients
from xyt_stream.bench.harness import BatchTimes, kernels_of, longest_of, measure, trial
from xyt_stream.bench.roofline import Peaks, largest, measure_peaks, step_cost
from xyt_stream.evaluate.offline import random_network
from xyt_stream.model.checkpoint import Checkpoint
from xyt_stream.model.config import ModelConfig, mini, published
from xyt_stream.streaming.codec import Codec

TESTS = Path(__file__).parents[2] / "tests"  # of a checkout
WRONG = 1  # exit status: a test failed on the device
NO_GPU = 3  # exit status
SECONDS = 420.0  # s; no measurement is started later than this
LEFT_CONTEXT = 125  # frames, 10 s
HALF = torch.bfloat16


@dataclass(frozen=True)
class Effort:
    """The amount of work for each figure."""

    sessions: tuple[int, ...]  # real clients of one server
    seconds: float  # that they speak
    steps: int  # timed, with one stream
    many_steps: int  # timed, with many streams
    start: int  # streams at which the search begins
    limit: int  # streams at which it ends
    copied_mib: int
    side: int  # rows of a square matrix product


FULL = Effort((200, 500, 1000), 10.0, 200, 30, 256, 16_384, 2048, 8192)
SMOKE = Effort((2,), 1.0, 4, 2, 1, 2, 8, 128)


@dataclass
class Figures:
    """The measured figures, for JSON and as a table.

    Attributes:
        figures: by name.
        rows: label, value, target.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, label: str, value: str, target: str = "", **figures: Any) -> None:
        """Adds and prints a row of the table, with its figures."""
        self.rows.append((label, value, target))
        self.figures |= figures
        print(f"{label}: {value}", flush=True)

    def table(self) -> str:
        """Returns a Markdown table."""
        lines = ["| | measured | target |", "|---|---|---|"]
        return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in self.rows)]) + "\n"


def full_size(*, smoke: bool) -> ModelConfig:
    """Returns the published architecture, made causal, with 10 s of left context."""
    if smoke:
        return replace(mini(), name="full size", context=5)
    config = published("full size", 16_000)
    return replace(config, causal=True, context=LEFT_CONTEXT)


def tests_pass(device: torch.device, report: Figures) -> bool:
    """Runs the tests marked `device` on it; where there are none at hand, the report says so."""
    if not TESTS.is_dir() or find_spec("pytest") is None:
        report.add("tests on the device", "not run: no tests beside the package, or no pytest")
        return True
    words = ("-m", "pytest", "--device", str(device), "-m", "device", TESTS)
    passed = subprocess.run([sys.executable, *words], cwd=TESTS.parent).returncode == 0
    report.add("tests on the device", "passed" if passed else "FAILED", "pass", tests_passed=passed)
    return passed


def real_clients(
    model: str | None, name: str, key: str, device: torch.device, effort: Effort, report: Figures
) -> None:
    """Loads a server with as many clients as the effort says, and with fewer before."""
    # A CPU may have no bfloat16 products, and then would not keep up.
    dtype = HALF if device.type == "cuda" else torch.float32
    for sessions in effort.sessions:
        result = serve_clients(model, device, dtype, sessions=sessions, seconds=effort.seconds)
        label = f"{name}, a server with {sessions} clients"
        if isinstance(result, str):
            report.add(label, f"not served: {result}")
            return
        report.add(
            label,
            in_words(result),
            "none late" if sessions == effort.sessions[-1] else "",
            **{f"{key}_{sessions}_load": result.flat()},
        )


def clients_of_full_size(
    device: torch.device, effort: Effort, report: Figures, *, smoke: bool
) -> None:
    """Loads a server of the full size, whose weights are random."""
    with TemporaryDirectory() as folder:
        path = save_for_server(random_network(full_size(smoke=smoke), "cpu"), Path(folder))
        real_clients(path, "full size", "full", device, effort, report)


def profiled(codec: Codec, key: str, streams: int, report: Figures) -> None:
    """Names what takes longest in a step."""
    spent = longest_of(codec, streams)
    figures: dict[str, Any] = {f"{key}_{streams}_longest_ms": dict(spent)}
    report.add(
        f"{codec.name}, {streams} streams: what takes longest",
        "; ".join(f"{name[:40].replace('|', '/')} {ms:.2f} ms" for name, ms in spent[:4]),
        **figures,
    )


def one_stream(codec: Codec, key: str, effort: Effort, report: Figures, target: str) -> None:
    """Measures one stream's step and its kernels, with graphs and without."""
    for graphs, how in ((True, "graphs"), (False, "eager")):
        if graphs and codec.device.type != "cuda":
            continue
        result = measure(codec, 1, effort.steps, graphs=graphs)
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
    codec: Codec, key: str, effort: Effort, peaks: Peaks, report: Figures, target: str
) -> None:
    """Finds the most streams whose every step is in time, and compares with the roofline."""
    seen: list[BatchTimes] = []
    streams = largest(partial(trial, codec, effort.many_steps, seen), effort.start, effort.limit)
    report.add(
        f"{codec.name}: streams with every step inside 80 ms",
        str(streams) if streams < effort.limit else f"{streams} or more",
        target,
        **{f"{key}_streams": streams},
    )
    cost = step_cost(codec.network)
    report.figures |= {f"{key}_{name}": value for name, value in vars(cost).items()}
    # One stream is a row too, if the search did not start with it.
    first = [] if any(s.streams == 1 for s in seen) else [measure(codec, 1, effort.many_steps)]
    for steps in sorted((s for s in (*first, *seen) if s), key=lambda s: s.streams):
        by_bytes, by_operations = cost.bounds_ms(steps.streams, peaks)
        median = steps.times["median"]
        report.add(
            f"{codec.name}, {steps.streams} streams",
            f"{median:.2f} ms, longest {steps.longest:.2f} ms; roofline: "
            f"{by_bytes:.2f} ms of bytes, {by_operations:.2f} ms of operations; "
            f"{cost.bytes(steps.streams) / median / 1e6:.0f} GB/s, "
            f"{steps.streams * cost.operations / median / 1e9:.2f} TFLOP/s",
        )
        report.figures[f"{key}_{steps.streams}_step_ms"] = steps.times
        report.figures[f"{key}_{steps.streams}_bounds_ms"] = [by_bytes, by_operations]


def finish(measurements: dict[str, Callable[[], None]], began: float, report: Figures) -> None:
    """Takes the measurements, by name, as long as there is time."""
    for name, measurement in measurements.items():
        if time.monotonic() - began > SECONDS:
            report.add("left out, no time left", name)
        else:
            measurement()


def run(device: torch.device, effort: Effort, report: Figures, *, smoke: bool) -> int:
    """Measures everything; returns the exit status."""
    began = time.monotonic()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    report.add("device", f"{name}, torch {torch.__version__}", device=name, torch=torch.__version__)
    if not tests_pass(device, report):
        return WRONG
    last = dataclasses.replace(effort, sessions=effort.sessions[-1:])
    # The servers come first: the networks of the steps below would take their memory.
    measurements: dict[str, Callable[[], None]] = {
        "clients of the full size": partial(
            clients_of_full_size, device, effort, report, smoke=smoke
        ),
        "clients of the default model": partial(
            real_clients, None, "default model", "default", device, last, report
        ),
    }
    finish(measurements, began, report)
    network = random_network(full_size(smoke=smoke), str(device))
    network.cast(HALF)
    full = Codec(Checkpoint(network, ""))
    small = Codec.load(device=str(device), dtype=HALF)
    peaks = measure_peaks(device, HALF, mib=effort.copied_mib, side=effort.side)
    report.add(
        "peaks: a large copy; a large matrix product",
        f"{peaks.bandwidth / 1e9:.0f} GB/s; {peaks.rate / 1e12:.1f} TFLOP/s",
        bandwidth=peaks.bandwidth,
        rate=peaks.rate,
    )
    measurements = {
        "one stream at full size": partial(
            one_stream, full, "full", effort, report, "at most 4 ms"
        ),
        "one stream of the default model": partial(
            one_stream, small, "default", effort, report, ""
        ),
        "streams at full size": partial(
            many_streams, full, "full", effort, peaks, report, "at least 1,000"
        ),
        "streams of the default model": partial(
            many_streams, small, "default", effort, peaks, report, "at least 5,000"
        ),
        "profile of the full size": partial(profiled, full, "full", effort.sessions[0], report),
        "profile of the default model": partial(
            profiled, small, "default", effort.sessions[-1], report
        ),
    }
    with torch.inference_mode():
        finish(measurements, began, report)
    report.add("whole run, s", f"{time.monotonic() - began:.0f}", "under 480")
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m xyt_stream.bench.cuda", description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--smoke", action="store_true", help="small models and few steps")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--table", type=Path, help="write them to this file as a markdown table")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("There is no GPU that torch can use: nothing was measured.", file=sys.stderr)
        return NO_GPU
    report = Figures()
    effort = SMOKE if options.smoke else FULL
    try:
        return run(device, effort, report, smoke=options.smoke)
    finally:  # figures measured before a failure are kept
        if options.json:
            options.json.write_text(json.dumps(report.figures, indent=2))
        if options.table:
            options.table.write_text(report.table())


if __name__ == "__main__":
    sys.exit(main())

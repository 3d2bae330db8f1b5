from __future__ import annotations

import json

import pytest
import torch

from xyt_stream import Codec
from xyt_stream.bench import stream
from xyt_stream.bench.stream import measure, peak_memory


def test_early_and_late_figures_are_of_the_first_and_last_ten_seconds(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 steps of 12 s, the nth of which takes n ms by a clock of our own."""
    readings = 0

    def clock() -> float:  # read at a step's beginning and end
        nonlocal readings
        readings += 1
        step = (readings + 1) // 2
        return 0.0 if readings % 2 else step / 1000

    monkeypatch.setattr(stream, "peak_memory", lambda device: float(readings // 2))
    figures = json.loads(json.dumps(measure(codec, minutes=0.2, clock=clock).flat()))
    assert figures["seconds"] == 12
    assert figures["step_ms"]["median"] == pytest.approx(75.5)
    assert figures["early_step_ms"]["median"] == pytest.approx(63)  # steps 1 to 125
    assert figures["late_step_ms"]["median"] == pytest.approx(88)  # steps 26 to 150
    assert (figures["early_memory_mib"], figures["late_memory_mib"]) == (125, 150)


def test_allocated_memory_shows_in_the_peak() -> None:
    before = peak_memory(torch.device("cpu"))
    taken = torch.ones(2**26)  # 256 MiB
    assert peak_memory(torch.device("cpu")) >= max(before, taken.nbytes / 2**20)

from __future__ import annotations

import json

import torch

from xyt_stream import Codec
from xyt_stream.bench.stream import measure, peak_memory


def test_the_figures_cover_the_stream(codec: Codec) -> None:
    figures = json.loads(json.dumps(measure(codec, minutes=0.2).flat()))
    assert figures["seconds"] == 12
    for name in ("step_ms", "early_step_ms", "late_step_ms"):
        assert 0 < figures[name]["median"] <= figures[name]["p99"]
    assert 0 < figures["early_memory_mib"] <= figures["late_memory_mib"]


def test_memory_that_is_taken_shows() -> None:
    before = peak_memory(torch.device("cpu"))
    taken = torch.ones(2**26)  # 256 MiB
    assert peak_memory(torch.device("cpu")) >= max(before, taken.nbytes / 2**20)

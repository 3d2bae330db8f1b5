from __future__ import annotations

import importlib.util
import json

import torch

from xyt_stream import Codec
from xyt_stream.bench.codec import GET_MOSHI, compare


def test_mimi_stands_beside_or_how_to_get_it(codec: Codec) -> None:
    threads = torch.get_num_threads()
    comparison = compare(codec, frames=10)
    assert torch.get_num_threads() == threads
    figures = json.loads(json.dumps(comparison.flat()))
    for name in ("step_ms", "encode_ms", "decode_ms"):
        assert 0 < figures[name]["median"] <= figures[name]["p99"]
    if importlib.util.find_spec("moshi"):
        assert figures["mimi_ratio"] == (
            figures["mimi_step_ms"]["median"] / figures["step_ms"]["median"]
        )
    else:
        assert "mimi_ratio" not in figures
        assert GET_MOSHI in comparison.note

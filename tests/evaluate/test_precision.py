from __future__ import annotations

import json

import pytest
import torch

from xyt_stream import Codec
from xyt_stream.audio import read_audio
from xyt_stream.evaluate.precision import measure


@pytest.mark.parametrize("which", ["codec", "published"])
def test_half_precision_is_compared_with_float32(which, request, fixtures):
    samples, info = read_audio(fixtures / "speech.flac")
    codec = request.getfixturevalue(which)
    path = None if which == "codec" else request.getfixturevalue("published_weights")
    figures = measure(codec, Codec.load(path, dtype=torch.bfloat16), samples).flat()
    json.dumps(figures, allow_nan=False)
    assert figures["seconds"] == info.seconds
    full, bfloat16, float16, weights = figures["points"]
    assert (full["dtype"], full["equal_codes"], full["snr_db"]) == ("float32", [1] * 8, None)
    assert bfloat16["dtype"] == "bfloat16"
    assert 20 < bfloat16["snr_db"] < float16["snr_db"]
    assert min(bfloat16["equal_codes"] + float16["equal_codes"]) > 0.5
    assert (weights["dtype"], weights["snr_db"] > 15) == ("bfloat16 weights", True)
    assert 0.4 < min(weights["equal_codes"]) < 1

from __future__ import annotations

import json

import pytest
import torch

from xyt_stream.evaluate.offline import compare, published_decode, published_encode


def test_both_algorithms_agree(published):
    times = compare(published.network, seconds=2, repeats=1)
    assert times.codes_equal
    assert times.snr_db > 60
    figures = json.loads(json.dumps(times.flat(), allow_nan=False))
    ours, theirs = figures["total_ms"], figures["published_total_ms"]
    assert figures["ratio"] == pytest.approx(ours / theirs)


def test_the_published_algorithm_equals_the_codec(published, fixtures):
    """A clip that does not fill its window, its last frame partial."""
    wav = torch.randn(50_000, generator=torch.Generator().manual_seed(0)) / 10
    codes = published_encode(published.network, wav)
    assert torch.equal(codes, published.encode(wav))
    assert len(codes[0].unique()) > 5
    sound = published.decode(codes)
    heard = published_decode(published.network, codes)
    assert torch.allclose(heard, sound, atol=1e-4 * float(sound.abs().max()))

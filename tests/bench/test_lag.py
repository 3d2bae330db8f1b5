from __future__ import annotations

import numpy as np
import pytest

from xyt_stream.audio import resample, to_float32
from xyt_stream.bench.lag import RESOLUTION, clicks, envelope_lag


@pytest.mark.parametrize("rate", [16_000, 24_000])
@pytest.mark.parametrize("seconds", [0.0, 0.137, 0.5])
def test_lag_is_found_to_the_resolution(rate, seconds):
    sent = to_float32(clicks(3.0))
    late = np.concatenate([np.zeros(round(seconds * rate)), resample(sent, 16_000, rate)])
    noise = np.random.default_rng(0).normal(0, 0.003, len(late))
    found = envelope_lag(sent, (late + noise).astype(np.float32), 16_000, rate)
    assert found == pytest.approx(seconds, abs=RESOLUTION)


def test_the_codec_moves_clicks_by_less_than_10_ms(codec):
    """So far can the lag of decoded clicks be trusted."""
    sent = to_float32(clicks(3.5))
    decoded = codec.decode(codec.encode(sent)).numpy()
    late = np.concatenate([np.zeros(2000, np.float32), decoded])
    assert envelope_lag(sent, late, 16_000, 16_000) == pytest.approx(0.125, abs=0.01)

from __future__ import annotations

import json

import pytest
import torch

from xyt_stream.audio import read_audio
from xyt_stream.evaluate.listen import decode_clip, encode_clip
from xyt_stream.evaluate.lookahead import measure


@pytest.fixture(scope="module")
def samples(fixtures):
    return read_audio(fixtures / "speech.flac")[0]  # 26 frames, the last one partial


@pytest.fixture(scope="module")
def tradeoff(published, samples):
    return measure(published, samples, [0, 4, 30])


def test_what_sees_the_whole_clip_is_offline(tradeoff):
    assert tradeoff.points[2].equal_codes == [1] * 8
    assert tradeoff.points[2].snr_db > 60
    assert tradeoff.points[0].snr_db < 20


def test_codes_and_delay_are_those_that_a_listener_gets(tradeoff, published, samples):
    codes = encode_clip(published, samples, None)
    live = encode_clip(published, samples, 4)
    expected = [float(share) for share in (live == codes).double().mean(1)]
    assert tradeoff.points[1].equal_codes == expected
    heard, offline = decode_clip(published, codes, 4), decode_clip(published, codes, None)
    noise = (heard - offline).square().sum()
    snr = 10 * torch.log10(offline.square().sum() / noise)
    assert tradeoff.points[1].snr_db == pytest.approx(float(snr), abs=0.01)
    assert tradeoff.points[1].encoder_delay_ms == pytest.approx(80 * 5 + 12.5)
    assert tradeoff.points[1].decoder_delay_ms == pytest.approx(80 * 4 + 15)


def test_a_causal_model_is_offline_at_once(codec, samples):
    (point,) = measure(codec, samples, [0]).points
    assert point.equal_codes == [1] * 8
    assert point.snr_db > 60


def test_the_json_is_strict(tradeoff):
    flat = json.loads(json.dumps(tradeoff.flat(), allow_nan=False))
    assert [point["lookahead"] for point in flat["points"]] == [0, 4, 30]
    for point in flat["points"]:
        assert 0 < point["step_ms"]["median"] <= point["step_ms"]["p99"]

from __future__ import annotations

import json

import pytest
import torch

from xyt_stream.audio import read_audio
from xyt_stream.evaluate.lookahead import measure
from xyt_stream.streaming.clips import decode_clip, encode_clip


@pytest.fixture(scope="module")
def samples(fixtures):
    return read_audio(fixtures / "speech.flac")[0]  # 26 frames, the last one partial


@pytest.fixture(scope="module")
def ablation(published, samples):
    return measure(published, samples, [0, 4, 30])


def test_a_lookahead_of_the_whole_clip_is_offline(ablation):
    assert ablation.points[2].equal_codes == [1] * 8
    assert ablation.points[2].snr_db > 60
    assert ablation.points[0].snr_db < 20


def test_codes_and_delay_equal_those_of_a_live_stream(ablation, published, samples):
    codes = encode_clip(published, samples, None)
    live = encode_clip(published, samples, 4)
    expected = [float(share) for share in (live == codes).double().mean(1)]
    assert ablation.points[1].equal_codes == expected
    heard, offline = decode_clip(published, codes, 4), decode_clip(published, codes, None)
    noise = (heard - offline).square().sum()
    snr = 10 * torch.log10(offline.square().sum() / noise)
    assert ablation.points[1].snr_db == pytest.approx(float(snr), abs=0.01)
    assert ablation.points[1].encoder_delay_ms == pytest.approx(80 * 5 + 12.5)
    assert ablation.points[1].decoder_delay_ms == pytest.approx(80 * 4 + 15)


def test_a_causal_model_equals_offline_without_lookahead(codec, samples):
    (point,) = measure(codec, samples, [0]).points
    assert point.equal_codes == [1] * 8
    assert point.snr_db > 60


def test_json_has_a_point_for_each_lookahead(ablation):
    flat = json.loads(json.dumps(ablation.flat(), allow_nan=False))
    assert [point["lookahead"] for point in flat["points"]] == [0, 4, 30]
    for point in flat["points"]:
        assert 0 < point["step_ms"]["median"] <= point["step_ms"]["p99"]

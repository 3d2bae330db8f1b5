from __future__ import annotations

import numpy as np
import pytest

from xyt_stream.audio import resample, to_float32
from xyt_stream.bench import end_to_end
from xyt_stream.protocol.messages import Delay, Model, Ready


@pytest.mark.parametrize("rate", [16_000, 24_000])
@pytest.mark.parametrize("seconds", [0.0, 0.137, 0.5])
def test_a_delay_is_found_to_the_resolution(rate, seconds):
    said = to_float32(end_to_end.clicks(3.0))
    late = np.concatenate([np.zeros(round(seconds * rate)), resample(said, 16_000, rate)])
    noise = np.random.default_rng(0).normal(0, 0.003, len(late))
    found = end_to_end.lag(said, (late + noise).astype(np.float32), 16_000, rate)
    assert found == pytest.approx(seconds, abs=end_to_end.RESOLUTION)


def test_the_codec_itself_moves_a_click_by_little(codec):
    """What it decodes lies where it was: this is how far the measurement can be trusted."""
    said = to_float32(end_to_end.clicks(3.5))
    heard = codec.decode(codec.encode(said)).numpy()
    late = np.concatenate([np.zeros(2000, np.float32), heard])
    assert end_to_end.lag(said, late, 16_000, 16_000) == pytest.approx(0.125, abs=0.01)


def test_the_parts_are_those_of_the_whole():
    model = Model(
        name="m",
        hash="h",
        codebooks=8,
        codebook_size=1024,
        input_rate=16_000,
        output_rate=16_000,
        causal=False,
    )
    ready = Ready(
        session="s",
        role="loopback",
        send="pcm",
        receive=("pcm",),
        send_rate=16_000,
        receive_rate=16_000,
        frame_ms=80.0,
        delay_ms=Delay(encode=240.0, decode=170.0),
        model=model,
    )
    way = end_to_end.Journey(ready, [0.05, 0.07], [0.1], [0.01], 0.0, 0, np.zeros(0, np.float32))
    server = end_to_end.Totals(10, 0.3, 10, 0.4) - end_to_end.Totals(0, 0.0, 0, 0.0)
    parts = end_to_end.parts(
        way, server, {"median": 10.0, "p99": 0.0}, {"median": 20.0, "p99": 0.0}
    )
    assert parts == pytest.approx(
        {
            "frame": 80,
            "lookahead": 320,
            "network": 20,
            "queue": 10,
            "encode": 10,
            "decode": 20,
            "overlap-add": 10,
            "jitter buffer": 100,
            "device": 10,
        }
    )


def test_a_journey_through_a_real_server(codec):
    from xyt_stream.bench.load import own_server

    with own_server(None, slots=1) as target:
        end_to_end.travel(target.url, end_to_end.clicks(0.5))  # the first steps are slow
        before = end_to_end.totals(target.url)
        way = end_to_end.travel(target.url, end_to_end.clicks(3.0), target=0.8)
        server = end_to_end.totals(target.url) - before
    assert server.frames >= 50  # four seconds, silence included
    encode, decode = end_to_end.halves(codec, steps=3)
    parts = end_to_end.parts(way, server, encode, decode)
    assert all(ms >= 0 for ms in parts.values())
    assert way.mouth_to_ear > 0.09
    if not way.underruns:  # it kept up, and the sum is the whole
        assert sum(parts.values()) == pytest.approx(way.mouth_to_ear * 1e3, abs=60)

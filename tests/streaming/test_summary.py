from __future__ import annotations

import json

import pytest

from xyt_stream.errors import ModelError
from xyt_stream.model.config import mini
from xyt_stream.model.config import published as full_size
from xyt_stream.streaming.summary import LOOKAHEADS, summarize


@pytest.mark.parametrize("which", ["codec", "published"])
def test_parts_sum_to_all_parameters(which, request):
    network = request.getfixturevalue(which).network
    learned = sum(p.numel() for p in network.parameters()) + network.quantizer.codebooks.numel()
    assert summarize(network.config).parameters == learned


@pytest.mark.parametrize("lookahead", [0, 3])
def test_delay_and_memory_are_those_of_a_real_stream(published, lookahead):
    (live,) = summarize(published.network.config, [lookahead]).live
    assert live.lookahead == lookahead
    for half, delay_ms, size in (
        (published.stream_encoder(2, lookahead), live.encoder_delay_ms, live.encoder_state_bytes),
        (published.stream_decoder(2, lookahead), live.decoder_delay_ms, live.decoder_state_bytes),
    ):
        assert delay_ms == pytest.approx(1000 * half.delay)
        held = [*half.stream.all.tensors(), half.history.held]
        assert 2 * size == sum(tensor.nbytes for tensor in held)


def test_a_causal_model_has_one_line():
    summary = summarize(mini())
    assert [live.lookahead for live in summary.live] == [0]
    assert summary.live[0].delay_ms == pytest.approx(90)
    with pytest.raises(ModelError, match="causal"):
        summarize(mini(), [1])


def test_summarizing_the_published_size_takes_no_memory():
    summary = summarize(full_size("full", 32_000))
    assert 515e6 < summary.parameters < 530e6
    assert (summary.bits_per_second, summary.output_rate) == (1000, 32_000)
    assert [live.lookahead for live in summary.live] == list(LOOKAHEADS)
    assert summary.live[1].delay_ms == pytest.approx(summary.live[0].delay_ms + 160)
    assert summary.live[0].state_bytes > 500e6


def test_json_can_hold_it():
    flat = json.loads(json.dumps(summarize(mini()).flat()))
    assert flat["parameters"] == sum(flat["parts"].values())
    assert flat["live"][0]["encoder_delay_ms"] == pytest.approx(80)

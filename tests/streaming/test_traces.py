from __future__ import annotations

import gc
import weakref

import pytest
import torch

from tests.streaming.conftest import tiny
from xyt_stream.streaming import traces
from xyt_stream.streaming.decoder import StreamDecoder

SLOTS = 5


@pytest.fixture(params=["default", "tiny"])
def network(request, codec):
    """A model whose weights are prepacked, and one whose are not."""
    return (
        codec
        if request.param == "default"
        else tiny(causal=True, context=5, device=torch.device("cpu"))
    )


def pairs(network, slots):
    """Both halves twice: one runs as written, the other traced."""
    return (
        (network.stream_encoder(slots), network.stream_encoder(slots)),
        (StreamDecoder(network.network, slots), _traced_decoder(network, slots)),
    )


def _traced_decoder(network, slots):
    decoder = StreamDecoder(network.network, slots)
    decoder.compile()  # without the exported graph of few rows
    return decoder


def same_state(written, traced):
    both = zip(written.stream.all.tensors(), traced.stream.all.tensors(), strict=True)
    return all(torch.equal(a, b) for a, b in both)


@pytest.mark.parametrize("first", [1, 3])
def test_traced_rows_equal_the_step_to_the_bit(network, first):
    """For any number of rows in the step that was traced."""
    traces._made.clear()
    (encoder, traced_encoder), (decoder, traced_decoder) = pairs(network, SLOTS)
    random = torch.Generator().manual_seed(first)
    for number in range(25):
        rows = first if number == 0 else int(torch.randint(1, SLOTS + 1, (), generator=random))
        chosen = torch.randperm(SLOTS, generator=random)[:rows]
        active = torch.ones(rows, dtype=torch.bool)
        pcm = torch.randn(rows, 1280, generator=random) / 20
        codes = encoder.run(pcm, active, chosen)
        assert torch.equal(traced_encoder.step(pcm, active, chosen), codes)
        sound = decoder.run(codes, active, chosen)
        assert torch.equal(traced_decoder.step(codes, active, chosen), sound)
    assert same_state(encoder, traced_encoder)
    assert same_state(decoder, traced_decoder)


@pytest.mark.parametrize("slots", [1, 3])
def test_a_traced_step_of_all_slots_equals_the_step(network, slots):
    (encoder, traced_encoder), (decoder, traced_decoder) = pairs(network, slots)
    random = torch.Generator().manual_seed(slots)
    for _ in range(20):
        active = torch.rand(slots, generator=random) < 0.7
        pcm = torch.randn(slots, 1280, generator=random) / 20
        codes = encoder.run(pcm, active)
        assert torch.equal(traced_encoder.step(pcm, active), codes)
        sound = decoder.run(codes, active)
        assert torch.equal(traced_decoder.step(codes, active), sound)
    assert same_state(encoder, traced_encoder)
    assert same_state(decoder, traced_decoder)


def test_streams_of_one_network_share_a_trace_and_no_state():
    network = tiny(causal=True, context=5, device=torch.device("cpu"))
    active, pcm = torch.ones(1, dtype=torch.bool), torch.randn(3, 1, 1280)
    encoders = [network.stream_encoder() for _ in range(2)]
    apart = torch.stack([encoders[0].step(x, active) for x in pcm])
    # The trace is there: the second stream uses it from its first step on.
    assert len(traces._made[network.network.encoder]) == 1
    assert torch.equal(torch.stack([encoders[1].step(x, active) for x in pcm]), apart)
    assert len(traces._made[network.network.encoder]) == 1


def test_changed_weights_reach_a_trace():
    """They are inputs of a trace, not constants."""
    network = tiny(causal=True, context=5, device=torch.device("cpu"))
    decoder, active = network.stream_decoder(), torch.ones(1, dtype=torch.bool)
    codes = torch.randint(64, (1, 8))
    before = [decoder.step(codes, active) for _ in range(2)][1]
    network.network.decoder.vocoder.head.out.bias.add_(0.1)
    decoder.reset()
    after = [decoder.step(codes, active) for _ in range(2)][1]
    decoder.reset()
    expected = [decoder.run(codes, active) for _ in range(2)][1]
    assert torch.equal(after, expected)
    assert not torch.equal(after, before)


def test_traces_do_not_outlive_their_network():
    network = tiny(causal=True, context=5, device=torch.device("cpu"))
    network.stream_encoder().push(torch.randn(2560))
    gone = weakref.ref(network.network.encoder)
    del network
    gc.collect()
    assert gone() is None


def test_a_reference_from_outside_of_python_spares_a_trace_the_interpreters_lock(network):
    for coder in (network.stream_encoder(SLOTS), _traced_decoder(network, SLOTS)):
        traced = coder._compiled
        assert {tensor._use_count() > 1 for tensor in traced._read} == {True}

"""An hour of sound through a bidirectional model whose window is seconds long."""

from __future__ import annotations

import itertools
import resource

import pytest
import torch

HOUR = 45_000  # frames


@pytest.mark.slow
def test_an_hour_ends_as_it_began(short_window, speech):
    """Through thousands of windows neither memory nor results change."""
    encoder = short_window.stream_encoder(lookahead=2)
    decoder = short_window.stream_decoder(lookahead=2)
    # Both halves start a window every `period` frames. Sound that repeats as often is the same to
    # every window, and after two of them each lane is in the same row again.
    period = encoder.lanes.period
    assert decoder.lanes.period == period
    frames = itertools.cycle(speech[: period * 1280].split(1280))

    def run(rounds):
        for pcm in itertools.islice(frames, rounds * 2 * period):
            codes = encoder.push(pcm)
            yield codes, decoder.push(codes)

    def held():
        states = (half.stream.all for half in (encoder, decoder))
        return [(tensor.data_ptr(), tensor.shape) for s in states for tensor in s.tensors()]

    def memory():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for _ in run(10):
        pass
    early = list(run(2))
    places, peak = held(), memory()
    # The places of keys in their ring repeat after as many windows as it has frames; only then are
    # sums made in the same order.
    ring = encoder.lanes.capacity
    for _ in run(HOUR // (2 * period * ring) * ring - 2):
        pass
    assert held() == places
    assert memory() < 1.02 * peak
    for (codes, sound), (late_codes, late_sound) in zip(early, run(2), strict=True):
        assert torch.equal(late_codes, codes)
        assert torch.allclose(late_sound, sound, atol=1e-5)

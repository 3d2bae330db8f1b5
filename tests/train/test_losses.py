from __future__ import annotations

import torch

from xyt_stream.train.losses import MAGNITUDE, MelLoss


def test_zero_for_the_same_sound_and_larger_for_a_worse_one():
    loss = MelLoss(16_000)
    wav = torch.randn(2, 16_000) * 0.1
    noise = torch.randn(2, 16_000) * 0.1
    assert loss(wav, wav) == 0
    assert 0 < loss(wav + 0.1 * noise, wav) < loss(wav + noise, wav)


def test_a_gain_shows_as_its_logarithm():
    loss = MelLoss(16_000)
    wav = torch.randn(1, 16_000)
    # Twice as loud: log 2 apart, and as far from the target as the target is from silence.
    expected = torch.tensor(2.0).log() + MAGNITUDE
    assert torch.allclose(loss(2 * wav, wav), expected, atol=1e-3)

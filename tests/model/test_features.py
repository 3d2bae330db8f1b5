from __future__ import annotations

import math

import torch

from xyt_stream.model.features import CAUSAL_FLOOR, LogMel, slaney_mels


def test_filters_peak_where_slaney_puts_them():
    filters = slaney_mels(80, 400, 16_000)
    assert filters.shape == (201, 80)
    # Linear up to 1 kHz: the first centres lie one eightieth of the mel span apart.
    span = 15 + 27 * math.log(8) / math.log(6.4)
    step = span / 81 * 200 / 3
    grid = torch.linspace(0, 8000, 201)
    for i in range(20):
        centre = (filters[:, i] * grid).sum() / filters[:, i].sum()
        assert abs(centre - (i + 1) * step) < 40  # one bin of the FFT
    # Area normalisation: each filter's integral over frequency is one.
    wide = slaney_mels(40, 4096, 16_000)
    areas = wide.sum(0) * 8000 / 2048
    assert torch.allclose(areas, torch.ones(40), atol=0.02)


def test_causal_mel_is_independent_of_the_future(whole):
    mel = LogMel(80, causal=True)
    wav = torch.randn(1, 4 * 1280) * 0.1
    before = mel(wav, whole(4))
    wav[:, 2 * 1280 :] = torch.randn(1, 2 * 1280)
    after = mel(wav, whole(4))
    assert before.shape == (1, 32, 80)
    assert torch.equal(before[:, :16], after[:, :16])
    assert not torch.equal(before[:, 16], after[:, 16])


def test_digital_silence_is_the_floor(whole):
    silence = LogMel(80, causal=True)(torch.zeros(1, 1280), whole(1))
    assert torch.allclose(silence, torch.tensor((math.log10(CAUSAL_FLOOR) + 4) / 4))

from __future__ import annotations

import math

import pytest
import torch

from xyt_stream.evaluate.fidelity import equal_shares, finite, percent, snr_db


def test_shares_are_per_codebook():
    reference = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    codes = torch.tensor([[1, 2, 3, 4], [5, 0, 0, 8]])
    assert equal_shares(codes, reference) == [1, 0.5]


def test_snr_follows_its_definition():
    sound = torch.tensor([3.0, -4.0])
    assert snr_db(sound + 0.5, sound) == pytest.approx(10 * math.log10(25 / 0.5))
    assert snr_db(sound, sound) == math.inf


def test_json_has_no_infinity_and_only_all_is_100_percent():
    assert (finite(math.inf), finite(3.5)) == (None, 3.5)
    assert percent([0.999, 1, 0]) == ["99", "100", "0"]

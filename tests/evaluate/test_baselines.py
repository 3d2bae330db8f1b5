from __future__ import annotations

import numpy as np
import pytest

from xyt_stream.audio import read_audio
from xyt_stream.evaluate.baselines import BASELINES, Baseline


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda baseline: baseline.name)
def test_a_baseline_returns_aligned_speech(baseline: Baseline, fixtures):
    if not baseline.installed:
        pytest.skip(f"{baseline.name} is not installed: Debian's package {baseline.package} has it")
    stoi = pytest.importorskip("pystoi").stoi
    samples, _ = read_audio(fixtures / "speech.flac")
    decoded = baseline.roundtrip(samples)
    assert decoded.shape == samples.shape
    aligned = stoi(samples, decoded, 16_000)
    assert aligned > 0.65
    for shift in (-240, 240):  # 15 ms to either side is worse
        assert stoi(samples, np.roll(decoded, shift), 16_000) < aligned


def test_a_missing_program_is_not_installed():
    missing = Baseline("missing", ("no-such-program",), "no-package", lambda samples: samples)
    assert not missing.installed

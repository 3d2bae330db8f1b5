from __future__ import annotations

import numpy as np
import pytest
import soxr

from xyt_stream.audio import read_audio
from xyt_stream.evaluate.similarity import speaker_similarity

pytest.importorskip("resemblyzer", exc_type=ImportError)


def test_a_higher_voice_is_less_similar(fixtures):
    samples, _ = read_audio(fixtures / "speech.flac")
    other = soxr.resample(samples, 16_000, 11_500).astype(np.float32)  # a much higher voice
    assert speaker_similarity(samples, samples) == pytest.approx(1, abs=1e-4)
    assert speaker_similarity(samples, other) < 0.85

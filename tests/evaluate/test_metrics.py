from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xyt_stream.audio import Samples, read_audio, resample
from xyt_stream.errors import AudioError, MissingExtraError
from xyt_stream.evaluate.metrics import mel_distance, pesq, stoi

pytest.importorskip("pesq")


@pytest.fixture(scope="module")
def speech(fixtures: Path) -> Samples:
    return read_audio(fixtures / "speech.flac")[0]


def noisy(speech: Samples, level: float) -> Samples:
    noise = np.random.default_rng(0).standard_normal(len(speech))
    return (speech + level * speech.std() * noise).astype(np.float32)


def test_the_original_scores_highest(speech: Samples) -> None:
    assert stoi(speech, speech) == pytest.approx(1)
    assert pesq(speech, speech) == pytest.approx(4.644, abs=1e-3)
    assert pesq(speech, speech, mode="nb") == pytest.approx(4.549, abs=1e-3)


def test_more_noise_scores_less(speech: Samples) -> None:
    clear, poor = noisy(speech, 0.1), noisy(speech, 1.0)
    assert 0 < stoi(speech, poor) < stoi(speech, clear) < 1
    assert 1 < pesq(speech, poor) < pesq(speech, clear) < 4.6
    assert 1 < pesq(speech, poor, mode="nb") < pesq(speech, clear, mode="nb") < 4.6


def test_narrow_band_is_scored_at_8_khz(speech: Samples) -> None:
    narrow = resample(speech, 16_000, 8_000)
    assert pesq(narrow, narrow, rate=8_000, mode="nb") == pytest.approx(4.549, abs=1e-3)


@pytest.mark.parametrize("samples", [0, 10, 3000])
def test_too_little_speech_is_an_error(speech: Samples, samples: int) -> None:
    for measure in (stoi, pesq):
        with pytest.raises(AudioError):
            measure(speech[:samples], speech[:samples])


def test_pesq_refuses_silence(speech: Samples) -> None:
    silence = np.zeros_like(speech)
    for reference, degraded in ((silence, silence), (silence, speech), (speech, silence)):
        with pytest.raises(AudioError):
            pesq(reference, degraded)


def test_unequal_lengths_are_refused(speech: Samples) -> None:
    for measure in (stoi, pesq):
        with pytest.raises(AudioError, match="cannot be compared"):
            measure(speech, speech[:-1])


@pytest.mark.parametrize(("measure", "package"), [(stoi, "pystoi"), (pesq, "pesq")])
def test_missing_extra_is_named(
    speech: Samples,
    monkeypatch: pytest.MonkeyPatch,
    measure: Callable[[Samples, Samples], float],
    package: str,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"xyt-stream\[eval\]"):
        measure(speech, speech)


def test_mel_distance_is_a_gain_in_db(speech: Samples) -> None:
    assert mel_distance(speech, speech) == 0
    noise = 0.1 * np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    assert mel_distance(noise, 2 * noise) == pytest.approx(20 * np.log10(2), abs=1e-3)
    with pytest.raises(AudioError, match="too little"):
        mel_distance(speech[:500], speech[:500])

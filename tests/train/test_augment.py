from __future__ import annotations

import numpy as np
import pytest

from xyt_stream.audio import read_audio
from xyt_stream.train import augment
from xyt_stream.train.augment import Augment


@pytest.fixture
def crop(fixtures):
    return read_audio(fixtures / "speech.flac")[0][:25_600]


def make(seed: int = 0) -> Augment:
    return Augment(np.random.default_rng(seed))


def level(x) -> float:
    return float(20 * np.log10(np.sqrt(np.mean(x**2)) + 1e-9))


def test_never_clips_and_never_breaks(crop):
    for seed in range(40):
        changed = make(seed)(crop.copy())
        assert changed.shape == crop.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
        assert np.abs(changed).max() <= augment.PEAK + 1e-6


def test_silence_stays_silence():
    for seed in range(20):
        assert not make(seed)(np.zeros(12_800, np.float32)).any()


def test_speed_moves_the_pitch():
    time = np.arange(40_000) / 16_000
    tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    pitches = set()
    for seed in range(8):
        factor, played = make(seed).speed(tone, 25_600)
        assert len(played) == 25_600
        pitch = int(np.abs(np.fft.rfft(played[:16_000])).argmax())
        assert pitch == pytest.approx(1000 * factor, abs=2)
        pitches.add(pitch)
    assert min(pitches) >= 1000 * augment.SPEED[0] - 2
    assert max(pitches) <= 1000 * augment.SPEED[1] + 2
    assert max(pitches) - min(pitches) > 50


def test_a_source_is_long_enough_for_any_speed():
    source = np.ones(Augment.source_samples(12_800), np.float32)
    for seed in range(30):
        assert len(make(seed).speed(source, 12_800)[1]) == 12_800


def test_noise_lies_below_the_speech(crop):
    for seed in range(10):
        below = level(make(seed).noise(crop)) - level(crop)
        assert augment.NOISE_DB[0] - 0.1 <= below <= augment.NOISE_DB[1] + 0.1


def test_a_band_limit_removes_the_rest(crop):
    limited = make().band(crop)
    spectrum = np.abs(np.fft.rfft(limited)) ** 2
    whole = np.abs(np.fft.rfft(crop)) ** 2
    hertz = np.fft.rfftfreq(len(crop), 1 / 16_000)
    assert spectrum[hertz > 7_900].sum() < 0.2 * whole[hertz > 7_900].sum()
    middle = (hertz > 500) & (hertz < 2_000)
    assert spectrum[middle].sum() > 0.8 * whole[middle].sum()


def test_a_room_rings_after_the_sound():
    click = np.zeros(12_800, np.float32)
    click[1000] = 0.5
    wet = make().room(click)
    assert not wet[:999].round(6).any()
    assert abs(wet[1000]) > 0.4
    assert np.abs(wet[1001:1400]).max() > 1e-3

"""The shipped model on sound that is not clean speech: no bursts, no noise in silence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from xyt_stream.audio import to_int16

RATE = 16_000
BURST = 10 ** (6 / 20)  # 6 dB above the input's peak
QUIET = 10 ** (-50 / 20)  # peaks this small are not heard


def tone(hertz: float, seconds: float = 3.0) -> np.ndarray:
    return np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


def music() -> np.ndarray:
    """A chord with overtones that changes every half second."""
    chords = [(220, 277, 330), (247, 311, 370), (196, 247, 294), (220, 277, 330)]
    notes = [
        sum(tone(f * k, 0.5) / k for f in chord for k in (1, 2, 3)) * np.linspace(1, 0.3, 8000)
        for chord in chords
    ]
    return 0.1 * np.concatenate(notes)


def pink_noise(rng: np.random.Generator, rms: float) -> np.ndarray:
    """Two seconds of noise with equal power in each octave, as in rooms."""
    hertz = np.maximum(np.fft.rfftfreq(2 * RATE, 1 / RATE), 20)
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(2 * RATE)) / np.sqrt(hertz))
    return noise * rms / np.sqrt(np.mean(noise**2))


def inputs(speech: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    clicks = np.zeros(2 * RATE)
    clicks[::4000] = 0.9
    spectrum = np.fft.rfft(speech)
    hertz = np.fft.rfftfreq(len(speech), 1 / RATE)
    telephone = np.fft.irfft(spectrum * ((hertz > 300) & (hertz < 3400)), len(speech))
    return {
        "room noise": pink_noise(rng, 0.003),
        "white noise": 0.05 * rng.standard_normal(2 * RATE),
        "clipped speech": np.clip(20 * speech, -1, 1),
        "very quiet speech": 0.003 * speech,
        "telephone band": telephone,
        "two voices": speech + 0.7 * speech[::-1],
        "music": music(),
        "a click train": clicks,
        "a DC offset": 0.5 * speech + 0.4,
        "a pure tone": 0.5 * tone(1000),
        "full-scale square wave": np.sign(tone(110)),
    }


NAMES = tuple(inputs(np.zeros(RATE)))


def through(codec, sound: np.ndarray) -> Tensor:
    encoder, decoder = codec.stream_encoder(), codec.stream_decoder()
    wav = torch.from_numpy(sound.astype(np.float32))
    codes = torch.cat([encoder.push(wav), encoder.flush()], dim=1)
    return torch.cat([decoder.push(codes), decoder.flush()])[: len(wav)]


@pytest.mark.parametrize("name", NAMES)
def test_hard_input_gives_no_burst(codec, speech, name):
    sound = inputs(speech.numpy())[name]
    decoded = through(codec, sound)
    assert torch.isfinite(decoded).all()
    # Quiet sound may come back a little louder, as long as it stays quiet; playback clips at full
    # scale.
    heard = np.abs(to_int16(decoded.numpy()) / 32768).max()
    assert heard <= max(BURST * np.abs(sound).max(), QUIET)
    assert decoded.abs().max() < 4


def test_digital_silence_stays_silent(codec):
    decoded = through(codec, np.zeros(3 * RATE))
    assert decoded.square().mean().sqrt() < 10 ** (-55 / 20)
    assert decoded.abs().max() < 10 ** (-45 / 20)


def test_silence_after_speech_is_silent_soon(codec, speech):
    decoded = through(codec, np.concatenate([speech.numpy(), np.zeros(3 * RATE)]))
    rest = decoded[len(speech) + RATE :]
    assert rest.square().mean().sqrt() < 10 ** (-55 / 20)


@pytest.mark.slow
def test_ten_minutes_do_not_drift(codec, speech):
    repeats = 600 * RATE // len(speech)
    decoded = through(codec, np.tile(speech.numpy(), repeats))

    def level(part: Tensor) -> float:
        return float(part.square().mean().sqrt().log10() * 20)

    start, end = decoded[RATE : 60 * RATE], decoded[-60 * RATE :]
    assert torch.isfinite(decoded).all()
    assert abs(level(start) - level(end)) < 0.5

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from xyt_stream.audio import (
    FRAME_SAMPLES,
    FRAME_SECONDS,
    INPUT_RATE,
    Samples,
    StreamResampler,
    read_audio,
    resample,
    scaled_length,
    to_float32,
    to_int16,
    write_audio,
)
from xyt_stream.errors import AudioError

WIRE_RATES = [8_000, 16_000, 24_000, 32_000, 44_100, 48_000]


def tone(hertz: float, samples: int, rate: int) -> Samples:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(samples) / rate)).astype(np.float32)


def streamed(samples: Samples, rate_in: int, rate_out: int, cuts: Callable[[], int]) -> Samples:
    resampler = StreamResampler(rate_in, rate_out)
    pieces, start = [], 0
    while start < len(samples):
        size = cuts()
        pieces.append(resampler.push(samples[start : start + size]))
        start += size
    return np.concatenate([*pieces, resampler.flush()])


def test_a_frame_is_80_milliseconds() -> None:
    assert (FRAME_SAMPLES, FRAME_SECONDS) == (1280, 0.08)


def test_every_16_bit_value_survives_float() -> None:
    every = np.arange(-32_768, 32_768).astype(np.int16)
    assert to_float32(every).dtype == np.float32
    assert np.array_equal(to_int16(to_float32(every)), every)


def test_samples_beyond_full_scale_are_clipped() -> None:
    loud = np.array([-9.0, -1.0, 1.0, 9.0], np.float32)
    assert to_int16(loud).tolist() == [-32_768, -32_768, 32_767, 32_767]


@pytest.mark.parametrize("name", ["speech.flac", "speech.ogg", "speech.mp3", "stereo44k.wav"])
def test_every_format_reads_as_the_same_speech(fixtures: Path, name: str) -> None:
    reference, _ = read_audio(fixtures / "speech.flac")
    samples, info = read_audio(fixtures / name)
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert len(samples) == scaled_length(info.samples, info.rate, INPUT_RATE)
    assert info.mixed_down == (name == "stereo44k.wav")
    length = min(len(reference), len(samples))
    assert np.corrcoef(reference[:length], samples[:length])[0, 1] > 0.98


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    left, right = tone(300, 1600, INPUT_RATE), tone(500, 1600, INPUT_RATE)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), INPUT_RATE, "FLOAT")
    samples, info = read_audio(tmp_path / "a.wav")
    assert (info.channels, info.rate, info.samples, info.seconds) == (2, 16_000, 1600, 0.1)
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_a_written_file_reads_the_same_to_the_bit(tmp_path: Path, ending: str) -> None:
    pcm = np.random.default_rng(1).integers(-32_768, 32_768, 100_000).astype(np.int16)
    write_audio(tmp_path / f"a.{ending}", to_float32(pcm), 44_100)
    assert soundfile.info(tmp_path / f"a.{ending}").samplerate == 44_100
    again, _ = soundfile.read(tmp_path / f"a.{ending}", dtype="int16")
    assert np.array_equal(again, pcm)


@pytest.mark.parametrize("ending", ["ogg", "mp3"])
def test_a_minute_is_written_to_a_lossy_file(tmp_path: Path, ending: str) -> None:
    write_audio(tmp_path / f"a.{ending}", tone(440, 60 * 16_000, INPUT_RATE), INPUT_RATE)
    samples, info = read_audio(tmp_path / f"a.{ending}")
    assert info.seconds == pytest.approx(60, abs=0.1)
    assert np.abs(samples[16_000:17_000]).max() == pytest.approx(0.5, abs=0.05)


def text_file(path: Path) -> None:
    path.write_text("These are words about sound, and no sound at all.\n" * 9)


def cut_header(path: Path) -> None:
    soundfile.write(path, np.zeros(99), 16_000)
    path.write_bytes(path.read_bytes()[:20])


BAD_FILES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "missing": ("No such file", lambda path: None),
    "folder": ("Is a directory", lambda path: path.mkdir()),
    "empty": ("is an empty file", lambda path: path.write_bytes(b"")),
    "text": ("is not a sound file", text_file),
    "cut inside its header": ("is not a sound file", cut_header),
    "no samples": ("holds no sound", lambda path: soundfile.write(path, np.zeros(0), 16_000)),
    "NaN": ("not numbers", lambda path: soundfile.write(path, [0.0, np.nan], 16_000, "FLOAT")),
    "one sample a second": ("1 samples a second", lambda path: soundfile.write(path, [0.0], 1)),
    "infinite": ("not numbers", lambda path: soundfile.write(path, [np.inf], 16_000, "FLOAT")),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_without_sound_is_named(tmp_path: Path, kind: str) -> None:
    says, make = BAD_FILES[kind]
    path = tmp_path / "bad.wav"
    make(path)
    with pytest.raises(AudioError, match=says) as caught:
        read_audio(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_body_reads_or_is_refused_but_never_crashes(
    fixtures: Path, tmp_path: Path
) -> None:
    whole = (fixtures / "speech.flac").read_bytes()
    for keep in (50, 200, len(whole) // 2, len(whole) - 1):
        path = tmp_path / f"{keep}.flac"
        path.write_bytes(whole[:keep])
        with contextlib.suppress(AudioError):
            samples, _ = read_audio(path)
            assert np.isfinite(samples).all()


@pytest.mark.parametrize(
    ("name", "rate", "says"),
    [
        ("a.xyz", 16_000, "a.xyz: its name must end in .wav"),
        ("a", 16_000, "cannot write .*/a: its name"),
        ("nowhere/a.wav", 16_000, "no such folder"),
        ("folder.wav", 16_000, "it is a folder"),
        ("a.mp3", 12_345, "12345 Hz: MPEG"),
    ],
)
def test_an_unwritable_target_is_named(tmp_path: Path, name: str, rate: int, says: str) -> None:
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match=says):
        write_audio(tmp_path / name, np.zeros(9, np.float32), rate)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    (tmp_path / "full.wav").symlink_to("/dev/full")
    with pytest.raises(AudioError, match=r"full\.wav.*the disk may be full"):
        write_audio(tmp_path / "full.wav", np.zeros(9, np.float32), 16_000)


@pytest.mark.parametrize("rate", [r for r in WIRE_RATES if r != INPUT_RATE])
@pytest.mark.parametrize("inward", [True, False])
def test_chunk_sizes_change_no_sample(rate: int, inward: bool) -> None:
    rates = (rate, INPUT_RATE) if inward else (INPUT_RATE, rate)
    samples = np.random.default_rng(rate).standard_normal(rates[0]).astype(np.float32) * 0.1
    whole = streamed(samples, *rates, lambda: len(samples))
    sizes = np.random.default_rng(2)
    pieces = streamed(samples, *rates, lambda: int(sizes.integers(1, 2000)))
    assert len(whole) == rates[1]
    np.testing.assert_allclose(pieces, whole, atol=1e-6)


@pytest.mark.parametrize("rate", [r for r in WIRE_RATES if r != INPUT_RATE])
@pytest.mark.parametrize("inward", [True, False])
def test_a_streamed_tone_is_the_tone(rate: int, inward: bool) -> None:
    rates = (rate, INPUT_RATE) if inward else (INPUT_RATE, rate)
    sound = tone(1000, rates[0], rates[0])
    middle = slice(rates[1] // 4, 3 * rates[1] // 4)
    wave = np.exp(-2j * np.pi * 1000 * np.arange(rates[1]) / rates[1])[middle]
    out = (streamed(sound, *rates, lambda: 160)[middle] * wave).mean()
    offline = (resample(sound, *rates)[middle] * wave).mean()
    assert abs(out) == pytest.approx(abs(offline), rel=1e-3)
    assert abs(np.angle(out / offline)) / (2 * np.pi * 1000) < 0.25e-3  # seconds


@pytest.mark.parametrize("rate", [r for r in WIRE_RATES if r != INPUT_RATE])
@pytest.mark.parametrize("inward", [True, False])
def test_the_lag_stays_small(rate: int, inward: bool) -> None:
    rate_in, rate_out = (rate, INPUT_RATE) if inward else (INPUT_RATE, rate)
    resampler = StreamResampler(rate_in, rate_out)
    block = np.zeros(rate_in // 50, np.float32)
    lag, given = 0.0, 0
    for blocks in range(1, 200):
        given += len(resampler.push(block))
        lag = max(lag, blocks / 50 - given / rate_out)
    assert lag <= (0.031 if rate_in == 8_000 else 0.016)


@given(
    samples=st.integers(0, 5000),
    rate_in=st.sampled_from([*WIRE_RATES, 11_025, 22_050, 96_000]),
    rate_out=st.sampled_from(WIRE_RATES),
    piece=st.integers(1, 3000),
)
@settings(max_examples=100, deadline=None)
def test_the_length_is_exact(samples: int, rate_in: int, rate_out: int, piece: int) -> None:
    sound = np.zeros(samples, np.float32)
    expected = int(np.floor(samples * rate_out / rate_in + 0.5))
    assert scaled_length(samples, rate_in, rate_out) == expected
    assert len(resample(sound, rate_in, rate_out)) == expected
    assert len(streamed(sound, rate_in, rate_out, lambda: piece)) == expected


def test_equal_rates_pass_through_untouched() -> None:
    samples = tone(440, 1000, INPUT_RATE)
    resampler = StreamResampler(INPUT_RATE, INPUT_RATE)
    assert np.array_equal(resampler.push(samples), samples)
    assert len(resampler.flush()) == 0


@pytest.mark.parametrize(
    ("rate_in", "rate_out"),
    [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (16_000, 48_000), (16_000, 8_000)],
)
def test_a_moved_stream_goes_on_to_the_bit(rate_in, rate_out):
    """Moved again and again, at any place, for longer than a drifting engine lives."""
    sizes = np.random.default_rng(1)
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 5 * rate_in + 7).astype(np.float32)
    whole = StreamResampler(rate_in, rate_out)
    unmoved = np.concatenate([whole.push(sound), whole.flush()])
    stream, made, place, moves = StreamResampler(rate_in, rate_out), [], 0, 0
    while place < len(sound):
        size = int(sizes.integers(1, rate_in // 10))
        made.append(stream.push(sound[place : place + size]))
        place, state = place + size, stream.state()
        assert len(state.history) <= 3 * rate_in
        stream, moves = StreamResampler(rate_in, rate_out), moves + 1
        stream.load(state)
    made.append(stream.flush())
    np.testing.assert_array_equal(np.concatenate(made), unmoved)
    assert moves > 50

"""Sound files of every kind, and pipes: what is read, mixed down, refused, and written."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from xyt_stream.audio import (
    INPUT_RATE,
    FileResampler,
    Samples,
    SoundReader,
    SoundWriter,
    check_target,
    read_audio,
    reading,
    resample,
    to_int16,
    write_audio,
)
from xyt_stream.errors import AudioError


def speech(samples: int = 40_000, seed: int = 0) -> Samples:
    noise = np.random.default_rng(seed).standard_normal(samples)
    return (0.1 * noise).clip(-0.9, 0.9).astype(np.float32)


def with_data_size(path: Path, size: int) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"data") + 4
    data[at : at + 4] = struct.pack("<I", size)
    path.write_bytes(bytes(data))


@contextlib.contextmanager
def piped(path: Path, data: bytes) -> Iterator[Path]:
    """A named pipe into which `data` is written."""
    os.mkfifo(path)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError):
            path.write_bytes(data)

    writer = threading.Thread(target=write)
    writer.start()
    yield path
    writer.join(60)


@pytest.mark.parametrize("size", [0, 0xFFFF_FFFF, 0x7FFF_FFF0], ids=["zero", "endless", "too long"])
def test_wav_is_read_to_its_end_whatever_its_header_says(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(), INPUT_RATE, "FLOAT")
    with_data_size(path, size)
    samples, info = read_audio(path)
    assert (info.samples, info.missing) == (40_000, 0)
    np.testing.assert_array_equal(samples, speech())


@pytest.mark.parametrize("kept", [1, 20_000, 39_999])
def test_a_wav_that_is_cut_short_tells_how_much_is_missing(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(), INPUT_RATE)
    path.write_bytes(path.read_bytes()[: 44 + 2 * kept])
    samples, info = read_audio(path)
    assert (len(samples), info.samples, info.missing) == (kept, kept, 40_000 - kept)


ID3 = b"ID3\4\0\0\0\0\2\1" + bytes(257)  # a tag of 257 bytes before the first frame


@pytest.mark.parametrize("tag", [b"", ID3], ids=["bare", "tagged"])
@pytest.mark.parametrize("kept", [0.3, 0.7])
def test_an_mp3_that_is_cut_short_tells_how_much_is_missing(
    fixtures: Path, tmp_path: Path, kept: float, tag: bytes
) -> None:
    data = (fixtures / "speech.mp3").read_bytes()
    path = tmp_path / "a.mp3"
    path.write_bytes(tag + data)
    whole, info = read_audio(path)
    assert (info.samples, info.missing) == (32_777, 0)
    path.write_bytes(tag + data[: int(kept * len(data))])
    samples, info = read_audio(path)
    assert info.samples + info.missing == 32_777
    assert 0 < len(samples) < 0.8 * len(whole)
    np.testing.assert_array_equal(samples[:-2304], whole[: len(samples) - 2304])


@pytest.mark.parametrize("tag", [b"", ID3], ids=["bare", "tagged"])
def test_an_mp3_without_a_length_is_read_to_its_end(
    fixtures: Path, tmp_path: Path, tag: bytes
) -> None:
    """By the bit rate of its first frame it would be a third shorter."""
    data = (fixtures / "speech.mp3").read_bytes()
    whole, _ = read_audio(fixtures / "speech.mp3")
    frames = data[data.index(data[:2], 2) :]  # without the first, which holds the length
    path = tmp_path / "a.mp3"
    path.write_bytes(tag + frames)
    with SoundReader(path) as reader:
        assert reader.expected is None
    samples, info = read_audio(path)
    assert not info.unfinished
    assert len(samples) >= len(whole)
    apart = [np.abs(samples[at : at + 20_000] - whole[5_000:25_000]).mean() for at in range(8_000)]
    assert min(apart) < 1e-3
    path.write_bytes(tag + frames[:9_000])
    cut, info = read_audio(path)
    assert info.unfinished
    assert len(cut) > 20_000


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_without_its_last_page_is_unfinished(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.ogg"
    soundfile.write(path, speech(160_000), INPUT_RATE, subtype, format="OGG")
    data = path.read_bytes()
    assert not read_audio(path)[1].unfinished
    with piped(tmp_path / "pipe", data) as pipe:
        assert not read_audio(pipe)[1].unfinished
    for kept in (len(data) - 1, len(data) - 2_000, len(data) // 2, data.rindex(b"OggS")):
        path.write_bytes(data[:kept])
        samples, info = read_audio(path)
        assert (info.unfinished, info.missing) == (True, 0)
        assert 0 < len(samples) < 160_000


def test_an_empty_pipe_is_said_to_be_empty(tmp_path: Path) -> None:
    with piped(tmp_path / "pipe", b"") as pipe, pytest.raises(AudioError, match="an empty file"):
        read_audio(pipe)


def test_empty_wav_with_a_trailing_chunk_holds_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), INPUT_RATE)
    path.write_bytes(path.read_bytes() + b"LIST" + struct.pack("<I", 4) + b"INFO")
    with pytest.raises(AudioError, match="holds no sound"):
        read_audio(path)


def test_flac_of_unknown_length_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, speech(), INPUT_RATE)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the 36 bits of STREAMINFO's total samples
    data[22:26] = bytes(4)
    path.write_bytes(bytes(data))
    samples, info = read_audio(path)
    assert info.samples == 40_000
    np.testing.assert_allclose(samples, speech(), atol=1 / 32_768)
    with SoundReader(path) as reader:
        assert reader.expected is None


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "ULAW"])
def test_compressed_wav_is_read(tmp_path: Path, subtype: str) -> None:
    path = tmp_path / "a.wav"
    tone = (0.3 * np.sin(np.arange(8_000) * 0.3)).astype(np.float32)
    soundfile.write(path, tone, 8_000, subtype)
    samples, _ = read_audio(path, 8_000)
    assert np.corrcoef(samples[:8_000], tone)[0, 1] > 0.95


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_wav_samples_equal_those_of_libsndfile(tmp_path: Path, subtype: str, kind: str) -> None:
    path = tmp_path / "a.wav"
    channels = np.stack([speech(), speech(seed=1)], 1)
    soundfile.write(path, channels, INPUT_RATE, subtype, format=kind)
    expected, _ = soundfile.read(path, dtype="float32")
    samples, _ = read_audio(path)
    np.testing.assert_array_equal(samples, expected @ np.float32([0.5, 0.5]))


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_pipe_reads_as_the_file_does(fixtures: Path, tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    write_audio(path, speech(), INPUT_RATE)
    expected, _ = read_audio(path)
    with piped(tmp_path / "pipe", path.read_bytes()) as pipe:
        samples, _ = read_audio(pipe)
    np.testing.assert_array_equal(samples, expected)


def test_wav_pipe_is_read_as_it_comes(tmp_path: Path) -> None:
    """The second half is written only when the first one has been read."""
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(), INPUT_RATE)
    data = path.read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    half_read = threading.Event()

    def write() -> None:
        with pipe.open("wb", buffering=0) as file:
            file.write(data[: len(data) // 2])
            assert half_read.wait(60)
            file.write(data[len(data) // 2 :])

    writer = threading.Thread(target=write)
    writer.start()
    read = 0
    with SoundReader(pipe) as reader:
        for block in reader.blocks():
            read += len(block)
            if read >= 19_000:
                half_read.set()
    writer.join(60)
    assert read == 40_000


CENTRE = {"wav": 2, "flac": 2, "ogg": 1}


@pytest.mark.parametrize("ending", CENTRE)
def test_centre_of_5_1_keeps_its_level(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    channels = np.zeros((40_000, 6), np.float32)
    channels[:, CENTRE[ending]] = np.sin(np.arange(40_000) * 0.3) * 0.3
    soundfile.write(path, channels, INPUT_RATE)
    samples, info = read_audio(path)
    assert (info.channels, info.mixed_down) == (6, True)
    middle = slice(5_000, -5_000)
    assert np.std(samples[middle]) == pytest.approx(np.std(channels[middle].sum(1)), rel=0.02)


def test_channel_mask_says_which_channel_is_the_centre(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    channels = np.zeros((1_000, 3), np.float32)
    channels[:, 0] = speech(1_000)
    soundfile.write(path, channels, INPUT_RATE, "FLOAT", format="WAVEX")
    data = bytearray(path.read_bytes())
    mask = data.index(b"fmt ") + 8 + 20
    data[mask : mask + 4] = struct.pack("<I", 0x4 | 0x8 | 0x100)  # centre, low frequencies, back
    path.write_bytes(bytes(data))
    samples, _ = read_audio(path)
    np.testing.assert_allclose(samples, speech(1_000), rtol=1e-6)


def test_more_than_eight_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    channels = np.stack([speech(1_000, seed) for seed in range(12)], 1)
    soundfile.write(path, channels, INPUT_RATE, "FLOAT")
    np.testing.assert_allclose(read_audio(path)[0], channels.mean(1), atol=1e-7)


@pytest.mark.parametrize("silence", [0, 100_000])
def test_opposite_phase_is_noticed_and_undone(tmp_path: Path, silence: int) -> None:
    path = tmp_path / "a.wav"
    sound = np.concatenate([np.zeros(silence, np.float32), speech()])
    soundfile.write(path, np.stack([sound, -0.8 * sound], 1), INPUT_RATE, "FLOAT")
    samples, info = read_audio(path)
    assert info.opposite_phase
    np.testing.assert_allclose(samples, 0.9 * sound, atol=1e-6)


def test_ordinary_stereo_is_not_taken_for_opposite_phase(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([speech(), speech(seed=1)], 1), INPUT_RATE, "FLOAT")
    assert not read_audio(path)[1].opposite_phase


@given(
    rates=st.sampled_from([(44_100, 16_000), (8_000, 16_000), (16_000, 24_000), (384_000, 16_000)]),
    sizes=st.lists(st.integers(1, 20_000), min_size=1, max_size=8),
)
def test_file_resampler_equals_resample_to_the_bit(
    rates: tuple[int, int], sizes: list[int]
) -> None:
    sound = speech(sum(sizes))
    resampler = FileResampler(*rates)
    chunks = np.split(sound, np.cumsum(sizes)[:-1])
    streamed = [*(resampler.push(chunk) for chunk in chunks), resampler.flush()]
    np.testing.assert_array_equal(np.concatenate(streamed), resample(sound, *rates))


def wav_bytes() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, speech(64), INPUT_RATE, format="WAV")
    return file.getvalue()


WHOLE = wav_bytes()


@given(place=st.integers(0, 60), value=st.binary(min_size=1, max_size=4), keep=st.integers(0, 200))
def test_damaged_headers_raise_only_audio_errors(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: bytes, keep: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.wav"
    path.write_bytes((WHOLE[:place] + value + WHOLE[place + len(value) :])[:keep])
    with contextlib.suppress(AudioError):
        samples, _ = read_audio(path)
        assert np.isfinite(samples).all()


@pytest.mark.parametrize(
    ("name", "rate"),
    [("a.ogg", 200_001), ("a.ogg", 384_000), ("a.mp3", 96_000), ("a.flac", 700_000), ("A.MP3", 7)],
)
def test_rates_that_a_format_lacks_are_refused_at_once(
    tmp_path: Path, name: str, rate: int
) -> None:
    with pytest.raises(AudioError, match=f"{name} at {rate} Hz: "):
        check_target(tmp_path / name, rate)
    with pytest.raises(AudioError, match=f"{name} at {rate} Hz: "):
        SoundWriter(tmp_path / name, rate)
    assert list(tmp_path.iterdir()) == []


def test_target_keeps_its_old_content_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")
    with contextlib.suppress(RuntimeError), SoundWriter(path, INPUT_RATE) as writer:
        writer.write(to_int16(speech()))
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    link = tmp_path / "link.wav"
    link.symlink_to(path)
    path.chmod(0o600)
    write_audio(link, speech(), INPUT_RATE)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o600
    assert soundfile.info(path).frames == 40_000
    assert sorted(tmp_path.iterdir()) == [path, link]


@pytest.mark.parametrize("samples", [None, 40_000])
def test_pipe_gets_wav(tmp_path: Path, samples: int | None) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    with SoundWriter(pipe, INPUT_RATE, samples=samples) as writer:
        writer.write(to_int16(speech()))
    reader.join(60)
    sound, rate = soundfile.read(io.BytesIO(got[0]), dtype="int16")
    assert rate == INPUT_RATE
    np.testing.assert_array_equal(sound, to_int16(speech()))


def test_a_length_that_lies_ends_at_the_file_s_end_without_a_word(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = speech()
    write_audio(tmp_path / "a.wav", sound, INPUT_RATE)
    data = (tmp_path / "a.wav").read_bytes()
    most = 2**62
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, most, most, most, 0)
    lying = b"RF64" + data[4:12] + sizes + data[12:40] + b"\xff" * 4 + data[44:]
    (tmp_path / "b.wav").write_bytes(lying)
    read, info = read_audio(tmp_path / "b.wav")
    assert info.samples == len(sound)
    np.testing.assert_array_equal(to_int16(read), to_int16(sound))
    assert capfd.readouterr() == ("", "")


def test_a_pipe_that_never_ends_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_MOST_SPOOLED", 1 << 20)
    with (
        piped(tmp_path / "pipe", b"OggS" + bytes(4 << 20)) as pipe,
        pytest.raises(AudioError, match="no wav"),
    ):
        SoundReader(pipe)

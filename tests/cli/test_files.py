from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from xyt_stream import Codec
from xyt_stream.audio import read_audio, scaled_length
from xyt_stream.protocol.code_file import CodeFile
from xyt_stream.streaming.clips import encode_clip

from .outcome import Run, refused

CLIPS = ["speech.flac", "speech.ogg", "speech.mp3", "stereo44k.wav"]


@pytest.mark.parametrize("clip", CLIPS)
def test_decoded_file_has_the_original_length(
    run: Run, fixtures: Path, tmp_path: Path, clip: str
) -> None:
    original = soundfile.info(fixtures / clip)
    encoded = run("encode", fixtures / clip, tmp_path / "a.xyt")
    assert encoded.status == 0, encoded.err
    assert ("mixed down to mono" in encoded.out) == (original.channels > 1)
    decoded = run("decode", tmp_path / "a.xyt", tmp_path / "a.wav")
    assert decoded.status == 0, decoded.err
    back = soundfile.info(tmp_path / "a.wav")
    assert (back.frames, back.samplerate) == (original.frames, original.samplerate)
    assert back.channels == 1


def test_codes_and_sound_equal_the_library(
    run: Run, fixtures: Path, tmp_path: Path, codec: Codec
) -> None:
    samples, _ = read_audio(fixtures / "speech.flac")
    padded = np.pad(samples, (0, -len(samples) % codec.frame_samples_in))
    codes = codec.encode(padded)
    run("encode", fixtures / "speech.flac", tmp_path / "a.xyt")
    file = CodeFile.read(tmp_path / "a.xyt")
    assert np.array_equal(file.codes, codes.numpy())
    assert (file.model_name, file.model_hash) == (codec.name, codec.hash)
    run("decode", tmp_path / "a.xyt", tmp_path / "a.wav", "--rate", codec.output_rate)
    sound, _ = soundfile.read(tmp_path / "a.wav")
    length = scaled_length(len(samples), codec.input_rate, codec.output_rate)
    np.testing.assert_allclose(sound, codec.decode(codes).numpy()[:length], atol=1 / 32_768)


def test_roundtrip_equals_encode_and_decode(run: Run, fixtures: Path, tmp_path: Path) -> None:
    clip = fixtures / "stereo44k.wav"
    run("encode", clip, tmp_path / "a.xyt")
    run("decode", tmp_path / "a.xyt", tmp_path / "a.wav")
    live = run("roundtrip", clip, tmp_path / "live.wav")
    whole = run("roundtrip", clip, tmp_path / "whole.wav", "--offline")
    assert live.status == whole.status == 0
    assert "mixed down" in live.out
    expected, rate = soundfile.read(tmp_path / "a.wav")
    for name in ("live.wav", "whole.wav"):
        sound, sound_rate = soundfile.read(tmp_path / name)
        assert sound_rate == rate
        np.testing.assert_allclose(sound, expected, atol=2e-4)


@pytest.mark.parametrize("rate", [8_000, 24_000])
def test_other_rate_keeps_the_duration(run: Run, fixtures: Path, tmp_path: Path, rate: int) -> None:
    run("encode", fixtures / "stereo44k.wav", tmp_path / "a.xyt")
    assert run("decode", tmp_path / "a.xyt", tmp_path / "a.flac", "--rate", rate).status == 0
    back = soundfile.info(tmp_path / "a.flac")
    frames = soundfile.info(fixtures / "stereo44k.wav").frames
    assert (back.samplerate, back.frames) == (rate, scaled_length(frames, 44_100, rate))


@pytest.mark.parametrize(("samples", "rate"), [(1, 44_100), (1, 8_000), (1280, 16_000)])
def test_shortest_files_keep_their_length(
    run: Run, tmp_path: Path, samples: int, rate: int
) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(samples, 0.1), rate)
    assert run("encode", tmp_path / "a.wav", tmp_path / "a.xyt").status == 0
    assert CodeFile.read(tmp_path / "a.xyt").codes.shape[1] == 1
    assert run("decode", tmp_path / "a.xyt", tmp_path / "b.wav").status == 0
    assert soundfile.info(tmp_path / "b.wav").frames == samples


def test_unreadable_sound_is_refused(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "in.wav", tmp_path / "out.xyt"
    refused(run("encode", source, target), str(source), "No such file")
    source.write_bytes(b"")
    refused(run("encode", source, target), str(source), "empty")
    source.write_text("I am a text")
    refused(run("roundtrip", source, tmp_path / "out.wav"), str(source), "not a sound file")
    soundfile.write(source, [0.0, np.nan], 16_000, "FLOAT")
    refused(run("encode", source, target), str(source), "NaN")
    assert not target.exists()


def test_unreadable_code_files_are_refused(
    run: Run, fixtures: Path, tmp_path: Path, other_model: Path
) -> None:
    source, target = tmp_path / "in.xyt", tmp_path / "out.wav"
    refused(run("decode", source, target), str(source), "No such file")
    refused(run("decode", fixtures / "speech.flac", target), "not a .xyt code file")
    run("encode", fixtures / "speech.flac", source, "--model", other_model)
    refused(run("decode", source, target), "made with model", "--model")
    whole = source.read_bytes()
    source.write_bytes(whole[:-30])
    refused(run("decode", source, target), str(source), "cut short")
    source.write_bytes(whole[:-30] + bytes(30))
    refused(run("decode", source, target), str(source), "damaged")
    assert not target.exists()


def test_unwritable_targets_are_refused(run: Run, fixtures: Path, tmp_path: Path) -> None:
    clip = fixtures / "stereo44k.wav"
    refused(run("encode", clip, tmp_path / "nowhere" / "a.xyt"), "nowhere", "no such folder")
    refused(run("roundtrip", clip, tmp_path / "a.txt"), "a.txt", "must end in .wav")


def test_unwritable_targets_are_refused_before_the_work(run: Run, tmp_path: Path) -> None:
    """The work itself would be refused, too: there is nothing to do it with."""
    nothing, nowhere = tmp_path / "nothing", tmp_path / "nowhere"
    for command in ("decode", "roundtrip"):
        refused(run(command, nothing, nowhere / "a.wav"), "nowhere", "no such folder")
    refused(run("encode", nothing, nowhere / "a.xyt"), "nowhere", "no such folder")
    refused(run("convert", nothing, nowhere / "a.safetensors"), "nowhere", "no such folder")
    for option in ("--json", "--csv"):
        refused(run("eval", nothing, tmp_path, option, nowhere / "a"), "nowhere", "no such folder")
    where = nowhere / "a.png"
    refused(run("bench", "lookahead", nothing, nothing, "--plot", where), "no such folder")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--model", "no-such-model", "no-such-model"),
        ("--device", "abacus", "abacus"),
        ("--lookahead", 3, "causal"),
    ],
)
def test_unsupported_options_of_a_model_are_refused(
    run: Run, fixtures: Path, tmp_path: Path, option: str, value: object, says: str
) -> None:
    arguments = ("roundtrip", fixtures / "speech.flac", tmp_path / "a.wav", option, value)
    refused(run(*arguments), says)
    refused(run("serve", "--port", 0, option, value), says)


def test_published_24_khz_model_works_in_every_command(
    run: Run, fixtures: Path, tmp_path: Path, published: Codec, published_weights: Path
) -> None:
    clip, with_model = fixtures / "speech.flac", ("--model", published_weights)
    samples, _ = read_audio(clip)
    whole = np.pad(samples, (0, -len(samples) % published.frame_samples_in))
    assert run("encode", clip, tmp_path / "a.xyt", *with_model).status == 0
    file = CodeFile.read(tmp_path / "a.xyt")
    assert np.array_equal(file.codes, published.encode(whole).numpy())
    decoded = run("decode", tmp_path / "a.xyt", tmp_path / "a.wav", "--rate", 24_000, *with_model)
    assert decoded.status == 0, decoded.err
    sound, rate = soundfile.read(tmp_path / "a.wav")
    assert (len(sound), rate) == (scaled_length(len(samples), 16_000, 24_000), 24_000)
    expected = published.decode(file.codes).numpy()[: len(sound)].clip(-1, 1)
    np.testing.assert_allclose(sound, expected, atol=1 / 16_384)
    for how in (["--offline"], ["--lookahead", 2]):
        result = run("roundtrip", clip, tmp_path / "b.wav", *with_model, *how)
        assert result.status == 0, result.err
        back = soundfile.info(tmp_path / "b.wav")
        assert (back.frames, back.samplerate) == (len(samples), 16_000)


def test_lookahead_codes_a_file_as_a_live_stream(
    run: Run, fixtures: Path, tmp_path: Path, published: Codec, published_weights: Path
) -> None:
    clip = fixtures / "speech.flac"
    samples, _ = read_audio(clip)
    options = ("--model", published_weights, "--lookahead", 3)
    assert run("encode", clip, tmp_path / "a.xyt", *options).status == 0
    codes = encode_clip(published, samples, 3)
    assert np.array_equal(CodeFile.read(tmp_path / "a.xyt").codes, codes.numpy())
    assert run("decode", tmp_path / "a.xyt", tmp_path / "a.wav", *options).status == 0
    run("decode", tmp_path / "a.xyt", tmp_path / "b.wav", *options[:2])
    live, whole = (soundfile.read(tmp_path / name)[0] for name in ("a.wav", "b.wav"))
    assert live.shape == whole.shape
    assert not np.allclose(live, whole, atol=1e-3)


def test_half_precision_is_for_whole_files_only(
    run: Run, fixtures: Path, tmp_path: Path, codec: Codec
) -> None:
    clip = fixtures / "speech.flac"
    samples, _ = read_audio(clip)
    arguments = ("encode", clip, tmp_path / "a.xyt", "--dtype", "bfloat16")
    assert run(*arguments).status == 0
    codes = encode_clip(codec, samples, None, torch.bfloat16)
    assert np.array_equal(CodeFile.read(tmp_path / "a.xyt").codes, codes.numpy())
    assert run("decode", tmp_path / "a.xyt", tmp_path / "a.wav", *arguments[3:]).status == 0
    result = run(*arguments, "--lookahead", 0)
    assert (result.status, "float32" in result.err) == (2, True)


def test_offline_and_lookahead_exclude_each_other(run: Run, fixtures: Path, tmp_path: Path) -> None:
    for command in (
        ("roundtrip", fixtures / "speech.flac", tmp_path / "a.wav"),
        ("eval", "mini", tmp_path),
    ):
        result = run(*command, "--offline", "--lookahead", 2)
        assert (result.status, "--offline" in result.err) == (2, True)


def test_codes_go_into_xyt_files_only(run: Run, fixtures: Path, tmp_path: Path) -> None:
    for name in ("a.wav", "a.flac", "a.txt", "a"):
        target = tmp_path / name
        target.write_bytes(b"mine")
        refused(run("encode", fixtures / "speech.flac", target), name, ".xyt")
        assert target.read_bytes() == b"mine"
    refused(run("convert", "mini", tmp_path / "a.wav"), "a.wav", ".safetensors")
    arguments = ("bench", "lookahead", "mini", fixtures / "speech.flac", "--plot")
    refused(run(*arguments, tmp_path / "a.wav"), "a.wav", ".png")


def test_roundtrip_does_not_overwrite_its_input(run: Run, fixtures: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.flac"
    source.write_bytes((fixtures / "speech.flac").read_bytes())
    (tmp_path / "symbolic.flac").symlink_to(source)
    (tmp_path / "hard.flac").hardlink_to(source)
    for name in ("a.flac", "symbolic.flac", "hard.flac"):
        refused(run("roundtrip", source, tmp_path / name), name, "is read")
    assert source.read_bytes() == (fixtures / "speech.flac").read_bytes()


def test_rate_of_the_target_is_checked_before_the_work(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hi384.wav", np.zeros(384_000), 384_000)
    nothing = ("--model", "no-such-model")
    refused(run("roundtrip", tmp_path / "hi384.wav", tmp_path / "a.ogg", *nothing), "384000 Hz")
    wide = ("--rate", 300_000)
    refused(run("roundtrip", tmp_path / "hi384.wav", tmp_path / "a.ogg", *wide), "300000 Hz")
    refused(run("decode", tmp_path / "nothing", tmp_path / "a.mp3", "--rate", 96_000), "96000 Hz")
    assert [path.name for path in tmp_path.iterdir()] == ["hi384.wav"]


def test_failed_commands_leave_the_target_as_it_was(run: Run, tmp_path: Path) -> None:
    sound = np.zeros(160_000, np.float32)
    sound[-1] = np.nan
    soundfile.write(tmp_path / "a.wav", sound, 16_000, "FLOAT")
    for command, name in (("roundtrip", "b.wav"), ("encode", "b.xyt")):
        (tmp_path / name).write_bytes(b"mine")
        refused(run(command, tmp_path / "a.wav", tmp_path / name), "NaN")
        assert (tmp_path / name).read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 3


def test_opposite_phase_is_reported(run: Run, tmp_path: Path, fixtures: Path) -> None:
    samples, _ = read_audio(fixtures / "speech.flac")
    soundfile.write(tmp_path / "a.wav", np.stack([samples, -samples], 1), 16_000, "FLOAT")
    soundfile.write(tmp_path / "mono.wav", samples, 16_000, "FLOAT")
    result = run("encode", tmp_path / "a.wav", tmp_path / "a.xyt")
    assert "opposite phase" in result.out
    run("encode", tmp_path / "mono.wav", tmp_path / "mono.xyt")
    codes = [CodeFile.read(tmp_path / name).codes for name in ("a.xyt", "mono.xyt")]
    np.testing.assert_array_equal(*codes)


def test_live_files_stream_in_chunks(
    run: Run, fixtures: Path, tmp_path: Path, codec: Codec
) -> None:
    """Codes and sound of a longer file at another rate are those of the whole at once."""
    samples, _ = read_audio(fixtures / "speech.flac", 44_100)
    soundfile.write(tmp_path / "a.wav", np.tile(samples, 5), 44_100, "FLOAT")
    run("encode", tmp_path / "a.wav", tmp_path / "live.xyt", "--lookahead", 0)
    run("encode", tmp_path / "a.wav", tmp_path / "whole.xyt")
    live, whole = (CodeFile.read(tmp_path / name) for name in ("live.xyt", "whole.xyt"))
    np.testing.assert_array_equal(live.codes, whole.codes)
    for name, how in (("live.wav", ("--lookahead", 0)), ("whole.wav", ())):
        assert run("decode", tmp_path / "live.xyt", tmp_path / name, *how).status == 0
    assert run("roundtrip", tmp_path / "a.wav", tmp_path / "round.wav").status == 0
    sounds = [soundfile.read(tmp_path / f"{name}.wav")[0] for name in ("live", "whole", "round")]
    assert len(sounds[0]) == 5 * len(samples)
    np.testing.assert_allclose(sounds[0], sounds[1], atol=2e-4)
    np.testing.assert_array_equal(sounds[0], sounds[2])


def test_a_causal_model_never_takes_a_whole_file(
    run: Run, fixtures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a stream the file takes constant memory, with the same result."""

    def whole(*args: object, **options: object) -> None:
        raise AssertionError("the whole file was taken at once")

    monkeypatch.setattr(Codec, "encode", whole)
    monkeypatch.setattr(Codec, "decode", whole)
    clip = fixtures / "speech.ogg"
    assert run("encode", clip, tmp_path / "a.xyt").status == 0
    assert run("decode", tmp_path / "a.xyt", tmp_path / "a.wav").status == 0
    assert run("roundtrip", clip, tmp_path / "b.wav", "--offline").status == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()


def test_a_file_that_is_cut_short_is_used_and_reported(
    run: Run, tmp_path: Path, fixtures: Path
) -> None:
    whole = (fixtures / "stereo44k.wav").read_bytes()
    (tmp_path / "a.wav").write_bytes(whole[: len(whole) // 2])
    result = run("encode", tmp_path / "a.wav", tmp_path / "a.xyt")
    assert result.status == 0, result.err
    assert "cut short: it ends after" in result.out
    assert "cut short" not in run("encode", fixtures / "stereo44k.wav", tmp_path / "a.xyt").out


def test_names_that_look_like_markup_are_printed_as_they_are(
    run: Run, tmp_path: Path, fixtures: Path
) -> None:
    target = tmp_path / "[bold] [*] :smile:.wav"
    result = run("roundtrip", fixtures / "speech.flac", target)
    assert result.status == 0, result.err
    assert target.name in result.out

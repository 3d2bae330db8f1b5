from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch

from xyt_stream import Codec
from xyt_stream.audio import read_audio, scaled_length
from xyt_stream.cli import main
from xyt_stream.cli.server import LimitOptions
from xyt_stream.evaluate.listen import encode_clip
from xyt_stream.protocol.code_file import CodeFile
from xyt_stream.server.limits import Limits

CLIPS = ["speech.flac", "speech.ogg", "speech.mp3", "stereo44k.wav"]


class Result(NamedTuple):
    status: int | str | None
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command line in this process; see `test_a_user_at_a_shell` for one of its own."""

    def run(*args: object) -> Result:
        with pytest.raises(SystemExit) as caught:
            main([str(arg) for arg in args])
        return Result(caught.value.code, *capsys.readouterr())

    return run


def refused(result: Result, *says: str) -> None:
    """The user reads one clear line, and nothing pretends to have worked."""
    assert result.status == 1
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    for words in says:
        assert words in result.err
    assert "Traceback" not in result.out + result.err


@pytest.mark.parametrize("clip", CLIPS)
def test_a_file_comes_back_exactly_as_long(
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


def test_codes_and_sound_are_those_of_the_library(
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


def test_a_live_roundtrip_equals_encode_and_decode(
    run: Run, fixtures: Path, tmp_path: Path
) -> None:
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
def test_another_rate_keeps_the_duration(
    run: Run, fixtures: Path, tmp_path: Path, rate: int
) -> None:
    run("encode", fixtures / "stereo44k.wav", tmp_path / "a.xyt")
    assert run("decode", tmp_path / "a.xyt", tmp_path / "a.flac", "--rate", rate).status == 0
    back = soundfile.info(tmp_path / "a.flac")
    frames = soundfile.info(fixtures / "stereo44k.wav").frames
    assert (back.samplerate, back.frames) == (rate, scaled_length(frames, 44_100, rate))


@pytest.mark.parametrize(("samples", "rate"), [(1, 44_100), (1, 8_000), (1280, 16_000)])
def test_the_shortest_files_come_back(run: Run, tmp_path: Path, samples: int, rate: int) -> None:
    soundfile.write(tmp_path / "a.wav", np.full(samples, 0.1), rate)
    assert run("encode", tmp_path / "a.wav", tmp_path / "a.xyt").status == 0
    assert CodeFile.read(tmp_path / "a.xyt").codes.shape[1] == 1
    assert run("decode", tmp_path / "a.xyt", tmp_path / "b.wav").status == 0
    assert soundfile.info(tmp_path / "b.wav").frames == samples


def test_what_is_no_sound_is_refused(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "in.wav", tmp_path / "out.xyt"
    refused(run("encode", source, target), str(source), "No such file")
    source.write_bytes(b"")
    refused(run("encode", source, target), str(source), "empty")
    source.write_text("I am a text")
    refused(run("roundtrip", source, tmp_path / "out.wav"), str(source), "not a sound file")
    soundfile.write(source, [0.0, np.nan], 16_000, "FLOAT")
    refused(run("encode", source, target), str(source), "NaN")
    assert not target.exists()


def test_what_is_no_code_file_is_refused(
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


def test_what_cannot_be_written_is_refused(run: Run, fixtures: Path, tmp_path: Path) -> None:
    clip = fixtures / "stereo44k.wav"
    refused(run("encode", clip, tmp_path / "nowhere" / "a.xyt"), "nowhere")
    refused(run("roundtrip", clip, tmp_path / "a.txt"), "a.txt")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--model", "no-such-model", "no-such-model"),
        ("--device", "abacus", "abacus"),
        ("--lookahead", 3, "causal"),
    ],
)
def test_what_the_model_cannot_do_is_refused(
    run: Run, fixtures: Path, tmp_path: Path, option: str, value: object, says: str
) -> None:
    arguments = ("roundtrip", fixtures / "speech.flac", tmp_path / "a.wav", option, value)
    refused(run(*arguments), says)
    refused(run("serve", "--port", 0, option, value), says)


def test_info_tells_what_the_model_is(run: Run, codec: Codec, tmp_path: Path) -> None:
    result = run("info", "--json", tmp_path / "info.json")
    assert result.status == 0
    for words in (codec.name, codec.hash[:12], "16000 Hz", "80 ms", "1000", "causal", "vocoder"):
        assert words in result.out
    figures = json.loads((tmp_path / "info.json").read_text())
    assert (figures["hash"], figures["bits_per_second"]) == (codec.hash, 1000)
    assert len(figures["live"]) == 1
    refused(run("info", "--lookahead", 1), "causal")


def test_info_tells_what_waiting_costs(run: Run, published_weights: Path, tmp_path: Path) -> None:
    path = tmp_path / "info.json"
    arguments = ("info", "--model", published_weights, "--json", path)
    assert "bidirectional" in run(*arguments).out
    assert [row["lookahead"] for row in json.loads(path.read_text())["live"]][:3] == [0, 1, 2]
    assert "24000 Hz" in run(*arguments, "--lookahead", 3, "--lookahead", 5).out
    live = json.loads(path.read_text())["live"]
    assert [row["encoder_delay_ms"] for row in live] == pytest.approx([332.5, 492.5])


def test_a_published_model_at_24_khz_serves_every_command(
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


def test_whole_files_can_be_coded_as_live_streams(
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


def test_half_precision_is_for_whole_files(
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


def test_all_of_the_future_and_some_of_it_exclude_each_other(
    run: Run, fixtures: Path, tmp_path: Path
) -> None:
    for command in (
        ("roundtrip", fixtures / "speech.flac", tmp_path / "a.wav"),
        ("eval", "mini", tmp_path),
    ):
        result = run(*command, "--offline", "--lookahead", 2)
        assert (result.status, "--offline" in result.err) == (2, True)


def test_a_converted_model_reads_the_codes_of_the_original(
    run: Run, fixtures: Path, tmp_path: Path, published_weights: Path
) -> None:
    one = tmp_path / "one.safetensors"
    result = run("convert", published_weights, one)
    assert result.status == 0, result.err
    assert "one.safetensors: 3 MB" in result.out
    codes = tmp_path / "a.xyt"
    run("encode", fixtures / "speech.flac", codes, "--model", published_weights)
    for name, model in (("a.wav", published_weights), ("b.wav", one)):
        assert run("decode", codes, tmp_path / name, "--model", model).status == 0
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    refused(run("convert", published_weights, tmp_path / "b.ckpt"), "must end in .safetensors")
    refused(run("convert", "no-such-model", one), "no-such-model")


def test_a_config_that_lies_elsewhere_is_named(
    run: Run, fixtures: Path, tmp_path: Path, published_weights: Path
) -> None:
    weights = tmp_path / "model.ckpt"
    weights.write_bytes(published_weights.read_bytes())
    refused(run("info", "--model", weights), "does not fit")
    config = ("--config", published_weights.with_name("config.yaml"))
    assert "24000 Hz" in run("info", "--model", weights, *config).out
    assert run("convert", weights, tmp_path / "a.safetensors", *config).status == 0
    refused(run("info", "--model", weights, "--config", "nowhere.yaml"), "nowhere.yaml")


@pytest.mark.parametrize(
    "command",
    [
        *("encode", "decode", "roundtrip", "serve", "info", "eval", "convert"),
        *("bench stream", "bench codec", "bench lookahead", "bench precision"),
    ],
)
def test_every_command_takes_any_model(run: Run, command: str) -> None:
    text = run(*command.split(), "--help").out
    assert "--config" in text
    assert "--revision" in text
    assert ("--model" in text) != ("*    model" in text)
    assert ("--device" in text) == (command != "convert")


def test_scores_go_to_the_terminal_and_to_json(run: Run, fixtures: Path, tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("resemblyzer", exc_type=ImportError)
    (tmp_path / "a.flac").write_bytes((fixtures / "speech.flac").read_bytes())
    files = ("--json", tmp_path / "scores.json", "--csv", tmp_path / "scores.csv")
    result = run("eval", "mini", tmp_path, *files, "--plots", tmp_path / "plots")
    assert result.status == 0, result.err
    assert (tmp_path / "scores.csv").read_text().count("\n") == 2
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {"codes.png", "a.flac.png"}
    assert "STOI" in result.out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["files"] == 1
    assert 0 < scores["stoi"] <= 1
    assert 1 <= scores["pesq_wb"] < 4.7
    refused(run("eval", "mini", fixtures.parent / "protocol"), "no sound files")


def test_scores_of_a_model_with_another_rate(
    run: Run, fixtures: Path, tmp_path: Path, published_weights: Path
) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("resemblyzer", exc_type=ImportError)
    (tmp_path / "a.flac").write_bytes((fixtures / "speech.flac").read_bytes())
    path = tmp_path / "scores.json"
    for how, lookahead in ((["--offline"], None), (["--lookahead", 2], 2), ([], 0)):
        result = run("eval", published_weights, tmp_path, *how, "--json", path)
        assert result.status == 0, result.err
        scores = json.loads(path.read_text())
        assert (scores["files"], scores["lookahead"]) == (1, lookahead)


def test_bench_lookahead_draws_and_writes(
    run: Run, fixtures: Path, tmp_path: Path, published_weights: Path
) -> None:
    path, picture = tmp_path / "bench.json", tmp_path / "bench.png"
    arguments = ("bench", "lookahead", published_weights, fixtures / "speech.flac")
    options = ("--lookahead", 1, "--lookahead", 3, "--json", path, "--plot", picture)
    result = run(*arguments, *options)
    assert result.status == 0, result.err
    assert [point["lookahead"] for point in json.loads(path.read_text())["points"]] == [1, 3]
    assert picture.read_bytes().startswith(b"\x89PNG")
    refused(run(*arguments, "--lookahead", 375), "375")


def test_bench_precision_writes_its_figures(run: Run, fixtures: Path, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    result = run("bench", "precision", "mini", fixtures / "speech.flac", "--json", path)
    assert result.status == 0, result.err
    types = [point["dtype"] for point in json.loads(path.read_text())["points"]]
    assert types == ["float32", "bfloat16", "float16", "bfloat16 weights"]


def test_bench_stream_writes_its_figures(run: Run, tmp_path: Path) -> None:
    result = run("bench", "stream", "--minutes", "0.5", "--json", tmp_path / "bench.json")
    assert result.status == 0, result.err
    step = json.loads((tmp_path / "bench.json").read_text())["step_ms"]
    assert 0 < step["median"] <= step["p99"]


def test_a_server_without_options_has_the_limits_of_the_library() -> None:
    assert Limits(**vars(LimitOptions())) == Limits()


def test_help_comes_without_waiting_for_torch() -> None:
    code = (
        "import sys\n"
        "from xyt_stream.cli import main\n"
        "try: main(['encode', '--help'])\n"
        "except SystemExit: pass\n"
        "sys.exit(bool({'torch', 'numpy', 'soundfile'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE)


def test_a_user_at_a_shell(fixtures: Path, tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("xyt-stream")

    def shell(*args: object) -> subprocess.CompletedProcess[str]:
        words = [str(script), *map(str, args)]
        return subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert shell("encode", fixtures / "speech.ogg", "a.xyt").returncode == 0
    assert shell("decode", "a.xyt", "a.wav").returncode == 0
    assert (tmp_path / "a.wav").exists()
    (tmp_path / "b.wav").write_text("words")
    bad = shell("encode", "b.wav", "b.xyt")
    line = "Error: b.wav is not a sound file: give a wav, flac, ogg or mp3\n"
    assert (bad.returncode, bad.stdout, bad.stderr) == (1, "", line)
    assert shell("sing").returncode == 2

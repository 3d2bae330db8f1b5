from __future__ import annotations

import json
from pathlib import Path

import pytest

from xyt_stream import Codec
from xyt_stream.cli.terminal import console

from .outcome import Run, refused


def test_info_describes_the_model(run: Run, codec: Codec, tmp_path: Path) -> None:
    result = run("info", "--json", tmp_path / "info.json")
    assert result.status == 0
    for words in (codec.name, codec.hash[:12], "16000 Hz", "80 ms", "1000", "causal", "vocoder"):
        assert words in result.out
    figures = json.loads((tmp_path / "info.json").read_text())
    assert (figures["hash"], figures["bits_per_second"]) == (codec.hash, 1000)
    assert len(figures["live"]) == 1
    refused(run("info", "--lookahead", 1), "causal")


def test_info_lists_delay_and_memory_per_lookahead(
    run: Run, published_weights: Path, tmp_path: Path
) -> None:
    path = tmp_path / "info.json"
    arguments = ("info", "--model", published_weights, "--json", path)
    assert "bidirectional" in run(*arguments).out
    assert [row["lookahead"] for row in json.loads(path.read_text())["live"]][:3] == [0, 1, 2]
    assert "24000 Hz" in run(*arguments, "--lookahead", 3, "--lookahead", 5).out
    live = json.loads(path.read_text())["live"]
    assert [row["encoder_delay_ms"] for row in live] == pytest.approx([332.5, 492.5])


def test_converted_model_decodes_the_original_codes(
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


def test_config_elsewhere_is_given_by_option(
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


def test_figures_on_standard_output_stand_alone(run: Run) -> None:
    result = run("info", "--json", "-")
    assert json.loads(result.out)["bits_per_second"] == 1000
    assert "bits a second" in result.err
    assert "bits a second" in run("info").out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has it")
def test_figures_that_cannot_be_written_are_one_line(run: Run) -> None:
    result = run("info", "--json", "/dev/full")
    refused(result, "cannot write /dev/full: No space left on device")


def test_info_cuts_no_word_in_a_narrow_terminal(
    run: Run, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 80)
    out = run("info").out
    assert "…" not in out
    assert "lookahead," in out
    assert max(len(line) for line in out.splitlines()) <= 80

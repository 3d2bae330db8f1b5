from __future__ import annotations

import json
from pathlib import Path

import pytest

from .outcome import Run, refused


def test_scores_are_printed_and_written_as_json(run: Run, fixtures: Path, tmp_path: Path) -> None:
    pytest.importorskip("pesq")
    pytest.importorskip("resemblyzer", exc_type=ImportError)
    (tmp_path / "a.flac").write_bytes((fixtures / "speech.flac").read_bytes())
    files = ("--json", tmp_path / "scores.json", "--csv", tmp_path / "scores.csv")
    result = run("eval", "mini", tmp_path, *files, "--plots", tmp_path / "plots")
    assert result.status == 0, result.err
    assert (tmp_path / "scores.csv").read_text().count("\n") == 3
    assert {p.name for p in (tmp_path / "plots").iterdir()} == {"codes.png", "a.flac.png"}
    assert "STOI" in result.out
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["files"] == 1
    assert 0 < scores["stoi"] <= 1
    assert 1 <= scores["pesq_wb"] < 4.7
    refused(run("eval", "mini", fixtures.parent / "protocol"), "no sound files")
    refused(run("eval", "mini", fixtures, "--lyra", fixtures), "soundstream_encoder.tflite")


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


def test_sharpen_writes_a_model_of_the_same_codes(
    run: Run, fixtures: Path, tmp_path: Path, tiny_causal: Path
) -> None:
    target = tmp_path / "sharp.safetensors"
    result = run("sharpen", tiny_causal, fixtures, target, "--clips", 1)
    assert result.status == 0, result.err
    codes = tmp_path / "a.xyt"
    assert run("encode", fixtures / "speech.flac", codes, "--model", tiny_causal).status == 0
    for name, model in (("a.wav", tiny_causal), ("b.wav", target)):  # its codes are theirs
        assert run("decode", codes, tmp_path / name, "--model", model).status == 0
    assert (tmp_path / "a.wav").read_bytes() != (tmp_path / "b.wav").read_bytes()
    refused(run("sharpen", tiny_causal, fixtures, tmp_path / "a.wav"), "a.wav", ".safetensors")
    refused(run("sharpen", tiny_causal, fixtures.parent / "protocol", target), "no sound files")


def test_sharpen_leaves_out_files_that_cannot_be_read(
    run: Run, fixtures: Path, tmp_path: Path, tiny_causal: Path
) -> None:
    folder, target = tmp_path / "clips", tmp_path / "sharp.safetensors"
    folder.mkdir()
    (folder / "broken.wav").write_bytes(b"no sound")
    (folder / "empty.mp3").touch()
    refused(run("sharpen", tiny_causal, folder, target))
    assert not target.exists()
    (folder / "good.flac").write_bytes((fixtures / "speech.flac").read_bytes())
    result = run("sharpen", tiny_causal, folder, target)
    assert (result.status, result.err) == (0, "")
    *left_out, written = (line.partition(":")[0] for line in result.out.splitlines())
    assert sorted(left_out) == ["broken.wav is left out", "empty.mp3 is left out"]
    assert written == str(target)

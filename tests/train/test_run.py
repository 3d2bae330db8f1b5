from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from xyt_stream import Codec
from xyt_stream.audio import read_audio
from xyt_stream.errors import ModelError
from xyt_stream.model import checkpoint
from xyt_stream.model.tokenizer import Tokenizer
from xyt_stream.train.recipe import Recipe
from xyt_stream.train.run import train

from .conftest import tiny

SMALL = Recipe(
    steps=4, crops=2, crop_frames=5, texts=1, quantizer_start=0, adversary_start=0, codes_final=0.5
)


def test_a_folder_of_speech_becomes_a_model_with_the_codes_it_began_with(
    speech: Path, tmp_path: Path, fixtures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (speech / "one" / "metadata.csv").write_text("a|there is iron\nb|in fact\n")
    out = tmp_path / "out"
    path = train(speech, out, SMALL, init="mini", valid=speech / "two")
    assert {p.name for p in out.iterdir()} == {
        *("state.pt", "codes.pt", "model.safetensors", "log.jsonl", "curves.png", "sample.flac"),
        "cache",
    }
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [3, 4]  # codes became final; the end
    assert records[-1]["hours of sound heard"] == pytest.approx(4 * 10 * 0.08 / 3600)
    assert 0 < records[-1]["stoi"] < 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "8 seconds of speech" in shown
    assert "one 50%, two 50%" in shown
    codes = torch.load(out / "codes.pt", weights_only=True)
    assert codes["frozen"]
    trained, before = Codec.load(path), Codec.load()
    samples, _ = read_audio(fixtures / "speech.flac")
    agreement = (trained.encode(samples) == before.encode(samples)).float().mean()
    assert 0.3 < agreement < 1  # two gentle steps have moved some codes


def test_it_goes_on_where_it_stopped(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = tmp_path / "tiny.safetensors"
    checkpoint.save(Tokenizer(tiny()), small)
    first = Recipe(**{**SMALL.__dict__, "steps": 2, "text": 0.0})
    train(speech, tmp_path / "out", first, init=str(small))
    written = (tmp_path / "out" / "cache" / "speech.i16").stat().st_mtime_ns
    train(speech, tmp_path / "out", Recipe(**{**first.__dict__, "steps": 3}), init=str(small))
    assert "going on after step 2" in capsys.readouterr().out
    assert (tmp_path / "out" / "cache" / "speech.i16").stat().st_mtime_ns == written
    lines = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 3


def test_a_training_that_is_over_says_so(
    speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small, out = tmp_path / "tiny.safetensors", tmp_path / "out"
    checkpoint.save(Tokenizer(tiny()), small)
    (speech / "one" / "c.flac").write_bytes(b"no sound")
    recipe = Recipe(**{**SMALL.__dict__, "steps": 1, "text": 0.0})
    train(speech, out, recipe, init=str(small))
    assert f"{speech / 'one' / 'c.flac'} is left out: " in capsys.readouterr().out
    before = (out / "model.safetensors").read_bytes()
    minutes = Recipe(**{**recipe.__dict__, "steps": None, "minutes": 1e-9})
    for again in (recipe, minutes):
        train(speech, out, again, init=str(small))
        shown = capsys.readouterr().out
        assert f"{out / 'model.safetensors'} is trained to the end (step 1)" in shown
        assert "passed" not in shown
    assert (out / "model.safetensors").read_bytes() == before


def test_a_model_of_another_output_rate_is_refused(
    speech: Path, tmp_path: Path, tiny_causal: Path
) -> None:
    with pytest.raises(ModelError, match="24000 Hz"):
        train(speech, tmp_path / "out", SMALL, init=str(tiny_causal))
